// What the definitions of neural-network ops share: reductions of a loss, axes, constants, checks.
#pragma once

#include <cmath>

#include "ops/api.h"

namespace suan::ops {

// The dtype that statistics (means, logsumexp) are kept in.
inline DType statistic_type(DType t) { return compute_type(t); }

inline Shape leading(const Shape& s, int n) {
  return Shape(std::span<const int64_t>(s.begin(), size_t(n)));
}
inline Shape trailing(const Shape& s, int n) {
  return Shape(std::span<const int64_t>(s.end() - n, size_t(n)));
}
inline Shape joined(const Shape& a, const Shape& b) {
  Shape s = a;
  for (int64_t d : b) s.push_back(d);
  return s;
}
// The last n axes of a rank.
inline Dims last_axes(int rank, int n) {
  Dims d;
  for (int i = rank - n; i < rank; ++i) d.push_back(i);
  return d;
}
inline int64_t product(const Shape& s, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; ++i) n *= s[i];
  return n;
}

inline Tensor maximum_over(const Tensor& x, const Dims& dims, bool keepdim) {
  return apply(SUAN_OP("max"), {x}, {dims, keepdim});
}
// A sum over no axes is the value itself, where sum() would take all of them.
inline Tensor sum_over(const Tensor& x, const Dims& dims, bool keepdim) {
  return dims.empty() ? x : sum(x, dims, keepdim);
}
inline Tensor mean_over(const Tensor& x, const Dims& dims, bool keepdim) {
  int64_t n = 1;
  for (int64_t d : dims) n *= x.dim(int(d));
  return sum_over(x, dims, keepdim) / double(n);
}
inline Tensor one_hot(const Tensor& index, int64_t n, DType dtype) {
  return cast(apply(SUAN_OP("one_hot"), {index}, {n}), dtype);
}
inline Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  return apply(SUAN_OP("gather"), {x, index}, {dim});
}

inline void check_reduction(std::string_view op, const std::string& r) {
  if (r != "mean" && r != "sum" && r != "none")
    fail<ValueError>(op, "wrong reduction: expected 'mean', 'sum' or 'none', got '{}'", r);
}
inline Tensor reduced(std::string_view op, const Tensor& loss, const std::string& reduction) {
  check_reduction(op, reduction);
  if (reduction == "none") return loss;
  Tensor total = sum(loss);
  return reduction == "sum" ? total : total / double(loss.numel());
}

}  // namespace suan::ops
