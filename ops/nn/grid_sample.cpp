// grid_sample: an image or volume read at any places (Jaderberg et al. 2015).
#include <cmath>

#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &grid = c.shape(1);
  const int n = x.size() - 2;
  const std::string &mode = c.attrs.string(0), &padding = c.attrs.string(1);
  if ((n != 2 && n != 3) || grid.size() != n + 2 || grid.back() != n || grid[0] != x[0])
    c.fail<ShapeError>("wrong shapes: expected x [batch, channels, sizes...] and grid [batch, sizes..., {}], got {} and {}",
                       n == 3 ? 3 : 2, to_string(c[0]), to_string(c[1]));
  if ((mode != "bilinear" && mode != "nearest" && mode != "bicubic") || (mode == "bicubic" && n == 3))
    c.fail<ValueError>("wrong mode: expected bilinear, nearest or (for images) bicubic, got '{}'", mode);
  if (padding != "zeros" && padding != "border" && padding != "reflection")
    c.fail<ValueError>("wrong padding_mode: expected zeros, border or reflection, got '{}'", padding);
  Shape out{x[0], x[1]};
  for (int i = 0; i < n; ++i) {
    if (x[i + 2] < 1) c.fail<ShapeError>("empty image: expected sizes of at least 1, got {}", to_string(c[0]));
    out.push_back(grid[i + 1]);
  }
  return {{c.dtype(0), out, c[0].device}};
}

// Positions moved into the image as the padding mode says.
Tensor into(Tensor x, int64_t size, const std::string& padding, bool align_corners) {
  using namespace ops;
  const double low = align_corners ? 0 : -0.5, span = align_corners ? double(size - 1) : double(size);
  if (padding == "reflection") {
    if (span <= 0) {
      x = x * 0.0;
    } else {
      x = abs(x - low);
      const Tensor unit = number(span, x), rest = apply(SUAN_OP("fmod"), {x, unit}), flips = floor(x / span);
      const Tensor even = eq(apply(SUAN_OP("fmod"), {flips, number(2, x)}), number(0, x));
      x = where(even, rest + low, span - rest + low);
    }
  }
  return padding == "zeros" ? x : apply(SUAN_OP("clamp"), {x, number(0, x), number(double(size - 1), x)});
}

struct Tap {
  Tensor at, weight;  // a whole number; undefined weight: 1
};

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& input = c[0];
  const std::string &mode = c.attrs.string(0), &padding = c.attrs.string(1);
  const bool align = c.attrs.boolean(2), elements = c.attrs.boolean(3);
  const int n = input.rank() - 2;
  const int64_t batch = input.dim(0), channels = input.dim(1);
  int64_t points = 1;
  for (int i = 0; i < n; ++i) points *= c[1].dim(i + 1);
  const Tensor grid = reshape(c[1], {batch, points, n});
  std::vector<std::vector<Tap>> taps;
  for (int k = 0; k < n; ++k) {
    const int64_t size = input.dim(k + 2);
    Tensor x = reshape(slice(grid, 2, n - 1 - k, n - k), {batch, points});
    if (!elements) x = align ? (x + 1.0) * (0.5 * double(size - 1)) : ((x + 1.0) * double(size) - 1.0) * 0.5;
    if (mode != "bicubic") x = into(x, size, padding, align);
    if (mode == "nearest") {
      taps.push_back({{apply(SUAN_OP("round"), {x}), {}}});
      continue;
    }
    const Tensor low = floor(x), part = x - low;
    if (mode == "bilinear") {
      taps.push_back({{low, 1.0 - part}, {low + 1.0, part}});
      continue;
    }
    const double a = -0.75;  // Keys 1981
    auto near = [&](const Tensor& d) { return ((d * (a + 2)) - (a + 3)) * d * d + 1.0; };
    auto far = [&](const Tensor& d) { return ((d * a - 5 * a) * d + 8 * a) * d - 4 * a; };
    const Tensor weight[] = {far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)};
    std::vector<Tap> of;
    for (int i = 0; i < 4; ++i) of.push_back({into(low + double(i - 1), size, padding, align), weight[i]});
    taps.push_back(of);
  }
  const Tensor flat = reshape(input, {batch, channels, input.numel() / std::max<int64_t>(batch * channels, 1)});
  int corners = 1;
  for (const auto& of : taps) corners *= int(of.size());
  Tensor out;
  for (int corner = 0; corner < corners; ++corner) {
    Tensor index, inside, weight;
    int rest = corner;
    for (int k = 0; k < n; ++k) {
      const Tap& tap = taps[size_t(k)][size_t(rest) % taps[size_t(k)].size()];
      rest /= int(taps[size_t(k)].size());
      const int64_t size = input.dim(k + 2);
      const Tensor ok = logical_and(ge(tap.at, number(0, tap.at)), le(tap.at, number(double(size - 1), tap.at)));
      const Tensor at = cast(where(ok, tap.at, number(0, tap.at)), DType::i64);
      index = index ? index * double(size) + at : at;
      inside = inside ? logical_and(inside, ok) : ok;
      if (tap.weight) weight = weight ? weight * tap.weight : tap.weight;
    }
    const Tensor value = apply(SUAN_OP("gather"), {flat, expand(unsqueeze(index, 1), {batch, channels, points})}, {int64_t(2)});
    const Tensor zero = number(0, value), kept = where(unsqueeze(inside, 1), weight ? value * unsqueeze(weight, 1) : value, zero);
    out = out ? out + kept : kept;
  }
  Shape shape{batch, channels};
  for (int i = 0; i < n; ++i) shape.push_back(c[1].dim(i + 1));
  return {reshape(out, shape)};
}

