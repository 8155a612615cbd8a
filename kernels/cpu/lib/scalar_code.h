// A scalar row as machine code: its expression over 64-byte vectors, looped over a contiguous tile.
// One function per row and compute type (f32, f64, i64, u64, bool); the engine (elementwise.h) brings
// every other dtype and layout into that form. Bool tiles are bytes of 0 and 1.
#pragma once

#include <cmath>
#include <cstdlib>

#include "core/dtype.h"
#include "kernels/cpu/lib/math.h"

namespace suan::cpu::SUAN_ISA {

// in: one tile per operand; out may be one of them when element sizes agree.
using RowFn = void (*)(const void* const* in, void* out, int64_t n);

inline constexpr int n_compute = 5;
constexpr int compute_index(DType t) {
  switch (compute_type(t)) {
    case DType::f32: return 0;
    case DType::f64: return 1;
    case DType::i64: return 2;
    case DType::u64: return 3;
    case DType::boolean: return 4;
    default: return -1;
  }
}

struct RowCode {
  const char* name;
  int cost;        // operations per element
  RowFn fn[n_compute];
};

// The rows of each file, ended by an entry without a name.
const RowCode* rows_unary_basic();
const RowCode* rows_unary_math();
const RowCode* rows_binary_basic();
const RowCode* rows_binary_compare();
const RowCode* rows_binary_math();
const RowCode* rows_ternary();
const RowCode* find_row(std::string_view name);  // null when unknown

namespace rows {

enum Types { fp = 3, num = 15, ints = 12, bits = 28, any = 31 };
enum Result { same, truth };

// A mask as bytes of 0 and 1 and back; n_lanes<M> bytes each.
template <class M>
SUAN_INLINE void store_mask(uint8_t* p, M mask) {
  if constexpr (requires { mask.lo; }) {
    constexpr int half = n_lanes<M> / 2;
    using Bytes = native_vector<int8_t, half>;
    const Bytes lo = -__builtin_convertvector(mask.lo, Bytes);
    const Bytes hi = -__builtin_convertvector(mask.hi, Bytes);
    std::memcpy(p, &lo, half);
    std::memcpy(p + half, &hi, half);
  } else {
    using Bytes = native_vector<int8_t, n_lanes<M>>;
    const Bytes b = -__builtin_convertvector(mask, Bytes);
    std::memcpy(p, &b, sizeof b);
  }
}
template <class M>
SUAN_INLINE M load_mask(const uint8_t* p) {
  M mask;
  if constexpr (requires { mask.lo; }) {
    constexpr int half = n_lanes<M> / 2;
    native_vector<int8_t, half> lo, hi;
    std::memcpy(&lo, p, half);
    std::memcpy(&hi, p + half, half);
    mask.lo = __builtin_convertvector(lo, decltype(mask.lo)) != 0;
    mask.hi = __builtin_convertvector(hi, decltype(mask.hi)) != 0;
  } else {
    native_vector<int8_t, n_lanes<M>> b;
    std::memcpy(&b, p, sizeof b);
    mask = __builtin_convertvector(b, M) != 0;
  }
  return mask;
}

template <class V>
SUAN_INLINE V constant(double c) {
  if constexpr (std::is_floating_point_v<lane_of<V>>) {
    return splat<V>(static_cast<lane_of<V>>(c));
  } else {
    return splat<V>(static_cast<lane_of<V>>(static_cast<int64_t>(c)));
  }
}

// Writes `lanes` results; `rest` >= 0 limits them to that many. Whether they are a mask has to be
// said: that of int64 lanes has the type of their values.
template <class T, bool is_mask, class R>
SUAN_INLINE void put(void* out, int64_t at, R r, int rest) {
  if constexpr (!is_mask) {
    if constexpr (sizeof(T) == 1) r = r & T(1);
    T* p = static_cast<T*>(out) + at;
    if (rest < 0) store(p, r);
    else store_partial(p, r, rest);
  } else {
    uint8_t* p = static_cast<uint8_t*>(out) + at;
    if (rest < 0) {
      store_mask(p, r);
    } else {
      uint8_t bytes[n_lanes<R>];
      store_mask(bytes, r);
      std::memcpy(p, bytes, size_t(rest));
    }
  }
}
template <class T>
SUAN_INLINE vec_of<T> get(const void* in, int64_t at, int rest) {
  const T* p = static_cast<const T*>(in) + at;
  return rest < 0 ? load(p) : load_partial(p, rest);
}
template <class T>
SUAN_INLINE mask_of<vec_of<T>> get_mask(const void* in, int64_t at, int rest) {
  const uint8_t* p = static_cast<const uint8_t*>(in) + at;
  if (rest < 0) return load_mask<mask_of<vec_of<T>>>(p);
  uint8_t bytes[lanes_of<T>] = {};
  std::memcpy(bytes, p, size_t(rest));
  return load_mask<mask_of<vec_of<T>>>(bytes);
}

// step(at, rest) for whole vectors (rest = -1), then the tail.
template <class T, class Step>
SUAN_INLINE void over_tile(int64_t n, Step step) {
  constexpr int lanes = lanes_of<T>;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) step(i, -1);
  if (i < n) step(i, int(n - i));
}

template <class Row, class T>
void loop1(const void* const* in, void* out, int64_t n) {
  const void* x = in[0];
  over_tile<T>(n, [&](int64_t i, int rest) __attribute__((always_inline)) {
    put<T, Row::is_truth>(out, i, Row::eval(get<T>(x, i, rest)), rest);
  });
}
template <class Row, class T>
void loop2(const void* const* in, void* out, int64_t n) {
  const void *x = in[0], *y = in[1];
  over_tile<T>(n, [&](int64_t i, int rest) __attribute__((always_inline)) {
    put<T, Row::is_truth>(out, i, Row::eval(get<T>(x, i, rest), get<T>(y, i, rest)), rest);
  });
}
template <class Row, class T>
void loop3(const void* const* in, void* out, int64_t n) {
  const void *x = in[0], *y = in[1], *z = in[2];
  over_tile<T>(n, [&](int64_t i, int rest) __attribute__((always_inline)) {
    if constexpr (Row::masked) {
      const auto r = Row::eval(get_mask<T>(x, i, rest), get<T>(y, i, rest), get<T>(z, i, rest));
      put<T, false>(out, i, r, rest);
    } else {
      const auto r = Row::eval(get<T>(x, i, rest), get<T>(y, i, rest), get<T>(z, i, rest));
      put<T, false>(out, i, r, rest);
    }
  });
}

template <class Row, int arity, class T>
constexpr RowFn loop() {
  if constexpr (arity == 1) return loop1<Row, T>;
  else if constexpr (arity == 2) return loop2<Row, T>;
  else return loop3<Row, T>;
}
template <class Row, int arity>
constexpr RowCode code(const char* name, int cost) {
  RowCode c{name, cost, {}};
  if constexpr (Row::types & 1) c.fn[0] = loop<Row, arity, float>();
  if constexpr (Row::types & 2) c.fn[1] = loop<Row, arity, double>();
  if constexpr (Row::types & 4) c.fn[2] = loop<Row, arity, int64_t>();
  if constexpr (Row::types & 8) c.fn[3] = loop<Row, arity, uint64_t>();
  if constexpr (Row::types & 16) c.fn[4] = loop<Row, arity, uint8_t>();
  return c;
}

// Per-lane arithmetic without vector instructions; also keeps integer division from trapping.
template <class V, class F>
SUAN_INLINE V lanes(V x, V y, F f) {
  alignas(64) lane_of<V> a[n_lanes<V>], b[n_lanes<V>];
  store(a, x);
  store(b, y);
  for (int i = 0; i < n_lanes<V>; ++i) a[i] = f(a[i], b[i]);
  return load(a);
}
template <class T>
T floor_divide_one(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (b == 0) return a / b;
    const T rest = std::fmod(a, b);
    T whole = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0)) whole -= 1;
    if (whole == 0) return std::copysign(T(0), a / b);
    const T down = std::floor(whole);
    return whole - down > T(0.5) ? down + 1 : down;
  } else {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return T(uint64_t(0) - uint64_t(a));
      const T whole = a / b;
      return a % b != 0 && (a < 0) != (b < 0) ? whole - 1 : whole;
    }
    return a / b;
  }
}
template <class T>
T remainder_one(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    const T rest = std::fmod(a, b);
    return rest != 0 && (b < 0) != (rest < 0) ? rest + b : rest;
  } else {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
      const T rest = a % b;
      return rest != 0 && (b < 0) != (rest < 0) ? rest + b : rest;
    }
    return a % b;
  }
}
template <class T>
T power_one(T base, T exponent) {
  if constexpr (std::is_signed_v<T>) {
    if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
  }
  uint64_t result = 1, factor = uint64_t(base);
  for (uint64_t e = uint64_t(exponent); e; e >>= 1, factor *= factor)
    if (e & 1) result *= factor;
  return T(result);
}

}  // namespace rows

