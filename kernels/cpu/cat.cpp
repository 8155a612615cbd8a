// Concatenation: one strided move per input into its part of the output.
#include <vector>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct Part {
  Move move;
  int64_t at;  // bytes into the output
};
using State = std::vector<Part>;

void run(const void* state, const KernelArgs& a) {
  const State& parts = *static_cast<const State*>(state);
  for (size_t i = 0; i < parts.size(); ++i)
    run_move(parts[i].move, static_cast<std::byte*>(a.out[0]) + parts[i].at, a.in[i]);
}

}  // namespace

Kernel kernel_cat() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.prepare = [](const KernelDesc& d) {
    const Layout& out = d.out[0]->layout;
    const int item = int(item_size(d.out[0]->dtype));
    const int64_t given = d.attrs.integer(0);
    const int axis = int(given < 0 ? given + out.rank() : given);
    auto state = std::make_shared<State>();
    int64_t at = 0;
    for (const TensorDesc* in : d.in) {
      state->push_back({plan_move(in->layout.shape, out.strides, in->layout.strides, item),
                        at * out.strides[axis] * item});
      at += in->layout.shape[axis];
    }
    return Prepared{run, state};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
