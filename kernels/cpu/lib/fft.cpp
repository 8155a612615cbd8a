#include "kernels/cpu/lib/fft.h"

#include <cmath>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t greatest_factor = 31;

// Factors of n, fours first; empty where one is too great. n = 1 has one factor of 1.
std::vector<int> factors_of(int64_t n) {
  std::vector<int> out;
  for (int64_t p = 4; n > 1; p = p == 4 ? 2 : p == 2 ? 3 : p + 2) {
    if (p > greatest_factor) return {};
    for (; n % p == 0; n /= p) out.push_back(int(p));
  }
  if (out.empty()) out.push_back(1);
  return out;
}

// exp(2 pi i k / n) for k < n, as pairs.
template <class T>
std::vector<T> roots_of(int64_t n) {
  std::vector<T> out(size_t(2 * n));
  for (int64_t k = 0; k < n; ++k) {
    const double angle = 6.283185307179586476925 * double(k) / double(n);
    out[size_t(2 * k)] = T(std::cos(angle));
    out[size_t(2 * k + 1)] = T(std::sin(angle));
  }
  return out;
}

// Real and imaginary parts, each one after another.
template <class V>
struct Parts {
  V *re, *im;
};

template <class T>
struct Engine {
  int64_t n = 1;
  std::vector<int> factors{1};
  std::vector<T> roots;

  Engine() = default;
  explicit Engine(int64_t length) : n(length), factors(factors_of(length)), roots(roots_of<T>(length)) {}

  template <int p, class V>
  void stage(int64_t m, int64_t s, const Parts<V>& x, const Parts<V>& y, int runtime_p = 0) const {
    const int q = p ? p : runtime_p;
    const int64_t turn = n / q;   // of q-th roots in the table
    for (int64_t at = 0; at < m; ++at) {
      for (int64_t j = 0; j < s; ++j) {
        V re[p ? p : greatest_factor], im[p ? p : greatest_factor];
        for (int r = 0; r < q; ++r) {
          re[r] = x.re[j + s * (at + m * r)];
          im[r] = x.im[j + s * (at + m * r)];
        }
        auto put = [&](int k, V a, V b) {
          const int64_t to = j + s * (q * at + k);
          if (k && at) {
            const T c = roots[size_t(2 * (at * k * s))], d = roots[size_t(2 * (at * k * s) + 1)];
            y.re[to] = a * c + b * d;
            y.im[to] = b * c - a * d;
          } else {
            y.re[to] = a;
            y.im[to] = b;
          }
        };
        if constexpr (p == 1) {
          put(0, re[0], im[0]);
        } else if constexpr (p == 2) {
          put(0, re[0] + re[1], im[0] + im[1]);
          put(1, re[0] - re[1], im[0] - im[1]);
        } else if constexpr (p == 4) {
          const V ar = re[0] + re[2], ai = im[0] + im[2], br = re[0] - re[2], bi = im[0] - im[2];
          const V cr = re[1] + re[3], ci = im[1] + im[3], dr = re[1] - re[3], di = im[1] - im[3];
          put(0, ar + cr, ai + ci);
          put(1, br + di, bi - dr);
          put(2, ar - cr, ai - ci);
          put(3, br - di, bi + dr);
        } else {
          // Pairs of rows k and q - k share their products.
          V sum_re = re[0], sum_im = im[0];
          for (int r = 1; r <= q / 2; ++r) {
            const V a = re[r] + re[q - r], b = im[r] + im[q - r], c = re[r] - re[q - r], d = im[r] - im[q - r];
            re[r] = a, im[r] = b, re[q - r] = c, im[q - r] = d;
            sum_re = sum_re + a;
            sum_im = sum_im + b;
          }
          put(0, sum_re, sum_im);
          for (int k = 1; k <= q / 2; ++k) {
            V even_re = re[0], even_im = im[0], odd_re = V{}, odd_im = V{};
            for (int r = 1; r <= q / 2; ++r) {
              const size_t w = size_t(2 * turn * (k * r % q));
              even_re = even_re + re[r] * roots[w];
              even_im = even_im + im[r] * roots[w];
              odd_re = odd_re + im[q - r] * roots[w + 1];
              odd_im = odd_im - re[q - r] * roots[w + 1];
            }
            put(k, even_re + odd_re, even_im + odd_im);
            put(q - k, even_re - odd_re, even_im - odd_im);
          }
        }
      }
    }
  }

  // exp(-i ...), from x through y; the result is in either.
  template <class V>
  Parts<V> run(Parts<V> x, Parts<V> y) const {
    int64_t m = n, s = 1;
    for (int p : factors) {
      m /= p;
      if (p == 1) stage<1>(m, s, x, y);
      else if (p == 2) stage<2>(m, s, x, y);
      else if (p == 3) stage<3>(m, s, x, y);
      else if (p == 4) stage<4>(m, s, x, y);
      else if (p == 5) stage<5>(m, s, x, y);
      else stage<0>(m, s, x, y, p);
      s *= p;
      std::swap(x, y);
    }
    return x;
  }
};

