// The elements of a strided region of the contiguous input, as a tensor of their own.
#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  Move move;
  int64_t at;  // bytes
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  run_move(s.move, a.out[0], static_cast<const std::byte*>(a.in[0]) + s.at);
}

}  // namespace

Kernel kernel_as_strided_copy() {
  return {[](const KernelDesc& d) {
    const int item = int(item_size(d.in[0]->dtype));
    return Prepared{run, std::make_shared<State>(State{
                             plan_contiguous_move(d.attrs.dims(0), d.attrs.dims(1), item),
                             d.attrs.integer(2) * item})};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
