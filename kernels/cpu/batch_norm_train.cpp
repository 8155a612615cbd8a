// Batch normalisation by the batch's own statistics: mean, then squared distances from it.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/lib/channels.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  Channels c;
  double eps;
  int n_in;

  static Prepared prepare(const KernelDesc& d) {
    return {run, std::make_shared<Make>(Make{channels_of(d.in[0]->layout.shape), d.attrs.real(0),
                                             int(d.in.size())})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const T *x = input<T>(a, 0), *weight = optional_input<T>(a, 1, m.n_in);
    const T* bias = optional_input<T>(a, 2, m.n_in);
    T *y = output<T>(a, 0), *mean = output<T>(a, 1), *var = output<T>(a, 2);
    const double count = double(m.c.count());
    for_channels(m.c, [&](int64_t first, int64_t n) {
      double sums[channel_block];
      T scale[channel_block], shift[channel_block];
      channel_sums<T>(m.c, first, n, sums, [x](int64_t i, int64_t) { return x[i]; });
      for (int64_t k = 0; k < n; ++k) mean[first + k] = T(sums[k] / count);
      channel_sums<T>(m.c, first, n, sums, [x, mean](int64_t i, int64_t ch) {
        const T d = x[i] - mean[ch];
        return d * d;
      });
      for (int64_t k = 0; k < n; ++k) {
        const int64_t ch = first + k;
        var[ch] = T(sums[k] / count);
        scale[k] = T(1 / std::sqrt(double(var[ch]) + m.eps)) * (weight ? weight[ch] : T(1));
        shift[k] = bias ? bias[ch] : T(0);
      }
      for_elements(m.c, first, n, [&](int64_t i, int64_t k) {
        y[i] = (x[i] - mean[first + k]) * scale[k] + shift[k];
      });
    });
  }
};

}  // namespace

Kernel kernel_batch_norm_train() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
