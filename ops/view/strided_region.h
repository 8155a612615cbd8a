// The region that the as_strided family describes by three attributes: shape, strides, offset.
#pragma once

#include "core/op.h"

namespace suan {

// The attributes from `first` as a Layout that stays inside [0, limit); ShapeError otherwise.
inline Layout check_region(const InferContext& c, int first, int64_t limit) {
  Layout l(c.attrs.dims(first), c.attrs.dims(first + 1), c.attrs.integer(first + 2));
  if (l.shape.size() != l.strides.size())
    c.fail<ShapeError>("sizes and strides differ in number: expected {}, got {}", l.shape.size(),
                       l.strides.size());
  for (int64_t s : l.shape)
    if (s < 0) c.fail<ShapeError>("negative size: expected 0 or more, got {}", to_string(l.shape));
  const int64_t n = l.numel();
  if (n == 0) return l;
  int64_t lo = l.offset, hi = l.offset;
  for (int i = 0; i < l.rank(); ++i) {
    int64_t span = 0, &end = l.strides[i] < 0 ? lo : hi;
    if (__builtin_mul_overflow(l.strides[i], l.shape[i] - 1, &span) ||
        __builtin_add_overflow(end, span, &end))
      c.fail<ShapeError>("region overflows: expected it inside {} elements, got shape {}", limit,
                         to_string(l.shape));
  }
  if (lo < 0 || hi >= limit)
    c.fail<ShapeError>("region outside the storage: expected elements 0 to {}, got {} to {}",
                       limit - 1, lo, hi);
  return l;
}

}  // namespace suan
