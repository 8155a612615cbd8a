// Cross-entropy's gradient for the logits, in one pass over them.
#include "kernels/cpu/lib/cross_entropy.h"

#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t rows, classes, ignore;
  T smoothing;
  bool each, mean;

  static Prepared prepare(const KernelDesc& d) {
    const Shape& s = d.in[1]->layout.shape;
    const std::string& r = d.attrs.string(2);
    return {run, std::make_shared<Make>(Make{s[0], s[1], d.attrs.integer(0), T(d.attrs.real(1)),
                                             r == "none", r == "mean"})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const int64_t* targets = input<int64_t>(a, 2);
    const T* weight = input<T>(a, 3);
    CrossEntropy<T> p{m.rows, m.classes, m.classes, targets, m.ignore, m.smoothing, weight};
    const T* g = input<T>(a, 0);
    T scaled = m.each ? T(0) : *g;
    if (m.mean) {
      double total = 0;
      for (int64_t i = 0; i < m.rows; ++i)
        if (targets[i] != m.ignore && targets[i] >= 0 && targets[i] < m.classes)
          total += weight ? double(weight[targets[i]]) : 1.0;
      scaled = T(double(*g) / total);
    }
    cross_entropy_backward<T>(p, input<T>(a, 1), input<T>(a, 4), m.each ? g : &scaled,
                              m.each ? 1 : 0, output<T>(a, 0));
  }
};

}  // namespace

Kernel kernel_cross_entropy_grad() { return float_kernel<Make<float>, Make<double>, 1>(); }

}  // namespace suan::cpu::SUAN_ISA