template <class T>
struct State {
  Transform kind;
  int64_t rows, n, length;          // length: of the complex transform
  bool halved = false;              // a real row of n as n / 2 complex numbers
  Engine<T> engine;
  std::vector<T> roots;             // of n, where halved
  std::vector<T> chirp, filter;     // Bluestein: exp(i pi k² / length), and its transform
  bool in_workspace = false;        // too long for a thread's own memory
  int64_t span() const { return engine.n; }
  int64_t pitch() const { return engine.n + 1; }  // half a spectrum has one value more than what gave it
};

template <class T, class V>
Parts<V> run_rows(const State<T>& s, Parts<V> x, Parts<V> y) {
  if (s.chirp.empty()) return s.engine.run(x, y);
  const T *chirp = s.chirp.data(), *filter = s.filter.data();
  for (int64_t k = 0; k < s.span(); ++k) {
    if (k < s.length) {
      const T c = chirp[2 * k], d = chirp[2 * k + 1];
      const V re = x.re[k] * c + x.im[k] * d, im = x.im[k] * c - x.re[k] * d;
      x.re[k] = re;
      x.im[k] = im;
    } else {
      x.re[k] = x.im[k] = V{};
    }
  }
  Parts<V> a = s.engine.run(x, y), b = a.re == x.re ? y : x;
  for (int64_t k = 0; k < s.span(); ++k) {
    const T c = filter[2 * k], d = filter[2 * k + 1];
    const V re = a.re[k] * c - a.im[k] * d, im = a.im[k] * c + a.re[k] * d;
    a.re[k] = im;   // parts change places: the way back
    a.im[k] = re;
  }
  a = s.engine.run(a, b);
  for (int64_t k = 0; k < s.length; ++k) {
    const T c = chirp[2 * k], d = chirp[2 * k + 1];
    const V re = a.im[k], im = a.re[k];
    a.re[k] = re * c + im * d;
    a.im[k] = im * c - re * d;
  }
  return a;
}

