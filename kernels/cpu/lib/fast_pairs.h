// Whether vdpbf16ps is worth using.
#pragma once

namespace suan::cpu {

// Whether it does its two products a lane in well under the time of two fma: measured, once, in some 20 us. Zen 4 and 5 run
// it at the rate of fma, Emerald Rapids at a quarter of that, and claims it all the same. What is decided changes no bit but
// of subnormal numbers. Defined in gemm.cpp.
namespace avx512 {
bool fast_pairs();
}
namespace avx2 {
inline bool fast_pairs() { return false; }
}

}  // namespace suan::cpu
