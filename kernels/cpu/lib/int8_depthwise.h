// Depthwise convolution of 8-bit integers, channels last. The weight is packed as ops/quant/int8_windows.h says.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace suan::cpu {

struct Int8Depthwise {
  int64_t batch, channels, in[2], out[2], kernel[2], stride[2], dilation[2], low[2];
  DType to;
  bool scale_each;
  uint8_t x_flip;            // exclusive-ored to x: 0x80 for signed values
  int32_t x_zero, out_zero;  // x_zero after that
  const int32_t* w_zero;     // each channel's; null: none
  const uint8_t* x;          // [batch, in, channels]
  const void* weight;
  const int32_t* bias;       // or null
  const float* scale;        // one or each
  void* out_at;
};
// Whether a line's windows fit where they are laid out.
inline bool int8_depthwise_fits(int64_t height, int64_t span) { return (height + 3) / 4 * span <= 2048; }

#define SUAN_DECLARE_INT8_DEPTHWISE(ISA)                                                                         \
  namespace ISA {                                                                                                \
  void int8_depthwise(const Int8Depthwise& d);                                                                   \
  void int8_depthwise_pack(const uint8_t* w, int64_t channels, int64_t height, int64_t width, uint8_t flip, uint8_t* packed);  \
  }
SUAN_DECLARE_INT8_DEPTHWISE(avx2)
SUAN_DECLARE_INT8_DEPTHWISE(avx512)
#undef SUAN_DECLARE_INT8_DEPTHWISE

}  // namespace suan::cpu
