// The calls of api.h that need more than one line.
#include "ops/api.h"

namespace suan::ops {

Tensor transpose(const Tensor& x, int64_t a, int64_t b) {
  int i = normalize_axis("transpose", a, x.rank()), j = normalize_axis("transpose", b, x.rank());
  Dims axes;
  for (int k = 0; k < x.rank(); ++k) axes.push_back(k == i ? j : k == j ? i : k);
  return permute(x, axes);
}

Tensor unsqueeze(const Tensor& x, int64_t axis) {
  Shape s = x.shape();
  s.insert(normalize_axis("unsqueeze", axis, x.rank() + 1), 1);
  return reshape(x, s);
}

Tensor squeeze(const Tensor& x, int64_t axis) {
  int i = normalize_axis("squeeze", axis, x.rank());
  if (x.rank() == 0 || x.dim(i) != 1) return x;
  Shape s = x.shape();
  s.erase(i);
  return reshape(x, s);
}

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  return apply(SUAN_OP("full"), {Tensor::scalar(value, dtype, device)}, {shape});
}

Tensor sum_to(const Tensor& g, const Shape& shape) {
  if (g.shape() == shape) return g;
  int lead = g.rank() - shape.size();
  Dims axes;
  for (int i = 0; i < g.rank(); ++i)
    if (i < lead || (shape[i - lead] == 1 && g.dim(i) != 1)) axes.push_back(i);
  Tensor s = axes.empty() ? g : sum(g, axes, true);
  return s.shape() == shape ? s : reshape(s, shape);
}

}  // namespace suan::ops
