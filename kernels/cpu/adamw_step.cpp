// AdamW in place, one pass.
#include <cmath>

#include "kernels/cpu/lib/optim.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t n;
  double beta1, beta2, eps, decay;
  DType lr, step, scale;
  bool scaled;

  static Prepared prepare(const KernelDesc& d) {
    return {run,
            std::make_shared<Make>(Make{d.in[0]->layout.numel(), d.attrs.real(0), d.attrs.real(1),
                                        d.attrs.real(2), d.attrs.real(3), d.in[4]->dtype,
                                        d.in[5]->dtype, d.has(6) ? d.in[6]->dtype : DType::f32, d.has(6)})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const double step = number_at(m.step, a.in[5]);
    AdamWOptions<T> o{T(number_at(m.lr, a.in[4])), T(m.beta1), T(m.beta2), T(m.eps), T(m.decay),
                      T(1 - std::pow(m.beta1, step)), T(1 - std::pow(m.beta2, step))};
    if (m.scaled) o.grad_scale = T(number_at(m.scale, a.in[6]));
    T* p = updated<T>(a, 0, 0, m.n);
    T* exp_avg = updated<T>(a, 2, 1, m.n);
    T* exp_avg_sq = updated<T>(a, 3, 2, m.n);
    suan::cpu::SUAN_ISA::adamw_step<T>(p, input<T>(a, 1), exp_avg, exp_avg_sq, m.n, o);
  }
};

}  // namespace

Kernel kernel_adamw_step() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
