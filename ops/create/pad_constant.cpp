// pad_constant: a frame of one value.
#include "ops/api.h"

namespace suan {

OpDef op_def_pad_constant() {
  OpDef d{
      .name = "pad_constant",
      .doc =
          "Pairs of widths from the last axis backwards, filled with value (0 when left out); a "
          "negative width cuts.",
      .inputs = {{"input"}, {"value", moved_types, Arity::optional}}};
  d.attrs = {{"pad", AttrKind::ints}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const std::vector<int64_t>& p = c.attrs.ints(0);
    Shape s = c.shape(0);
    if (p.size() % 2 || p.size() / 2 > size_t(s.size()))
      c.fail<ShapeError>("wrong number of widths: expected pairs for at most {} axes, got {}",
                         s.size(), p.size());
    if (c.has(1) && !c.shape(1).empty())
      c.fail<ShapeError>("value is not 0-d: expected one number, got {}", to_string(c.shape(1)));
    for (size_t i = 0; i < p.size() / 2; ++i) {
      int64_t& n = s[s.size() - 1 - int(i)];
      const int64_t was = n;
      n += p[2 * i] + p[2 * i + 1];
      if (n < 0 || was + p[2 * i] < 0 || was + p[2 * i + 1] < 0)
        c.fail<ShapeError>("cut past the end: expected at most {} elements cut, got {} and {}", was,
                           -p[2 * i], -p[2 * i + 1]);
    }
    return {{c.dtype(0), s, c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    std::vector<int64_t> back = c.attrs.ints(0);
    for (int64_t& w : back) w = -w;
    Tensor inner;
    if (c.needs(0) || (c.has(1) && c.needs(1))) inner = apply(c.op, {c.grad()}, {back});
    if (c.needs(0)) c.set(0, inner);
    if (c.has(1) && c.needs(1)) {
      const Tensor zero = ops::zeros({c.dtype(0), c.out_types[0].shape, c.in_types[0]->device});
      const Tensor mask = apply(c.op, {ops::zeros(*c.in_types[0]), ops::number(1, zero)}, c.attrs);
      c.set(1, ops::sum(c.grad() * mask));
    }
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}}, {std::vector<int64_t>{1, 2}}},
        {{{{3, 4}}, {{}}}, {std::vector<int64_t>{0, 1, 2, -1}}, "a value, and a cut"},
        {{{{0, 4}}}, {std::vector<int64_t>{1, 1, 1, 1}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
