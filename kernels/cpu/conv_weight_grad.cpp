// Convolution's gradient for its weight.
#include <cstring>

#include "kernels/cpu/lib/conv_op.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run(const void* state, const KernelArgs& a) {
  const ConvState& s = *static_cast<const ConvState*>(state);
  if (s.empty) std::memset(a.out[0], 0, size_t(s.out_bytes));
  else conv_run(s.plan, a.in[0], a.in[1], a.out[0], a.workspace);
}

}  // namespace

Kernel kernel_conv_weight_grad() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    return prepare_conv(ConvKind::weight_grad, d, d.in[0]->layout.shape, d.out[0]->layout.shape,
                        d.in[1]->layout.shape, 1, run);
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
