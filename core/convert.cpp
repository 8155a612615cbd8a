// Element conversion for every unpacked dtype.
#include "core/convert.h"

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
// 8-bit floats: expand to f32 fields; e4m3fn has no infinity, e5m2 is a truncated half.
float f8e4m3_to_float(uint8_t b) {
  int exp = (b >> 3) & 15, man = b & 7;
  if (exp == 15 && man == 7) return b & 0x80 ? -NAN : NAN;
  float v = exp == 0 ? std::ldexp(float(man), -9) : std::ldexp(float(man + 8), exp - 10);
  return b & 0x80 ? -v : v;
}
uint8_t float_to_f8e4m3(float f) {
  uint8_t sign = std::signbit(f) ? 0x80 : 0;
  float a = std::fabs(f);
  if (std::isnan(f) || a >= 464.0f) return sign | 0x7f;
  if (a < 0x1p-6f) return sign | uint8_t(std::nearbyint(a * 512.0f));
  int e;
  std::frexp(a, &e);
  int man = int(std::nearbyint(std::ldexp(a, 4 - e)));  // 8..16
  if (man == 16) { man = 8; ++e; }
  return sign | uint8_t(((e + 6) << 3) | (man - 8));
}

template <class T>
T load(const std::byte* p) { T v; std::memcpy(&v, p, sizeof v); return v; }
template <class T>
void store(std::byte* p, T v) { std::memcpy(p, &v, sizeof v); }

[[noreturn]] void unsupported(DType t) {
  fail<TypeError>("convert", "no element conversion: expected a real unpacked dtype, got {}", name(t));
}
}  // namespace

double load_as(const std::byte* p, DType t) {
  switch (t) {
    case DType::f32: return load<float>(p);
    case DType::f64: return load<double>(p);
    case DType::f16: return half_to_float(load<uint16_t>(p));
    case DType::bf16: return bfloat_to_float(load<uint16_t>(p));
    case DType::f8e4m3: return f8e4m3_to_float(load<uint8_t>(p));
    case DType::f8e5m2: return half_to_float(uint16_t(load<uint8_t>(p) << 8));
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
    case DType::f16: case DType::bf16: case DType::f32: case DType::f64:
    case DType::f8e4m3: case DType::f8e5m2: {
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
    default: return store_as(p, t, double(v));
  }
}

void store_as(std::byte* p, DType t, double v) {
  switch (t) {
    case DType::f32: return store<float>(p, float(v));
    case DType::f64: return store<double>(p, v);
    case DType::f16: return store<uint16_t>(p, float_to_half(float(v)));
    case DType::bf16: return store<uint16_t>(p, float_to_bfloat(float(v)));
    case DType::f8e4m3: return store<uint8_t>(p, float_to_f8e4m3(float(v)));
    case DType::f8e5m2: {
      uint16_t h = float_to_half(float(v));
      if ((h & 0x7fff) > 0x7c00) return store<uint8_t>(p, uint8_t((h >> 8) | 2));
      return store<uint8_t>(p, uint8_t((h + 0x7f + ((h >> 8) & 1)) >> 8));
    }
    case DType::boolean: return store<uint8_t>(p, v != 0);
    case DType::c64: case DType::c128: case DType::i4: case DType::u4: case DType::i2: case DType::u2:
      unsupported(t);
    default:
      if (std::isnan(v) || std::fabs(v) > 1.9e19) v = 0;
      return store_as_int(p, t, v >= 9.2233720368547758e18 ? int64_t(uint64_t(v)) : int64_t(v));
  }
}

}  // namespace suan
