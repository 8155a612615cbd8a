// Fourier transforms, windows and mel filters.
#include <cmath>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

// The first n elements along the last axis but `after`, with zeros behind where there are fewer.
Tensor fit(Call& c, const Tensor& x, int after, int64_t n) {
  if (n < 1 || n > longest_axis) c.fail<ValueError>("length out of range: expected 1 to {}, got {}", longest_axis, n);
  const int axis = x.rank() - 1 - after;
  if (x.dim(axis) > n) return slice(x, axis, 0, n);
  if (x.dim(axis) == n) return x;
  std::vector<int64_t> widths(size_t(2 * (after + 1)), 0);
  widths.back() = n - x.dim(axis);
  return apply(SUAN_OP("pad_constant"), {x, scalar_like(0, x)}, {widths});
}

Tensor complex_of(const Tensor& real) {   // [..., n, 1] -> [..., n, 2]
  return apply(SUAN_OP("cat"), {real, zeros_like(real)}, {int64_t(-1)});
}
Tensor transformed(const Tensor& x, bool inverse) { return apply(SUAN_OP("fft_c2c"), {x}, {inverse}); }
Tensor first_half(const Tensor& x) { return slice(x, x.rank() - 2, 0, x.dim(-2) / 2 + 1); }
Tensor real_transformed(const Tensor& x) {   // [..., n, 1] -> [..., n / 2 + 1, 2]
  return apply(SUAN_OP("fft_r2c"), {squeeze(x, -1)});
}
// All frequencies of real numbers: the second half mirrors the first, conjugated.
Tensor whole_real_transformed(const Tensor& x) {
  const int64_t n = x.dim(-2);
  const Tensor half = real_transformed(x), signs = make_reals({1, -1}, {2}, x.dtype());
  if (n < 3) return half;
  return apply(SUAN_OP("cat"), {half, slice(half, half.rank() - 2, (n - 1) / 2, 0, -1) * signs}, {int64_t(-2)});
}

Values build_dft(Call& c) {
  const Tensor& given = c[0];
  const int rank = given.rank();
  if (rank < 2 || (given.dim(-1) != 1 && given.dim(-1) != 2))
    c.fail<ShapeError>("expected [..., n, 1] or [..., n, 2], got {}", to_string(given.type()));
  const int axis = c.axis(c.version() < 20 ? c.integer("axis", 1) : c.has(2) ? c.host_int(2) : -2, rank);
  if (axis == rank - 1) c.fail<ValueError>("the last axis holds complex numbers: expected another, got {}", axis);
  const bool inverse = c.integer("inverse", 0), onesided = c.integer("onesided", 0), real = given.dim(-1) == 1;
  Tensor x = axis == rank - 2 ? given : transpose(given, axis, -2);
  const int64_t had = x.dim(-2), n = c.has(1) ? c.host_int(1) : inverse && onesided ? 2 * (had - 1) : had;
  if (inverse && onesided) {
    x = fit(c, real ? complex_of(x) : x, 1, n / 2 + 1);
    x = unsqueeze(apply(SUAN_OP("fft_c2r"), {x}, {n}), -1) / double(n);
  } else {
    x = fit(c, x, 1, n);
    if (real) x = onesided ? real_transformed(x) : whole_real_transformed(x);
    else x = transformed(x, inverse);
    if (real && inverse) x = x * make_reals({1, -1}, {2}, x.dtype());
    if (inverse) x = x / double(n);
    if (!real && onesided) x = first_half(x);
  }
  return {axis == rank - 2 ? x : transpose(x, axis, -2)};
}

