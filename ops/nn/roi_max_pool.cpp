// roi_max_pool: regions of images at one size, by the maximum over bins of whole elements (Girshick 2015).
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &rois = c.shape(1);
  const int64_t h = c.attrs.integer(0), w = c.attrs.integer(1);
  if (x.size() != 4 || rois.size() != 2 || rois[1] != 5)
    c.fail<ShapeError>("wrong shapes: expected x [batch, channels, H, W] and rois [n, 5], got {} and {}", to_string(c[0]),
                       to_string(c[1]));
  if (h < 1 || w < 1) c.fail<ValueError>("wrong sizes: expected an output of at least 1 x 1, got {} x {}", h, w);
  return {{c.dtype(0), {rois[0], x[1], h, w}, c[0].device}};
}

std::vector<Sample> samples() {
  return {{{{{1, 3, 6, 7}}, {{4, 5}, Fill::uniform, 0, 0.9}}, {int64_t(2), int64_t(3), 8.0}},
          {.in = {{{2, 3, 6, 7}}, {{3, 4}}}, .attrs = {int64_t(2), int64_t(3)}, .error = "wrong shapes"}};
}

}  // namespace

OpDef op_def_roi_max_pool() {
  return {.name = "roi_max_pool",
          .doc = "Regions rois [n, 5] (image, x1, y1, x2, y2; times spatial_scale, rounded) of x [batch, channels, H, W] "
                 "at one size: [n, channels, output_height, output_width], the maximum of each bin, 0 of an empty one.",
          .inputs = {{"x", floating_types}, {"rois", floating_types}},
          .attrs = {{"output_height", AttrKind::integer}, {"output_width", AttrKind::integer}, {"spatial_scale", AttrKind::real, 1.0}},
          .infer = infer,
          .no_grad = "the kernel reads regions for detection; training through it is absent",
          .samples = samples,
          .onnx_name = "MaxRoiPool",
          .onnx_since = 1};
}

}  // namespace suan
