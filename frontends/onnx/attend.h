// What the operators of the attention family share: heads, masks, rotations and the weighted sum itself.
#pragma once

#include "frontends/onnx/build.h"

namespace suan::onnx {

// [batch, length, heads * width] -> [batch, heads, length, width], and back.
Tensor split_heads(const Call& c, const Tensor& x, int64_t heads);
Tensor join_heads(const Tensor& x);
// first, first + 1, … (n of them) as int64. Sizes in attributes may stay open, where constants would not.
Tensor positions(int64_t n, int64_t first = 0);
Tensor cat(const Tensors& parts, int64_t axis);
// Rows of a table [n, width] -> [index..., width]; indices must not be negative.
Tensor rows_of(const Tensor& table, const Tensor& index);

// Masks are bool (true = may look) or numbers to be added to the scores; either may be missing. They broadcast to
// [batch, heads, queries, keys].
Tensor both_masks(const Tensor& a, const Tensor& b);
// Query i, at position `first` + i, sees keys up to its own, and with a window only the last `window` of these.
Tensor causal_mask(int64_t queries, int64_t keys, int64_t first, int64_t window = 0);
// Key j is there when j < length[batch]: [batch, 1, 1, keys].
Tensor length_mask(const Tensor& length, int64_t keys);

struct Attending {
  Tensor q, k, v;               // [batch, heads, queries, width]; k and v [batch, kv_heads, keys, width]
  Tensor mask;
  bool causal = false;          // query i sees keys up to i; anything else is part of the mask
  double scale = 1, softcap = 0;
  Tensor sink;                  // [heads]: a score of nothing beside the keys'
  // What is wanted beside the answer: nothing, or the scores as they are at that point.
  enum class Give : int8_t { nothing = -1, product, capped, masked, weights } give = Give::nothing;
};
struct Attended {
  Tensor out;                   // [batch, heads, queries, width of v], q's dtype
  Tensor scores;                // [batch, heads, queries, keys], q's dtype
};
Attended attend(const Attending& a);

// Rotates pairs of the first numbers of each head: x [batch, heads, length, width], cos and sin
// [batch or 1, length, half of the rotated width]. Neighbours are a pair, or else the halves.
Tensor rotate(const Call& c, const Tensor& x, const Tensor& cos, const Tensor& sin, bool neighbours);

}  // namespace suan::onnx
