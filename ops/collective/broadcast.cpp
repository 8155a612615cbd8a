// broadcast: one rank's x on every rank.
#include "ops/collective/collective.h"

namespace suan {

OpDef op_def_broadcast() {
  OpDef d{.name = "broadcast",
          .doc = "Rank src's x on every rank.",
          .inputs = {{"x", all_types}},
          .attrs = {{"src", AttrKind::integer, int64_t(0)},
                    {"world", AttrKind::integer, int64_t(1)}}};
  d.flags = op_effect;
  d.no_grad = "parameters are broadcast before training; all_reduce has a gradient";
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const int64_t world = world_of(c, 1), src = c.attrs.integer(0);
    if (src < 0 || src >= world)
      c.fail<ValueError>("no such rank: expected 0 to {}, got {}", world - 1, src);
    return {c[0]};
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5}}}},
        {.in = {{{3}}}, .attrs = {int64_t(1), int64_t(1)}, .error = "no such rank"}};
  };
  return d;
}

}  // namespace suan
