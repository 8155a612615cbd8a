// Largest value per window and its place, unless nobody reads that; 2×2 windows side by side, and windows of one
// over lanes that lie together, have loops of their own. bf16 is read and written as it lies: the largest of its numbers is
// one of them.
#include <immintrin.h>

#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cpu/lib/pooling.h"
#include "kernels/cpu/lib/vec.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct Bf16 {
  uint16_t bits;
};
SUAN_INLINE float number(Bf16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }
SUAN_INLINE float number(float x) { return x; }
SUAN_INLINE double number(double x) { return x; }
template <class T>
constexpr T lowest = -std::numeric_limits<T>::infinity();
template <>
constexpr Bf16 lowest<Bf16> = {0xff80};

// n <= 8 windows of 2×2 side by side without a branch: random values would mispredict them all.
template <bool whole, class T>
SUAN_INLINE void eight(const T* top, const T* low, int64_t base, int32_t width, T* v, int64_t* at, int n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const auto below = [&](int count) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes); };
  const auto columns = [&](const T* row, int odd) {
    if constexpr (std::is_same_v<T, Bf16>) {   // two columns are one number of 32 bits
      const auto* p = reinterpret_cast<const int*>(row);
      const __m256i both = whole ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)) : _mm256_maskload_epi32(p, below(n));
      return _mm256_castsi256_ps(odd ? _mm256_and_si256(both, _mm256_set1_epi32(int(0xffff0000))) : _mm256_slli_epi32(both, 16));
    } else {
      __m256 a, b;
      if constexpr (whole) {
        a = _mm256_loadu_ps(row);
        b = _mm256_loadu_ps(row + 8);
      } else {
        a = _mm256_maskload_ps(row, below(2 * n));
        b = _mm256_maskload_ps(row + 8, below(2 * n - 8));
      }
      const __m256 c = odd ? _mm256_shuffle_ps(a, b, 0xdd) : _mm256_shuffle_ps(a, b, 0x88);
      return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(c), 0xd8));
    }
  };
  __m256 best = columns(top, 0);
  const __m256i first = _mm256_add_epi32(lanes, lanes);
  __m256i where = first;
  const auto take = [&](__m256 c, int32_t offset) {
    const __m256 wins = _mm256_or_ps(_mm256_cmp_ps(c, best, _CMP_GT_OQ),
                                     _mm256_cmp_ps(c, c, _CMP_UNORD_Q));
    const __m256i place = _mm256_add_epi32(first, _mm256_set1_epi32(offset));
    best = _mm256_blendv_ps(best, c, wins);
    where = _mm256_blendv_epi8(where, place, _mm256_castps_si256(wins));
  };
  take(columns(top, 1), 1);
  take(columns(low, 0), width);
  take(columns(low, 1), width + 1);
  const auto widened = [&](__m128i w) {
    return _mm256_add_epi64(_mm256_set1_epi64x(base), _mm256_cvtepi32_epi64(w));
  };
  const __m256i left = widened(_mm256_castsi256_si128(where));
  const __m256i right = widened(_mm256_extracti128_si256(where, 1));
  if constexpr (std::is_same_v<T, Bf16>) {
    const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(best), 16);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    std::memcpy(v, &packed, size_t(n) * sizeof(T));
  } else if constexpr (whole) {
    _mm256_storeu_ps(v, best);
  } else {
    _mm256_maskstore_ps(v, below(n), best);
  }
  if constexpr (whole) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), left);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + 4), right);
  } else {
    const __m256i some = below(n);
    const auto mask = [](__m128i m) { return _mm256_cvtepi32_epi64(m); };
    auto* to = reinterpret_cast<long long*>(at);
    _mm256_maskstore_epi64(to, mask(_mm256_castsi256_si128(some)), left);
    _mm256_maskstore_epi64(to + 4, mask(_mm256_extracti128_si256(some, 1)), right);
  }
}

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
      int64_t* at = indices ? indices + plane * p.out_size() : nullptr;
      if (!at && p.kernel[2] == 1 && p.stride[2] == 1 && p.in[2] == p.out[2]) lanes(p, from, v);
      else if (!at) whole_rows(p, from, v);
      else if (m.two_by_two) quarters(p, from, v, at);
      else windows(p, from, v, at);
    });
  }

  // Values alone, where the last dimension is only carried along.
  static void lanes(const Pooling& p, const T* x, T* v) {
    constexpr int wide = std::is_same_v<T, double> ? 8 : 16;
    const int64_t n = p.out[2];
    for (int64_t i = 0; i < p.out[0]; ++i)
      for (int64_t j = 0; j < p.out[1]; ++j, v += n) {
        const Pooling::Taps a = p.taps(0, i), b = p.taps(1, j);
        const auto row = [&](int64_t r, int64_t s) {
          return x + ((a.start + r * p.dilation[0]) * p.in[1] + b.start + s * p.dilation[1]) * n;
        };
        int64_t k = 0;
        for (; k + wide <= n; k += wide) {
          auto best = splat<decltype(numbers(x))>(number(lowest<T>));
          for (int64_t r = a.first; r < a.last; ++r)
            for (int64_t s = b.first; s < b.last; ++s) {
              const auto c = numbers(row(r, s) + k);
              best = select((c > best) | (c != c), c, best);
            }
          put(v + k, best);
        }
        for (; k < n; ++k) {
          T best = lowest<T>;
          for (int64_t r = a.first; r < a.last; ++r)
            for (int64_t s = b.first; s < b.last; ++s) {
              const T c = row(r, s)[k];
              if (number(c) > number(best) || number(c) != number(c)) best = c;
            }
          v[k] = best;
        }
      }
  }
  static SUAN_INLINE auto numbers(const T* p) {
    if constexpr (std::is_same_v<T, Bf16>) return bf16_to_f32(load_u16(&p->bits));
    else return load(p);
  }
  template <class V>
  static SUAN_INLINE void put(T* p, V v) {
    if constexpr (std::is_same_v<T, Bf16>) store_u16(&p->bits, narrow(bits_as<u32x16>(v) >> 16));
    else store(p, v);
  }

  // Values alone: a row of results meets one tap after another.
  static void whole_rows(const Pooling& p, const T* x, T* v) {
    const int64_t n = p.out[2], stride = p.stride[2], width = p.in[2];
    const auto meet = [&](const T* from, int64_t first, int64_t last, auto step) {
      for (int64_t k = first; k < last; ++k) {
        const T c = from[k * step];
        v[k] = (number(c) > number(v[k])) | (number(c) != number(c)) ? c : v[k];
      }
    };
    for (int64_t i = 0; i < p.out[0]; ++i)
      for (int64_t j = 0; j < p.out[1]; ++j, v += n) {
        const Pooling::Taps a = p.taps(0, i), b = p.taps(1, j);
        std::fill_n(v, n, lowest<T>);
        for (int64_t r = a.first; r < a.last; ++r)
          for (int64_t s = b.first; s < b.last; ++s) {
            const T* row = x + ((a.start + r * p.dilation[0]) * p.in[1] + b.start + s * p.dilation[1]) * width;
            for (int64_t t = 0; t < p.kernel[2]; ++t) {
              const int64_t at = t * p.dilation[2] - p.low[2];   // of the first window's tap
              const int64_t first = at < 0 ? (-at + stride - 1) / stride : 0;
              const int64_t last = at < width ? std::min(n, (width - 1 - at) / stride + 1) : 0;
              if (stride == 1) meet(row + at, first, last, std::integral_constant<int64_t, 1>());
              else if (stride == 2) meet(row + at, first, last, std::integral_constant<int64_t, 2>());
              else meet(row + at, first, last, stride);
            }
          }
      }
  }

  static void quarters(const Pooling& p, const T* x, T* v, int64_t* at) {
    const int64_t width = p.in[2], n = p.out[2];
    for (int64_t h = 0; h < p.out[1]; ++h) {
      const T *top = x + 2 * h * width, *low = top + width;
      T* to = v + h * n;
      int64_t* places = at + h * n;
      int64_t i = 0;
      if constexpr (!std::is_same_v<T, double>) {
        const auto base = [&] { return 2 * h * width + 2 * i; };
        for (; i + 8 <= n; i += 8)
          eight<true>(top + 2 * i, low + 2 * i, base(), int32_t(width), to + i, places + i, 8);
        if (i < n)
          eight<false>(top + 2 * i, low + 2 * i, base(), int32_t(width), to + i, places + i,
                       int(n - i));
        continue;
      }
      for (; i < n; ++i) {
        T best = top[2 * i];
        int64_t where = 0;
        const auto take = [&](T c, int64_t offset) {
          const bool wins = number(c) > number(best) || number(c) != number(c);
          best = wins ? c : best;
          where = wins ? offset : where;
        };
        take(top[2 * i + 1], 1);
        take(low[2 * i], width);
        take(low[2 * i + 1], width + 1);
        to[i] = best;
        places[i] = 2 * h * width + 2 * i + where;
      }
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
          T best = lowest<T>;
          int64_t where = index(a.first, b.first, c.first);
          for (int64_t r = a.first; r < a.last; ++r)
            for (int64_t s = b.first; s < b.last; ++s)
              for (int64_t t = c.first; t < c.last; ++t) {
                const int64_t e = index(r, s, t);
                if (number(x[e]) > number(best) || number(x[e]) != number(x[e])) best = x[e], where = e;
              }
          v[o] = best;
          if (at) at[o] = where;
        }
  }
};

}  // namespace

Kernel kernel_max_pool() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    if (d.in[0]->dtype == DType::bf16) return Make<Bf16>::prepare(d);
    return widened(d, d.in[0]->dtype == DType::f64 ? Make<double>::prepare : Make<float>::prepare);
  };
  k.flags |= kernel_optional_out;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
