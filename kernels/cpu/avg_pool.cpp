// Mean of each window.
#include "kernels/cpu/lib/averaging.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  Pooling p;
  bool count_padding;

  static Prepared prepare(const KernelDesc& d) {
    const ops::Windows w =
        ops::windows(d.op.name, d.attrs.dims(0), d.attrs.dims(1), d.attrs.dims(2), {}, true);
    return {run,
            std::make_shared<Make>(Make{pooling(d.in[0]->layout.shape, d.out[0]->layout.shape, w),
                                        d.attrs.boolean(4)})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    for_planes(m.p, [&](int64_t plane) {
      const T* x = input<T>(a, 0) + plane * m.p.in_size();
      T* y = output<T>(a, 0) + plane * m.p.out_size();
      for_windows(m.p, m.count_padding,
                  [&](int64_t o, int64_t divisor, const Pooling::Taps(&t)[3]) {
                    T sum = 0;
                    for_taps(m.p, t, [&](int64_t e) { sum += x[e]; });
                    y[o] = sum / T(divisor);
                  });
    });
  }
};

}  // namespace

Kernel kernel_avg_pool() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
