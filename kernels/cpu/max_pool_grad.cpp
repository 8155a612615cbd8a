// Adds each window's gradient at the place that won; a plane is one thread's, so the order is
// fixed.
#include <atomic>
#include <cstring>

#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t planes, in, out;

  static Prepared prepare(const KernelDesc& d) {
    const Shape &g = d.in[0]->layout.shape, &x = d.out[0]->layout.shape;
    return {run, std::make_shared<Make>(
                     Make{g[0] * g[1], product(x, 2, x.size()), product(g, 2, g.size())})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const T* g = input<T>(a, 0);
    const int64_t* indices = input<int64_t>(a, 1);
    T* dx = output<T>(a, 0);
    std::atomic<int64_t> wrong{-1};
    const int64_t grain = inline_elements / (m.in + m.out + 1) + 1;
    run_ranges(m.planes, grain, m.planes * (m.in + m.out), [&](int64_t begin, int64_t end) {
      std::memset(dx + begin * m.in, 0, size_t((end - begin) * m.in) * sizeof(T));
      for (int64_t p = begin; p < end; ++p)
        for (int64_t i = p * m.out; i < (p + 1) * m.out; ++i) {
          if (uint64_t(indices[i]) >= uint64_t(m.in)) wrong.store(i, std::memory_order_relaxed);
          else dx[p * m.in + indices[i]] += g[i];
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
