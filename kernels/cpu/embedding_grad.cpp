// Gradient of a table of rows: positions are sorted by row (counting sort, order kept), then each row sums
// its gradients in order, low precision in f32, and rounds once. Rows never met are zero.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/lib/positions.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t n, rows, width;
  DType dtype;
};

template <class T>
void sum_row(const State& s, const void* g, const int64_t* order, int64_t count, void* out, int64_t row) {
  constexpr int64_t tile = 1024;
  T sum[tile], x[tile];
  for (int64_t c = 0; c < s.width; c += tile) {
    const int64_t m = std::min(tile, s.width - c);
    load_tile(s.dtype, g, order[0] * s.width + c, m, sum);
    for (int64_t i = 1; i < count; ++i) {
      const T* from = x;
      if (s.dtype == dtype_of<T>) from = static_cast<const T*>(g) + order[i] * s.width + c;
      else load_tile(s.dtype, g, order[i] * s.width + c, m, x);
      for (int64_t j = 0; j < m; ++j) sum[j] += from[j];
    }
    store_tile(s.dtype, out, row * s.width + c, m, sum);
  }
}

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const int64_t* index = static_cast<const int64_t*>(a.in[1]);
  check_positions("embedding_grad", index, s.n, 0, s.rows, 0);
  int64_t* first = static_cast<int64_t*>(a.workspace);  // first[r]: where row r's positions begin
  int64_t* order = first + s.rows + 2;
  std::fill_n(first, s.rows + 2, 0);
  for (int64_t i = 0; i < s.n; ++i) ++first[index[i] + 2];
  for (int64_t r = 0; r < s.rows; ++r) first[r + 2] += first[r + 1];
  for (int64_t i = 0; i < s.n; ++i) order[first[index[i] + 1]++] = i;
  const int64_t bytes = s.width * item_size(s.dtype);
  run_ranges(s.rows, inline_elements / (s.width + 1), (s.rows + s.n) * s.width,
             [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t count = first[r + 1] - first[r];
      if (count == 0) std::memset(element(a.out[0], r, bytes), 0, size_t(bytes));
      else sum_row<T>(s, a.in[0], order + first[r], count, a.out[0], r);
    }
  });
}

}  // namespace

Kernel kernel_embedding_grad() {
  return {[](const KernelDesc& d) {
    const Shape& out = d.out[0]->layout.shape;
    auto s = std::make_shared<State>(State{d.in[1]->layout.numel(), out[0], out[1], d.in[0]->dtype});
    const int64_t workspace = (s->rows + 2 + s->n) * 8;
    return with_compute(s->dtype, [&](auto t) { return Prepared{run<decltype(t)>, s, workspace}; });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
