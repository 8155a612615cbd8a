// AdamW, SGD and sum of squares over flat tensors (see optim.h), in chunks of kChunk elements.
#include "kernels/cpu/lib/optim.h"

#include "core/pool.h"
#include "kernels/cpu/lib/rows.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr std::int64_t kChunk = 16384;

template <class F>
void over_chunks(std::int64_t n, F body) {
  parallel_for((n + kChunk - 1) / kChunk, [&](std::int64_t chunk) {
    body(chunk, chunk * kChunk, std::min(kChunk, n - chunk * kChunk));
  });
}

SUAN_INLINE f64x8 squares(f32x16 v) {
  const f64x8 a = to_f64(low(v)), b = to_f64(high(v));
  return fma(a, a, b * b);
}
SUAN_INLINE f64x8 squares(f64x8 v) { return v * v; }

}  // namespace

template <class T>
void adamw_step(T* p, const T* grad, T* m, T* v, std::int64_t n, const AdamWOptions<T>& o) {
  const T step_size = o.lr / o.correction1;
  const T root_correction = T(1) / sqrt(o.correction2);
  const T keep = o.decoupled ? T(1) - o.lr * o.weight_decay : T(1);
  const T l2 = o.decoupled ? T(0) : o.weight_decay;
  const T new1 = T(1) - o.beta1, new2 = T(1) - o.beta2;
  over_chunks(n, [&](std::int64_t, std::int64_t from, std::int64_t count) {
    each_vec<T>(count, [&](auto at) {
      using V = vec_of<T>;
      const V value = at.get(p + from);
      V g = at.get(grad + from) * o.grad_scale;
      if (l2 != T(0)) g = fma(value, splat<V>(l2), g);
      const V first = at.get(m + from);
      const V mean = fma(g - first, splat<V>(new1), first);
      const V square = fma(g * g, splat<V>(new2), at.get(v + from) * o.beta2);
      const V denominator = fma(sqrt(square), splat<V>(root_correction), splat<V>(o.eps));
      at.put(m + from, mean);
      at.put(v + from, square);
      at.put(p + from, value * keep - mean / denominator * step_size);
    });
  });
}

template <class T>
void sgd_step(T* p, const T* grad, T* momentum, std::int64_t n, const SgdOptions<T>& o) {
  const T fresh = T(1) - o.dampening;
  over_chunks(n, [&](std::int64_t, std::int64_t from, std::int64_t count) {
    each_vec<T>(count, [&](auto at) {
      using V = vec_of<T>;
      const V value = at.get(p + from);
      V g = at.get(grad + from) * o.grad_scale;
      if (o.weight_decay != T(0)) g = fma(value, splat<V>(o.weight_decay), g);
      if (o.momentum != T(0)) {
        const V buffer =
            o.first_step ? g : fma(at.get(momentum + from), splat<V>(o.momentum), g * fresh);
        at.put(momentum + from, buffer);
        g = o.nesterov ? fma(buffer, splat<V>(o.momentum), g) : buffer;
      }
      at.put(p + from, fma(g, splat<V>(-o.lr), value));
    });
  });
}

std::int64_t sum_squares_chunks(std::int64_t n) { return (n + kChunk - 1) / kChunk; }

template <class T>
double sum_squares(const T* x, std::int64_t n, double* partial) {
  over_chunks(n, [&](std::int64_t chunk, std::int64_t from, std::int64_t count) {
    f64x8 a{}, b{};  // even and odd vectors
    each_vec<T>(count, [&](auto at) {
      f64x8& into = at.i / lanes_of<T> % 2 == 0 ? a : b;
      into = into + squares(at.get(x + from));
    });
    partial[chunk] = sum_lanes(a + b);
  });
  std::int64_t chunks = sum_squares_chunks(n);
  if (chunks == 0) return 0;
  for (; chunks > 1; chunks = (chunks + 1) / 2) {
    for (std::int64_t i = 0; i < chunks / 2; ++i) partial[i] = partial[2 * i] + partial[2 * i + 1];
    if (chunks % 2 != 0) partial[chunks / 2] = partial[chunks - 1];
  }
  return partial[0];
}

#define SUAN_OPTIM(T)                                                                      \
  template void adamw_step<T>(T*, const T*, T*, T*, std::int64_t, const AdamWOptions<T>&); \
  template void sgd_step<T>(T*, const T*, T*, std::int64_t, const SgdOptions<T>&);         \
  template double sum_squares<T>(const T*, std::int64_t, double*);
SUAN_OPTIM(float)
SUAN_OPTIM(double)
#undef SUAN_OPTIM

}  // namespace suan::cpu::SUAN_ISA
