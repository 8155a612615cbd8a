// Means of 8-bit integers over an image, channels last: exact sums, 256 channels a task.
#include <algorithm>

#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/int8_finish.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t batch, n, channels;
  DType to;
};

template <class X, class T>
void run_of(const State& s, const KernelArgs& a) {
  constexpr int64_t piece = 256;
  const X *x = static_cast<const X*>(a.in[0]), *x_zero = static_cast<const X*>(a.in[1]);
  const float by = *static_cast<const float*>(a.in[2]) * float(1.0 / double(s.n));
  const int32_t zero = a.in[3] ? *static_cast<const T*>(a.in[3]) : 0, less = int32_t(uint32_t(x_zero ? *x_zero : 0) * uint32_t(s.n));
  const float lo = float(std::numeric_limits<T>::min() - zero), hi = float(std::numeric_limits<T>::max() - zero);
  T* out = static_cast<T*>(a.out[0]);
  const int64_t pieces = (s.channels + piece - 1) / piece;
  parallel_for(s.batch * pieces, [&](int64_t t) {
    const int64_t first = t % pieces * piece, n = std::min(piece, s.channels - first);
    const X* from = x + t / pieces * s.n * s.channels + first;
    int32_t sums[piece] = {};
    for (int64_t p = 0; p < s.n; ++p, from += s.channels)
      for (int64_t i = 0; i < n; ++i) sums[i] += from[i];
    for (int64_t i = 0; i < n; ++i) {
      float v = float(sums[i] - less) * by;
      v = v > lo ? v : lo;
      v = v < hi ? v : hi;
      out[t / pieces * s.channels + first + i] = T(int32_t(__builtin_rintf(v)) + zero);
    }
  });
}

}  // namespace

Kernel kernel_int8_mean() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape& x = d.in[0]->layout.shape;
    const bool u = d.in[0]->dtype == DType::u8, to_u = d.out[0]->dtype == DType::u8;
    using Run = void (*)(const void*, const KernelArgs&);
    const auto of = [](auto from, auto to) -> Run {
      return [](const void* s, const KernelArgs& a) { run_of<decltype(from), decltype(to)>(*static_cast<const State*>(s), a); };
    };
    const Run run = u ? (to_u ? of(uint8_t{}, uint8_t{}) : of(uint8_t{}, int8_t{})) : to_u ? of(int8_t{}, uint8_t{}) : of(int8_t{}, int8_t{});
    return Prepared{run, std::make_shared<State>(State{x[0], x[1] * x[2], x[3], d.out[0]->dtype})};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
