// softmax along any axis of a contiguous tensor.
#include "kernels/cpu/lib/rowwise.h"
#include "kernels/cpu/lib/softmax.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t outer, n, inner;

  static Prepared prepare(const KernelDesc& d) {
    const Shape& s = d.in[0]->layout.shape;
    const int axis = normalize_axis(d.op.name, d.attrs.integer(0), s.size());
    auto made = std::make_shared<Make>(Make{product(s, 0, axis), s.empty() ? 1 : s[axis],
                                            product(s, axis + 1, s.size())});
    return {[](const void* state, const KernelArgs& a) {
              const Make& m = *static_cast<const Make*>(state);
              if (m.outer * m.n * m.inner == 0) return;
              softmax_forward<T>(input<T>(a, 0), output<T>(a, 0), m.outer, m.n, m.inner, false,
                                 epilogue_of(a));
            },
            made, 0, made->inner == 1 ? made->n : 0};
  }
};

}  // namespace

Kernel kernel_softmax() {
  Kernel k = float_kernel<Make<float>, Make<double>>();
  k.flags |= kernel_in_place;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
