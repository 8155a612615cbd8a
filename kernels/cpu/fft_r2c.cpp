// Real to complex, along the last dimension.
#include "kernels/cpu/lib/fft.h"
#include "kernels/cpu/lib/widened.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_fft_r2c() {
  Kernel k;
  k.prepare = [](const KernelDesc& given) {
    return widened(given, [](const KernelDesc& d) {
      const Shape& s = d.in[0]->layout.shape;
      const int64_t n = s.back();
      return prepare_fft(Transform::r2c, d.in[0]->dtype, numel(s) / n, n);
    });
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
