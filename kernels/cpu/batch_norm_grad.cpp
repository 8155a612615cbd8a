// Batch normalisation's gradients from the saved mean and variance.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/lib/channels.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  Channels c;
  double eps;
  bool weight_grad, bias_grad;

  static Prepared prepare(const KernelDesc& d) {
    return {run, std::make_shared<Make>(Make{channels_of(d.in[1]->layout.shape), d.attrs.real(0),
                                             d.attrs.boolean(1), d.attrs.boolean(2)})};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const T *g = input<T>(a, 0), *x = input<T>(a, 1), *weight = input<T>(a, 2);
    const T *mean = input<T>(a, 3), *var = input<T>(a, 4);
    T *dx = output<T>(a, 0), *dweight = output<T>(a, 1), *dbias = output<T>(a, 2);
    const double count = double(m.c.count());
    for_channels(m.c, [&](int64_t first, int64_t n) {
      double g_sum[channel_block], gd_sum[channel_block];
      T scale[channel_block], g_mean[channel_block], slope[channel_block];
      channel_sums<T>(m.c, first, n, g_sum, [g](int64_t i, int64_t) { return g[i]; });
      channel_sums<T>(m.c, first, n, gd_sum,
                      [g, x, mean](int64_t i, int64_t ch) { return g[i] * (x[i] - mean[ch]); });
      for (int64_t k = 0; k < n; ++k) {
        const int64_t ch = first + k;
        const double rstd = 1 / std::sqrt(double(var[ch]) + m.eps);
        if (m.weight_grad) dweight[ch] = T(gd_sum[k] * rstd);
        if (m.bias_grad) dbias[ch] = T(g_sum[k]);
        scale[k] = T(rstd) * (weight ? weight[ch] : T(1));
        g_mean[k] = T(g_sum[k] / count);
        slope[k] = T(gd_sum[k] * rstd * rstd / count);
      }
      for_elements(m.c, first, n, [&](int64_t i, int64_t k) {
        dx[i] = (g[i] - g_mean[k] - (x[i] - mean[first + k]) * slope[k]) * scale[k];
      });
    });
  }
};

}  // namespace

Kernel kernel_batch_norm_grad() { return float_kernel<Make<float>, Make<double>, 1>(); }

}  // namespace suan::cpu::SUAN_ISA