Values build_stft(Call& c) {
  const Tensor signal = contiguous(c[0].rank() == 2 ? unsqueeze(c[0], -1) : c[0]);   // [batch, length, 1 or 2]
  if (signal.rank() != 3 || (signal.dim(2) != 1 && signal.dim(2) != 2))
    c.fail<ShapeError>("expected a signal [batch, length, 1] or [batch, length, 2], got {}", to_string(c[0].type()));
  const int64_t batch = signal.dim(0), length = signal.dim(1), parts = signal.dim(2), step = c.host_int(1);
  const bool windowed = c.has(2), onesided = c.integer("onesided", 1);
  if (windowed && c[2].rank() != 1) c.fail<ShapeError>("expected a window of 1 dimension, got {}", to_string(c[2].type()));
  if (!windowed && !c.has(3)) c.fail<ValueError>("neither window nor frame_length: expected one of them");
  const int64_t n = c.has(3) ? c.host_int(3) : c[2].dim(0), width = windowed ? std::min(c[2].dim(0), n) : n;
  if (step < 1 || n < 1 || n > length)
    c.fail<ValueError>("frames do not fit: expected a step of at least 1 and frames of 1 to {}, got {} and {}", length, step, n);
  if (onesided && parts == 2) c.fail<ValueError>("a complex signal has no one-sided transform: expected onesided = 0");
  const int64_t frames = (length - n) / step + 1;
  Tensor x = apply(SUAN_OP("as_strided_copy"), {signal},
                   {Dims{batch, frames, width, parts}, Dims{length * parts, step * parts, parts, 1}, int64_t(0)});
  if (windowed) x = x * reshape(slice(c[2], 0, 0, width), {width, 1});
  x = fit(c, x, 1, n);
  if (parts == 2) return {transformed(x, false)};
  return {onesided ? real_transformed(x) : whole_real_transformed(x)};
}

// a - b cos(2 pi i / N) + d cos(4 pi i / N) for i < size.
Values window(Call& c, double a, double b, double d) {
  const int64_t size = c.host_int(0);
  if (size < 0 || size > longest_axis) c.fail<ValueError>("size out of range: expected 0 to {}, got {}", longest_axis, size);
  const double period = double(c.integer("periodic", 1) ? size : size - 1);
  std::vector<double> w;
  for (int64_t i = 0; i < size; ++i) {
    const double angle = period > 0 ? 2 * M_PI * double(i) / period : M_PI;   // one element alone is the peak
    w.push_back(a - b * std::cos(angle) + d * std::cos(2 * angle));
  }
  return {make_reals(w, {size}, dtype_of_onnx(int(c.integer("output_datatype", 1))))};
}
Values build_hann(Call& c) { return window(c, 0.5, 0.5, 0); }
Values build_hamming(Call& c) { return window(c, 25.0 / 46, 21.0 / 46, 0); }
Values build_blackman(Call& c) { return window(c, 0.42, 0.5, 0.08); }

// Triangles between points that lie evenly on the mel scale, [dft_length / 2 + 1, bins].
Values build_mel_weights(Call& c) {
  const int64_t bins = c.host_int(0), n = c.host_int(1), rate = c.host_int(2);
  const double low = c.host_real(3), high = c.host_real(4);
  const int64_t rows = n / 2 + 1;
  if (bins < 0 || n < 1 || rate < 1 || bins > longest_axis || n > longest_axis || bins * rows > longest_axis)
    c.fail<ValueError>("sizes out of range: expected positive ones and at most {} weights, got {} bins, {} and {} Hz", longest_axis, bins, n, rate);
  auto mel = [](double hz) { return 2595 * std::log10(1 + hz / 700); };
  std::vector<int64_t> at;
  for (int64_t i = 0; i < bins + 2; ++i) {
    const double m = mel(low) + double(i) * (mel(high) - mel(low)) / double(bins + 2), hz = 700 * (std::pow(10, m / 2595) - 1);
    const double bin = std::floor(double(n + 1) * hz / double(rate));
    if (!(bin >= 0 && bin < double(rows)))
      c.fail<ValueError>("edges out of range: expected 0 to {} Hz, got {} to {}", double(rate) / 2, low, high);
    at.push_back(int64_t(bin));
  }
  std::vector<double> w(size_t(rows * bins), 0);
  for (int64_t i = 0; i < bins; ++i) {
    const int64_t left = at[size_t(i)], middle = at[size_t(i + 1)], right = at[size_t(i + 2)];
    auto put = [&](int64_t row, double v) { w[size_t(row * bins + i)] = v; };
    if (left == middle) put(middle, 1);
    for (int64_t j = left; left < middle && j <= middle; ++j) put(j, double(j - left) / double(middle - left));
    for (int64_t j = middle; j < right; ++j) put(j, double(right - j) / double(right - middle));
  }
  return {make_reals(w, {rows, bins}, dtype_of_onnx(int(c.integer("output_datatype", 1))))};
}

}  // namespace

std::vector<Mapping> signal_ops() {
  return {
      {"BlackmanWindow", 17, build_blackman},
      {"DFT", 17, build_dft},
      {"HammingWindow", 17, build_hamming},
      {"HannWindow", 17, build_hann},
      {"MelWeightMatrix", 17, build_mel_weights},
      {"STFT", 17, build_stft},
  };
}

}  // namespace suan::onnx
