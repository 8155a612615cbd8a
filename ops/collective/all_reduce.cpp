// all_reduce: one result from every rank's x, the same on all.
#include "ops/collective/collective.h"

namespace suan {

OpDef op_def_all_reduce() {
  OpDef d{.name = "all_reduce",
          .doc = "The sum, mean, minimum or maximum of x over all ranks, in one fixed order; every "
                 "rank gets it. `gradient` marks a parameter's gradient, which a data-parallel pass "
                 "may bucket and shard.",
          .inputs = {{"x", reducible_types}},
          .attrs = {{"op", AttrKind::string, std::string("sum")},
                    {"world", AttrKind::integer, int64_t(1)},
                    {"gradient", AttrKind::boolean, false}}};
  d.flags = op_effect;
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    check_mean(c, 0);
    world_of(c, 1);
    return {c[0]};
  };
  d.vjp = [](VjpContext& c) {
    const std::string& r = c.attrs.string(0);
    if (r != "sum" && r != "mean")
      fail<ValueError>("all_reduce", "no gradient of '{}': expected sum or mean", r);
    c.set(0, apply(SUAN_OP("all_reduce"), {c.grad()}, {r, c.attrs.integer(1), false}));
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5}}}},
                               {{{{0}}}, {}, "empty"},
                               {{{{}}}, {std::string("max"), int64_t(1), false}, "0-d", false},
                               {.in = {{{3}}},
                                .attrs = {std::string("median"), int64_t(1), false},
                                .error = "unknown reduction"}};
  };
  return d;
}

}  // namespace suan
