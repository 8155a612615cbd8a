// Operators that sample images, and what detectors need.
#include <algorithm>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

// ---- sampling at any places ----------------------------------------------------------------------------

Values build_grid_sample(Call& c) {
  std::string mode = c.string("mode", c.version() < 20 ? "bilinear" : "linear");
  if (mode == "linear") mode = "bilinear";
  if (mode == "cubic") mode = "bicubic";
  const Tensor grid = cast(c[1], c[0].dtype());
  return {apply(SUAN_OP("grid_sample"), {c[0], grid},
                {mode, c.string("padding_mode", "zeros"), bool(c.integer("align_corners", 0)), false})};
}

Values build_affine_grid(Call& c) {
  const Tensor& theta = c[0];
  const std::vector<int64_t> size = c.host_ints(1);
  const int n = int(size.size()) - 2;
  if ((n != 2 && n != 3) || theta.type().shape != Shape{size[0], n, n + 1})
    c.fail<ShapeError>("wrong shapes: expected theta [batch, 2, 3] with 4 sizes or [batch, 3, 4] with 5, got {} and {} sizes",
                       to_string(theta.type()), size.size());
  int64_t points = 1;
  for (int i = 0; i < n; ++i) {
    if (size[size_t(i + 2)] < 1 || size[size_t(i + 2)] > longest_axis || (points *= size[size_t(i + 2)]) > longest_axis)
      c.fail<ShapeError>("sizes out of range: expected 1 to {} places, got {} in one direction", longest_axis, size[size_t(i + 2)]);
  }
  const bool align = c.integer("align_corners", 0);
  // (x, y, z, 1) of every place, from -1 to 1.
  std::vector<double> base;
  base.reserve(size_t(points * (n + 1)));
  for (int64_t p = 0; p < points; ++p) {
    int64_t rest = p;
    for (int k = n; k-- > 0;) {
      const int64_t s = size[size_t(k + 2)], i = rest % s;
      rest /= s;
      base.push_back(!align ? (2.0 * double(i) + 1) / double(s) - 1 : s > 1 ? 2.0 * double(i) / double(s - 1) - 1 : 0.0);
    }
    base.push_back(1);
  }
  const Tensor places = make_reals(base, {points, n + 1}, theta.dtype());
  Shape out{size[0]};
  for (int i = 0; i < n; ++i) out.push_back(size[size_t(i + 2)]);
  out.push_back(n);
  return {reshape(matmul(places, transpose(theta, 1, 2)), out)};
}

// Each kernel position reads the image at its place plus an offset; then it is a product, group by group.
Values build_deform_conv(Call& c) {
  const Tensor &x = c[0], &weight = c[1], &offset = c[2];
  if (x.rank() != 4 || weight.rank() != 4 || offset.rank() != 4)
    c.fail<ShapeError>("expected 4 dimensions for x, w and offset, got {}, {} and {}", x.rank(), weight.rank(), offset.rank());
  const std::vector<int64_t> kernel = c.ints("kernel_shape", std::vector<int64_t>{weight.dim(2), weight.dim(3)}),
                             strides = c.ints("strides", std::vector<int64_t>{1, 1}),
                             dilation = c.ints("dilations", std::vector<int64_t>{1, 1}),
                             pads = c.ints("pads", std::vector<int64_t>{0, 0, 0, 0});
  const int64_t groups = c.integer("group", 1), offset_groups = c.integer("offset_group", 1), batch = x.dim(0), in = x.dim(1),
                out = weight.dim(0), oh = offset.dim(2), ow = offset.dim(3), taps = weight.dim(2) * weight.dim(3), places = oh * ow;
  const bool lists = kernel == std::vector<int64_t>{weight.dim(2), weight.dim(3)} && strides.size() == 2 && dilation.size() == 2 && pads.size() == 4;
  const bool divides = groups > 0 && offset_groups > 0 && in == weight.dim(1) * groups && out % groups == 0 && in % offset_groups == 0;
  if (!lists || !divides || offset.dim(0) != batch || offset.dim(1) != 2 * taps * offset_groups)
    c.fail<ShapeError>("shapes do not fit: expected offset [{}, {}, h, w] for x {} and w {}, got {}", batch, 2 * taps * offset_groups,
                       to_string(x.type()), to_string(weight.type()), to_string(offset.type()));
  for (int k = 0; k < 2; ++k) {
    const int64_t room = x.dim(k + 2) + pads[size_t(k)] + pads[size_t(k + 2)] - dilation[size_t(k)] * (kernel[size_t(k)] - 1) - 1;
    const int64_t want = strides[size_t(k)] > 0 && room >= 0 ? room / strides[size_t(k)] + 1 : 0;
    if (want != offset.dim(k + 2)) c.fail<ShapeError>("offset has another size: expected {} in dimension {}, got {}", want, k + 2, offset.dim(k + 2));
  }
  // Where kernel position t of output p lies without its offset: [taps, 2 (y, x), places].
  std::vector<double> base;
  base.reserve(size_t(2 * taps * places));
  for (int64_t t = 0; t < taps; ++t)
    for (int k = 0; k < 2; ++k)
      for (int64_t p = 0; p < places; ++p) {
        const int64_t tap = k ? t % kernel[1] : t / kernel[1], at = k ? p % ow : p / ow;
        base.push_back(double(at * strides[size_t(k)] - pads[size_t(k)] + tap * dilation[size_t(k)]));
      }
  const int64_t og = offset_groups, per = in / og;
  const Tensor at = reshape(offset, {batch * og, taps, 2, places}) + make_reals(base, {taps, 2, places}, x.dtype());
  const Tensor grid = slice(permute(at, {0, 1, 3, 2}), 3, 1, -1, -1);   // (y, x) to (x, y)
  Tensor read = apply(SUAN_OP("grid_sample"), {reshape(x, {batch * og, per, x.dim(2), x.dim(3)}), grid},
                      {std::string("bilinear"), std::string("zeros"), false, true});   // [batch * og, per, taps, places]
  if (c.has(4)) read = read * reshape(c[4], {batch * og, 1, taps, places});
  const Tensor columns = reshape(read, {batch, groups, in / groups * taps, places});
  const Tensor y = reshape(matmul(reshape(weight, {groups, out / groups, in / groups * taps}), columns), {batch, out, oh, ow});
  return {c.has(3) ? y + reshape(c[3], {out, 1, 1}) : y};
}

