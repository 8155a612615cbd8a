// Lets a kernel that computes in f32 (or f64) serve f16 and bf16: inputs are converted to f32 in
// the workspace, the kernel runs, outputs are rounded once.
#pragma once

#include "core/op.h"

namespace suan::cpu::SUAN_ISA {

// The kernel made by `prepare`, which sees f32 where the op has f16 or bf16; nothing is added when
// it has neither.
Prepared widened(const KernelDesc& d, Prepared (*prepare)(const KernelDesc&));

}  // namespace suan::cpu::SUAN_ISA
