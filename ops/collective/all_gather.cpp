// all_gather: every rank's x, one after the other.
#include "ops/collective/collective.h"

namespace suan {

OpDef op_def_all_gather() {
  OpDef d{.name = "all_gather",
          .doc = "All ranks' x [n, ...] in order of rank: [world * n, ...] on every rank.",
          .inputs = {{"x", all_types}},
          .attrs = {{"world", AttrKind::integer, int64_t(1)}}};
  d.flags = op_effect;
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    if (c.shape(0).empty())
      c.fail<ShapeError>("no axis: expected at least one, got a 0-d tensor");
    TensorType t = c[0];
    t.shape[0] *= world_of(c, 0);
    return {t};
  };
  d.vjp = [](VjpContext& c) {
    c.set(0, apply(SUAN_OP("reduce_scatter"), {c.grad()}, {std::string("sum"), c.attrs.integer(0)}));
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5}}}}, {{{{0, 2}}}, {}, "empty"}, {.in = {{{}}}, .error = "no axis"}};
  };
  return d;
}

}  // namespace suan
