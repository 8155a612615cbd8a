// Attention on the CPU, forward and backward, without the [q_len, kv_len] matrix in memory
// (FlashAttention, Dao et al. 2022; the backward of FlashAttention-2). f32, f64, and bf16 widened to f32.
// Strides are free but for head_dim, which is contiguous, so packed [batch, seq, 3, heads, dim]
// projections are read and their gradients written in place. Bits do not depend on threads.
#pragma once

#include <cstdint>

namespace suan::cpu {

// [batch, heads, seq, head_dim] by its strides in elements; head_dim has stride 1.
template <class T>
struct HeadsView {
  T* data;
  std::int64_t batch, head, seq;
};

// At most one of the two pointers is set; strides may be 0 (broadcast).
template <class T>
struct AttentionMask {
  const T* additive = nullptr;  // added to the scaled scores
  const bool* keep = nullptr;   // false removes the pair
  std::int64_t batch = 0, head = 0, query = 0, key = 0;
};

template <class T>
struct AttentionProblem {
  std::int64_t batch, heads, kv_heads, q_len, kv_len, head_dim;  // kv_heads divides heads
  T scale;
  bool causal = false;             // key j is seen by query i when j <= i + causal_offset
  std::int64_t causal_offset = 0;  // 0 as torch; kv_len - q_len to continue a KV cache
  AttentionMask<T> mask = {};
  // q, k, v and dout hold numbers of bf16. Then the softmax and the scores' gradient are rounded to bf16 for their
  // products, which still add up in T; sums of exponentials are of the unrounded ones.
  bool narrow = false;
};

// Keys of a block. Sums of a row end with it, so that every forward that cuts keys so gives the same bits.
inline constexpr int attention_keys = 64;

// Largest head_dim: packed blocks live in the thread's scratch.
inline constexpr std::int64_t attention_max_head_dim = 384;

namespace SUAN_ISA {

// out = softmax(scale * q k^T + mask) v; lse [batch, heads, q_len] contiguous, log-sum-exp of each
// row for the backward. A row that sees no key gives zeros and lse = -inf.
template <class T>
void attention_forward(const AttentionProblem<T>& problem, HeadsView<const T> q,
                       HeadsView<const T> k, HeadsView<const T> v, HeadsView<T> out, T* lse);

// Bytes that attention_backward needs at `workspace` (row sums of dout * out).
template <class T>
std::int64_t attention_backward_workspace(const AttentionProblem<T>& problem) {
  return problem.batch * problem.heads * problem.q_len * static_cast<std::int64_t>(sizeof(T));
}

// dq, dk, dv are overwritten. dk and dv are sums over the query heads of their group, in order.
template <class T>
void attention_backward(const AttentionProblem<T>& problem, HeadsView<const T> q,
                        HeadsView<const T> k, HeadsView<const T> v, HeadsView<const T> out,
                        const T* lse, HeadsView<const T> dout, HeadsView<T> dq, HeadsView<T> dk,
                        HeadsView<T> dv, void* workspace);

}  // namespace SUAN_ISA
}  // namespace suan::cpu
