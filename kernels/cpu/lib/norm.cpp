// layer_norm and rms_norm (see norm.h): one row at a time; the two differ by the mean alone.
#include "kernels/cpu/lib/norm.h"

#include "core/pool.h"
#include "kernels/cpu/lib/rows.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr std::int64_t kMaxBlocks = 64;

template <class T, bool Centered>
void forward(RowsView<const T> xs, const T* weight, const T* bias, T eps, std::int64_t rows,
             std::int64_t n, RowsView<T> ys, T* means, T* rstds, TileFn epilogue) {
  const std::int64_t per_task = rows_per_task(rows, n, kMaxBlocks * 16);
  const T inverse_n = T(1) / static_cast<T>(n);
  parallel_for((rows + per_task - 1) / per_task, [&](std::int64_t task) {
    const std::int64_t begin = task * per_task, end = std::min(rows, begin + per_task);
    for (std::int64_t r = begin; r < end; ++r) {
      const T* x = xs.data + r * xs.stride;
      T* y = ys.data + r * ys.stride;
      const T mean =
          Centered ? sum_row<T>(n, [&](auto at) { return at.get(x); }) * inverse_n : T(0);
      const T squares = sum_row<T>(n, [&](auto at) {
        const auto d = at.get(x) - mean;
        return d * d;
      });
      const T rstd = T(1) / sqrt(squares * inverse_n + eps);
      each_vec<T>(n, [&](auto at) {
        auto v = (at.get(x) - mean) * rstd;
        if (weight != nullptr) v = v * at.get(weight);
        if (Centered && bias != nullptr) v = v + at.get(bias);
        at.put(y, v);
      });
      if (Centered && means != nullptr) means[r] = mean;
      if (rstds != nullptr) rstds[r] = rstd;
    }
    if (epilogue) epilogue(ys.data + begin * ys.stride, 0, begin, end - begin, 0, n, ys.stride);
  });
}

// dx = rstd * (g - mean(g) - xhat * mean(g * xhat)) with g = dy * weight; no mean(g) when
// uncentered.
template <class T, bool Centered>
void backward(RowsView<const T> dys, RowsView<const T> xs, const T* weight, const T* means,
              const T* rstds, std::int64_t rows, std::int64_t n, RowsView<T> dxs, T* dweight,
              T* dbias, T* partial, TileFn epilogue) {
  const std::int64_t per_task = rows_per_task(rows, n, kMaxBlocks);
  const std::int64_t blocks = (rows + per_task - 1) / per_task;
  const T inverse_n = T(1) / static_cast<T>(n);
  parallel_for(blocks, [&](std::int64_t block) {
    T* dw = dweight != nullptr ? partial + block * 2 * n : nullptr;
    T* db = dbias != nullptr ? partial + (block * 2 + 1) * n : nullptr;
    if (dw != nullptr) std::fill_n(dw, n, T(0));
    if (db != nullptr) std::fill_n(db, n, T(0));
    const std::int64_t begin = block * per_task, end = std::min(rows, begin + per_task);
    for (std::int64_t r = begin; r < end; ++r) {
      const T* dy = dys.data + r * dys.stride;
      const T* x = xs.data + r * xs.stride;
      const T mean = Centered ? means[r] : T(0), rstd = rstds[r];
      const auto normed = [&](auto at) { return (at.get(x) - mean) * rstd; };
      const auto grad = [&](auto at) {
        return weight != nullptr ? at.get(dy) * at.get(weight) : at.get(dy);
      };
      if (dw != nullptr) {
        each_vec<T>(n, [&](auto at) { at.put(dw, at.get(dw) + at.get(dy) * normed(at)); });
      }
      if (db != nullptr) each_vec<T>(n, [&](auto at) { at.put(db, at.get(db) + at.get(dy)); });
      if (dxs.data == nullptr) continue;
      const T along = sum_row<T>(n, [&](auto at) { return grad(at) * normed(at); }) * inverse_n;
      const T shift = Centered ? sum_row<T>(n, grad) * inverse_n : T(0);
      T* dx = dxs.data + r * dxs.stride;
      each_vec<T>(n, [&](auto at) { at.put(dx, (grad(at) - shift - normed(at) * along) * rstd); });
    }
    if (epilogue && dxs.data != nullptr) {
      epilogue(dxs.data + begin * dxs.stride, 0, begin, end - begin, 0, n, dxs.stride);
    }
  });
  if (dweight == nullptr && dbias == nullptr) return;
  constexpr std::int64_t width = 256;  // columns of one task of the second stage
  parallel_for((n + width - 1) / width, [&](std::int64_t task) {
    const std::int64_t from = task * width, count = std::min(width, n - from);
    for (int which = 0; which < 2; ++which) {
      T* out = which == 0 ? dweight : dbias;
      if (out == nullptr) continue;
      std::fill_n(out + from, count, T(0));
      for (std::int64_t block = 0; block < blocks; ++block) {
        const T* add = partial + (block * 2 + which) * n + from;
        each_vec<T>(count, [&](auto at) { at.put(out + from, at.get(out + from) + at.get(add)); });
      }
    }
  });
}

}  // namespace

