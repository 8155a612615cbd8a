// roi_align: regions of images at one size, by sampling between elements (He et al. 2017).
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &rois = c.shape(1);
  const int64_t h = c.attrs.integer(0), w = c.attrs.integer(1);
  if (x.size() != 4 || rois.size() != 2 || rois[1] != 4 || c.shape(2) != Shape{rois[0]})
    c.fail<ShapeError>("wrong shapes: expected x [batch, channels, H, W], rois [n, 4] and batch_index [n], got {}, {} and {}",
                       to_string(c[0]), to_string(c[1]), to_string(c[2]));
  if (h < 1 || w < 1 || c.attrs.integer(2) < 0)
    c.fail<ValueError>("wrong sizes: expected an output of at least 1 x 1 and sampling_ratio of at least 0, got {} x {} and {}",
                       h, w, c.attrs.integer(2));
  if (c.attrs.string(5) != "avg" && c.attrs.string(5) != "max")
    c.fail<ValueError>("wrong mode: expected avg or max, got '{}'", c.attrs.string(5));
  if (x[2] < 1 || x[3] < 1) c.fail<ShapeError>("empty image: expected sizes of at least 1, got {}", to_string(c[0]));
  return {{c.dtype(0), {rois[0], x[1], h, w}, c[0].device}};
}

std::vector<Sample> samples() {
  const SampleInput which{{3}, Fill::index, 0, 2, DType::i64, false, false};
  auto rois = [](double far) { return SampleInput{{3, 4}, Fill::uniform, 0, far}; };
  return {{{{{2, 3, 6, 7}}, rois(7), which}, {int64_t(2), int64_t(3), int64_t(2), 1.0, true, std::string("avg")}},
          {{{{2, 2, 6, 7}}, rois(20), which}, {int64_t(2), int64_t(2), int64_t(0), 0.5, false, std::string("avg")}, "as many samples as it takes"},
          {{{{2, 2, 6, 7}}, rois(7), which}, {int64_t(1), int64_t(2), int64_t(2), 1.0, true, std::string("max")}, "maximum"},
          {.in = {{{2, 3, 6}}, rois(7), which}, .attrs = {int64_t(2), int64_t(3)}, .error = "wrong shapes"}};
}

}  // namespace

OpDef op_def_roi_align() {
  return {.name = "roi_align",
          .doc = "Regions rois [n, 4] (x1, y1, x2, y2, times spatial_scale) of x [batch, channels, H, W], each of image "
                 "batch_index [n], at one size: [n, channels, output_height, output_width]. Each bin is the mean (mode "
                 "avg) of sampling_ratio² bilinear samples, as many as it has elements where 0; mode max takes the "
                 "largest weighted neighbour, as ONNX does. aligned: corners lie half an element before.",
          .inputs = {{"x", floating_types}, {"rois", floating_types}, {"batch_index", dtype_bit(DType::i64), Arity::required, 0}},
          .attrs = {{"output_height", AttrKind::integer},
                    {"output_width", AttrKind::integer},
                    {"sampling_ratio", AttrKind::integer, int64_t(0)},
                    {"spatial_scale", AttrKind::real, 1.0},
                    {"aligned", AttrKind::boolean, true},
                    {"mode", AttrKind::string, std::string("avg")}},
          .infer = infer,
          .no_grad = "the kernel reads regions for detection; training through it is absent",
          .samples = samples,
          .onnx_name = "RoiAlign",
          .onnx_since = 10};
}

}  // namespace suan