std::vector<Sample> samples() {
  std::vector<Sample> out;
  auto add = [&](Shape x, Shape grid, const char* mode, const char* padding, bool align, bool elements = false) {
    const double far = elements ? 4.7 : 1.7;
    out.push_back({{{x}, {grid, Fill::uniform, -far, far}}, {std::string(mode), std::string(padding), align, elements}, mode});
  };
  add({2, 3, 4, 5}, {2, 3, 2, 2}, "bilinear", "zeros", false);
  add({1, 2, 4, 5}, {1, 2, 2, 2}, "bilinear", "reflection", true);
  add({1, 2, 4, 5}, {1, 3, 2, 2}, "bicubic", "border", false);
  add({1, 1, 3, 4, 5}, {1, 2, 1, 3, 3}, "bilinear", "border", true);
  add({1, 2, 4, 5}, {1, 3, 3, 2}, "bilinear", "zeros", false, true);
  out.push_back({.in = {{{1, 2, 4, 5}}, {{1, 3, 3, 3}}}, .error = "wrong shapes"});
  out.push_back({.in = {{{1, 2, 4, 5}}, {{1, 3, 3, 2}}}, .attrs = {std::string("cubic")}, .error = "wrong mode"});
  for (Sample& s : out) s.check_grad = s.check_grad && s.error.empty();
  return out;
}

}  // namespace

OpDef op_def_grid_sample() {
  return {.name = "grid_sample",
          .doc = "x [batch, channels, H, W] at grid [batch, h, w, 2] of (x, y) from -1 to 1 -> [batch, channels, h, w]; "
                 "volumes with (x, y, z) likewise. mode bilinear, nearest or bicubic; padding_mode zeros, border or "
                 "reflection. in_elements: the grid counts elements from the first one's centre instead.",
          .inputs = {{"x", floating_types}, {"grid", floating_types}},
          .attrs = {{"mode", AttrKind::string, std::string("bilinear")},
                    {"padding_mode", AttrKind::string, std::string("zeros")},
                    {"align_corners", AttrKind::boolean, false},
                    {"in_elements", AttrKind::boolean, false}},
          .infer = infer,
          .compose = compose,
          .samples = samples,
          .onnx_name = "GridSample",
          .onnx_since = 16};
}

}  // namespace suan