// `lanes` rows from `row` on, of which `live` exist; memory holds four times pitch() values.
template <class T, class V>
void transform(const State<T>& s, const T* in, T* out, int64_t row, int64_t live, V* memory) {
  constexpr int64_t lanes = int64_t(sizeof(V) / sizeof(T));
  const int64_t n = s.n, length = s.length, bins = n / 2 + 1, pitch = s.pitch();
  Parts<V> x{memory, memory + pitch}, y{memory + 2 * pitch, memory + 3 * pitch};
  // Inverse transforms run with their parts exchanged.
  const bool back = s.kind == Transform::c2c_inverse || s.kind == Transform::c2r;
  T *re = reinterpret_cast<T*>(back ? x.im : x.re), *im = reinterpret_cast<T*>(back ? x.re : x.im);
  const int64_t in_row = s.kind == Transform::r2c ? n : s.kind == Transform::c2r ? 2 * bins : 2 * n;
  const int64_t out_row = s.kind == Transform::r2c ? 2 * bins : s.kind == Transform::c2r ? n : 2 * n;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const T* from = in + (row + std::min(lane, live - 1)) * in_row;
    if (s.kind == Transform::r2c && !s.halved) {
      for (int64_t k = 0; k < n; ++k) re[k * lanes + lane] = from[k], im[k * lanes + lane] = 0;
    } else if (s.kind == Transform::c2r && !s.halved) {
      for (int64_t k = 0; k < n; ++k) {
        const int64_t j = k < bins ? k : n - k;
        const bool end = k == 0 || 2 * k == n;
        re[k * lanes + lane] = from[2 * j];
        im[k * lanes + lane] = end ? 0 : k < bins ? from[2 * j + 1] : -from[2 * j + 1];
      }
    } else if (s.kind == Transform::c2r) {
      // Z = E + i O, where E and O belong to the even and odd elements.
      for (int64_t k = 0; k < length; ++k) {
        const int64_t j = length - k;
        const T ar = from[2 * k], ai = k ? from[2 * k + 1] : 0, br = from[2 * j], bi = k ? -from[2 * j + 1] : 0;
        const T dr = ar - br, di = ai - bi, c = s.roots[size_t(2 * k)], w = s.roots[size_t(2 * k + 1)];
        re[k * lanes + lane] = (ar + br) - (dr * w + di * c);
        im[k * lanes + lane] = (ai + bi) + (dr * c - di * w);
      }
    } else {
      for (int64_t k = 0; k < length; ++k) re[k * lanes + lane] = from[2 * k], im[k * lanes + lane] = from[2 * k + 1];
    }
  }
  Parts<V> z = run_rows(s, x, y);
  if (s.kind == Transform::r2c && s.halved) {
    const Parts<V> other = z.re == x.re ? y : x;
    for (int64_t k = 0; k < bins; ++k) {
      const int64_t a = k % length, b = (length - k) % length;
      const V ar = z.re[a], ai = z.im[a], br = z.re[b], bi = -z.im[b];
      const V er = (ar + br) * T(0.5), ei = (ai + bi) * T(0.5), or_ = (ai - bi) * T(0.5), oi = (br - ar) * T(0.5);
      const T c = s.roots[size_t(2 * k)], w = s.roots[size_t(2 * k + 1)];
      other.re[k] = er + (or_ * c + oi * w);
      other.im[k] = ei + (oi * c - or_ * w);
    }
    z = other;
  }
  re = reinterpret_cast<T*>(back ? z.im : z.re), im = reinterpret_cast<T*>(back ? z.re : z.im);
  for (int64_t lane = 0; lane < live; ++lane) {
    T* to = out + (row + lane) * out_row;
    if (s.kind == Transform::c2r && !s.halved) {
      for (int64_t k = 0; k < n; ++k) to[k] = re[k * lanes + lane];
    } else {
      const int64_t pairs = out_row / 2;
      for (int64_t k = 0; k < pairs; ++k) to[2 * k] = re[k * lanes + lane], to[2 * k + 1] = im[k * lanes + lane];
    }
  }
}

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State<T>& s = *static_cast<const State<T>*>(state);
  const T* in = static_cast<const T*>(a.in[0]);
  T* out = static_cast<T*>(a.out[0]);
  const int64_t work = s.rows * s.n * 8, need = 4 * s.pitch();
  if (s.in_workspace) {
    for (int64_t r = 0; r < s.rows; ++r) transform<T, T>(s, in, out, r, 1, static_cast<T*>(a.workspace));
  } else if (s.rows >= 4 && need * 64 <= int64_t(thread_scratch_bytes)) {
    constexpr int64_t lanes = lanes_of<T>;
    run_tasks((s.rows + lanes - 1) / lanes, work, [&](int64_t t) {
      transform<T, vec_of<T>>(s, in, out, t * lanes, std::min(lanes, s.rows - t * lanes),
                              reinterpret_cast<vec_of<T>*>(thread_scratch()));
    });
  } else {
    run_tasks(s.rows, work, [&](int64_t r) {
      transform<T, T>(s, in, out, r, 1, reinterpret_cast<T*>(thread_scratch()));
    });
  }
}

template <class T>
Prepared prepare(Transform kind, int64_t rows, int64_t n) {
  auto s = std::make_shared<State<T>>(State<T>{kind, rows, n, n, false, {}, {}, {}, {}});
  const bool real = kind == Transform::r2c || kind == Transform::c2r;
  if (real && n % 2 == 0) {
    s->halved = true;
    s->length = n / 2;
    s->roots = roots_of<T>(n);
  }
  if (!factors_of(s->length).empty()) {
    s->engine = Engine<T>(s->length);
  } else {
    int64_t span = 1;
    while (span < 2 * s->length - 1) span *= 2;
    s->engine = Engine<T>(span);
    const Engine<double> exact(span);
    std::vector<double> re(size_t(2 * span)), im(size_t(2 * span));
    s->chirp.resize(size_t(2 * s->length));
    for (int64_t k = 0; k < s->length; ++k) {
      const double angle = 3.141592653589793238463 * double(k * k % (2 * s->length)) / double(s->length);
      const double c = std::cos(angle), d = std::sin(angle);
      s->chirp[size_t(2 * k)] = T(c);
      s->chirp[size_t(2 * k + 1)] = T(d);
      for (int64_t at : {k, (span - k) % span}) re[size_t(at)] = c, im[size_t(at)] = d;
    }
    const Parts<double> f = exact.run(Parts<double>{re.data(), im.data()}, Parts<double>{re.data() + span, im.data() + span});
    for (int64_t k = 0; k < span; ++k) {
      s->filter.push_back(T(f.re[k] / double(span)));
      s->filter.push_back(T(f.im[k] / double(span)));
    }
  }
  const int64_t need = 4 * s->pitch() * int64_t(sizeof(T));
  s->in_workspace = need > int64_t(thread_scratch_bytes);
  return {run<T>, s, s->in_workspace ? need : 0};
}

}  // namespace

Prepared prepare_fft(Transform kind, DType t, int64_t rows, int64_t n) {
  return t == DType::f64 ? prepare<double>(kind, rows, n) : prepare<float>(kind, rows, n);
}

}  // namespace suan::cpu::SUAN_ISA
