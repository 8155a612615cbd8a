// The product of gemm_panels.h by one level of Strassen's algorithm in Winograd's form: 7 products of halves instead of 8
// (Strassen, 1969; Winograd, 1971). It rounds elsewhere than the plain product: numeric option. B is the panels of
// weight_panels as they are; sums of its quarters are made panel by panel, in cache, so weights stay once in memory.
#pragma once

#include "kernels/cpu/lib/gemm.h"

namespace suan::cpu::SUAN_ISA {

struct StrassenPlan {
  int64_t m = 0, n = 0, k = 0;
  int64_t chunks = 0;       // of rows, each halved for itself
  int64_t range = 0;        // values of k/2 that are summed in one go
  int64_t depth = 0;        // values of k in a block of B's panels
  size_t workspace = 0;     // bytes that strassen_run needs, 64-byte aligned
};

// Whether sizes can be halved, and are large enough to gain.
bool strassen_fits(int64_t m, int64_t n, int64_t k);
// C [m, n] = A [m, k] B, contiguous. An element's bits depend on the sizes and its place alone.
StrassenPlan strassen_prepare(int64_t m, int64_t n, int64_t k);
// Whether rows that meet are alike: the error of each goes by the larger, so their largest values may differ by 32 times, and
// an infinity or NaN would spoil both.
bool strassen_suits(const StrassenPlan& plan, const float* a);
void strassen_run(const StrassenPlan& plan, const float* a, const float* panels, float* c, void* workspace,
                  TileEpilogue epilogue = {});

}  // namespace suan::cpu::SUAN_ISA
