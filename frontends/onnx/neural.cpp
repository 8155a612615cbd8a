// Convolutions, pooling, normalisation and resizing.
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <random>

#include "core/allocator.h"
#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

// The windows of a convolution or pooling over the axes from 2 on.
struct Windows {
  std::vector<int64_t> kernel, strides, dilation, low, high;   // by axis
  bool ceil = false;
  Dims padding() const {
    Dims p;
    for (int64_t v : low) p.push_back(v);
    for (int64_t v : high) p.push_back(v);
    return p;
  }
  Dims dims(const std::vector<int64_t>& v) const { return Dims(std::span<const int64_t>(v)); }
  bool dilated() const { return std::any_of(dilation.begin(), dilation.end(), [](int64_t d) { return d != 1; }); }
  int64_t reach(size_t i) const { return (kernel[i] - 1) * dilation[i] + 1; }
  // As ONNX: with ceil a window may hang over the high padding, but begins inside the input or its low padding.
  int64_t out(size_t i, int64_t size) const {
    const int64_t room = size + low[i] + high[i] - reach(i);
    if (room < 0) return 0;
    int64_t n = (ceil ? (room + strides[i] - 1) / strides[i] : room / strides[i]) + 1;
    if (ceil && (n - 1) * strides[i] >= size + low[i]) --n;
    return n;
  }
};

constexpr int64_t widest = INT32_MAX;   // of windows and pads; products of two fit

