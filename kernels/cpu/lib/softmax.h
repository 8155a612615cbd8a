// softmax and log_softmax, forward and backward, over the middle axis of a contiguous
// [outer, n, inner] tensor (inner = 1: the last axis), f32 and f64. Outputs may be the inputs. An
// epilogue, for inner = 1 only, gets a task's rows at a time.
#pragma once

#include <cstdint>

#include "core/op.h"
#include "core/pool.h"

namespace suan::cpu::SUAN_ISA {

// y = softmax(x) or, with `log`, log_softmax(x). A slice of only -inf gives NaN, as torch.
template <class T>
void softmax_forward(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner,
                     bool log, TileFn epilogue = {});

// softmax: dx = y * (dy - sum(dy * y)); log_softmax: dx = dy - exp(y) * sum(dy).
template <class T>
void softmax_backward(const T* dy, const T* y, T* dx, std::int64_t outer, std::int64_t n,
                      std::int64_t inner, bool log, TileFn epilogue = {});

}  // namespace suan::cpu::SUAN_ISA
