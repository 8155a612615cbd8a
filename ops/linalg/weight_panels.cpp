// weight_panels: a weight in the order in which linear_panels reads it.
#include "ops/api.h"
#include "core/panels.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  if (c.shape(0).size() != 2) c.fail<ShapeError>("wrong rank: expected weight [out, in], got {}", to_string(c[0]));
  return {{c.dtype(0), {panel_columns(c.shape(0)[0]) * c.shape(0)[1]}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const int64_t n = c[0].dim(0), k = c[0].dim(1), columns = panel_columns(n), whole = columns / panel_width;
  Tensor w = c[0];
  if (columns > n) w = apply(SUAN_OP("pad_constant"), {w, Tensor()}, {std::vector<int64_t>{0, 0, 0, columns - n}});
  if (w.numel() == 0) return {reshape(w, {0})};
  Tensors parts;
  for (int64_t k0 = 0, depth = panel_depth(k); k0 < k; k0 += depth) {
    const int64_t here = std::min(depth, k - k0);
    const Tensor block = slice(w, 1, k0, k0 + here);
    auto part = [&](int64_t from, int64_t panels, int64_t width) {
      const Tensor rows = reshape(slice(block, 0, from, from + panels * width), {panels, width, here});
      parts.push_back(reshape(permute(rows, {0, 2, 1}), {panels * width * here}));
    };
    if (whole) part(0, whole, panel_width);
    if (columns > whole * panel_width) part(whole * panel_width, 1, panel_unit);
  }
  return {parts.size() == 1 ? copy(parts[0]) : apply(SUAN_OP("cat"), parts, {int64_t(0)})};
}

std::vector<Sample> samples() {
  return {{{{{5, 3}}}, {}, "less than a panel"}, {{{{70, 9}}}}, {{{{33, 300}}}, {}, "two blocks"},
          {.in = {{{7}}}, .error = "wrong rank"}};
}

}  // namespace

OpDef op_def_weight_panels() {
  return {.name = "weight_panels",
          .doc = "A weight [out, in] as linear_panels takes it, flat: blocks of at most 256 inputs, in each panels of 32 outputs (zeros "
                 "beyond the last one), in these the outputs of an input side by side.",
          .inputs = {{"weight", floating_types}},
          .infer = infer,
          .compose = compose,
          .samples = samples};
}

}  // namespace suan
