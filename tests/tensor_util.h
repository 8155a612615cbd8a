// Small tensors for tests: made from lists or seeds, read back as doubles, compared bit for bit.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "core/convert.h"
#include "ops/api.h"

namespace suan::test {

using I = int64_t;

inline double value(const Tensor& x, int64_t i) {
  return load_as(x.raw() + i * item_size(x.dtype()), x.dtype());
}
inline std::vector<double> values(const Tensor& x) {
  const Tensor c = ops::contiguous(x);
  std::vector<double> v;
  for (int64_t i = 0; i < c.numel(); ++i) v.push_back(value(c, i));
  return v;
}
inline Tensor tensor(const std::vector<double>& v, const Shape& shape, DType t = DType::f32) {
  Tensor x = Tensor::empty({t, shape, {}});
  for (size_t i = 0; i < v.size(); ++i) store_as(x.raw() + int64_t(i) * item_size(t), t, v[i]);
  return x;
}
inline Tensor counted(const Shape& shape, DType t = DType::f32) {
  std::vector<double> v;
  for (int64_t i = 0; i < numel(shape); ++i) v.push_back(double(i));
  return tensor(v, shape, t);
}
inline Tensor random_tensor(const Shape& shape, unsigned seed, DType t = DType::f32) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> v;
  for (int64_t i = 0; i < numel(shape); ++i) v.push_back(normal(random));
  return tensor(v, shape, t);
}
inline Tensor run(const char* name, std::initializer_list<Tensor> in, const Attrs& attrs = {}) {
  return apply(op(name), in, attrs);
}
inline bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = ops::contiguous(a), y = ops::contiguous(b);
  return x.dtype() == y.dtype() && x.shape() == y.shape() &&
         (x.numel() == 0 ||
          std::memcmp(x.raw(), y.raw(), size_t(x.numel() * item_size(x.dtype()))) == 0);
}

}  // namespace suan::test
