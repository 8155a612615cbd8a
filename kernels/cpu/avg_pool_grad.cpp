// Shares each window's gradient among its elements; a plane is one thread's, so the order is fixed.
#include <cstring>

#include "kernels/cpu/lib/averaging.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  Pooling p;
  bool count_padding;

  static Prepared prepare(const KernelDesc& d) {
    const ops::Windows w =
        ops::windows(d.op.name, d.attrs.dims(1), d.attrs.dims(2), d.attrs.dims(3), {}, true);
    return {run,
            std::make_shared<Make>(Make{pooling(d.out[0]->layout.shape, d.in[0]->layout.shape, w),
                                        d.attrs.boolean(5)})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    for_planes(m.p, [&](int64_t plane) {
      const T* g = input<T>(a, 0) + plane * m.p.out_size();
      T* dx = output<T>(a, 0) + plane * m.p.in_size();
      std::memset(dx, 0, size_t(m.p.in_size()) * sizeof(T));
      for_windows(m.p, m.count_padding,
                  [&](int64_t o, int64_t divisor, const Pooling::Taps(&t)[3]) {
                    const T share = g[o] / T(divisor);
                    for_taps(m.p, t, [&](int64_t e) { dx[e] += share; });
                  });
    });
  }
};

}  // namespace

Kernel kernel_avg_pool_grad() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