// The prelude's functions that only rows use. Integers come here as i64 and u64 vectors.
template <class V>
SUAN_INLINE V floor_divide(V x, V y) {
  return rows::lanes(x, y, rows::floor_divide_one<lane_of<V>>);
}
template <class V>
SUAN_INLINE V remainder(V x, V y) {
  return rows::lanes(x, y, rows::remainder_one<lane_of<V>>);
}
template <class V>
  requires std::is_integral_v<lane_of<V>>
SUAN_INLINE V fmod(V x, V y) {
  return rows::lanes(x, y, [](auto a, auto b) -> decltype(a) {
    if (b == 0 || b == decltype(b)(-1)) return b == 0 || std::is_signed_v<decltype(a)> ? 0 : a % b;
    return a % b;
  });
}
template <class V>
  requires std::is_integral_v<lane_of<V>>
SUAN_INLINE V pow(V x, V y) {
  return rows::lanes(x, y, rows::power_one<lane_of<V>>);
}
template <class V>
SUAN_INLINE V left_shift(V x, V y) {
  return rows::lanes(x, y, [](auto a, auto b) -> decltype(a) {
    return uint64_t(b) > 63 ? 0 : decltype(a)(uint64_t(a) << b);
  });
}
template <class V>
SUAN_INLINE V right_shift(V x, V y) {
  return rows::lanes(x, y, [](auto a, auto b) -> decltype(a) {
    return uint64_t(b) > 63 ? (a < 0 ? -1 : 0) : a >> b;
  });
}

}  // namespace suan::cpu::SUAN_ISA

