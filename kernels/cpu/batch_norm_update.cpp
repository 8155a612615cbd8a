// Running statistics, in place.
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t n;
  double momentum, unbias;

  static Prepared prepare(const KernelDesc& d) {
    const double count = double(d.attrs.integer(1));
    return {run, std::make_shared<Make>(Make{d.in[0]->layout.numel(), d.attrs.real(0),
                                             count > 1 ? count / (count - 1) : 1})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    T *mean = updated<T>(a, 0, 0, m.n), *var = updated<T>(a, 1, 1, m.n);
    const T *batch_mean = input<T>(a, 2), *batch_var = input<T>(a, 3);
    for (int64_t i = 0; i < m.n; ++i) {
      mean[i] = T((1 - m.momentum) * double(mean[i]) + m.momentum * double(batch_mean[i]));
      var[i] = T((1 - m.momentum) * double(var[i]) + m.momentum * double(batch_var[i]) * m.unbias);
    }
  }
};

}  // namespace

Kernel kernel_batch_norm_update() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
