// What the Fourier transforms share. Complex numbers are pairs in a last dimension of 2. All transforms are
// unnormalised, so that each is the adjoint of another up to weights.
#pragma once

#include "ops/api.h"

namespace suan {

inline constexpr int64_t longest_transform = int64_t(1) << 24;

inline void check_length(const InferContext& c, int64_t n) {
  if (n < 1 || n > longest_transform)
    c.fail<ValueError>("length out of range: expected 1 to {}, got {}", longest_transform, n);
}
inline void check_pairs(const InferContext& c) {
  const Shape& s = c.shape(0);
  if (s.size() < 2 || s.back() != 2)
    c.fail<ShapeError>("no complex numbers: expected [..., n, 2], got {}", to_string(c[0]));
}

// cos and sin of 2 pi k t / n for k < rows and t < n: the definition, for devices without a kernel.
struct Waves {
  Tensor cosine, sine;  // [rows, n]
};
inline Waves waves(int64_t rows, int64_t n, DType t, Device device) {
  using namespace ops;
  auto count = [&](int64_t m) { return apply(SUAN_OP("cumsum"), {full({m}, 1, DType::i64, device)}, {int64_t(0)}) - 1.0; };
  const Tensor product = reshape(count(rows), {rows, 1}) * count(n);
  const Tensor turns = apply(SUAN_OP("remainder"), {product, number(double(n), product)});
  const Tensor angle = cast(turns, DType::f64) * (6.283185307179586476925 / double(n));
  return {cast(cos(angle), t), cast(sin(angle), t)};
}

// [n / 2 + 1, 1]: `middle` for the frequencies that stand for two, 1 for the first and, of an even length, the last.
inline Tensor one_sided_weights(int64_t n, double middle, DType t, Device device) {
  const int64_t bins = n / 2 + 1, pairs = (n - 1) / 2;
  Tensors parts{ops::full({1, 1}, 1, t, device)};
  if (pairs) parts.push_back(ops::full({pairs, 1}, middle, t, device));
  if (bins > pairs + 1) parts.push_back(ops::full({1, 1}, 1, t, device));
  return apply(SUAN_OP("cat"), parts, {int64_t(0)});
}

}  // namespace suan
