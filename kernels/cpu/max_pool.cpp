// Largest value per window and its place; 2×2 windows side by side have a loop of their own.
#include <limits>

#include "kernels/cpu/lib/pooling.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  Pooling p;
  bool two_by_two;

  static Prepared prepare(const KernelDesc& d) {
    const ops::Windows w = ops::windows(d.op.name, d.attrs.dims(0), d.attrs.dims(1),
                                        d.attrs.dims(2), d.attrs.dims(3), true);
    auto m = std::make_shared<Make>(
        Make{pooling(d.in[0]->layout.shape, d.out[0]->layout.shape, w), false});
    const Pooling& p = m->p;
    m->two_by_two = p.in[0] == 1 && p.kernel[0] == 1;
    for (int i = 1; i < 3; ++i)
      m->two_by_two &= p.kernel[i] == 2 && p.stride[i] == 2 && p.dilation[i] == 1 &&
                       p.low[i] == 0 && p.out[i] * 2 <= p.in[i];
    return {run, m};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const Pooling& p = m.p;
    const T* x = input<T>(a, 0);
    T* values = output<T>(a, 0);
    int64_t* indices = output<int64_t>(a, 1);
    for_planes(p, [&](int64_t plane) {
      const T* from = x + plane * p.in_size();
      T* v = values + plane * p.out_size();
      int64_t* at = indices + plane * p.out_size();
      if (m.two_by_two) quarters(p, from, v, at);
      else windows(p, from, v, at);
    });
  }

  static void quarters(const Pooling& p, const T* x, T* v, int64_t* at) {
    constexpr int64_t piece = 64;
    int32_t place[piece];
    const int32_t width = int32_t(p.in[2]);
    for (int64_t h = 0; h < p.out[1]; ++h)
      for (int64_t w0 = 0; w0 < p.out[2]; w0 += piece) {
        const T *top = x + 2 * h * p.in[2] + 2 * w0, *low = top + p.in[2];
        const int64_t n = std::min(piece, p.out[2] - w0);
        T* to = v + h * p.out[2] + w0;
        for (int64_t i = 0; i < n; ++i) {
          T best = top[2 * i];
          int32_t where = int32_t(2 * i);
          const auto take = [&](T c, int32_t offset) {
            const bool wins = c > best || c != c;
            best = wins ? c : best;
            where = wins ? int32_t(2 * i) + offset : where;
          };
          take(top[2 * i + 1], 1);
          take(low[2 * i], width);
          take(low[2 * i + 1], width + 1);
          to[i] = best;
          place[i] = where;
        }
        const int64_t base = 2 * h * p.in[2] + 2 * w0;
        for (int64_t i = 0; i < n; ++i) at[h * p.out[2] + w0 + i] = base + place[i];
      }
  }

  static void windows(const Pooling& p, const T* x, T* v, int64_t* at) {
    int64_t o = 0;
    for (int64_t i = 0; i < p.out[0]; ++i)
      for (int64_t j = 0; j < p.out[1]; ++j)
        for (int64_t k = 0; k < p.out[2]; ++k, ++o) {
          const Pooling::Taps a = p.taps(0, i), b = p.taps(1, j), c = p.taps(2, k);
          const auto index = [&](int64_t r, int64_t s, int64_t t) {
            return ((a.start + r * p.dilation[0]) * p.in[1] + b.start + s * p.dilation[1]) *
                       p.in[2] +
                   c.start + t * p.dilation[2];
          };
          T best = -std::numeric_limits<T>::infinity();
          int64_t where = index(a.first, b.first, c.first);
          for (int64_t r = a.first; r < a.last; ++r)
            for (int64_t s = b.first; s < b.last; ++s)
              for (int64_t t = c.first; t < c.last; ++t) {
                const int64_t e = index(r, s, t);
                if (x[e] > best || x[e] != x[e]) best = x[e], where = e;
              }
          v[o] = best;
          at[o] = where;
        }
  }
};

}  // namespace

Kernel kernel_max_pool() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
