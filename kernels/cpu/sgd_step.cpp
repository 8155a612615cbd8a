// Gradient descent with momentum in place, one pass.
#include "kernels/cpu/lib/optim.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t n;
  SgdOptions<T> options;
  DType lr;

  static Prepared prepare(const KernelDesc& d) {
    SgdOptions<T> o{};
    o.momentum = T(d.attrs.real(0));
    o.dampening = T(d.attrs.real(1));
    o.weight_decay = T(d.attrs.real(2));
    o.grad_scale = T(1);
    o.nesterov = d.attrs.boolean(3);
    return {run, std::make_shared<Make>(Make{d.in[0]->layout.numel(), o, d.in[3]->dtype})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    SgdOptions<T> o = m.options;
    o.lr = T(number_at(m.lr, a.in[3]));
    T* p = updated<T>(a, 0, 0, m.n);
    T* momentum = a.in[2] ? updated<T>(a, 2, 1, m.n) : nullptr;
    suan::cpu::SUAN_ISA::sgd_step<T>(p, input<T>(a, 1), momentum, m.n, o);
  }
};

}  // namespace

Kernel kernel_sgd_step() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
