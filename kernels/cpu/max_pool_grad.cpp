// Adds each window's gradient at the place that won; a plane is one thread's, so the order is
// fixed. Where all places lie in 2×2 windows side by side, each row is written once and whole.
#include <atomic>
#include <cstring>

#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

// One row of windows into the two rows under it; false if a place is outside its own window.
template <class T>
bool quarter_row(const T* __restrict g, const int64_t* __restrict places, int64_t first, int64_t n,
                 int64_t width, T* __restrict top, T* __restrict low) {
  uint64_t outside = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t place = uint64_t(places[i] - first - 2 * i);
    outside |= uint64_t(place > 1) & uint64_t(place - uint64_t(width) > 1);
    const int32_t at = int32_t(place);
    const T value = g[i] + T(0);  // as a sum that began at zero: never -0
    top[2 * i] = at == 0 ? value : T(0);
    top[2 * i + 1] = at == 1 ? value : T(0);
    low[2 * i] = at == int32_t(width) ? value : T(0);
    low[2 * i + 1] = at == int32_t(width) + 1 ? value : T(0);
  }
  return outside == 0;
}

template <class T>
struct Make {
  int64_t planes, in, out;
  int64_t height = 0, width = 0;  // of the input, where windows may be 2×2

  static Prepared prepare(const KernelDesc& d) {
    const Shape &g = d.in[0]->layout.shape, &x = d.out[0]->layout.shape;
    Make m{g[0] * g[1], product(x, 2, x.size()), product(g, 2, g.size())};
    if (x.size() == 4 && x[2] / 2 == g[2] && x[3] / 2 == g[3] && x[3] > 1)
      m.height = x[2], m.width = x[3];
    return {run, std::make_shared<Make>(m)};
  }

  bool quarters(const T* g, const int64_t* places, T* dx) const {
    const int64_t n = width / 2;
    for (int64_t row = 0; row < height / 2; ++row, g += n, places += n) {
      T *top = dx + 2 * row * width, *low = top + width;
      if (!quarter_row(g, places, 2 * row * width, n, width, top, low)) return false;
      if (width % 2) top[width - 1] = low[width - 1] = T(0);
    }
    if (height % 2) std::memset(dx + (height - 1) * width, 0, size_t(width) * sizeof(T));
    return true;
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const T* grads = input<T>(a, 0);
    const int64_t* indices = input<int64_t>(a, 1);
    T* out = output<T>(a, 0);
    std::atomic<int64_t> wrong{-1};
    const int64_t grain = inline_elements / (m.in + m.out + 1) + 1;
    run_ranges(m.planes, grain, m.planes * (m.in + m.out), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const T* g = grads + p * m.out;
        const int64_t* places = indices + p * m.out;
        T* dx = out + p * m.in;
        if (m.width > 0 && m.quarters(g, places, dx)) continue;
        std::memset(dx, 0, size_t(m.in) * sizeof(T));
        for (int64_t i = 0; i < m.out; ++i) {
          if (uint64_t(places[i]) >= uint64_t(m.in))
            wrong.store(p * m.out + i, std::memory_order_relaxed);
          else
            dx[places[i]] += g[i];
        }
      }
    });
    if (wrong >= 0)
      fail<IndexError>("max_pool_grad", "index out of range: expected 0 to {}, got {}", m.in - 1,
                       indices[wrong]);
  }
};

}  // namespace

Kernel kernel_max_pool_grad() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