void check_range(const Call& c, const char* what, const std::vector<int64_t>& v, int64_t least, int64_t most = widest) {
  for (int64_t i : v)
    if (i < least || i > most) c.fail<ValueError>("{} out of range: expected {} to {}, got {}", what, least, most, i);
}
void check_auto_pad(const Call& c, const std::string& mode) {
  for (const char* known : {"", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"})
    if (mode == known) return;
  c.fail<ValueError>("unknown auto_pad: expected NOTSET, SAME_UPPER, SAME_LOWER or VALID, got '{}'", mode);
}
// Some writers leave kernel_shape out of convolutions: the weights have it.
void check_kernel_shape(const Call& c, const std::vector<int64_t>& kernel) {
  const std::vector<int64_t> said = c.ints("kernel_shape", kernel);
  if (said != kernel) c.fail<ShapeError>("kernel_shape does not fit the weights: expected [{}], got [{}]", fmt::join(kernel, ", "), fmt::join(said, ", "));
}

Windows windows_of(Call& c, const Shape& x, std::vector<int64_t> kernel) {
  if (x.size() < 3 || x.size() > 5) c.fail<ShapeError>("expected [batch, channels, size...] with 1 to 3 sizes, got {}", to_string(x));
  const size_t n = size_t(x.size()) - 2;
  Windows w;
  w.kernel = std::move(kernel);
  if (w.kernel.size() != n) c.fail<ShapeError>("wrong number of kernel sizes: expected {}, got {}", n, w.kernel.size());
  w.strides = c.ints("strides", std::vector<int64_t>(n, 1));
  w.dilation = c.ints("dilations", std::vector<int64_t>(n, 1));
  w.ceil = c.integer("ceil_mode", 0);
  std::vector<int64_t> pads = c.ints("pads", std::vector<int64_t>(2 * n, 0));
  if (w.strides.size() != n || w.dilation.size() != n || pads.size() != 2 * n)
    c.fail<ShapeError>("wrong number of strides, dilations or pads: expected {}, {} and {}, got {}, {} and {}", n, n, 2 * n,
                       w.strides.size(), w.dilation.size(), pads.size());
  check_range(c, "strides", w.strides, 1);
  check_range(c, "dilations", w.dilation, 1);
  check_range(c, "kernel_shape", w.kernel, 1);
  check_range(c, "pads", pads, 0);
  w.low.assign(pads.begin(), pads.begin() + int64_t(n));
  w.high.assign(pads.begin() + int64_t(n), pads.end());
  const std::string automatic = c.string("auto_pad", "NOTSET");
  check_auto_pad(c, automatic);
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    for (size_t i = 0; i < n; ++i) {
      const int64_t size = x[int(i) + 2], out = (size + w.strides[i] - 1) / w.strides[i];
      const int64_t total = std::max<int64_t>(0, (out - 1) * w.strides[i] + w.reach(i) - size);
      w.low[i] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.high[i] = total - w.low[i];
    }
    w.ceil = false;
  } else if (automatic == "VALID") {
    w.low.assign(n, 0);
    w.high.assign(n, 0);
  }
  for (size_t i = 0; i < n; ++i)
    if (const int64_t room = x[int(i) + 2] + w.low[i] + w.high[i]; w.reach(i) > room)
      c.fail<ShapeError>("window larger than the padded input: expected at most {}, got {} (dimension {})", room, w.reach(i), i + 2);
  return w;
}

// As ONNX Runtime: a window of nothing but padding has no value.
Windows pooling_of(Call& c) {
  const Windows w = windows_of(c, c[0].shape(), c.ints("kernel_shape"));
  for (size_t i = 0; i < w.kernel.size(); ++i)
    if (std::max(w.low[i], w.high[i]) >= w.reach(i))
      c.fail<ValueError>("pads out of range: expected less than the window's {}, got {} and {}", w.reach(i), w.low[i], w.high[i]);
  return w;
}

std::vector<int64_t> spatial(const Shape& s) { return std::vector<int64_t>(s.begin() + std::min(s.size(), 2), s.end()); }

Values build_conv(Call& c) {
  const Tensor &x = c[0], &weight = c[1];
  const Windows w = windows_of(c, x.shape(), weight.rank() == x.rank() ? spatial(weight.shape()) : std::vector<int64_t>{});
  check_kernel_shape(c, w.kernel);
  return {apply(SUAN_OP("conv"), {x, weight, c.optional(2)},
                {w.dims(w.strides), w.padding(), w.dims(w.dilation), c.integer("group", 1)})};
}

Tensor per_channel(const Tensor& v, int rank) {
  Shape s = Dims::filled(std::max(rank, 2), 1);
  s[1] = v.numel();
  return reshape(v, s);
}

Values build_conv_transpose(Call& c) {
  const Tensor &x = c[0], &weight = c[1];
  if (x.rank() < 3 || weight.rank() != x.rank()) c.fail<ShapeError>("expected [batch, channels, size...], got {}", to_string(x.type()));
  const size_t n = size_t(x.rank()) - 2;
  const std::vector<int64_t> kernel = spatial(weight.shape());
  const std::vector<int64_t> strides = c.ints("strides", std::vector<int64_t>(n, 1)),
                             dilation = c.ints("dilations", std::vector<int64_t>(n, 1)),
                             extra = c.ints("output_padding", std::vector<int64_t>(n, 0));
  std::vector<int64_t> pads = c.ints("pads", std::vector<int64_t>(2 * n, 0)), wanted = c.ints("output_shape", std::vector<int64_t>{});
  const std::string automatic = c.string("auto_pad", "NOTSET");
  if (wanted.size() > n) wanted.erase(wanted.begin(), wanted.end() - int64_t(n));
  if (strides.size() != n || dilation.size() != n || extra.size() != n || pads.size() != 2 * n || (!wanted.empty() && wanted.size() != n))
    c.fail<ShapeError>("wrong number of strides, dilations, pads or sizes: expected {} axes", n);
  check_auto_pad(c, automatic);
  check_kernel_shape(c, kernel);
  check_range(c, "strides", strides, 1);
  check_range(c, "dilations", dilation, 1);
  check_range(c, "kernel", kernel, 1);
  check_range(c, "pads", pads, 0);
  check_range(c, "output_padding", extra, 0);
  check_range(c, "output_shape", wanted, 0);
  const bool same = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
  if (automatic == "VALID") pads.assign(2 * n, 0);
  Dims size, cut;
  Shape target;
  for (size_t i = 0; i < n; ++i) {
    check_range(c, "size", {x.dim(int(i) + 2)}, 1);
    const int64_t full = strides[i] * (x.dim(int(i) + 2) - 1) + extra[i] + (kernel[i] - 1) * dilation[i] + 1;
    if (same && wanted.empty()) pads[i] = full - x.dim(int(i) + 2) * strides[i];
    if (!wanted.empty()) pads[i] = full - wanted[i];
    if (!wanted.empty() || same) {
      const int64_t total = std::max<int64_t>(pads[i], 0);
      pads[i] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
      pads[i + n] = total - pads[i];
    }
    size.push_back(full);
  }
  const int64_t groups = c.integer("group", 1);
  if (groups < 1 || groups > std::max<int64_t>(x.dim(1), 1) || x.dim(1) % groups)
    c.fail<ValueError>("wrong group: expected a divisor of {} inputs, got {}", x.dim(1), groups);
  if (c.has(2) && c[2].shape() != Shape{weight.dim(1) * groups})
    c.fail<ShapeError>("bias does not fit: expected [{}], got {}", weight.dim(1) * groups, to_string(c[2].shape()));
  const Dims none = Dims::filled(2 * int(n), 0);
  Tensor out = apply(SUAN_OP("conv_input_grad"), {x, weight},
                     {size, Dims(std::span<const int64_t>(strides)), none, Dims(std::span<const int64_t>(dilation)), groups});
  for (size_t i = 0; i < n; ++i) {
    const int axis = int(i) + 2;
    if (pads[i] || pads[i + n]) {
      if (pads[i] < 0 || pads[i + n] < 0 || pads[i] + pads[i + n] > out.dim(axis))
        c.fail<ShapeError>("padding leaves nothing: expected at most {}, got {} and {}", out.dim(axis), pads[i], pads[i + n]);
      out = slice(out, axis, pads[i], out.dim(axis) - pads[i + n]);
    }
    if (!wanted.empty() && out.dim(axis) < wanted[i]) {
      std::vector<int64_t> widths(2 * size_t(out.rank() - axis), 0);
      widths.back() = wanted[i] - out.dim(axis);
      out = apply(SUAN_OP("pad_constant"), {out, scalar_like(0, out)}, {widths});
    }
  }
  if (c.has(2)) out = out + per_channel(c[2], x.rank());
  return {out};
}

Tensor pad_spatial(const Tensor& x, const std::vector<int64_t>& low, const std::vector<int64_t>& high, double value) {
  std::vector<int64_t> widths;
  for (size_t i = low.size(); i-- > 0;) {
    widths.push_back(low[i]);
    widths.push_back(high[i]);
  }
  if (std::all_of(widths.begin(), widths.end(), [](int64_t v) { return v == 0; })) return x;
  return apply(SUAN_OP("pad_constant"), {x, scalar_like(value, x)}, {widths});
}
// What a window hangs over the padded input, by axis.
std::vector<int64_t> overhang(const Windows& w, const Shape& x) {
  std::vector<int64_t> over;
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    const int64_t size = x[int(i) + 2], need = (w.out(i, size) - 1) * w.strides[i] + w.reach(i);
    over.push_back(std::max<int64_t>(0, need - size - w.low[i] - w.high[i]));
  }
  return over;
}
// Sums over windows of x, already padded: a convolution with ones, channel by channel.
Tensor window_sum(const Tensor& x, const Windows& w) {
  Shape flat = x.shape();
  flat[0] *= flat[1];
  flat[1] = 1;
  Shape k{1, 1};
  for (int64_t v : w.kernel) k.push_back(v);
  Tensor out = apply(SUAN_OP("conv"), {reshape(x, flat), full(k, 1, x.dtype()), Tensor()},
                     {w.dims(w.strides), Dims{}, w.dims(w.dilation), int64_t(1)});
  Shape s = out.shape();
  s[0] = x.dim(0);
  s[1] = x.dim(1);
  return reshape(out, s);
}

