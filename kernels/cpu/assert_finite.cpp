// Looks for NaN and infinity by the exponent's bits.
#include <algorithm>
#include <atomic>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  DType dtype;
  int64_t n;
  std::string label;
};

template <class T>
bool finite(DType t, const void* p, int64_t from, int64_t to) {
  constexpr int64_t piece = 512;
  T values[piece];
  for (int64_t i = from; i < to; i += piece) {
    const int64_t n = std::min(piece, to - i);
    load_tile<T>(t, p, i, n, values);
    T sum = 0;  // x - x is 0 for a finite x, else NaN
    for (int64_t j = 0; j < n; ++j) sum += values[j] - values[j];
    if (!(sum == 0)) return false;
  }
  return true;
}

}  // namespace

Kernel kernel_assert_finite() {
  return {[](const KernelDesc& d) {
    auto s = std::make_shared<State>(
        State{d.in[0]->dtype, d.in[0]->layout.numel(), d.attrs.string(0)});
    return Prepared{[](const void* state, const KernelArgs& a) {
                      const State& s = *static_cast<const State*>(state);
                      std::atomic<bool> good{true};
                      run_ranges(s.n, 16384, s.n, [&](int64_t begin, int64_t end) {
                        const bool ok = s.dtype == DType::f64
                                            ? finite<double>(s.dtype, a.in[0], begin, end)
                                            : finite<float>(s.dtype, a.in[0], begin, end);
                        if (!ok) good.store(false, std::memory_order_relaxed);
                      });
                      if (!good)
                        fail<ValueError>(
                            "assert_finite",
                            "not finite: expected finite values in {}, got a NaN or an "
                            "infinity",
                            s.label);
                      *static_cast<uint8_t*>(a.out[0]) = 1;
                    },
                    s};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
