// Operators that make, reshape, join and cut tensors.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

// Axes from an attribute before `since`, from input `i` from then on; none given: empty.
std::vector<int64_t> axes_of(Call& c, int since, int i, const char* name = "axes") {
  if (c.version() < since) return c.ints(name, std::vector<int64_t>{});
  return c.has(i) ? c.host_ints(i) : std::vector<int64_t>{};
}

Values build_constant(Call& c) {
  for (const char* name : {"value", "sparse_value"})
    if (const Attribute* a = c.attr(name)) return {std::get<Value>(a->data)};
  if (c.has_attr("value_int")) return {Tensor::scalar_int(c.integer("value_int"), DType::i64)};
  if (c.has_attr("value_float")) return {Tensor::scalar(c.real("value_float"), DType::f32)};
  if (c.has_attr("value_ints")) return {make_ints(c.ints("value_ints"))};
  if (c.has_attr("value_floats")) {
    auto v = c.reals("value_floats");
    return {make_reals(v, Shape{int64_t(v.size())}, DType::f32)};
  }
  if (c.has_attr("value_string")) return {Strings{Shape{}, {c.string("value_string")}}};
  if (c.has_attr("value_strings")) {
    auto v = c.texts("value_strings");
    return {Strings{Shape{int64_t(v.size())}, v}};
  }
  c.fail<TypeError>("unsupported value: expected a tensor, numbers or strings, got something else");
}

Values build_constant_of_shape(Call& c) {
  Tensor value = Tensor::scalar(0, DType::f32);
  if (const Attribute* a = c.attr("value")) {
    const Value& v = std::get<Value>(a->data);
    if (!v.is_tensor()) c.fail<TypeError>("unsupported value: expected a number, got {}", describe(v));
    value = as_scalar(c, v.tensor());
  }
  return {apply(SUAN_OP("full"), {value}, {to_dims(c, c.host_ints(0))})};
}

const Shape& shape_of(Call& c) {
  const Value& v = c.value(0);
  return v.is_strings() ? v.strings().shape : c[0].shape();
}
Values build_shape(Call& c) {
  const Shape& s = shape_of(c);
  const int64_t rank = s.size();
  auto bound = [&](const char* name, int64_t fallback) {
    int64_t v = c.integer(name, fallback);
    return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank);
  };
  const int64_t from = bound("start", 0), to = bound("end", rank);
  std::vector<int64_t> out;
  for (int64_t i = from; i < to; ++i) out.push_back(s[int(i)]);
  return {make_ints(out)};
}
Values build_size(Call& c) { return {Tensor::scalar_int(numel(shape_of(c)), DType::i64)}; }

Values build_reshape(Call& c) {
  const Tensor& x = c[0];
  std::vector<int64_t> want = c.version() < 5 ? c.ints("shape") : c.host_ints(1);
  const bool zero = c.integer("allowzero", 0);
  for (size_t i = 0; i < want.size(); ++i)
    if (want[i] == 0 && !zero) {
      if (int(i) >= x.rank()) c.fail<ShapeError>("size 0 copies one that is not there: expected at most {} dimensions, got {}", x.rank(), want.size());
      want[i] = x.dim(int(i));
    }
  // With no elements a -1 beside a zero has no value of its own; ONNX takes it as 0.
  if (x.numel() == 0)
    for (int64_t& d : want)
      if (d == -1) {
        int64_t others = 1;
        for (int64_t e : want)
          if (__builtin_mul_overflow(others, e == -1 ? 1 : e, &others)) c.fail<ShapeError>("too many elements: expected at most 2^56, got a product past 2^63");
        d = others ? x.numel() / others : 0;
      }
  return {reshape(x, to_dims(c, want))};
}

