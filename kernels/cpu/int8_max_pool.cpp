// Largest 8-bit integer of each window, channels last: rows of channels against rows of channels.
#include <algorithm>
#include <limits>

#include "core/op.h"
#include "core/pool.h"
#include "ops/nn/windows.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t batch, in[2], out[2], channels, kernel[2], stride[2], dilation[2], low[2];
};

constexpr int64_t most_taps = 256;

// The largest of n taps, for whole vectors of `wide` channels from `first` on; gives the first channel that is left.
template <class T, int64_t wide>
int64_t largest(const T* const* taps, int n, T* to, int64_t first, int64_t channels) {
  typedef T Vector __attribute__((vector_size(wide)));
  typedef T Unaligned __attribute__((vector_size(wide), aligned(1), may_alias));
  for (; first + wide <= channels; first += wide) {
    Vector best = Vector{} + std::numeric_limits<T>::min();
    for (int k = 0; k < n; ++k) {
      const Vector v = *reinterpret_cast<const Unaligned*>(taps[k] + first);
      best = v > best ? v : best;
    }
    *reinterpret_cast<Unaligned*>(to + first) = best;
  }
  return first;
}

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State s = *static_cast<const State*>(state);   // its own: bytes may alias anything
  const T* x = static_cast<const T*>(a.in[0]);
  T* out = static_cast<T*>(a.out[0]);
  const int64_t lines = s.batch * s.out[0], each = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, s.out[1] * s.channels));
  parallel_for((lines + each - 1) / each, [&](int64_t t) {
    for (int64_t line = t * each; line < std::min(lines, (t + 1) * each); ++line) {
      const T* image = x + line / s.out[0] * s.in[0] * s.in[1] * s.channels;
      const int64_t top = line % s.out[0] * s.stride[0] - s.low[0];
      for (int64_t j = 0; j < s.out[1]; ++j) {
        const int64_t left = j * s.stride[1] - s.low[1];
        T* to = out + (line * s.out[1] + j) * s.channels;
        const T* taps[most_taps];
        int n = 0;
        for (int64_t r = 0; r < s.kernel[0]; ++r)
          for (int64_t c = 0; c < s.kernel[1]; ++c) {
            const int64_t y = top + r * s.dilation[0], at = left + c * s.dilation[1];
            if (y >= 0 && y < s.in[0] && at >= 0 && at < s.in[1]) taps[n++] = image + (y * s.in[1] + at) * s.channels;
          }
        int64_t i = largest<T, 64>(taps, n, to, 0, s.channels);
        i = largest<T, 16>(taps, n, to, i, s.channels);
        for (; i < s.channels; ++i) {
          T best = std::numeric_limits<T>::min();
          for (int k = 0; k < n; ++k) best = std::max(best, taps[k][i]);
          to[i] = best;
        }
      }
    }
  });
}

}  // namespace

Kernel kernel_int8_max_pool() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape &x = d.in[0]->layout.shape, &out = d.out[0]->layout.shape;
    const ops::Windows w = ops::windows(d.op.name, d.attrs.dims(0), d.attrs.dims(1), d.attrs.dims(2), d.attrs.dims(3), true);
    return Prepared{d.in[0]->dtype == DType::u8 ? run<uint8_t> : run<int8_t>,
                    std::make_shared<State>(State{x[0], {x[1], x[2]}, {out[1], out[2]}, x[3], {w.kernel[0], w.kernel[1]},
                                                  {w.strides[0], w.strides[1]}, {w.dilation[0], w.dilation[1]}, {w.padding[0], w.padding[1]}})};
  };
  k.supports = [](const KernelDesc& d) { return d.attrs.dims(0)[0] * d.attrs.dims(0)[1] <= most_taps; };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
