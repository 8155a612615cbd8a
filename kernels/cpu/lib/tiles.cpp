// Conversions between storage and compute types. Halves go sixteen at a time, integers through plain
// loops that the compiler vectorises.
#include "kernels/cpu/lib/tiles.h"

#include <algorithm>
#include <array>

#include "core/convert.h"
#include "kernels/cpu/lib/scalar_code.h"

namespace suan::cpu::SUAN_ISA {
namespace {

// Storage S kept as itself or widened to C by a plain conversion.
template <class S, class C>
void load_plain(const void* from, int64_t stride, void* tile, int64_t n) {
  const S* p = static_cast<const S*>(from);
  C* t = static_cast<C*>(tile);
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) t[i] = C(p[i]);
  } else if (stride == 0) {
    std::fill_n(t, n, C(*p));
  } else {
    for (int64_t i = 0; i < n; ++i) t[i] = C(p[i * stride]);
  }
}
template <class S, class C>
void store_plain(const void* tile, void* to, int64_t stride, int64_t n) {
  const C* t = static_cast<const C*>(tile);
  S* p = static_cast<S*>(to);
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) p[i] = S(t[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) p[i * stride] = S(t[i]);
  }
}
template <class S, class C>
void round_plain(void* tile, int64_t n) {
  C* t = static_cast<C*>(tile);
  for (int64_t i = 0; i < n; ++i) t[i] = C(S(t[i]));
}

struct F16 {
  static SUAN_INLINE f32x16 widen(u16x16 h) { return f16_to_f32(h); }
  static SUAN_INLINE u16x16 narrow(f32x16 v) { return f32_to_f16(v); }
};
struct BF16 {
  static SUAN_INLINE f32x16 widen(u16x16 h) { return bf16_to_f32(h); }
  static SUAN_INLINE u16x16 narrow(f32x16 v) { return f32_to_bf16(v); }
};

template <class H>
void load_half(const void* from, int64_t stride, void* tile, int64_t n) {
  const uint16_t* p = static_cast<const uint16_t*>(from);
  float* t = static_cast<float*>(tile);
  if (stride == 0) {
    uint16_t one[16] = {*p};
    std::fill_n(t, n, H::widen(load_u16(one))[0]);
    return;
  }
  uint16_t lanes[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    if (stride == 1) {
      store(t + i, H::widen(load_u16(p + i)));
    } else {
      for (int j = 0; j < 16; ++j) lanes[j] = p[(i + j) * stride];
      store(t + i, H::widen(load_u16(lanes)));
    }
  }
  const int rest = int(n - i);
  if (rest == 0) return;
  for (int j = 0; j < rest; ++j) lanes[j] = p[(i + j) * stride];
  store_partial(t + i, H::widen(load_u16(lanes)), rest);
}
template <class H>
void store_half(const void* tile, void* to, int64_t stride, int64_t n) {
  const float* t = static_cast<const float*>(tile);
  uint16_t* p = static_cast<uint16_t*>(to);
  uint16_t lanes[16];
  int64_t i = 0;
  if (stride == 1)
    for (; i + 16 <= n; i += 16) store_u16(p + i, H::narrow(load(t + i)));
  for (; i < n; i += 16) {
    const int count = int(std::min<int64_t>(16, n - i));
    store_u16(lanes, H::narrow(load_partial(t + i, count)));
    for (int j = 0; j < count; ++j) p[(i + j) * stride] = lanes[j];
  }
}
template <class H>
void round_half(void* tile, int64_t n) {
  float* t = static_cast<float*>(tile);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(t + i, H::widen(H::narrow(load(t + i))));
  const int rest = int(n - i);
  if (rest > 0) store_partial(t + i, H::widen(H::narrow(load_partial(t + i, rest))), rest);
}

// Floats of 8 and 4 bits: 256 values to look up, and code of the core to round to them.
template <DType T>
const float* values_of() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> t;
    for (int i = 0; i < 256; ++i) t[size_t(i)] = narrow_to_float(uint8_t(i), T);
    return t;
  }();
  return table.data();
}
template <DType T>
struct NarrowFloat {
  using Compute = float;
  static auto reader() { return [table = values_of<T>()](uint8_t code) { return table[code]; }; }
  static uint8_t write(float v) { return float_to_narrow(v, T); }
};
template <DType T>
struct NarrowInt {
  using Compute = int64_t;
  static auto reader() { return [](uint8_t code) { return narrow_to_int(code, T); }; }
  static uint8_t write(int64_t v) { return int_to_narrow(v, T); }
};
template <class N>
void load_narrow(const void* from, int64_t stride, void* tile, int64_t n) {
  const uint8_t* p = static_cast<const uint8_t*>(from);
  auto* t = static_cast<typename N::Compute*>(tile);
  const auto read = N::reader();
  for (int64_t i = 0; i < n; ++i) t[i] = read(p[i * stride]);
}
template <class N>
void store_narrow(const void* tile, void* to, int64_t stride, int64_t n) {
  const auto* t = static_cast<const typename N::Compute*>(tile);
  uint8_t* p = static_cast<uint8_t*>(to);
  for (int64_t i = 0; i < n; ++i) p[i * stride] = N::write(t[i]);
}
template <class N>
void round_narrow(void* tile, int64_t n) {
  auto* t = static_cast<typename N::Compute*>(tile);
  const auto read = N::reader();
  for (int64_t i = 0; i < n; ++i) t[i] = read(N::write(t[i]));
}
#define SUAN_NARROW(what)                                                        \
  case DType::f8e4m3: return what##_narrow<NarrowFloat<DType::f8e4m3>>;          \
  case DType::f8e5m2: return what##_narrow<NarrowFloat<DType::f8e5m2>>;          \
  case DType::f8e4m3fnuz: return what##_narrow<NarrowFloat<DType::f8e4m3fnuz>>;  \
  case DType::f8e5m2fnuz: return what##_narrow<NarrowFloat<DType::f8e5m2fnuz>>;  \
  case DType::f8e8m0: return what##_narrow<NarrowFloat<DType::f8e8m0>>;          \
  case DType::f4e2m1: return what##_narrow<NarrowFloat<DType::f4e2m1>>;          \
  case DType::i4: return what##_narrow<NarrowInt<DType::i4>>;                    \
  case DType::u4: return what##_narrow<NarrowInt<DType::u4>>;                    \
  case DType::i2: return what##_narrow<NarrowInt<DType::i2>>;                    \
  case DType::u2: return what##_narrow<NarrowInt<DType::u2>>;

