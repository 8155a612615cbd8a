// Complex to complex, along the last but one dimension.
#include "kernels/cpu/lib/fft.h"
#include "kernels/cpu/lib/widened.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_fft_c2c() {
  Kernel k;
  k.prepare = [](const KernelDesc& given) {
    return widened(given, [](const KernelDesc& d) {
      const Shape& s = d.in[0]->layout.shape;
      const int64_t n = s[s.size() - 2];
      const int64_t rows = d.in[0]->layout.numel() / (2 * n);
      return prepare_fft(d.attrs.boolean(0) ? Transform::c2c_inverse : Transform::c2c,
                         d.in[0]->dtype, rows, n);
    });
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
