// Advanced indexing: where each combination of index tensors points in the indexed tensor, and in which
// order its blocks stand in the result.
#pragma once

#include <array>

#include "kernels/cpu/lib/positions.h"

namespace suan::cpu::SUAN_ISA {

// The indexed tensor is contiguous. Its trailing axes after the last indexed one form `block`; the other
// axes that are not indexed are walked by `rest`.
struct Advanced {
  int n_indices = 0;
  int64_t n_points = 1, n_rest = 1, block = 1, n_out = 1;
  bool rest_first = true;  // result is [rest, points, block], else [points, rest, block]
  Odometer<max_rank> points;             // offsets into each index tensor
  std::array<int64_t, max_rank> size{}, along{};
  std::array<int, max_rank> axis{};
  Odometer<1> rest;                      // offsets into the indexed tensor
  int item = 4;
  DType dtype = DType::f32;
  int64_t workspace() const { return (n_points + n_rest) * 8; }
};

inline Advanced plan_advanced(const KernelDesc& d, const Shape& in, int first_index) {
  Advanced p;
  p.dtype = d.in[0]->dtype;
  p.item = int(item_size(p.dtype));
  p.n_out = numel(in);
  const Dims& dims = d.attrs.dims(0);
  p.n_indices = dims.size();
  const Dims strides = contiguous_strides(in);
  Shape shape;
  unsigned indexed = 0;
  int lowest = in.size(), highest = -1;
  for (int k = 0; k < p.n_indices; ++k) {
    const int axis = int(dims[k] < 0 ? dims[k] + in.size() : dims[k]);
    p.axis[k] = axis;
    p.size[k] = in[axis];
    p.along[k] = strides[axis];
    indexed |= 1u << axis;
    lowest = axis < lowest ? axis : lowest;
    highest = axis > highest ? axis : highest;
    const Shape& s = d.in[first_index + k]->layout.shape;
    shape = k ? broadcast(d.op.name, shape, s) : s;
  }
  p.n_points = numel(shape);
  p.points.rank = shape.size();
  for (int i = 0; i < shape.size(); ++i) {
    p.points.size[i] = shape[i];
    for (int k = 0; k < max_rank; ++k) p.points.stride[k][i] = 0;
    for (int k = 0; k < p.n_indices; ++k) {
      const Layout& l = d.in[first_index + k]->layout;
      const int j = i - (shape.size() - l.rank());
      p.points.stride[k][i] = j < 0 || l.shape[j] == 1 ? 0 : contiguous_strides(l.shape)[j];
    }
  }
  p.rest_first = highest - lowest + 1 == p.n_indices;
  for (int i = 0; i < in.size(); ++i) {
    if (indexed >> i & 1) continue;
    if (i > highest) {
      p.block *= in[i];
    } else {
      p.rest.size[p.rest.rank] = in[i];
      p.rest.stride[0][p.rest.rank++] = strides[i];
      p.n_rest *= in[i];
    }
  }
  return p;
}

// Fills the workspace: offsets of the points, then of the rest. IndexError on a position out of range.
inline void locate(const Advanced& p, const char* op, const void* const* indices, int64_t* at) {
  Odometer<max_rank> o = p.points;
  if (p.n_points) o.seek(0);
  for (int64_t i = 0; i < p.n_points; ++i, o.next()) {
    int64_t offset = 0;
    for (int k = 0; k < p.n_indices; ++k) {
      int64_t j = static_cast<const int64_t*>(indices[k])[o.offset[k]];
      check_positions(op, &j, 1, -p.size[k], p.size[k], p.axis[k]);
      offset += (j < 0 ? j + p.size[k] : j) * p.along[k];
    }
    at[i] = offset;
  }
  Odometer<1> r = p.rest;
  if (p.n_rest) r.seek(0);
  for (int64_t i = 0; i < p.n_rest; ++i, r.next()) at[p.n_points + i] = r.offset[0];
}

// Offset into the indexed tensor of the b-th block of the result.
inline int64_t block_offset(const Advanced& p, const int64_t* at, int64_t b) {
  return p.rest_first ? at[b % p.n_points] + at[p.n_points + b / p.n_points]
                      : at[b / p.n_rest] + at[p.n_points + b % p.n_rest];
}

}  // namespace suan::cpu::SUAN_ISA
