// Sums of two 8-bit integers in f32, rounded to a third.
#include "kernels/cpu/lib/int8_pairs.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct Sum {
  static constexpr int out_zero = 6;
  static auto of(const KernelArgs& x) {
    const float ra = *static_cast<const float*>(x.in[4]), rb = *static_cast<const float*>(x.in[5]);
    return [=](auto a, auto b) { return a * ra + b * rb; };
  }
};

}  // namespace

Kernel kernel_int8_add() { return int8_pairs_kernel<Sum>(); }

}  // namespace suan::cpu::SUAN_ISA