// Truncates; what int64 cannot hold becomes its lowest value, as the processor does it.
template <class F>
int64_t to_int64(F v) {
  const double d = double(v);
  return d >= -0x1p63 && d < 0x1p63 ? int64_t(d) : INT64_MIN;
}
template <class From, class To>
struct Convert {
  static To one(From v) {
    if constexpr (std::is_floating_point_v<From> && std::is_same_v<To, uint64_t>) {
      return double(v) >= 0x1p63 ? uint64_t(to_int64(double(v) - 0x1p63)) + (uint64_t(1) << 63)
                                 : uint64_t(to_int64(v));
    } else if constexpr (std::is_floating_point_v<From> && std::is_same_v<To, int64_t>) {
      return to_int64(v);
    } else if constexpr (std::is_same_v<To, uint8_t>) {
      return v != 0;
    } else {
      return To(v);
    }
  }
  static void tile(const void* const* in, void* out, int64_t n) {
    const From* x = static_cast<const From*>(in[0]);
    To* y = static_cast<To*>(out);
    for (int64_t i = 0; i < n; ++i) y[i] = one(x[i]);
  }
};
template <class From>
constexpr RowCode casts_from() {
  return {"cast", 2,
          {Convert<From, float>::tile, Convert<From, double>::tile, Convert<From, int64_t>::tile,
           Convert<From, uint64_t>::tile, Convert<From, uint8_t>::tile}};
}
constexpr RowCode casts[n_compute] = {casts_from<float>(), casts_from<double>(), casts_from<int64_t>(),
                                      casts_from<uint64_t>(), casts_from<uint8_t>()};

}  // namespace

RowFn cast_fn(DType from, DType to) { return casts[compute_index(from)].fn[compute_index(to)]; }

LoadFn load_fn(DType t) {
  switch (t) {
    case DType::boolean: return load_plain<uint8_t, uint8_t>;
    case DType::u8: return load_plain<uint8_t, int64_t>;
    case DType::u16: return load_plain<uint16_t, int64_t>;
    case DType::u32: return load_plain<uint32_t, int64_t>;
    case DType::u64: return load_plain<uint64_t, uint64_t>;
    case DType::i8: return load_plain<int8_t, int64_t>;
    case DType::i16: return load_plain<int16_t, int64_t>;
    case DType::i32: return load_plain<int32_t, int64_t>;
    case DType::i64: return load_plain<int64_t, int64_t>;
    case DType::f16: return load_half<F16>;
    case DType::bf16: return load_half<BF16>;
    case DType::f32: return load_plain<float, float>;
    case DType::f64: return load_plain<double, double>;
    SUAN_NARROW(load)
    default: return nullptr;
  }
}

StoreFn store_fn(DType t) {
  switch (t) {
    case DType::boolean: return store_plain<uint8_t, uint8_t>;
    case DType::u8: return store_plain<uint8_t, int64_t>;
    case DType::u16: return store_plain<uint16_t, int64_t>;
    case DType::u32: return store_plain<uint32_t, int64_t>;
    case DType::u64: return store_plain<uint64_t, uint64_t>;
    case DType::i8: return store_plain<int8_t, int64_t>;
    case DType::i16: return store_plain<int16_t, int64_t>;
    case DType::i32: return store_plain<int32_t, int64_t>;
    case DType::i64: return store_plain<int64_t, int64_t>;
    case DType::f16: return store_half<F16>;
    case DType::bf16: return store_half<BF16>;
    case DType::f32: return store_plain<float, float>;
    case DType::f64: return store_plain<double, double>;
    SUAN_NARROW(store)
    default: return nullptr;
  }
}

void (*round_fn(DType t))(void* tile, int64_t n) {
  switch (t) {
    case DType::u8: return round_plain<uint8_t, int64_t>;
    case DType::u16: return round_plain<uint16_t, int64_t>;
    case DType::u32: return round_plain<uint32_t, int64_t>;
    case DType::i8: return round_plain<int8_t, int64_t>;
    case DType::i16: return round_plain<int16_t, int64_t>;
    case DType::i32: return round_plain<int32_t, int64_t>;
    case DType::f16: return round_half<F16>;
    case DType::bf16: return round_half<BF16>;
    SUAN_NARROW(round)
    default: return nullptr;
  }
}

}  // namespace suan::cpu::SUAN_ISA
