// Loops of the vector prelude over arrays, for the test and the benchmark (see math_eval.h).
#include "kernels/cpu/lib/math_eval.h"

#include "kernels/cpu/lib/math.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T, class F>
void unary(const T* x, T* out, std::int64_t n, F f) {
  constexpr int lanes = lanes_of<T>;
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto first = f(load(x + i)), second = f(load(x + i + lanes));
    store(out + i, first);
    store(out + i + lanes, second);
  }
  for (; i + lanes <= n; i += lanes) store(out + i, f(load(x + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) store_partial(out + i, f(load_partial(x + i, rest)), rest);
}
template <class T, class F>
void binary(const T* x, const T* y, T* out, std::int64_t n, F f) {
  constexpr int lanes = lanes_of<T>;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(out + i, f(load(x + i), load(y + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) {
    store_partial(out + i, f(load_partial(x + i, rest), load_partial(y + i, rest)), rest);
  }
}

template <class V>
SUAN_INLINE V gelu_erf(V x) {
  const V half = 0.5f * x;
  return fma(half, erf(x * static_cast<lane_of<V>>(0.70710678118654752)), half);
}
template <class V>
SUAN_INLINE V gelu_tanh(V x) {
  using T = lane_of<V>;
  const V inner = x * fma(x * x, splat<V>(static_cast<T>(0.79788456080286536 * 0.044715)),
                          splat<V>(static_cast<T>(0.79788456080286536)));
  const V half = 0.5f * x;
  return fma(half, tanh(inner), half);
}

// There and back, as storage in the narrow type rounds; f64 lanes have no narrow storage here.
SUAN_INLINE f32x16 through_bf16(f32x16 x) { return bf16_to_f32(f32_to_bf16(x)); }
SUAN_INLINE f32x16 through_f16(f32x16 x) { return f16_to_f32(f32_to_f16(x)); }
SUAN_INLINE f64x8 through_bf16(f64x8 x) { return x; }
SUAN_INLINE f64x8 through_f16(f64x8 x) { return x; }

#define SUAN_ENTRY1(name)                                            \
  {#name,                                                            \
   [](const float* x, const float*, float* out, std::int64_t n) {    \
     unary(x, out, n, [](f32x16 v) { return name(v); });             \
   },                                                                \
   [](const double* x, const double*, double* out, std::int64_t n) { \
     unary(x, out, n, [](f64x8 v) { return name(v); });              \
   },                                                                \
   false}
#define SUAN_ENTRY2(name)                                                 \
  {#name,                                                                 \
   [](const float* x, const float* y, float* out, std::int64_t n) {       \
     binary(x, y, out, n, [](f32x16 v, f32x16 w) { return name(v, w); }); \
   },                                                                     \
   [](const double* x, const double* y, double* out, std::int64_t n) {    \
     binary(x, y, out, n, [](f64x8 v, f64x8 w) { return name(v, w); });   \
   },                                                                     \
   true}

constexpr MathEntry kEntries[] = {
    SUAN_ENTRY1(exp),         SUAN_ENTRY1(exp2),      SUAN_ENTRY1(expm1),
    SUAN_ENTRY1(log),         SUAN_ENTRY1(log2),      SUAN_ENTRY1(log10),
    SUAN_ENTRY1(log1p),       SUAN_ENTRY1(sin),       SUAN_ENTRY1(cos),
    SUAN_ENTRY1(tan),         SUAN_ENTRY1(sinh),      SUAN_ENTRY1(cosh),
    SUAN_ENTRY1(tanh),        SUAN_ENTRY1(asin),      SUAN_ENTRY1(acos),
    SUAN_ENTRY1(atan),        SUAN_ENTRY1(erf),       SUAN_ENTRY1(sigmoid),
    SUAN_ENTRY1(sqrt),        SUAN_ENTRY1(rsqrt),     SUAN_ENTRY1(floor),
    SUAN_ENTRY1(ceil),        SUAN_ENTRY1(round),     SUAN_ENTRY1(trunc),
    SUAN_ENTRY1(gelu_erf),    SUAN_ENTRY1(gelu_tanh), SUAN_ENTRY1(through_bf16),
    SUAN_ENTRY1(through_f16), SUAN_ENTRY2(atan2),     SUAN_ENTRY2(pow),
    SUAN_ENTRY2(fmod),        SUAN_ENTRY2(max),       SUAN_ENTRY2(min)};

}  // namespace

const MathEntry* math_entries(int& count) {
  count = static_cast<int>(sizeof kEntries / sizeof kEntries[0]);
  return kEntries;
}

}  // namespace suan::cpu::SUAN_ISA
