// Shapes of advanced indexing, by NumPy's rule: adjacent indexed axes are replaced in place by the
// shape of the broadcast indices; otherwise that shape comes first.
#pragma once

#include <algorithm>

#include "ops/api.h"

namespace suan {

inline Shape indexed_shape(const InferContext& c, int first_index) {
  const Shape& in = c.shape(0);
  const Dims& dims = c.attrs.dims(0);
  if (dims.empty() || c.n_in() - first_index != dims.size())
    c.fail<ValueError>("wrong number of indices: expected one per axis in dims ({}), got {}",
                       dims.size(), c.n_in() - first_index);
  if (in.empty()) c.fail<IndexError>("no axis to index: expected at least one, got a 0-d tensor");
  unsigned indexed = 0;
  int lowest = in.size(), highest = -1;
  Shape points;
  for (int k = 0; k < dims.size(); ++k) {
    const int axis = normalize_axis(c.op.name, dims[k], in.size());
    if (indexed >> axis & 1)
      c.fail<ValueError>("axis twice: expected distinct axes, got {} again", axis);
    indexed |= 1u << axis;
    lowest = std::min(lowest, axis);
    highest = std::max(highest, axis);
    points = k ? broadcast(c.op.name, points, c.shape(first_index + k)) : c.shape(first_index);
  }
  const bool adjacent = highest - lowest + 1 == dims.size();
  Shape out;
  if (!adjacent)
    for (int64_t n : points) out.push_back(n);
  for (int i = 0; i < in.size(); ++i) {
    if (adjacent && i == lowest)
      for (int64_t n : points) out.push_back(n);
    if (!(indexed >> i & 1)) out.push_back(in[i]);
  }
  return out;
}

}  // namespace suan
