// What the kernels of recurrent layers share. A step is one pass over tiles of a few rows and the units of one vector
// (forward, all gates side by side) or four (backward): a product with the packed weight, then the gates while they are
// in cache.
#pragma once

#include <algorithm>

#include "kernels/cpu/lib/math.h"
#include "kernels/cpu/lib/rowwise.h"
#include "kernels/cpu/lib/tile_gemm.h"

namespace suan::cpu::SUAN_ISA {

struct RecurrentSizes {
  int64_t steps, batch, hidden;
  bool reverse;

  int64_t at(int64_t k) const { return reverse ? steps - 1 - k : k; }   // k-th step to be done
  int64_t state() const { return batch * hidden; }
};

// Rows of one task.
inline constexpr int64_t recurrent_rows = 2 * kTileRows;

// Tasks (rows, panel) of one step of so many gates. Threads meet where a step reads some 400 kB of weights or more.
template <class F>
void recurrent_step(const RecurrentSizes& s, int64_t gates, int64_t panels, F&& tile) {
  const int64_t groups = (s.batch + recurrent_rows - 1) / recurrent_rows;
  run_tasks(groups * panels, s.batch * gates * s.hidden * s.hidden / 3, [&](int64_t task) {
    const int64_t first = task % groups * recurrent_rows, end = std::min(s.batch, first + recurrent_rows);
    for (int64_t row = first; row < end; row += kTileRows) tile(row, int(std::min<int64_t>(kTileRows, end - row)), task / groups);
  });
}

// Columns of a weight [depth, hidden], a panel of `units` after another, for steps backwards; returns `to`.
template <class T>
T* pack_columns(const T* weight, int64_t hidden, int64_t depth, int64_t units, T* to) {
  run_tasks((hidden + units - 1) / units, depth * hidden, [&](int64_t p) {
    const int64_t n = std::min(units, hidden - p * units);
    T* out = to + p * depth * units;
    for (int64_t k = 0; k < depth; ++k, out += units) {
      std::copy_n(weight + k * hidden + p * units, n, out);
      std::fill(out + n, out + units, T(0));
    }
  });
  return to;
}

template <class T>
T dot(const T* a, const T* b, int64_t n) {
  constexpr int lanes = lanes_of<T>;
  vec_of<T> even{}, odd{};
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = fma(load(a + i), load(b + i), even);
    odd = fma(load(a + i + lanes), load(b + i + lanes), odd);
  }
  for (; i < n; i += lanes) {
    const int m = int(std::min<int64_t>(lanes, n - i));
    even = fma(load_partial(a + i, m), load_partial(b + i, m), even);
  }
  return sum_lanes(even + odd);
}

// tile [vecs * lanes] += h B, of one row. Two chains for each vector, since so few would wait for one another.
template <class T, int vecs>
inline void add_one_row(const T* h, int64_t k, const T* b, int64_t b_row, T* tile) {
  constexpr int lanes = lanes_of<T>;
  vec_of<T> even[vecs], odd[vecs];
  for (int v = 0; v < vecs; ++v) {
    even[v] = load(tile + v * lanes);
    odd[v] = vec_of<T>{};
  }
  int64_t i = 0;
  for (; i + 2 <= k; i += 2, b += 2 * b_row) {
    const auto first = splat<vec_of<T>>(h[i]), second = splat<vec_of<T>>(h[i + 1]);
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) even[v] = fma(first, load(b + v * lanes), even[v]);
#pragma GCC unroll 4
    for (int v = 0; v < vecs; ++v) odd[v] = fma(second, load(b + b_row + v * lanes), odd[v]);
  }
  if (i < k)
    for (int v = 0; v < vecs; ++v) even[v] = fma(splat<vec_of<T>>(h[i]), load(b + v * lanes), even[v]);
  for (int v = 0; v < vecs; ++v) store(tile + v * lanes, even[v] + odd[v]);
}

// The product of states with a weight [gates * hidden, hidden], for the units of one vector at a time.
template <class T, int gates>
class GateProduct {
 public:
  static constexpr int units = lanes_of<T>, width = gates * units;
  enum class Weight : uint8_t { panels, packed_here, rows };   // as gate_panels lays it out; packed for this call; as it lies

  GateProduct() = default;
  GateProduct(const TensorDesc& weight, const RecurrentSizes& s) : hidden_(s.hidden) {
    how_ = weight.layout.rank() == 3 ? Weight::panels : s.steps * s.batch > 8 ? Weight::packed_here : Weight::rows;
  }
  static bool takes(const TensorDesc& weight) { return weight.layout.rank() == 2 || weight.dtype == DType::f32; }

  int64_t panels() const { return (hidden_ + units - 1) / units; }
  int64_t workspace() const { return how_ == Weight::packed_here ? panels() * hidden_ * width : 0; }   // in values
  // Where the product reads from in this call.
  const T* pack(const T* weight, T* workspace) const {
    if (how_ != Weight::packed_here) return weight;
    run_tasks(panels() * gates, gates * hidden_ * hidden_, [&](int64_t task) {
      const int64_t p = task / gates, g = task % gates, n = std::min<int64_t>(units, hidden_ - p * units);
      pack_transposed<T>(weight + (g * hidden_ + p * units) * hidden_, hidden_, int(n), int(hidden_),
                         workspace + p * hidden_ * width + g * units, width, units);
    });
    return workspace;
  }
  // tile [rows, n * units] += h [rows, hidden] times the weight of n gates from `first` on, for panel p.
  void add(const T* weight, const T* h, int rows, int64_t p, int first, int n, T* tile) const {
    const int columns = n * units;
    if (how_ == Weight::rows) {
      const int live = int(std::min<int64_t>(units, hidden_ - p * units));
      for (int r = 0; r < rows; ++r)
        for (int g = 0; g < n; ++g)
          for (int j = 0; j < live; ++j)
            tile[r * columns + g * units + j] += dot(weight + ((first + g) * hidden_ + p * units + j) * hidden_, h + r * hidden_, hidden_);
      return;
    }
    const T* b = weight + p * hidden_ * width + first * units;
    if (rows > 1)
      return tile_gemm<T>({h, hidden_, 1, b, width, tile, columns, int(hidden_), true}, rows, columns);
    if constexpr (kTileVecs >= gates) {
      if (n == gates) return add_one_row<T, gates>(h, hidden_, b, width, tile);
    }
    for (int v = 0; v < n; ++v) add_one_row<T, 1>(h, hidden_, b + v * units, width, tile + v * units);
  }

 private:
  int64_t hidden_ = 0;
  Weight how_ = Weight::rows;
};

}  // namespace suan::cpu::SUAN_ISA