Values build_flatten(Call& c) {
  const Tensor& x = c[0];
  int64_t axis = c.integer("axis", 1);
  if (axis < 0) axis += x.rank();
  if (axis < 0 || axis > x.rank()) c.fail<IndexError>("axis out of range: expected at most {}, got {}", x.rank(), axis);
  int64_t rows = 1, cols = 1;
  for (int i = 0; i < x.rank(); ++i) (i < axis ? rows : cols) *= x.dim(i);
  return {reshape(x, {rows, cols})};
}

Values build_transpose(Call& c) {
  const Tensor& x = c[0];
  std::vector<int64_t> perm = c.ints("perm", std::vector<int64_t>{});
  if (perm.empty()) {
    perm.resize(size_t(x.rank()));
    std::iota(perm.rbegin(), perm.rend(), 0);
  }
  return {permute(x, to_dims(c, perm))};
}

Values build_squeeze(Call& c) {
  const Tensor& x = c[0];
  std::vector<int64_t> axes = axes_of(c, 13, 1);
  unsigned drop = 0;
  for (int64_t a : axes) drop |= 1u << c.axis(a, x.rank());
  Shape s;
  for (int i = 0; i < x.rank(); ++i) {
    const bool listed = drop >> i & 1;
    if (listed && x.dim(i) != 1) c.fail<ShapeError>("dimension {} cannot go: expected size 1, got {}", i, to_string(x.shape()));
    if (listed || (axes.empty() && x.dim(i) == 1)) continue;
    s.push_back(x.dim(i));
  }
  return {reshape(x, s)};
}

Values build_unsqueeze(Call& c) {
  const Tensor& x = c[0];
  std::vector<int64_t> axes = axes_of(c, 13, 1);
  const int rank = x.rank() + int(axes.size());
  if (rank > max_rank) c.fail<ShapeError>("too many dimensions: expected at most {}, got {}", max_rank, rank);
  unsigned added = 0;
  for (int64_t a : axes) {
    const unsigned bit = 1u << c.axis(a, rank);
    if (added & bit) c.fail<ValueError>("axis twice: expected distinct axes, got {} again", a);
    added |= bit;
  }
  Shape s;
  for (int i = 0, j = 0; i < rank; ++i) s.push_back(added >> i & 1 ? 1 : x.dim(j++));
  return {reshape(x, s)};
}

Values build_expand(Call& c) {
  const Tensor& x = c[0];
  return {expand(x, broadcast("Expand", x.shape(), to_dims(c, c.host_ints(1))))};
}

Values build_concat(Call& c) {
  Tensors parts;
  const int axis = c.axis_attr(c.version() < 4 ? 1 : 0, c[0].rank());
  for (int i = 0; i < c.n_in(); ++i)
    if (c.has(i)) parts.push_back(c[i]);
  if (parts.size() == 1) return {parts[0]};
  return {apply(SUAN_OP("cat"), parts, {int64_t(axis)})};
}

Values build_split(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(0, x.rank());
  const int64_t size = x.dim(axis), n = int64_t(c.node.out.size());
  std::vector<int64_t> sizes = c.version() < 2 && c.has(1) ? c.host_ints(1) : axes_of(c, 13, 1, "split");
  if (sizes.empty()) {
    const int64_t parts = c.integer("num_outputs", n);
    if (parts < 1 || parts != n) c.fail<ValueError>("wrong number of outputs: expected {}, got {}", parts, n);
    const int64_t each = (size + parts - 1) / parts;
    for (int64_t i = 0, left = size; i < parts; ++i, left -= sizes.back()) sizes.push_back(std::min(each, left));
  }
  int64_t total = 0;
  for (int64_t s : sizes) {
    if (s < 0) c.fail<ShapeError>("negative size: expected 0 or more, got {}", s);
    if (s > size - total) c.fail<ShapeError>("sizes do not fill dimension {}: expected a sum of {}, got more", axis, size);
    total += s;
  }
  if (int64_t(sizes.size()) < n || total != size)
    c.fail<ShapeError>("sizes do not fill dimension {}: expected a sum of {} in {} or more, got {} in {}", axis, size, n, total, sizes.size());
  Values out;
  int64_t at = 0;
  for (int64_t s : sizes) {
    out.emplace_back(slice(x, axis, at, at + s));
    at += s;
  }
  return out;
}

