// Floats as 8-bit integers, contiguous.
#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/quantize.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t n;
  bool moved;   // a zero point is given
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const float *x = static_cast<const float*>(a.in[0]), scale = *static_cast<const float*>(a.in[1]);
  const int32_t zero = s.moved ? *static_cast<const T*>(a.in[2]) : 0;
  T* out = static_cast<T*>(a.out[0]);
  parallel_for((s.n + quantize_piece - 1) / quantize_piece, [&](int64_t t) {
    const int64_t at = t * quantize_piece;
    quantize_row(x + at, scale, zero, std::min(quantize_piece, s.n - at), out + at);
  });
}

}  // namespace

Kernel kernel_quantize() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    auto state = std::make_shared<State>(State{d.in[0]->layout.numel(), d.has(2)});
    return Prepared{d.out[0]->dtype == DType::u8 ? run<uint8_t> : run<int8_t>, state};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
