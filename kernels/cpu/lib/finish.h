// What often follows a convolution, for kernels that do it to their sums before they store them.
#pragma once

#include "core/op.h"

namespace suan::cpu::SUAN_ISA {

// + add, then relu, or maximum with low and minimum with high, or (gated, of f32 alone) x times what x * scale + shift is
// after these: hard swish. Of f32, or of bf16 (conv_pairs, conv_winograd_pairs), which is added as it
// would be after a rounding of the sums.
struct Finish {
  const float* add = nullptr;          // laid out as output 0
  const uint16_t* add_bf16 = nullptr;  // the same for results of bf16
  bool relu = false, bounded = false, gated = false;
  float low = 0, high = 0, scale = 0, shift = 0;
};

// The run of conv_blocked, conv_winograd or one of their pairs with a finish in place of an epilogue.
using RunFinished = void (*)(const void* state, const KernelArgs& a, const Finish& finish);
void conv_blocked_finished(const void* state, const KernelArgs& a, const Finish& finish);
void conv_winograd_finished(const void* state, const KernelArgs& a, const Finish& finish);
void conv_pairs_finished(const void* state, const KernelArgs& a, const Finish& finish);
void conv_winograd_pairs_finished(const void* state, const KernelArgs& a, const Finish& finish);

}  // namespace suan::cpu::SUAN_ISA
