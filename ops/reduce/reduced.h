// Shapes of reductions, shared by their definitions.
#pragma once

#include <algorithm>

#include "ops/api.h"

namespace suan {

inline Shape reduced_shape(const Shape& in, const Dims& axes, bool keep) {
  Shape out;
  for (int i = 0; i < in.size(); ++i) {
    const bool gone = axes.empty() || std::find(axes.begin(), axes.end(), i) != axes.end();
    if (!gone) out.push_back(in[i]);
    else if (keep) out.push_back(1);
  }
  return out;
}
inline Shape reduced_shape(const InferContext& c, const Dims& axes, bool keep) {
  return reduced_shape(c.shape(0), axes, keep);
}
inline Shape reduced_shape(const InferContext& c, int dims_attr, int keep_attr) {
  return reduced_shape(c.shape(0), c.axes(dims_attr, 0), c.attrs.boolean(keep_attr));
}

// An axis with no elements has no largest one.
inline void refuse_empty(const InferContext& c, const Dims& axes) {
  const Shape& s = c.shape(0);
  for (int i = 0; i < s.size(); ++i)
    if (s[i] == 0 && (axes.empty() || std::find(axes.begin(), axes.end(), i) != axes.end()))
      c.fail<ShapeError>("nothing to choose from: expected at least one element on axis {}, got {}",
                         i, to_string(s));
}

// A reduction's result or gradient with the reduced axes back as size 1.
inline Tensor keep_reduced(const VjpContext& c, const Tensor& t, int dims_attr) {
  const Shape& in = c.shape(0);
  Dims axes;
  for (int64_t a : c.attrs.dims(dims_attr)) axes.push_back(normalize_axis(c.op.name, a, in.size()));
  return ops::reshape(t, reduced_shape(in, in.empty() ? Dims{} : axes, true));
}

}  // namespace suan