std::int64_t norm_backward_workspace(std::int64_t rows, std::int64_t n,
                                     std::int64_t element_bytes) {
  const std::int64_t per_task = rows_per_task(rows, n, kMaxBlocks);
  return (rows + per_task - 1) / per_task * 2 * n * element_bytes;
}

template <class T>
void layer_norm_forward(RowsView<const T> x, const T* weight, const T* bias, T eps,
                        std::int64_t rows, std::int64_t n, RowsView<T> y, T* mean, T* rstd,
                        TileFn epilogue) {
  forward<T, true>(x, weight, bias, eps, rows, n, y, mean, rstd, epilogue);
}
template <class T>
void rms_norm_forward(RowsView<const T> x, const T* weight, T eps, std::int64_t rows,
                      std::int64_t n, RowsView<T> y, T* rstd, TileFn epilogue) {
  forward<T, false>(x, weight, nullptr, eps, rows, n, y, nullptr, rstd, epilogue);
}
template <class T>
void layer_norm_backward(RowsView<const T> dy, RowsView<const T> x, const T* weight, const T* mean,
                         const T* rstd, std::int64_t rows, std::int64_t n, RowsView<T> dx,
                         T* dweight, T* dbias, void* workspace, TileFn epilogue) {
  backward<T, true>(dy, x, weight, mean, rstd, rows, n, dx, dweight, dbias,
                    static_cast<T*>(workspace), epilogue);
}
template <class T>
void rms_norm_backward(RowsView<const T> dy, RowsView<const T> x, const T* weight, const T* rstd,
                       std::int64_t rows, std::int64_t n, RowsView<T> dx, T* dweight,
                       void* workspace, TileFn epilogue) {
  backward<T, false>(dy, x, weight, nullptr, rstd, rows, n, dx, dweight, nullptr,
                     static_cast<T*>(workspace), epilogue);
}

#define SUAN_NORM(T)                                                                              \
  template void layer_norm_forward<T>(RowsView<const T>, const T*, const T*, T, std::int64_t,     \
                                      std::int64_t, RowsView<T>, T*, T*, TileFn);                 \
  template void rms_norm_forward<T>(RowsView<const T>, const T*, T, std::int64_t, std::int64_t,   \
                                    RowsView<T>, T*, TileFn);                                     \
  template void layer_norm_backward<T>(RowsView<const T>, RowsView<const T>, const T*, const T*,  \
                                       const T*, std::int64_t, std::int64_t, RowsView<T>, T*, T*, \
                                       void*, TileFn);                                            \
  template void rms_norm_backward<T>(RowsView<const T>, RowsView<const T>, const T*, const T*,    \
                                     std::int64_t, std::int64_t, RowsView<T>, T*, void*, TileFn);
SUAN_NORM(float)
SUAN_NORM(double)
#undef SUAN_NORM

}  // namespace suan::cpu::SUAN_ISA
