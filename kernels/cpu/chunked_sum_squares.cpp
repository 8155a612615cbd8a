// Sum of squares in f64 through fixed chunks.
#include "kernels/cpu/lib/optim.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t n;

  static Prepared prepare(const KernelDesc& d) {
    const int64_t n = d.in[0]->layout.numel();
    return {[](const void* state, const KernelArgs& a) {
              const int64_t n = static_cast<const Make*>(state)->n;
              *output<T>(a, 0) =
                  T(sum_squares<T>(input<T>(a, 0), n, static_cast<double*>(a.workspace)));
            },
            std::make_shared<Make>(Make{n}), sum_squares_chunks(n) * int64_t(sizeof(double))};
  }
};

}  // namespace

Kernel kernel_chunked_sum_squares() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