Values build_average_pool(Call& c) {
  const Tensor& x = c[0];
  const Windows w = pooling_of(c);
  const bool include = c.integer("count_include_pad", 0);
  bool plain = !w.dilated() && !w.ceil;
  for (size_t i = 0; i < w.kernel.size(); ++i) plain = plain && 2 * w.low[i] <= w.kernel[i] && 2 * w.high[i] <= w.kernel[i];
  if (plain)
    return {apply(SUAN_OP("avg_pool"), {x}, {w.dims(w.kernel), w.dims(w.strides), w.padding(), false, include})};
  const std::vector<int64_t> zero(w.kernel.size(), 0), over = overhang(w, x.shape());
  auto summed = [&](const Tensor& t, double pad) { return window_sum(pad_spatial(pad_spatial(t, w.low, w.high, pad), zero, over, 0), w); };
  Shape one = x.shape();
  one[0] = one[1] = 1;
  return {summed(x, 0) / summed(full(one, 1, x.dtype()), include ? 1 : 0)};
}

// A float in version 1.
double norm_power(Call& c) { return c.version() < 2 ? c.real("p", 2.0) : double(c.integer("p", 2)); }

Values build_lp_pool(Call& c) {
  const Tensor& x = c[0];
  const Windows w = pooling_of(c);
  const double p = norm_power(c);
  const std::vector<int64_t> zero(w.kernel.size(), 0);
  const Tensor powered = pow(abs(x), number(p, x));
  const Tensor sums = window_sum(pad_spatial(pad_spatial(powered, w.low, w.high, 0), zero, overhang(w, x.shape()), 0), w);
  return {pow(sums, number(1 / p, x))};
}

Values build_max_pool(Call& c) {
  const Tensor& given = c[0];
  Windows w = pooling_of(c);
  const bool whole = is_floating(given.dtype());
  const Tensor x = whole ? given : cast(given, DType::f32);   // 8-bit integers are exact in f32
  Tensors out;
  bool plain = true;
  for (size_t i = 0; i < w.kernel.size(); ++i) plain = plain && 2 * w.low[i] <= w.kernel[i] && 2 * w.high[i] <= w.kernel[i];
  const bool wants_indices = c.node.out.size() > 1 && c.node.out[1] >= 0;
  if (plain) {
    out = apply_all(SUAN_OP("max_pool"), {x}, {w.dims(w.kernel), w.dims(w.strides), w.padding(), w.dims(w.dilation), w.ceil});
  } else {
    if (wants_indices) c.fail<TypeError>("unsupported indices: expected padding of at most half the kernel, got more");
    const Tensor padded = pad_spatial(x, w.low, w.high, -INFINITY);
    const std::vector<int64_t> zero(w.kernel.size(), 0);
    out = apply_all(SUAN_OP("max_pool"), {pad_spatial(padded, zero, overhang(w, x.shape()), -INFINITY)},
                    {w.dims(w.kernel), w.dims(w.strides), Dims{}, w.dims(w.dilation), false});
  }
  Values result{cast(out[0], given.dtype())};
  if (wants_indices) {
    // Suan counts inside a plane; ONNX counts through the tensor, and in columns where asked.
    Tensor at = out[1];
    if (c.integer("storage_order", 0)) {
      if (x.rank() != 4) c.fail<TypeError>("unsupported storage_order: expected 4 dimensions, got {}", x.rank());
      const Tensor width = number(double(x.dim(3)), at);
      at = floor_divide(at, width) + apply(SUAN_OP("remainder"), {at, width}) * double(x.dim(2));
    }
    const int64_t plane = x.numel() / std::max<int64_t>(x.dim(0) * x.dim(1), 1);
    Shape s = Dims::filled(x.rank(), 1);
    s[0] = x.dim(0);
    s[1] = x.dim(1);
    const Tensor planes = apply(SUAN_OP("arange"), {}, {0.0, double(x.dim(0) * x.dim(1)), 1.0, DType::i64});
    result.emplace_back(at + reshape(planes * double(plane), s));
  }
  return result;
}

