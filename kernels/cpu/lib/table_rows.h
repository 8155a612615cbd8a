// Sums of positions into rows of a table: what embedding_grad and embedding_grad_add share. Positions are
// sorted by row (counting sort, order kept), then each row sums its gradients in order, low precision in f32.
#pragma once

#include <algorithm>

#include "kernels/cpu/lib/positions.h"

namespace suan::cpu::SUAN_ISA {

struct TableRows {
  int64_t n, rows, width;
  DType dtype;

  TableRows(const TensorDesc& g, const TensorDesc& index, const TensorDesc& table)
      : n(index.layout.numel()), rows(table.layout.shape[0]), width(table.layout.shape[1]), dtype(g.dtype) {}
  int64_t workspace() const { return (rows + 2 + n) * 8; }

  // f(row, its positions, how many) for every row, in parallel.
  template <class F>
  void each(const char* op, const int64_t* index, void* workspace, F&& f) const {
    check_positions(op, index, n, 0, rows, 0);
    int64_t* first = static_cast<int64_t*>(workspace);  // first[r]: where row r's positions begin
    int64_t* order = first + rows + 2;
    std::fill_n(first, rows + 2, 0);
    for (int64_t i = 0; i < n; ++i) ++first[index[i] + 2];
    for (int64_t r = 0; r < rows; ++r) first[r + 2] += first[r + 1];
    for (int64_t i = 0; i < n; ++i) order[first[index[i] + 1]++] = i;
    run_ranges(rows, inline_elements / (width + 1), (rows + n) * width, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) f(r, order + first[r], first[r + 1] - first[r]);
    });
  }

  // sum[0, m) = columns [c, c + m) of g at the positions, of which there is at least one; not yet rounded.
  static constexpr int64_t tile = 1024;
  template <class T>
  void sum(const void* g, const int64_t* order, int64_t count, int64_t c, int64_t m, T* sum) const {
    T x[tile];
    load_tile(dtype, g, order[0] * width + c, m, sum);
    for (int64_t i = 1; i < count; ++i) {
      const T* from = x;
      if (dtype == dtype_of<T>) from = static_cast<const T*>(g) + order[i] * width + c;
      else load_tile(dtype, g, order[i] * width + c, m, x);
      for (int64_t j = 0; j < m; ++j) sum[j] += from[j];
    }
  }
};

}  // namespace suan::cpu::SUAN_ISA
