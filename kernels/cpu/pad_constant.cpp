// A frame of one value around the input (or, where a pad is negative, a cut).
#include <algorithm>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  Move move;
  int64_t n, in_at, out_at;  // offsets in bytes
  int item;
  bool covered, has_value;
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const Word16 zero{};
  if (!s.covered) fill_elements(a.out[0], s.has_value ? a.in[1] : &zero, s.n, s.item);
  run_move(s.move, static_cast<std::byte*>(a.out[0]) + s.out_at,
           static_cast<const std::byte*>(a.in[0]) + s.in_at);
}

}  // namespace

Kernel kernel_pad_constant() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.prepare = [](const KernelDesc& d) {
    const Layout& in = d.in[0]->layout;
    const Layout& out = d.out[0]->layout;
    const std::vector<int64_t>& pads = d.attrs.ints(0);
    State s;
    s.item = int(item_size(d.in[0]->dtype));
    s.n = out.numel();
    s.in_at = s.out_at = 0;
    s.has_value = d.has(1);
    Shape shape = in.shape;
    for (size_t i = 0; i < pads.size() / 2; ++i) {
      const int axis = in.rank() - 1 - int(i);
      const int64_t lo = pads[2 * i], hi = pads[2 * i + 1];
      shape[axis] = std::max<int64_t>(0, in.shape[axis] + std::min<int64_t>(lo, 0) + std::min<int64_t>(hi, 0));
      s.in_at += std::max<int64_t>(0, -lo) * in.strides[axis] * s.item;
      s.out_at += std::max<int64_t>(0, lo) * out.strides[axis] * s.item;
    }
    s.move = plan_move(shape, out.strides, in.strides, s.item);
    s.covered = s.move.total == s.n;
    return Prepared{run, std::make_shared<State>(s)};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