Values build_max_unpool(Call& c) {
  const Tensor &x = c[0], &at = c[1];
  if (x.rank() < 3) c.fail<ShapeError>("expected [batch, channels, size...], got {}", to_string(x.type()));
  const size_t n = size_t(x.rank()) - 2;
  const std::vector<int64_t> kernel = c.ints("kernel_shape"), strides = c.ints("strides", std::vector<int64_t>(n, 1)),
                             pads = c.ints("pads", std::vector<int64_t>(2 * n, 0));
  if (kernel.size() != n || strides.size() != n || pads.size() != 2 * n)
    c.fail<ShapeError>("wrong number of kernel sizes, strides or pads: expected {}, {} and {}, got {}, {} and {}", n, n, 2 * n,
                       kernel.size(), strides.size(), pads.size());
  check_range(c, "kernel_shape", kernel, 1);
  check_range(c, "strides", strides, 1);
  check_range(c, "pads", pads, 0);
  check_range(c, "sizes", spatial(x.shape()), 0);
  Shape natural = x.shape(), s;
  for (size_t i = 0; i < n; ++i)
    natural[int(i) + 2] = (x.dim(int(i) + 2) - 1) * strides.at(i) - pads.at(i) - pads.at(i + n) + kernel.at(i);
  s = c.has(2) ? to_dims(c, c.host_ints(2)) : natural;
  for (const Shape& t : {natural, s})
    if (t.size() != x.rank() || std::any_of(t.begin(), t.end(), [](int64_t d) { return d < 0; }))
      c.fail<ShapeError>("output_shape does not fit: expected {} sizes of 0 or more, got {}", x.rank(), to_string(t));
  Tensor where_to = at;
  if (!(s == natural)) {  // indices count through the tensor as it would have been
    Tensor rest = at;
    const Dims from = contiguous_strides(natural), to = contiguous_strides(s);
    where_to = zeros(at.type());
    for (int i = 0; i < x.rank(); ++i) {
      const Tensor unit = number(double(from[i]), at);
      where_to = where_to + floor_divide(rest, unit) * double(to[i]);
      rest = apply(SUAN_OP("remainder"), {rest, unit});
    }
  }
  const Tensor flat = apply(SUAN_OP("scatter"), {full(Shape{numel(s)}, 0, x.dtype()), reshape(where_to, {at.numel()}), reshape(x, {x.numel()})},
                            {int64_t(0)});
  return {reshape(flat, s)};
}

Dims spatial_axes(const Tensor& x) {
  Dims d;
  for (int i = 2; i < x.rank(); ++i) d.push_back(i);
  return d;
}
Values build_global_average(Call& c) {
  return c[0].rank() > 2 ? Values{apply(SUAN_OP("mean"), {c[0]}, {spatial_axes(c[0]), true})} : Values{c[0]};
}
Values build_global_max(Call& c) {
  return c[0].rank() > 2 ? Values{apply(SUAN_OP("max"), {c[0]}, {spatial_axes(c[0]), true})} : Values{c[0]};
}
Values build_global_lp(Call& c) {
  const double p = norm_power(c);
  return {pow(sum(pow(abs(c[0]), number(p, c[0])), spatial_axes(c[0]), true), number(1 / p, c[0]))};
}

// ---- normalisation -------------------------------------------------------------------------------------

// Statistics of the batch are taken where `training_mode` says so; before version 14 where the running ones are
// outputs (and `is_test`, before version 7, does not forbid it). Before version 9 `spatial` may be 0: every position of
// a sample has its own.
Values build_batch_norm(Call& c) {
  const Tensor& x = c[0];
  const double eps = c.real("epsilon", 1e-5), momentum = c.real("momentum", 0.9);
  const int rank = x.rank();
  Tensor mean = c[3], var = c[4];
  const bool wants_running = c.node.out.size() > 1 && c.node.out[1] >= 0;
  const bool training = c.version() >= 14 ? c.integer("training_mode", 0) : wants_running && !(c.version() < 7 && c.integer("is_test", 0));
  const bool each_position = c.version() < 9 && !c.integer("spatial", 1);
  Shape each;
  if (each_position)
    for (int i = 1; i < rank; ++i) each.push_back(x.dim(i));
  else each.push_back(rank > 1 ? x.dim(1) : 1);
  for (int i = 1; i < 5; ++i)
    if (c[i].shape() != each)
      c.fail<ShapeError>("input {} does not fit: expected {}, got {}", i, to_string(each), to_string(c[i].shape()));
  auto laid = [&](const Tensor& v) { return each_position ? unsqueeze(v, 0) : per_channel(v, rank); };
  Values running;
  if (training) {
    Dims axes{0};
    for (int i = 2; i < rank && !each_position; ++i) axes.push_back(i);
    const Tensor wide = cast(x, mean.dtype());
    const Tensor m = apply(SUAN_OP("mean"), {wide}, {axes, false});
    const Tensor v = apply(SUAN_OP("mean"), {square(wide - laid(m))}, {axes, false});
    running = {mean * momentum + m * (1 - momentum), var * momentum + v * (1 - momentum)};
    if (c.version() < 14) running.insert(running.end(), {m, v});
    mean = m;
    var = v;
  }
  // One multiplication and one addition a value, that can join the convolution before.
  const Tensor scale = cast(c[1], var.dtype()) / sqrt(var + eps), shift = cast(c[2], var.dtype()) - mean * scale;
  const Tensor y = cast(x, var.dtype()) * laid(scale) + laid(shift);
  Values out{cast(y, x.dtype())};
  for (Value& v : running) out.push_back(v);
  return out;
}

