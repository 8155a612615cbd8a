// Cross-entropy of rows; the reduction adds rows in a fixed order in f64.
#include "kernels/cpu/lib/cross_entropy.h"

#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t rows, classes, ignore;
  T smoothing;
  bool each, mean;
  int n_in;

  static Prepared prepare(const KernelDesc& d) {
    const Shape& s = d.in[0]->layout.shape;
    const std::string& r = d.attrs.string(2);
    auto made = std::make_shared<Make>(Make{s[0], s[1], d.attrs.integer(0), T(d.attrs.real(1)),
                                            r == "none", r == "mean", int(d.in.size())});
    return {run, made, 2 * s[0] * int64_t(sizeof(T))};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    CrossEntropy<T> p{m.rows, m.classes, m.classes, input<int64_t>(a, 1), m.ignore, m.smoothing,
                      optional_input<T>(a, 2, m.n_in)};
    T* row_weight = static_cast<T*>(a.workspace);
    T* loss = m.each ? output<T>(a, 0) : row_weight + m.rows;
    cross_entropy_forward<T>(p, input<T>(a, 0), loss, output<T>(a, 1), row_weight);
    if (m.each) return;
    double total = 0, weight = 0;
    for (int64_t i = 0; i < m.rows; ++i) total += double(loss[i]), weight += double(row_weight[i]);
    *output<T>(a, 0) = T(m.mean ? total / weight : total);
  }
};

}  // namespace

Kernel kernel_cross_entropy() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