Values build_slice(Call& c) {
  Tensor x = c[0];
  const bool old = c.version() < 10;
  std::vector<int64_t> starts = old ? c.ints("starts") : c.host_ints(1), ends = old ? c.ints("ends") : c.host_ints(2);
  std::vector<int64_t> axes = old ? c.ints("axes", std::vector<int64_t>{}) : c.has(3) ? c.host_ints(3) : std::vector<int64_t>{};
  std::vector<int64_t> steps = !old && c.has(4) ? c.host_ints(4) : std::vector<int64_t>(starts.size(), 1);
  if (axes.empty()) {
    axes.resize(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    c.fail<ShapeError>("lists differ in length: expected {} of each, got {} ends", starts.size(), ends.size());
  for (size_t k = 0; k < starts.size(); ++k) {
    const int axis = c.axis(axes[k], x.rank());
    constexpr int64_t longest = int64_t(1) << 56;   // a longer step takes one element, too
    const int64_t n = x.dim(axis), step = std::clamp(steps[k], -longest, longest);
    if (step == 0) c.fail<ValueError>("step is zero: expected a non-zero step, got 0");
    auto clamped = [&](int64_t v) {
      if (c.less(v, 0)) v = c.less(v, -n) ? -1 : v + n;                // below the first
      const int64_t first = step > 0 ? 0 : -1, end = step > 0 ? n : n - 1;
      return c.less(v, first) ? first : c.less(end, v) ? end : v;
    };
    x = slice(x, axis, clamped(starts[k]), clamped(ends[k]), step);
  }
  return {x};
}

Tensor pad_index(const Tensor& x, int axis, int64_t low, int64_t high, const std::string& mode, Call& c) {
  const int64_t n = x.dim(axis), size = n + low + high;
  if (std::max(low, high) > longest_axis) c.fail<ShapeError>("padding out of range: expected at most {}, got {}", longest_axis, std::max(low, high));
  if (n == 0) c.fail<ShapeError>("nothing to repeat: expected elements along dimension {}, got none", axis);
  std::vector<int64_t> at(static_cast<size_t>(std::max<int64_t>(size, 0)));
  for (int64_t i = 0; i < int64_t(at.size()); ++i) {
    int64_t j = i - low;
    if (mode == "edge") j = std::clamp<int64_t>(j, 0, n - 1);
    else if (mode == "wrap") j = ((j % n) + n) % n;
    else {  // reflect
      const int64_t period = std::max<int64_t>(2 * (n - 1), 1);
      j = ((j % period) + period) % period;
      if (j >= n) j = period - j;
    }
    at[size_t(i)] = j;
  }
  return apply(SUAN_OP("index"), {x, make_ints(at)}, {Dims{axis}});
}
Values build_pad(Call& c) {
  Tensor x = c[0];
  const bool old = c.version() < 11;
  std::vector<int64_t> pads = old ? c.ints(c.version() < 2 ? "paddings" : "pads") : c.host_ints(1);
  std::vector<int64_t> axes;
  if (!old && c.has(3)) axes = c.host_ints(3);
  else {
    axes.resize(size_t(x.rank()));
    std::iota(axes.begin(), axes.end(), 0);
  }
  const size_t n = axes.size();
  if (pads.size() != 2 * n) c.fail<ShapeError>("wrong number of pads: expected {}, got {}", 2 * n, pads.size());
  constexpr int64_t widest = int64_t(1) << 56;
  for (int64_t p : pads)
    if (p < -widest || p > widest) c.fail<ShapeError>("padding out of range: expected -2^56 to 2^56, got {}", p);
  const std::string mode = c.string("mode", "constant");
  if (mode == "constant") {
    std::vector<int64_t> widths(2 * size_t(x.rank()), 0);
    for (size_t k = 0; k < n; ++k) {
      const int axis = c.axis(axes[k], x.rank());
      const size_t from_end = size_t(x.rank() - 1 - axis);
      widths[2 * from_end] = pads[k];
      widths[2 * from_end + 1] = pads[k + n];
    }
    Tensor value = old ? number(c.real("value", 0.0), x) : c.has(2) ? as_scalar(c, c[2]) : scalar_like(0, x);
    return {apply(SUAN_OP("pad_constant"), {x, value}, {widths})};
  }
  if (mode != "edge" && mode != "reflect" && mode != "wrap")
    c.fail<ValueError>("unknown mode: expected constant, edge, reflect or wrap, got '{}'", mode);
  for (size_t k = 0; k < n; ++k)
    if (pads[k] || pads[k + n]) x = pad_index(x, c.axis(axes[k], x.rank()), pads[k], pads[k + n], mode, c);
  return {x};
}

Values build_center_crop_pad(Call& c) {
  Tensor x = c[0];
  std::vector<int64_t> want = c.host_ints(1), axes = c.ints("axes", std::vector<int64_t>{});
  if (axes.empty()) {
    axes.resize(size_t(x.rank()));
    std::iota(axes.begin(), axes.end(), 0);
  }
  if (want.size() != axes.size()) c.fail<ShapeError>("wrong number of sizes: expected {}, got {}", axes.size(), want.size());
  for (size_t k = 0; k < axes.size(); ++k) {
    const int axis = c.axis(axes[k], x.rank());
    const int64_t n = x.dim(axis), w = want[k];
    if (w < 0) c.fail<ShapeError>("negative size: expected 0 or more, got {}", w);
    if (w < n) {
      x = slice(x, axis, (n - w) / 2, (n - w) / 2 + w);
    } else if (w > n) {
      std::vector<int64_t> widths(2 * size_t(x.rank() - axis), 0);
      widths[widths.size() - 2] = (w - n) / 2;
      widths[widths.size() - 1] = w - n - (w - n) / 2;
      x = apply(SUAN_OP("pad_constant"), {x, scalar_like(0, x)}, {widths});
    }
  }
  return {x};
}

Values build_tile(Call& c) {
  if (c.version() < 6) {   // so often along one axis
    Dims times = Dims::filled(c[0].rank(), 1);
    times[c.axis(c.host_int(2), c[0].rank())] = c.host_int(1);
    return {apply(SUAN_OP("tile"), {c[0]}, {times})};
  }
  return {apply(SUAN_OP("tile"), {c[0]}, {to_dims(c, c.host_ints(1))})};
}

Values build_range(Call& c) {
  const Tensor& start = c.concrete(0);
  const double a = c.host_real(0), b = c.host_real(1), d = c.host_real(2);
  if (d == 0) c.fail<ValueError>("step is zero: expected a non-zero step, got 0");
  if (!std::isfinite(a) || !std::isfinite(b) || !std::isfinite(d))
    c.fail<ValueError>("bounds out of range: expected finite numbers, got {} to {} by {}", a, b, d);
  constexpr double longest = 1e15;
  if (!((b - a) / d <= longest)) c.fail<ShapeError>("too many elements: expected at most {}, got {}", longest, (b - a) / d);
  if (is_integer(start.dtype())) return {apply(SUAN_OP("arange"), {}, {a, b, d, start.dtype()})};
  const int64_t n = int64_t(std::max(0.0, std::ceil((b - a) / d)));
  const Tensor i = cast(apply(SUAN_OP("arange"), {}, {0.0, double(n), 1.0, DType::i64}), start.dtype());
  return {i * d + a};
}

Values build_eye_like(Call& c) {
  const Tensor& x = c[0];
  if (x.rank() != 2) c.fail<ShapeError>("no matrix: expected 2 dimensions, got {}", to_string(x.type()));
  const DType t = c.has_attr("dtype") ? dtype_of_onnx(int(c.integer("dtype"))) : x.dtype();
  auto range = [](double from, int64_t n) { return apply(SUAN_OP("arange"), {}, {from, from + double(n), 1.0, DType::i64}); };
  return {cast(eq(unsqueeze(range(double(c.integer("k", 0)), x.dim(0)), 1), range(0, x.dim(1))), t)};
}

Values build_trilu(Call& c) {
  const int64_t k = c.has(1) ? c.host_int(1) : 0;
  const OpDef& half = c.integer("upper", 1) ? SUAN_OP("triu") : SUAN_OP("tril");
  if (!is_complex(c[0].dtype()) || c[0].rank() < 2) return {apply(half, {c[0]}, {k})};
  const Tensor kept = apply(half, {ops::full({c[0].dim(-2), c[0].dim(-1)}, 1, DType::boolean)}, {k});
  return {select(kept, c[0], scalar_like(0, c[0]))};
}

Values build_depth_to_space(Call& c) {
  const Tensor& x = c[0];
  if (x.rank() != 4) c.fail<ShapeError>("expected [batch, channels, height, width], got {}", to_string(x.type()));
  const int64_t b = c.integer("blocksize"), n = x.dim(0), ch = x.dim(1), h = x.dim(2), w = x.dim(3);
  if (b < 1 || b > longest_axis || ch % (b * b)) c.fail<ShapeError>("channels do not divide: expected a multiple of the square of blocksize {}, got {}", b, ch);
  const bool crd = c.string("mode", "DCR") == "CRD";
  const Tensor t = crd ? permute(reshape(x, {n, ch / (b * b), b, b, h, w}), {0, 1, 4, 2, 5, 3})
                       : permute(reshape(x, {n, b, b, ch / (b * b), h, w}), {0, 3, 4, 1, 5, 2});
  return {reshape(t, {n, ch / (b * b), h * b, w * b})};
}
Values build_space_to_depth(Call& c) {
  const Tensor& x = c[0];
  if (x.rank() != 4) c.fail<ShapeError>("expected [batch, channels, height, width], got {}", to_string(x.type()));
  const int64_t b = c.integer("blocksize"), n = x.dim(0), ch = x.dim(1), h = x.dim(2), w = x.dim(3);
  if (b < 1 || b > longest_axis || h % b || w % b) c.fail<ShapeError>("sizes do not divide: expected multiples of {}, got {}", b, to_string(x.type()));
  const Tensor t = permute(reshape(x, {n, ch, h / b, b, w / b, b}), {0, 3, 5, 1, 2, 4});
  return {reshape(t, {n, ch * b * b, h / b, w / b})};
}

Values build_identity(Call& c) { return {c.value(0)}; }

}  // namespace

std::vector<Mapping> shape_ops() {
  return {
      {"CenterCropPad", 18, build_center_crop_pad},
      {"Concat", 1, build_concat},
      {"Constant", 1, build_constant},
      {"ConstantOfShape", 9, build_constant_of_shape},
      {"DepthToSpace", 1, build_depth_to_space},
      {"Expand", 8, build_expand},
      {"EyeLike", 9, build_eye_like},
      {"Flatten", 1, build_flatten},
      {"Identity", 1, build_identity},
      {"Pad", 1, build_pad},
      {"Range", 11, build_range},
      {"Reshape", 1, build_reshape},
      {"Shape", 1, build_shape},
      {"Size", 1, build_size},
      {"Slice", 1, build_slice},
      {"SpaceToDepth", 1, build_space_to_depth},
      {"Split", 1, build_split},
      {"Squeeze", 1, build_squeeze},
      {"Tile", 1, build_tile},
      {"Transpose", 1, build_transpose},
      {"Trilu", 14, build_trilu},
      {"Unsqueeze", 1, build_unsqueeze},
  };
}

}  // namespace suan::onnx