Values build_layer_norm(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(-1, x.rank()), n = x.rank() - axis;
  const double eps = c.real("epsilon", 1e-5);
  Shape inner, kept;
  for (int i = 0; i < x.rank(); ++i) {
    if (i >= axis) inner.push_back(x.dim(i));
    kept.push_back(i < axis ? x.dim(i) : 1);
  }
  const bool fits = c[1].shape() == inner && (!c.has(2) || c[2].shape() == inner);
  Tensors out = apply_all(SUAN_OP("layer_norm"), {x, fits ? c[1] : Tensor(), fits ? c.optional(2) : Tensor()}, {int64_t(n), eps});
  Tensor y = out[0];
  if (!fits) {
    y = y * c[1];
    if (c.has(2)) y = y + c[2];
  }
  return {y, reshape(out[1], kept), reshape(out[2], kept)};
}
Values build_rms_norm(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(-1, x.rank());
  Shape inner;
  for (int i = axis; i < x.rank(); ++i) inner.push_back(x.dim(i));
  const bool fits = c[1].shape() == inner && c[1].dtype() == x.dtype();
  Tensor y = apply_all(SUAN_OP("rms_norm"), {x, fits ? c[1] : Tensor()}, {int64_t(x.rank() - axis), c.real("epsilon", 1e-5)})[0];
  return {fits ? y : cast(cast(y, c[1].dtype()) * c[1], c[1].dtype())};
}
Values build_instance_norm(Call& c) {
  return {apply(SUAN_OP("group_norm"), {c[0], c[1], c[2]}, {c[0].dim(1), c.real("epsilon", 1e-5)})};
}
Values build_group_norm(Call& c) {
  const Tensor& x = c[0];
  const int64_t groups = c.integer("num_groups");
  if (x.rank() < 2 || groups < 1 || x.dim(1) % groups)
    c.fail<ValueError>("num_groups does not fit: expected a divisor of the channels, got {} of {}", groups, to_string(x.shape()));
  Tensor weight = c[1], bias = c[2];
  if (c.version() < 21) {  // one number per group
    auto spread = [&](const Tensor& t) {
      return reshape(expand(reshape(t, {groups, 1}), {groups, x.dim(1) / groups}), {x.dim(1)});
    };
    weight = spread(weight);
    bias = spread(bias);
  }
  return {apply(SUAN_OP("group_norm"), {x, weight, bias}, {groups, c.real("epsilon", 1e-5)})};
}
Values build_lp_norm(Call& c) {
  const Tensor& x = c[0];
  const Dims axis{c.axis_attr(-1, x.rank())};
  const Tensor norm = c.integer("p", 2) == 1 ? sum(abs(x), axis, true) : sqrt(sum(square(x), axis, true));
  return {where(eq(norm, number(0, x)), number(0, x), x / norm)};
}
Values build_mean_variance(Call& c) {
  const Tensor& x = c[0];
  const Dims axes = to_dims(c, c.ints("axes", std::vector<int64_t>{0, 2, 3}));
  const Tensor mean = apply(SUAN_OP("mean"), {x}, {axes, true}), off = x - mean;
  return {off / (sqrt(apply(SUAN_OP("mean"), {square(off)}, {axes, true})) + 1e-9)};
}
Values build_lrn(Call& c) {
  const Tensor& x = c[0];
  if (x.rank() < 2) c.fail<ShapeError>("expected [batch, channels, size...], got {}", to_string(x.type()));
  check_range(c, "size", {c.integer("size")}, 1);
  const int64_t size = c.integer("size"), n = x.dim(0), ch = x.dim(1), rest = x.numel() / std::max<int64_t>(n * ch, 1);
  const Tensor planes = reshape(square(x), {n, 1, ch, rest});
  const int64_t low = (size - 1) / 2, high = size - 1 - low;
  const Tensor padded = pad_spatial(planes, {low, 0}, {high, 0}, 0);
  const Tensor mean = apply(SUAN_OP("avg_pool"), {padded}, {Dims{size, 1}, Dims{1, 1}, Dims{}, false, true});
  return {x / pow(reshape(mean, x.shape()) * c.real("alpha", 1e-4) + c.real("bias", 1.0), number(c.real("beta", 0.75), x))};
}

