// start, start + step, ...: each element from its index, so no error builds up.
#include <algorithm>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  double start, step;
  int64_t n;
  DType dtype;
};

// Integer dtypes step in int64; low-precision floats in f64 through f32.
template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  constexpr int64_t tile = 1024;
  run_ranges(s.n, inline_elements, s.n, [&](int64_t begin, int64_t end) {
    T values[tile];
    for (int64_t i = begin; i < end; i += tile) {
      const int64_t m = std::min(tile, end - i);
      for (int64_t j = 0; j < m; ++j) {
        if constexpr (std::is_floating_point_v<T>) values[j] = T(s.start + double(i + j) * s.step);
        else values[j] = T(int64_t(s.start) + (i + j) * int64_t(s.step));
      }
      store_tile(s.dtype, a.out[0], i, m, values);
    }
  });
}

}  // namespace

Kernel kernel_arange() {
  return {[](const KernelDesc& d) {
    auto state = std::make_shared<State>(State{d.attrs.real(0), d.attrs.real(2),
                                               d.out[0]->layout.numel(), d.out[0]->dtype});
    return with_compute(state->dtype, [&](auto t) { return Prepared{run<decltype(t)>, state}; });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
