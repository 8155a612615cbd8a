// layer_norm and rms_norm over the last axis, forward and backward, f32 and f64. Statistics in the
// compute type, two passes over a row in L1 (mean, then squared deviations). Weight and bias
// gradients: partial sums over fixed row blocks, added in order, so threads never change a bit. An
// epilogue gets y, or dx, a task's rows at a time.
#pragma once

#include <cstdint>

#include "core/op.h"
#include "core/pool.h"

namespace suan::cpu {

// Rows of n contiguous elements, `stride` apart.
template <class T>
struct RowsView {
  T* data;
  std::int64_t stride;
};

namespace SUAN_ISA {

// y = (x - mean) * rstd * weight + bias. weight, bias may be null (1 and 0); mean, rstd [rows] may
// be null when nothing is to be saved.
template <class T>
void layer_norm_forward(RowsView<const T> x, const T* weight, const T* bias, T eps,
                        std::int64_t rows, std::int64_t n, RowsView<T> y, T* mean, T* rstd,
                        TileFn epilogue = {});

// y = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps).
template <class T>
void rms_norm_forward(RowsView<const T> x, const T* weight, T eps, std::int64_t rows,
                      std::int64_t n, RowsView<T> y, T* rstd, TileFn epilogue = {});

// Bytes of `workspace` for both backwards (partial weight and bias gradients).
std::int64_t norm_backward_workspace(std::int64_t rows, std::int64_t n, std::int64_t element_bytes);

// dx, dweight, dbias may be null when not wanted; dx may be dy.
template <class T>
void layer_norm_backward(RowsView<const T> dy, RowsView<const T> x, const T* weight, const T* mean,
                         const T* rstd, std::int64_t rows, std::int64_t n, RowsView<T> dx,
                         T* dweight, T* dbias, void* workspace, TileFn epilogue = {});
template <class T>
void rms_norm_backward(RowsView<const T> dy, RowsView<const T> x, const T* weight, const T* rstd,
                       std::int64_t rows, std::int64_t n, RowsView<T> dx, T* dweight,
                       void* workspace, TileFn epilogue = {});

}  // namespace SUAN_ISA
}  // namespace suan::cpu
