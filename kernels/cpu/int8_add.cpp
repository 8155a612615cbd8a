// Sums of two 8-bit integers in f32, rounded to a third.
#include "kernels/cpu/lib/int8_pairs.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  Int8Pairs pairs;
  DType a, b, to;
};

void run(const void* state, const KernelArgs& x) {
  const State& s = *static_cast<const State*>(state);
  const float ra = *static_cast<const float*>(x.in[4]), rb = *static_cast<const float*>(x.in[5]);
  const int32_t zero = x.in[6] ? read_byte(x.in[6], s.to) : 0;
  with_byte(s.a, [&](auto a) {
    with_byte(s.b, [&](auto b) {
      with_byte(s.to, [&](auto t) {
        int8_pairs_run<decltype(a), decltype(b), decltype(t)>(s.pairs, x, zero, [=](auto a, auto b) { return a * ra + b * rb; });
      });
    });
  });
}

}  // namespace

Kernel kernel_int8_add() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    return Prepared{run, std::make_shared<State>(State{int8_pairs(d), d.in[0]->dtype, d.in[1]->dtype, d.out[0]->dtype})};
  };
  k.supports = int8_pairs_supported;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
