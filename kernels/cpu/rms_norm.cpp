// Root-mean-square normalisation over rows of the last dimensions.
#include "kernels/cpu/lib/norm.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t rows, n;
  T eps;
  int n_in;

  static Prepared prepare(const KernelDesc& d) {
    const Shape& s = d.in[0]->layout.shape;
    const int split = s.size() - int(d.attrs.integer(0));
    auto made = std::make_shared<Make>(
        Make{product(s, 0, split), product(s, split, s.size()), T(d.attrs.real(1)),
             int(d.in.size())});
    return {[](const void* state, const KernelArgs& a) {
              const Make& m = *static_cast<const Make*>(state);
              rms_norm_forward<T>({input<T>(a, 0), m.n}, optional_input<T>(a, 1, m.n_in),
                                  m.eps, m.rows, m.n,
                                  {output<T>(a, 0), m.n}, output<T>(a, 1), epilogue_of(a));
            },
            made, 0, made->n};
  }
};

}  // namespace

Kernel kernel_rms_norm() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
