// attention_forward of bf16 in memory: q, k and v are read and the result written as they lie, products multiply pairs.
#pragma once

#include "kernels/cpu/lib/attention.h"

namespace suan::cpu::SUAN_ISA {

// Numbers of bf16 are their bits. `problem.mask` is not looked at. The very bits of attention_forward on the same numbers
// widened (`narrow`), its result rounded; lse may be null. To be run only where fast_pairs().
void attention_forward_pairs(const AttentionProblem<float>& problem, const AttentionMask<std::uint16_t>& mask,
                             HeadsView<const std::uint16_t> q, HeadsView<const std::uint16_t> k,
                             HeadsView<const std::uint16_t> v, HeadsView<std::uint16_t> out, float* lse);

}  // namespace suan::cpu::SUAN_ISA
