// reduce_scatter: what all_reduce gives, each rank its part of it.
#include "ops/collective/collective.h"

namespace suan {

OpDef op_def_reduce_scatter() {
  OpDef d{.name = "reduce_scatter",
          .doc = "The reduction of x [world * n, ...] over all ranks, of which rank r gets rows "
                 "[r * n, (r + 1) * n).",
          .inputs = {{"x", reducible_types}},
          .attrs = {{"op", AttrKind::string, std::string("sum")},
                    {"world", AttrKind::integer, int64_t(1)}}};
  d.flags = op_effect;
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    check_mean(c, 0);
    const int64_t world = world_of(c, 1);
    if (c.shape(0).empty() || c.shape(0)[0] % world)
      c.fail<ShapeError>("rows do not divide: expected a multiple of {}, got {}", world,
                         to_string(c[0]));
    TensorType t = c[0];
    t.shape[0] /= world;
    return {t};
  };
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    const std::string& r = c.attrs.string(0);
    const int64_t world = c.attrs.integer(1);
    if (r != "sum" && r != "mean")
      fail<ValueError>("reduce_scatter", "no gradient of '{}': expected sum or mean", r);
    const Tensor g = apply(SUAN_OP("all_gather"), {c.grad()}, {world});
    c.set(0, r == "mean" ? g / double(world) : g);
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{4, 5}}}},
        {.in = {{{3}}}, .attrs = {std::string("sum"), int64_t(2)}, .error = "rows do not divide"}};
  };
  return d;
}

}  // namespace suan
