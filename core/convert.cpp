// Element conversion for every real dtype.
#include "core/convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace suan {

float half_to_float(uint16_t h) {
  uint32_t sign = uint32_t(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 1023;
  if (exp == 31) return __builtin_bit_cast(float, sign | 0x7f800000 | (man << 13));
  float v = exp == 0 ? std::ldexp(float(man), -24) : std::ldexp(float(man + 1024), int(exp) - 25);
  return sign ? -v : v;
}

uint16_t float_to_half(float f) {
  uint32_t u = __builtin_bit_cast(uint32_t, f);
  uint16_t sign = uint16_t((u >> 16) & 0x8000);
  u &= 0x7fffffff;
  if (u > 0x7f800000) return sign | 0x7e00;
  if (u >= 0x477ff000) return sign | 0x7c00;  // rounds past 65504
  if (u < 0x38800000) {                       // subnormal: an exact scaled add rounds it
    float r = __builtin_bit_cast(float, u) + 0.5f;
    return sign | uint16_t(__builtin_bit_cast(uint32_t, r) - 0x3f000000);
  }
  return sign | uint16_t((u - 0x38000000 + 0xfff + ((u >> 13) & 1)) >> 13);
}

namespace {
// Sign, exponent, mantissa in the low bits of a byte. Codes are counted without the sign.
struct NarrowFloat {
  int exponent_bits, mantissa_bits, bias;
  int largest;    // code of the largest finite value
  int overflow;   // code with the sign kept, or all_nan
  int nan;
};
constexpr int all_nan = 0x80;   // of the fnuz types: the code that would be -0, which they have not
constexpr NarrowFloat format_of(DType t) {
  switch (t) {
    case DType::f8e4m3: return {4, 3, 7, 0x7e, 0x7f, 0x7f};
    case DType::f8e5m2: return {5, 2, 15, 0x7b, 0x7c, 0x7e};
    case DType::f8e4m3fnuz: return {4, 3, 8, 0x7f, all_nan, all_nan};
    case DType::f8e5m2fnuz: return {5, 2, 16, 0x7f, all_nan, all_nan};
    default: return {2, 1, 1, 7, 7, 8};   // f4e2m1, where NaN becomes -0
  }
}
}  // namespace

float narrow_to_float(uint8_t code, DType t) {
  if (t == DType::f8e8m0) return code == 255 ? NAN : std::ldexp(1.0f, int(code) - 127);
  const NarrowFloat f = format_of(t);
  const int sign_bit = 1 << (f.exponent_bits + f.mantissa_bits), plain = code & (sign_bit - 1);
  const bool negative = code & sign_bit;
  if (f.nan == all_nan ? code == all_nan : plain > f.largest) {
    const float v = plain == f.overflow && f.overflow != f.nan ? INFINITY : NAN;
    return negative ? -v : v;
  }
  const int exponent = plain >> f.mantissa_bits, mantissa = plain & ((1 << f.mantissa_bits) - 1);
  const float v = std::ldexp(float(exponent ? mantissa + (1 << f.mantissa_bits) : mantissa),
                             std::max(exponent, 1) - f.bias - f.mantissa_bits);
  return negative ? -v : v;
}

uint8_t float_to_narrow(float v, DType t) {
  const uint32_t u = __builtin_bit_cast(uint32_t, v), a = u & 0x7fffffff;
  if (t == DType::f8e8m0) {   // powers of two and NaN; halfway goes up
    if (a > 0x7f800000 || (u >> 31 && a)) return 255;
    return uint8_t(a < 0x800000 ? a >= 0x600000 : (a + 0x400000) >> 23);
  }
  const NarrowFloat f = format_of(t);
  const int sign = (u >> 31) << (f.exponent_bits + f.mantissa_bits);
  if (a > 0x7f800000) return uint8_t(f.nan | (f.nan < 0x40 ? 0 : sign));
  const int least = 1 - f.bias, exponent = std::max(int(a >> 23) - 127, least);
  int code = f.largest + 1;
  if (exponent < 127) {   // in units of the last place: exact until nearbyint
    const double unit = __builtin_bit_cast(double, uint64_t(1023 - exponent + f.mantissa_bits) << 52);
    const double rounded = std::nearbyint(double(__builtin_bit_cast(float, a)) * unit);
    code = ((exponent - least) << f.mantissa_bits) + int(rounded);
  }
  if (code > f.largest) return uint8_t(f.overflow | sign);
  return uint8_t(code == 0 && f.nan == all_nan ? 0 : code | sign);
}

namespace {
template <class T>
T load(const std::byte* p) { T v; std::memcpy(&v, p, sizeof v); return v; }
template <class T>
void store(std::byte* p, T v) { std::memcpy(p, &v, sizeof v); }

[[noreturn]] void unsupported(DType t) {
  fail<TypeError>("convert", "no element conversion: expected a real dtype, got {}", name(t));
}
}  // namespace

double load_as(const std::byte* p, DType t) {
  switch (t) {
    case DType::f32: return load<float>(p);
    case DType::f64: return load<double>(p);
    case DType::f16: return half_to_float(load<uint16_t>(p));
    case DType::bf16: return bfloat_to_float(load<uint16_t>(p));
    case DType::f8e4m3: case DType::f8e5m2: case DType::f8e4m3fnuz: case DType::f8e5m2fnuz: case DType::f8e8m0:
    case DType::f4e2m1:
      return narrow_to_float(load<uint8_t>(p), t);
    case DType::u64: return double(load<uint64_t>(p));
    default: return double(load_as_int(p, t));
  }
}

int64_t load_as_int(const std::byte* p, DType t) {
  switch (t) {
    case DType::boolean: return load<uint8_t>(p) != 0;
    case DType::u8: return load<uint8_t>(p);
    case DType::u16: return load<uint16_t>(p);
    case DType::u32: return load<uint32_t>(p);
    case DType::u64: return int64_t(load<uint64_t>(p));
    case DType::i8: return load<int8_t>(p);
    case DType::i16: return load<int16_t>(p);
    case DType::i32: return load<int32_t>(p);
    case DType::i64: return load<int64_t>(p);
    case DType::i4: case DType::u4: case DType::i2: case DType::u2: return narrow_to_int(load<uint8_t>(p), t);
    case DType::f16: case DType::bf16: case DType::f32: case DType::f64: case DType::f8e4m3: case DType::f8e5m2:
    case DType::f8e4m3fnuz: case DType::f8e5m2fnuz: case DType::f8e8m0: case DType::f4e2m1: {
      double v = load_as(p, t);
      if (!(std::fabs(v) < 9.3e18))
        fail<ValueError>("item", "not an integer: expected a finite value in int64, got {}", v);
      return int64_t(v);
    }
    default: unsupported(t);
  }
}

void store_as_int(std::byte* p, DType t, int64_t v) {
  switch (t) {
    case DType::boolean: return store<uint8_t>(p, v != 0);
    case DType::u8: case DType::i8: return store<uint8_t>(p, uint8_t(v));
    case DType::u16: case DType::i16: return store<uint16_t>(p, uint16_t(v));
    case DType::u32: case DType::i32: return store<uint32_t>(p, uint32_t(v));
    case DType::u64: case DType::i64: return store<int64_t>(p, v);
    case DType::i4: case DType::u4: case DType::i2: case DType::u2: return store<uint8_t>(p, int_to_narrow(v, t));
    default: return store_as(p, t, double(v));
  }
}

void store_as(std::byte* p, DType t, double v) {
  switch (t) {
    case DType::f32: return store<float>(p, float(v));
    case DType::f64: return store<double>(p, v);
    case DType::f16: return store<uint16_t>(p, float_to_half(float(v)));
    case DType::bf16: return store<uint16_t>(p, float_to_bfloat(float(v)));
    case DType::f8e4m3: case DType::f8e5m2: case DType::f8e4m3fnuz: case DType::f8e5m2fnuz: case DType::f8e8m0:
    case DType::f4e2m1:
      return store<uint8_t>(p, float_to_narrow(float(v), t));
    case DType::boolean: return store<uint8_t>(p, v != 0);
    case DType::c64: store<float>(p, float(v)); return store<float>(p + 4, 0.0f);
    case DType::c128: store<double>(p, v); return store<double>(p + 8, 0.0);
    default:
      if (std::isnan(v) || std::fabs(v) > 1.9e19) v = 0;
      return store_as_int(p, t, v >= 9.2233720368547758e18 ? int64_t(uint64_t(v)) : int64_t(v));
  }
}

}  // namespace suan