// ---- regions -------------------------------------------------------------------------------------------

Values build_roi_align(Call& c) {
  const std::string at = c.string("coordinate_transformation_mode", c.version() < 16 ? "output_half_pixel" : "half_pixel");
  const Tensor rois = cast(c[1], c[0].dtype());
  return {apply(SUAN_OP("roi_align"), {c[0], rois, cast(c[2], DType::i64)},
                {c.integer("output_height", 1), c.integer("output_width", 1), c.integer("sampling_ratio", 0),
                 c.real("spatial_scale", 1.0), at == "half_pixel", c.string("mode", "avg")})};
}

Values build_max_roi_pool(Call& c) {
  const std::vector<int64_t> shape = c.ints("pooled_shape");
  if (shape.size() != 2) c.fail<ValueError>("wrong pooled_shape: expected 2 sizes, got {}", shape.size());
  return {apply(SUAN_OP("roi_max_pool"), {c[0], c[1]}, {shape[0], shape[1], c.real("spatial_scale", 1.0)})};
}

// ---- boxes ---------------------------------------------------------------------------------------------

struct Box {
  float y0, x0, y1, x1;
  float area() const { return (y1 - y0) * (x1 - x0); }
};
bool overlaps(const Box& a, const Box& b, float threshold) {
  const float w = std::min(a.x1, b.x1) - std::max(a.x0, b.x0), h = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  if (!(w > 0) || !(h > 0)) return false;
  const float common = w * h, all = a.area() + b.area() - common;
  return common > 0 && a.area() > 0 && b.area() > 0 && all > 0 && common / all > threshold;
}

// The best box of a class, then the best of those that do not overlap with one taken, and so on.
Values build_non_max_suppression(Call& c) {
  const Tensor &boxes = c.concrete(0), &scores = c.concrete(1);
  if (boxes.rank() != 3 || scores.rank() != 3 || boxes.dim(2) != 4 || scores.dim(0) != boxes.dim(0) || scores.dim(2) != boxes.dim(1))
    c.fail<ShapeError>("expected boxes [batch, n, 4] and scores [batch, classes, n], got {} and {}", to_string(boxes.type()),
                       to_string(scores.type()));
  const int64_t most = c.has(2) ? std::max<int64_t>(c.host_int(2), 0) : 0;
  const float overlap = float(c.has(3) ? c.host_real(3) : 0.0);
  const bool floor = c.has(4), centered = c.integer("center_point_box", 0);
  const float least = float(floor ? c.host_real(4) : 0.0);
  const int64_t batches = boxes.dim(0), n = boxes.dim(1), classes = scores.dim(1);
  std::vector<int64_t> out;
  if (most > 0 && n > 0) Eval::eagerly([&] {
    const Tensor b = contiguous(cast(boxes, DType::f32)), s = contiguous(cast(scores, DType::f32));
    if (s.numel() == 0) return;
    std::vector<Box> all(static_cast<size_t>(n));
    for (int64_t k = 0; k < batches; ++k) {
      for (int64_t i = 0; i < n; ++i) {
        const float* p = b.data<float>() + (k * n + i) * 4;
        all[size_t(i)] = centered ? Box{p[1] - p[3] / 2, p[0] - p[2] / 2, p[1] + p[3] / 2, p[0] + p[2] / 2}
                                  : Box{std::min(p[0], p[2]), std::min(p[1], p[3]), std::max(p[0], p[2]), std::max(p[1], p[3])};
      }
      std::vector<int64_t> order, taken;
      for (int64_t j = 0; j < classes; ++j) {
        const float* score = s.data<float>() + (k * classes + j) * n;
        order.clear();
        taken.clear();
        for (int64_t i = 0; i < n; ++i)
          if (!(score[i] != score[i]) && (!floor || score[i] > least)) order.push_back(i);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t o) { return score[a] > score[o]; });
        for (int64_t i : order) {
          if (int64_t(taken.size()) >= most) break;
          if (std::any_of(taken.begin(), taken.end(), [&](int64_t t) { return overlaps(all[size_t(t)], all[size_t(i)], overlap); })) continue;
          taken.push_back(i);
          out.insert(out.end(), {k, j, i});
        }
      }
    }
  });
  return {make_ints(out, {int64_t(out.size()) / 3, 3})};
}

}  // namespace

std::vector<Mapping> vision_ops() {
  return {
      {"AffineGrid", 20, build_affine_grid},
      {"DeformConv", 19, build_deform_conv},
      {"GridSample", 16, build_grid_sample},
      {"MaxRoiPool", 1, build_max_roi_pool},
      {"NonMaxSuppression", 10, build_non_max_suppression},
      {"RoiAlign", 10, build_roi_align},
  };
}

}  // namespace suan::onnx
