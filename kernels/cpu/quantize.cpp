// Floats as 8-bit integers, contiguous.
#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/quantize.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
void run(const void* state, const KernelArgs& a) {
  const int64_t n = *static_cast<const int64_t*>(state);
  const float *x = static_cast<const float*>(a.in[0]), scale = *static_cast<const float*>(a.in[1]);
  const int32_t zero = a.in[2] ? *static_cast<const T*>(a.in[2]) : 0;
  T* out = static_cast<T*>(a.out[0]);
  parallel_for((n + quantize_piece - 1) / quantize_piece, [&](int64_t t) {
    const int64_t at = t * quantize_piece;
    quantize_row(x + at, scale, zero, std::min(quantize_piece, n - at), out + at);
  });
}

}  // namespace

Kernel kernel_quantize() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    auto n = std::make_shared<int64_t>(d.in[0]->layout.numel());
    return Prepared{d.out[0]->dtype == DType::u8 ? run<uint8_t> : run<int8_t>, n};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
