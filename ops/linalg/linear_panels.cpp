// linear_panels: linear with a weight that weight_panels has laid out, for constants.
#include "ops/api.h"
#include "core/panels.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& x = c.shape(0);
  const int64_t n = c.attrs.integer(0);
  if (x.empty() || n < 0 || c.shape(1) != Shape{panel_columns(n) * x.back()})
    c.fail<ShapeError>("weight does not fit: expected panels of {} outputs of the inputs of {}, got {}", n, to_string(c[0]), to_string(c[1]));
  if (c.has(2) && c.shape(2) != Shape{n}) c.fail<ShapeError>("bias does not fit: expected [{}], got {}", n, to_string(c[2]));
  Shape out = x;
  out.back() = n;
  return {{c.dtype(0), out, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const int64_t n = c.attrs.integer(0), k = c[0].shape().back(), columns = panel_columns(n), whole = columns / panel_width;
  Tensors blocks;
  int64_t at = 0;
  for (int64_t k0 = 0, depth = panel_depth(k); k0 < k; k0 += depth) {
    const int64_t here = std::min(depth, k - k0);
    Tensors rows;
    auto part = [&](int64_t panels, int64_t width) {
      const int64_t size = panels * width * here;
      rows.push_back(reshape(permute(reshape(slice(c[1], 0, at, at + size), {panels, here, width}), {0, 2, 1}), {panels * width, here}));
      at += size;
    };
    if (whole) part(whole, panel_width);
    if (columns > whole * panel_width) part(1, panel_unit);
    blocks.push_back(apply(SUAN_OP("cat"), rows, {int64_t(0)}));
  }
  const Tensor w = k ? slice(apply(SUAN_OP("cat"), blocks, {int64_t(1)}), 0, 0, n) : reshape(c[1], {n, 0});
  return {apply(SUAN_OP("linear"), {c[0], w, c.has(2) ? c[2] : Tensor()})};
}

std::vector<Sample> samples() {
  const auto small = [](Shape shape) { return SampleInput{.shape = shape, .fill = Fill::uniform, .lo = -.25, .hi = .25}; };
  return {{{{{2, 3, 5}}, {{32 * 5}}, {{20}}}, {int64_t(20)}}, {{{{4, 9}}, {{80 * 9}}, {.shape = {}, .absent = true}}, {int64_t(70)}, "no bias"},
          {{{{33, 300}}, {{48 * 300}}, {{33}}}, {int64_t(33)}, "two blocks"}, {{{{5}}, {{16 * 5}}, {{4}}}, {int64_t(4)}, "one row"},
          {{small({99, 528}), small({576 * 528}), {{576}}}, {int64_t(576), true}, "halves in odd parts"},
          {{small({253, 272}), small({256 * 272}), {.shape = {}, .absent = true}}, {int64_t(256), true}, "twice halves"},
          {.in = {{{2, 3}}, {{10}}, {.shape = {}, .absent = true}}, .attrs = {int64_t(4)}, .error = "weight does not fit"}};
}

}  // namespace

OpDef op_def_linear_panels() {
  return {.name = "linear_panels",
          .doc = "x [..., in] times a weight [out, in] transposed that weight_panels has laid out, plus bias [out] if given: [..., out]. The "
                 "passes put it where a weight is constant. strassen: large products may take one level of Strassen's algorithm, which "
                 "rounds elsewhere.",
          .inputs = {{"x", floating_types}, {"panels", floating_types}, {"bias", floating_types, Arity::optional}},
          .attrs = {{"out", AttrKind::integer}, {"strassen", AttrKind::boolean, false}},
          .infer = infer,
          .compose = compose,
          .cost = [](const InferContext& c) {
            return Cost{2.0 * double(numel(c.shape(0))) * double(c.attrs.integer(0)), 0};
          },
          .samples = samples};
}

}  // namespace suan
