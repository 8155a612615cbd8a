// A copy of the base with a strided region replaced by src; where the region overlaps itself, the last
// element in src's order stays.
#include <cstring>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  Move base, region;
  Odometer<2> serial;  // src's order, for regions that overlap themselves
  bool overlaps;
  int64_t at;          // elements
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  run_move(s.base, a.out[0], a.in[0]);
  std::byte* out = element(a.out[0], s.at, s.base.item);
  if (!s.overlaps) return run_move(s.region, out, a.in[1]);
  with_word(s.base.item, [&](auto word) {
    using W = decltype(word);
    Odometer<2> o = s.serial;
    o.seek(0);
    for (int64_t i = 0; i < s.region.total; ++i, o.next())
      reinterpret_cast<W*>(out)[o.offset[0]] = static_cast<const W*>(a.in[1])[o.offset[1]];
  });
}

}  // namespace

Kernel kernel_as_strided_scatter() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.prepare = [](const KernelDesc& d) {
    State s;
    const int item = int(item_size(d.in[0]->dtype));
    const Layout& src = d.in[1]->layout;
    const Layout region(d.attrs.dims(0), d.attrs.dims(1), 0);
    s.base = plan_contiguous_move(d.in[0]->layout.shape, d.in[0]->layout.strides, item);
    s.region = plan_move(region.shape, region.strides, src.strides, item);
    s.overlaps = region.overlaps_itself();
    s.at = d.attrs.integer(2);
    s.serial.rank = region.rank();
    for (int i = 0; i < region.rank(); ++i) {
      s.serial.size[i] = region.shape[i];
      s.serial.stride[0][i] = region.strides[i];
      s.serial.stride[1][i] = src.strides[i];
    }
    return Prepared{run, std::make_shared<State>(s)};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