// In training: the mask of ONNX's reference, which draws from NumPy's Mersenne Twister. Without a seed calls count:
// each has a mask of its own, so no plan may keep it.
// The same numbers as nn.Dropout draws from a generator of this state.
Values drop(const Tensor& x, double ratio, const Tensor& state) {
  const Tensor kept = apply(SUAN_OP("dropout"), {apply(SUAN_OP("full"), {number(1, x)}, {x.shape()}), state}, {ratio, true});
  const Tensor unit = apply(SUAN_OP("arange"), {}, {0.0, 2.0, 1.0, DType::u64});
  apply_into(SUAN_OP("add"), {state, unit * Tensor::scalar_int((x.numel() + 3) / 4, DType::u64)}, {}, state);
  return {x * kept, ne(kept, number(0, x))};
}

Values build_dropout(Call& c) {
  const Tensor& x = c[0];
  double ratio = c.version() < 12 ? c.real("ratio", 0.5) : 0.5;
  bool training = c.version() < 7 && !c.integer("is_test", 0);
  if (c.version() >= 12) {
    training = c.has(2) && c.host_int(2);
    if (c.has(1)) ratio = c.host_real(1);
  }
  if (const Tensor state = c.eval.dropout_state(); state.defined() && ratio > 0) return drop(x, ratio, state);
  if (!training || ratio == 0) return {x, apply(SUAN_OP("full"), {Tensor::scalar_int(1, DType::boolean)}, {x.shape()})};
  if (!(ratio > 0 && ratio < 1)) c.fail<ValueError>("ratio out of range: expected at least 0 and less than 1, got {}", ratio);
  if (!c.has_attr("seed") && c.eval.tracing()) throw NeedsData{c.node.name};
  static std::atomic<uint32_t> calls{0};
  std::mt19937 draw(c.has_attr("seed") ? uint32_t(c.integer("seed")) : ++calls);
  Tensor mask = Tensor::empty({DType::boolean, x.shape(), {}});
  for (int64_t i = 0; i < mask.numel(); ++i) {
    const uint32_t high = draw() >> 5, low = draw() >> 6;
    mask.data<bool>()[i] = (high * 67108864.0 + low) / 9007199254740992.0 >= ratio;
  }
  return {where(mask, x * (1 / (1 - ratio)), number(0, x)), mask};
}

// ---- resizing ------------------------------------------------------------------------------------------

struct Sampling {
  std::string mode, transform, nearest;
  double cubic_a = -0.75, extrapolation = 0;
  bool exclude_outside = false, antialias = false;
};

double source_of(const Sampling& s, double i, double scale, double n_in, double n_out, double roi0, double roi1) {
  if (s.transform == "asymmetric") return i / scale;
  if (s.transform == "align_corners") {   // by the size before it was rounded down, as ONNX's reference does
    const double whole = n_in * scale;
    return n_out == 1 || whole == 1 ? 0 : i * (n_in - 1) / (whole - 1);
  }
  if (s.transform == "pytorch_half_pixel") return n_out > 1 ? (i + 0.5) / scale - 0.5 : 0;
  if (s.transform == "tf_half_pixel_for_nn") return (i + 0.5) / scale;
  if (s.transform == "half_pixel_symmetric") {
    const double adjust = n_out / (n_in * scale), center = n_in / 2;
    return center * (1 - adjust) + (i + 0.5) / scale - 0.5;
  }
  if (s.transform == "tf_crop_and_resize")
    return n_out > 1 ? roi0 * (n_in - 1) + i * (roi1 - roi0) * (n_in - 1) / (n_out - 1) : 0.5 * (roi0 + roi1) * (n_in - 1);
  return (i + 0.5) / scale - 0.5;  // half_pixel
}

