// pad: a frame around a tensor.
#include "ops/api.h"

namespace suan {

OpDef op_def_pad() {
  OpDef d{
      .name = "pad",
      .doc =
          "Pairs of widths from the last axis backwards. mode constant fills with value (0 when "
          "left out), reflect mirrors without repeating the edge, replicate repeats the edge; "
          "as torch.nn.functional.pad.",
      .inputs = {{"input"}, {"value", moved_types, Arity::optional}}};
  d.attrs = {{"pad", AttrKind::ints}, {"mode", AttrKind::string, std::string("constant")}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const std::vector<int64_t>& widths = c.attrs.ints(0);
    const std::string& mode = c.attrs.string(1);
    if (mode == "constant")
      return {c.has(1) ? apply(SUAN_OP("pad_constant"), {c[0], c[1]}, {widths})
                       : apply(SUAN_OP("pad_constant"), {c[0]}, {widths})};
    if (mode != "reflect" && mode != "replicate")
      fail<ValueError>("pad", "unknown mode: expected constant, reflect or replicate, got '{}'",
                       mode);
    if (widths.size() % 2 || widths.size() / 2 > size_t(c[0].rank()))
      fail<ShapeError>("pad", "wrong number of widths: expected pairs for at most {} axes, got {}",
                       c[0].rank(), widths.size());
    Tensor x = c[0];
    for (size_t k = 0; k < widths.size() / 2; ++k) {
      const int axis = c[0].rank() - 1 - int(k);
      const int64_t n = x.dim(axis), lo = widths[2 * k], hi = widths[2 * k + 1];
      if (lo == 0 && hi == 0) continue;
      const int64_t limit = mode == "reflect" ? n - 1 : n ? INT64_MAX : 0;
      if (lo < 0 || hi < 0 || lo > limit || hi > limit)
        fail<ShapeError>("pad",
                         "width out of range: expected 0 to {} for {} on axis {}, got {} and {}",
                         limit, mode, axis, lo, hi);
      // Position i of the result reads position p = i - lo: clamped, or mirrored at both ends.
      Tensor p = apply(SUAN_OP("arange"), {}, {double(-lo), double(n + hi), 1.0, DType::i64});
      if (mode == "reflect") {
        p = ops::abs(p);
        p = double(n - 1) - ops::abs(double(n - 1) - p);
      } else {
        p = ops::minimum(ops::maximum(p, ops::number(0, p)), ops::number(double(n - 1), p));
      }
      x = apply(SUAN_OP("index_select"), {x, p}, {int64_t(axis)});
    }
    return {x};
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}}, {std::vector<int64_t>{1, 2}}},
        {{{{3, 5, 7}}}, {std::vector<int64_t>{2, 3, 1, 0}, std::string("reflect")}, "mirrored"},
        {{{{2, 3, 4}}}, {std::vector<int64_t>{2, 5}, std::string("replicate")}, "edges repeated"}};
  };
  return d;
}

}  // namespace suan
