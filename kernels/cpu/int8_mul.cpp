// Products of two 8-bit integers in f32, rounded to a third.
#include "kernels/cpu/lib/int8_pairs.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct Product {
  static constexpr int out_zero = 5;
  static auto of(const KernelArgs& x) {
    const float by = *static_cast<const float*>(x.in[4]);
    return [=](auto a, auto b) { return a * b * by; };
  }
};

}  // namespace

Kernel kernel_int8_mul() { return int8_pairs_kernel<Product>(); }

}  // namespace suan::cpu::SUAN_ISA