// Each result along one axis is a weighted sum of a few elements: tap k takes element at[k][i] times weight[k][i].
Tensor resize_axis(Call& c, const Tensor& x, int axis, int64_t n_out, double scale, double roi0, double roi1, const Sampling& s) {
  const int64_t n_in = x.dim(axis);
  if (n_out < 0 || n_out > longest_axis) c.fail<ShapeError>("size out of range: expected 0 to {}, got {}", longest_axis, n_out);
  if (n_in == 0) c.fail<ShapeError>("nothing to resize: expected elements along dimension {}, got none", axis);
  constexpr double most_taps = 65536;
  const double stretch = s.antialias && scale < 1 ? 1 / scale : 1;
  if (!(stretch <= most_taps / 4)) c.fail<ValueError>("scale out of range: expected at least {} with antialias, got {}", 4 / most_taps, scale);
  const double radius = s.mode == "cubic" ? 2 * stretch : stretch;
  const int64_t taps = s.mode == "nearest" ? 1 : 2 * int64_t(std::ceil(radius));
  require_memory(taps * (16 * n_out + 64));
  std::vector<std::vector<int64_t>> at(size_t(taps), std::vector<int64_t>(static_cast<size_t>(n_out)));
  std::vector<std::vector<double>> weight(size_t(taps), std::vector<double>(static_cast<size_t>(n_out)));
  std::vector<int64_t> outside(static_cast<size_t>(n_out), 0);
  auto kernel = [&](double d) {
    d = std::abs(d);
    if (s.mode != "cubic") return std::max(0.0, 1 - d);
    const double a = s.cubic_a;
    return d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0.0;
  };
  for (int64_t i = 0; i < n_out; ++i) {
    const double p = source_of(s, double(i), scale, double(n_in), double(n_out), roi0, roi1);
    if (!(std::abs(p) < 1e15)) c.fail<ValueError>("position out of range: expected less than 1e15, got {}", p);
    outside[size_t(i)] = s.transform == "tf_crop_and_resize" && (p < 0 || p > double(n_in - 1));
    if (s.mode == "nearest") {
      const double f = std::floor(p);
      double r = s.nearest == "floor"               ? f
                 : s.nearest == "ceil"              ? std::ceil(p)
                 : s.nearest == "round_prefer_ceil" ? std::floor(p + 0.5)
                                                    : std::ceil(p - 0.5);
      at[0][size_t(i)] = std::clamp<int64_t>(int64_t(r), 0, n_in - 1);
      weight[0][size_t(i)] = 1;
      continue;
    }
    const int64_t first = int64_t(std::floor(p)) - taps / 2 + 1;
    double total = 0;
    for (int64_t k = 0; k < taps; ++k) {
      const int64_t j = first + k;
      double w = kernel((p - double(j)) / stretch);
      if (s.exclude_outside && (j < 0 || j >= n_in)) w = 0;
      at[size_t(k)][size_t(i)] = std::clamp<int64_t>(j, 0, n_in - 1);
      weight[size_t(k)][size_t(i)] = w;
      total += w;
    }
    if (s.antialias || s.exclude_outside)
      for (int64_t k = 0; k < taps; ++k) weight[size_t(k)][size_t(i)] /= total;
  }
  Shape along = Dims::filled(x.rank() - axis, 1);
  along[0] = n_out;
  Tensor out;
  for (int64_t k = 0; k < taps; ++k) {
    Tensor part = apply(SUAN_OP("index"), {x, make_ints(at[size_t(k)])}, {Dims{axis}});
    if (s.mode != "nearest") part = part * make_reals(weight[size_t(k)], along, x.dtype());
    out = out ? out + part : part;
  }
  if (std::any_of(outside.begin(), outside.end(), [](int64_t v) { return v != 0; }))
    out = where(cast(make_ints(outside, along), DType::boolean), scalar_like(s.extrapolation, out), out);
  return out;
}

Values build_resize(Call& c) {
  const Tensor& given = c[0];
  const bool v10 = c.version() < 11;                      // also Upsample: x, scales
  const bool old_upsample = c.node.op == "Upsample" && c.version() < 9;
  Sampling s;
  s.mode = c.string("mode", "nearest");
  s.transform = v10 ? "asymmetric" : c.string("coordinate_transformation_mode", "half_pixel");
  s.nearest = v10 ? "floor" : c.string("nearest_mode", "round_prefer_floor");
  s.cubic_a = c.real("cubic_coeff_a", -0.75);
  s.extrapolation = c.real("extrapolation_value", 0.0);
  s.exclude_outside = c.integer("exclude_outside", 0);
  s.antialias = c.integer("antialias", 0);
  if (s.mode == "bilinear") s.mode = "linear";
  if (s.mode != "nearest" && s.mode != "linear" && s.mode != "cubic")
    c.fail<ValueError>("unknown mode: expected nearest, linear or cubic, got '{}'", s.mode);
  std::vector<double> scales, roi;
  std::vector<int64_t> sizes, axes = c.ints("axes", std::vector<int64_t>{});
  const int i_scales = v10 ? 1 : 2;
  if (old_upsample && c.version() < 7) scales = {1, 1, c.real("height_scale"), c.real("width_scale")};
  else if (old_upsample) scales = c.reals("scales");
  else if (c.has(i_scales)) scales = c.host_reals(i_scales);
  if (c.has(3)) sizes = c.host_ints(3);
  if (!v10 && c.has(1) && s.transform == "tf_crop_and_resize") roi = c.host_reals(1);
  const int rank = given.rank();
  if (axes.empty()) {
    axes.resize(size_t(rank));
    std::iota(axes.begin(), axes.end(), 0);
  }
  const size_t n = axes.size();
  if (!sizes.empty()) scales.clear();
  if ((sizes.size() != n && scales.size() != n) || (!roi.empty() && roi.size() != 2 * n))
    c.fail<ShapeError>("wrong number of scales or sizes: expected {}, got {}", n, std::max(sizes.size(), scales.size()));
  for (size_t k = 0; k < n; ++k)
    if (given.dim(c.axis(axes[k], rank)) == 0) c.fail<ShapeError>("nothing to resize: expected elements along dimension {}, got none", axes[k]);
  for (int64_t size : sizes)
    if (size < 0 || size > longest_axis) c.fail<ShapeError>("size out of range: expected 0 to {}, got {}", longest_axis, size);
  if (!sizes.empty()) {
    const std::string policy = c.string("keep_aspect_ratio_policy", "stretch");
    double common = policy == "not_larger" ? INFINITY : 0;
    for (size_t k = 0; k < n; ++k) {
      const double f = double(sizes[k]) / double(given.dim(c.axis(axes[k], rank)));
      scales.push_back(f);
      common = policy == "not_larger" ? std::min(common, f) : std::max(common, f);
    }
    if (policy != "stretch")
      for (size_t k = 0; k < n; ++k) {
        scales[k] = common;
        sizes[k] = int64_t(std::floor(common * double(given.dim(c.axis(axes[k], rank))) + 0.5));
      }
  } else {
    for (size_t k = 0; k < n; ++k) {
      const int64_t size = given.dim(c.axis(axes[k], rank));
      const double cropped = roi.empty() ? double(size) : double(size) * (roi[k + n] - roi[k]);
      if (!(scales[k] > 0) || !(cropped * scales[k] >= 0 && cropped * scales[k] <= 1e9)) c.fail<ValueError>("scale out of range: expected a positive number, got {}", scales[k]);
      sizes.push_back(int64_t(std::floor(cropped * scales[k])));
    }
  }
  const bool whole = is_floating(given.dtype()) || s.mode == "nearest";
  Tensor x = whole ? given : cast(given, DType::f32);
  for (size_t k = 0; k < n; ++k) {
    const int axis = c.axis(axes[k], rank);
    if (sizes[k] == x.dim(axis) && scales[k] == 1 && roi.empty()) continue;
    x = resize_axis(c, x, axis, sizes[k], scales[k], roi.empty() ? 0 : roi[k], roi.empty() ? 1 : roi[k + n], s);
  }
  return {whole ? x : cast(apply(SUAN_OP("round"), {x}), given.dtype())};
}

