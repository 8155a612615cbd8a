// x · weightᵀ with the bias added to each tile while it is in cache.
#include <algorithm>

#include "kernels/cpu/lib/product.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  ProductPlan product;
  DType dtype;
  bool biased = false;
  bool copy_bias = false;  // a strided one, to the end of the workspace
  Move move_bias = {};
};

// Adds bias[col0 ...] to every row of a tile, rounding to the storage type.
template <class T>
void add_bias(DType t, void* tile, const void* bias, int64_t rows, int64_t col0, int64_t cols,
              int64_t ldc) {
  const int64_t item = item_size(t);
  constexpr int64_t piece = 256;
  T values[piece], row[piece];
  for (int64_t j = 0; j < cols; j += piece) {
    const int64_t n = std::min(piece, cols - j);
    load_tile<T>(t, bias, col0 + j, n, values);
    for (int64_t i = 0; i < rows; ++i) {
      void* at = element(tile, i * ldc + j, item);
      load_tile<T>(t, at, 0, n, row);
      for (int64_t e = 0; e < n; ++e) {
        if constexpr (std::is_same_v<T, int64_t>)
          row[e] = int64_t(uint64_t(row[e]) + uint64_t(values[e]));
        else row[e] += values[e];
      }
      store_tile<T>(t, at, 0, n, row);
    }
  }
}

void run(const void* state, const KernelArgs& x) {
  const State& s = *static_cast<const State*>(state);
  const TileEpilogue next = x.epilogue ? *x.epilogue : TileEpilogue{};
  if (!s.biased) return run_product(s.product, x.in[0], x.in[1], x.out[0], x.workspace, next);
  const void* bias = x.in[2];
  if (s.copy_bias) {
    std::byte* to = static_cast<std::byte*>(x.workspace) + s.product.workspace;
    run_move(s.move_bias, to, bias);
    bias = to;
  }
  if (s.dtype == DType::f32) {
    auto epilogue = [bias, next](void* tile, int64_t batch, int64_t row0, int64_t rows,
                                 int64_t col0, int64_t cols, int64_t ldc) {
      const float* b = static_cast<const float*>(bias) + col0;
      for (int64_t i = 0; i < rows; ++i) {
        float* row = static_cast<float*>(tile) + i * ldc;
        for (int64_t j = 0; j < cols; ++j) row[j] += b[j];
      }
      if (next) next(tile, batch, row0, rows, col0, cols, ldc);
    };
    return run_product(s.product, x.in[0], x.in[1], x.out[0], x.workspace, epilogue);
  }
  const DType t = s.dtype;
  auto epilogue = [bias, t, next](void* tile, int64_t batch, int64_t row0, int64_t rows,
                                  int64_t col0, int64_t cols, int64_t ldc) {
    with_compute(t, [&](auto v) {
      add_bias<decltype(v)>(t, tile, bias, rows, col0, cols, ldc);
    });
    if (next) next(tile, batch, row0, rows, col0, cols, ldc);
  };
  run_product(s.product, x.in[0], x.in[1], x.out[0], x.workspace, epilogue);
}

}  // namespace

Kernel kernel_linear() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.prepare = [](const KernelDesc& d) {
    Layout x = d.in[0]->layout, w = d.in[1]->layout;
    if (x.rank() == 1) x.shape.insert(0, 1), x.strides.insert(0, 0);
    std::swap(w.shape[0], w.shape[1]);
    std::swap(w.strides[0], w.strides[1]);
    Shape batch = x.shape;
    batch.erase(batch.size() - 1);
    batch.erase(batch.size() - 1);
    const DType t = d.in[0]->dtype;
    auto s = std::make_shared<State>(State{plan_product(t, t, x, w, batch), t, d.has(2)});
    int64_t workspace = s->product.workspace;
    if (d.has(2) && !d.in[2]->layout.is_contiguous()) {
      s->copy_bias = true;
      s->move_bias = plan_contiguous_move(d.in[2]->layout.shape, d.in[2]->layout.strides,
                                          int(item_size(t)));
      workspace += d.in[2]->layout.numel() * item_size(t);
    }
    const int64_t row = d.out[0]->layout.shape.back();
    return Prepared{run, std::move(s), workspace, row};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
