// Convolution's gradient for its input.
#include <cstring>

#include "kernels/cpu/lib/conv_op.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run(const void* state, const KernelArgs& a) {
  const ConvState& s = *static_cast<const ConvState*>(state);
  if (s.empty) std::memset(a.out[0], 0, size_t(s.out_bytes));
  else conv_run(s.plan, a.in[0], a.in[1], a.out[0], a.workspace,
                a.epilogue ? *a.epilogue : TileEpilogue{});
}

}  // namespace

Kernel kernel_conv_input_grad() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape& x = d.out[0]->layout.shape;
    Prepared p = prepare_conv(ConvKind::input_grad, d, x, d.in[1]->layout.shape,
                              d.in[0]->layout.shape, 1, run);
    if (!static_cast<const ConvState*>(p.state.get())->empty)
      p.epilogue_row = numel(ops::spatial(x));
    return p;
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