// Columns [batch, channels * kernel, blocks] back to an image: each is added where it was taken.
Values build_col2im(Call& c) {
  const Tensor& x = c[0];
  const std::vector<int64_t> image = c.host_ints(1), block = c.host_ints(2);
  const size_t n = image.size();
  const std::vector<int64_t> strides = c.ints("strides", std::vector<int64_t>(n, 1)), dilation = c.ints("dilations", std::vector<int64_t>(n, 1)),
                             pads = c.ints("pads", std::vector<int64_t>(2 * n, 0));
  if (block.size() != n || n < 1 || n > 3 || strides.size() != n || dilation.size() != n || pads.size() != 2 * n)
    c.fail<ShapeError>("lists differ in length: expected {} sizes, blocks, strides and dilations and {} pads, got {}, {}, {} and {}", n, 2 * n,
                       block.size(), strides.size(), dilation.size(), pads.size());
  check_range(c, "image_shape", image, 0);
  check_range(c, "block_shape", block, 1, 1 << 20);
  check_range(c, "strides", strides, 1);
  check_range(c, "dilations", dilation, 1);
  check_range(c, "pads", pads, 0);
  const int64_t width = std::accumulate(block.begin(), block.end(), int64_t(1), std::multiplies<>());
  if (x.rank() != 3 || x.dim(1) % width)
    c.fail<ShapeError>("columns do not fit: expected [batch, channels * {}, blocks], got {}", width, to_string(x.type()));
  Shape grid{x.dim(0) * (x.dim(1) / width), width};
  Dims size;
  for (size_t i = 0; i < n; ++i) {
    grid.push_back((image[i] + pads.at(i) + pads.at(i + n) - dilation.at(i) * (block[i] - 1) - 1) / strides.at(i) + 1);
    size.push_back(image[i]);
  }
  // A transposed convolution whose weights put input channel k at kernel position k.
  Shape ws{width, 1};
  for (int64_t b : block) ws.push_back(b);
  auto range = apply(SUAN_OP("arange"), {}, {0.0, double(width), 1.0, DType::i64});
  const Tensor weight = reshape(cast(eq(unsqueeze(range, 1), range), x.dtype()), ws);
  const Tensor out = apply(SUAN_OP("conv_input_grad"), {reshape(x, grid), weight},
                           {size, Dims(std::span<const int64_t>(strides)), Dims(std::span<const int64_t>(pads)),
                            Dims(std::span<const int64_t>(dilation)), int64_t(1)});
  Shape s{x.dim(0), x.dim(1) / width};
  for (int64_t d : image) s.push_back(d);
  return {reshape(out, s)};
}

}  // namespace

std::vector<Mapping> nn_ops() {
  return {
      {"AveragePool", 1, build_average_pool},
      {"BatchNormalization", 1, build_batch_norm},
      {"Col2Im", 18, build_col2im},
      {"Conv", 1, build_conv},
      {"ConvTranspose", 1, build_conv_transpose},
      {"Dropout", 1, build_dropout},
      {"GlobalAveragePool", 1, build_global_average},
      {"GlobalLpPool", 1, build_global_lp},
      {"GlobalMaxPool", 1, build_global_max},
      {"GroupNormalization", 18, build_group_norm},
      {"InstanceNormalization", 1, build_instance_norm},
      {"LRN", 1, build_lrn},
      {"LayerNormalization", 17, build_layer_norm},
      {"LpNormalization", 1, build_lp_norm},
      {"LpPool", 1, build_lp_pool},
      {"MaxPool", 1, build_max_pool},
      {"MaxUnpool", 9, build_max_unpool},
      {"MeanVarianceNormalization", 9, build_mean_variance},
      {"RMSNormalization", 23, build_rms_norm},
      {"Resize", 10, build_resize},
      {"Upsample", 1, build_resize},
  };
}

}  // namespace suan::onnx
