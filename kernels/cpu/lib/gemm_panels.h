// The product with a float32 B that weight_panels has packed, for gemm_run: nothing is packed in the call.
#pragma once

#include "kernels/cpu/lib/gemm.h"

namespace suan::cpu::SUAN_ISA {

// C [m, n] = A [m, k] B; each at least 1, A and C contiguous. Sums are gemm_prepare's own where it cuts no ranges of k
// (core/panels.h).
GemmPlan gemm_prepare_panels(int64_t m, int64_t n, int64_t k);

}  // namespace suan::cpu::SUAN_ISA
