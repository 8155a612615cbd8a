// Complex to real, along the last but one dimension.
#include "kernels/cpu/lib/fft.h"
#include "kernels/cpu/lib/widened.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_fft_c2r() {
  Kernel k;
  k.prepare = [](const KernelDesc& given) {
    return widened(given, [](const KernelDesc& d) {
      const Shape& s = d.out[0]->layout.shape;
      const int64_t n = s.back();
      return prepare_fft(Transform::c2r, d.in[0]->dtype, numel(s) / n, n);
    });
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
