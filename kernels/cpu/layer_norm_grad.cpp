// Layer normalisation's gradients; parameters' only when asked for.
#include "kernels/cpu/lib/norm.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t rows, n;
  bool weight, bias;

  static Prepared prepare(const KernelDesc& d) {
    const Shape& s = d.in[1]->layout.shape;
    const int split = s.size() - int(d.attrs.integer(0));
    auto made = std::make_shared<Make>(Make{product(s, 0, split), product(s, split, s.size()),
                                            d.attrs.boolean(2), d.attrs.boolean(3)});
    const int64_t workspace = norm_backward_workspace(made->rows, made->n, sizeof(T));
    return {[](const void* state, const KernelArgs& a) {
              const Make& m = *static_cast<const Make*>(state);
              layer_norm_backward<T>({input<T>(a, 0), m.n}, {input<T>(a, 1), m.n}, input<T>(a, 2),
                                     input<T>(a, 3), input<T>(a, 4), m.rows, m.n,
                                     {output<T>(a, 0), m.n}, m.weight ? output<T>(a, 1) : nullptr,
                                     m.bias ? output<T>(a, 2) : nullptr, a.workspace,
                                     epilogue_of(a));
            },
            made, workspace, made->n};
  }
};

}  // namespace

Kernel kernel_layer_norm_grad() { return float_kernel<Make<float>, Make<double>, 1>(); }

}  // namespace suan::cpu::SUAN_ISA
