// Optimizer steps in one pass over a flat tensor, and the sum of squares that clipping needs.
// f32 and f64; element-wise, so bits never depend on threads.
#pragma once

#include <cstdint>

namespace suan::cpu {

template <class T>
struct AdamWOptions {
  T lr, beta1, beta2, eps, weight_decay;
  T correction1, correction2;  // 1 - beta1^step and 1 - beta2^step
  T grad_scale = T(1);         // multiplies the gradient first: the clipping factor
  bool decoupled = true;       // AdamW; false adds weight_decay * p to the gradient (Adam)
};

template <class T>
struct SgdOptions {
  T lr, momentum, dampening, weight_decay;
  T grad_scale = T(1);
  bool nesterov = false;
  bool first_step = false;  // momentum starts as the gradient itself
};

namespace SUAN_ISA {

// torch.optim.AdamW's update of p [n] and its moments m, v [n] in place.
template <class T>
void adamw_step(T* p, const T* grad, T* m, T* v, std::int64_t n, const AdamWOptions<T>& options);

// torch.optim.SGD's update; `momentum` [n] may be null when options.momentum is 0.
template <class T>
void sgd_step(T* p, const T* grad, T* momentum, std::int64_t n, const SgdOptions<T>& options);

// Chunks of sum_squares, and so the doubles its `partial` needs.
std::int64_t sum_squares_chunks(std::int64_t n);

// Sum of x^2 in f64: fixed chunks, each in one order, then a fixed tree over the chunks.
template <class T>
double sum_squares(const T* x, std::int64_t n, double* partial);

}  // namespace SUAN_ISA
}  // namespace suan::cpu
