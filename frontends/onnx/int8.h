// What the importers of quantised operators share.
#pragma once

#include "frontends/onnx/build.h"

namespace suan::onnx {

inline bool is_byte(DType t) { return t == DType::u8 || t == DType::i8; }

// What int8_matmul takes: zero points of x in one, those of the weight in one or one per column.
bool int8_multiplies(const Tensor& x, const Tensor& x_zero, const Tensor& w, const Tensor& w_zero);
// x times w, vectors being matrices of one row or column; parameters of one element may have any rank.
Tensor int8_product(const Tensor& x, const Tensor& w, const Tensor& x_zero, const Tensor& w_zero, const Tensor& bias,
                    const Tensor& scale, const Tensor& out_zero, DType to);

Values build_dynamic_quantize_lstm(Call& c);
// Microsoft's Attention with c's attributes, mask (input 3) and past (4), on what has been projected already:
// [batch, length, q and k and v].
Values attention_of(Call& c, const Tensor& projected);

}  // namespace suan::onnx