// The tables are made by these: a struct per row, then an entry per row.
#define SUAN_ROW_CONSTANT                                              \
  [[maybe_unused]] const auto k = [](double c) __attribute__((always_inline)) { \
    return suan::cpu::SUAN_ISA::rows::constant<V>(c);                  \
  };
#define SUAN_ROW1(name, types_, result, cost, expr, ...)               \
  struct row_##name {                                                  \
    static constexpr int types = rows::types_;                         \
    static constexpr bool is_truth = rows::result == rows::truth;      \
    template <class V>                                                 \
    static SUAN_INLINE auto eval(V x) {                                \
      SUAN_ROW_CONSTANT                                                \
      return expr;                                                     \
    }                                                                  \
  };
#define SUAN_ROW2(name, types_, result, cost, expr, ...)               \
  struct row_##name {                                                  \
    static constexpr int types = rows::types_;                         \
    static constexpr bool is_truth = rows::result == rows::truth;      \
    template <class V>                                                 \
    static SUAN_INLINE auto eval(V x, V y) {                           \
      SUAN_ROW_CONSTANT                                                \
      return expr;                                                     \
    }                                                                  \
  };
#define SUAN_CODE1(name, types, result, cost, ...) \
  rows::code<row_##name, 1>(#name, cost),
#define SUAN_CODE2(name, types, result, cost, ...) \
  rows::code<row_##name, 2>(#name, cost),
#define SUAN_ROW_TABLE(arity, function, list)                          \
  namespace suan::cpu::SUAN_ISA {                                      \
  namespace {                                                          \
  list(SUAN_ROW##arity) constexpr RowCode table[] = {list(SUAN_CODE##arity){}}; \
  }                                                                    \
  const RowCode* function() { return table; }                          \
  }
