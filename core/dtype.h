// Element types: a one-byte enum and its traits. Kernels instantiate the compute type only; narrow
// storage types are converted tile by tile. A value of 4 or 2 bits takes a byte of memory, its high bits zero;
// only files pack them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace suan {

enum class DType : uint8_t {
  boolean, u8, u16, u32, u64, i8, i16, i32, i64,
  f16, bf16, f32, f64,
  f8e4m3, f8e5m2,
  c64, c128,
  i4, u4, i2, u2,
  f8e4m3fnuz, f8e5m2fnuz, f8e8m0, f4e2m1,
};
inline constexpr int n_dtypes = 25;

enum class DTypeKind : uint8_t { boolean, unsigned_int, signed_int, floating, complex };

struct DTypeInfo {
  std::string_view name;   // Suan's and torch's spelling: "float32"
  std::string_view brief;  // for messages and IR: "f32"
  DTypeKind kind;
  uint8_t bits;           // of a value
  DType compute;  // the type that arithmetic runs in
};

inline constexpr DTypeInfo dtype_table[n_dtypes] = {
    {"bool", "bool", DTypeKind::boolean, 8, DType::boolean},
    {"uint8", "u8", DTypeKind::unsigned_int, 8, DType::i64},
    {"uint16", "u16", DTypeKind::unsigned_int, 16, DType::i64},
    {"uint32", "u32", DTypeKind::unsigned_int, 32, DType::i64},
    {"uint64", "u64", DTypeKind::unsigned_int, 64, DType::u64},
    {"int8", "i8", DTypeKind::signed_int, 8, DType::i64},
    {"int16", "i16", DTypeKind::signed_int, 16, DType::i64},
    {"int32", "i32", DTypeKind::signed_int, 32, DType::i64},
    {"int64", "i64", DTypeKind::signed_int, 64, DType::i64},
    {"float16", "f16", DTypeKind::floating, 16, DType::f32},
    {"bfloat16", "bf16", DTypeKind::floating, 16, DType::f32},
    {"float32", "f32", DTypeKind::floating, 32, DType::f32},
    {"float64", "f64", DTypeKind::floating, 64, DType::f64},
    {"float8_e4m3fn", "f8e4m3", DTypeKind::floating, 8, DType::f32},
    {"float8_e5m2", "f8e5m2", DTypeKind::floating, 8, DType::f32},
    {"complex64", "c64", DTypeKind::complex, 64, DType::c64},
    {"complex128", "c128", DTypeKind::complex, 128, DType::c128},
    {"int4", "i4", DTypeKind::signed_int, 4, DType::i64},
    {"uint4", "u4", DTypeKind::unsigned_int, 4, DType::i64},
    {"int2", "i2", DTypeKind::signed_int, 2, DType::i64},
    {"uint2", "u2", DTypeKind::unsigned_int, 2, DType::i64},
    {"float8_e4m3fnuz", "f8e4m3fnuz", DTypeKind::floating, 8, DType::f32},
    {"float8_e5m2fnuz", "f8e5m2fnuz", DTypeKind::floating, 8, DType::f32},
    {"float8_e8m0fnu", "f8e8m0", DTypeKind::floating, 8, DType::f32},
    {"float4_e2m1fn", "f4e2m1", DTypeKind::floating, 4, DType::f32},
};

constexpr const DTypeInfo& info(DType t) { return dtype_table[static_cast<int>(t)]; }
constexpr std::string_view name(DType t) { return info(t).name; }
constexpr std::string_view brief(DType t) { return info(t).brief; }
constexpr bool is_floating(DType t) { return info(t).kind == DTypeKind::floating; }
constexpr bool is_complex(DType t) { return info(t).kind == DTypeKind::complex; }
constexpr bool is_bool(DType t) { return t == DType::boolean; }
constexpr bool is_signed_int(DType t) { return info(t).kind == DTypeKind::signed_int; }
constexpr bool is_unsigned_int(DType t) { return info(t).kind == DTypeKind::unsigned_int; }
constexpr bool is_integer(DType t) { return is_signed_int(t) || is_unsigned_int(t); }
constexpr bool is_sub_byte(DType t) { return info(t).bits < 8; }
constexpr int64_t item_size(DType t) { return is_sub_byte(t) ? 1 : info(t).bits / 8; }   // bytes of one element
constexpr int64_t bytes_for(DType t, int64_t n) { return n * item_size(t); }
constexpr DType compute_type(DType t) { return info(t).compute; }
// Sums of low-precision floats run in f32, of integers in i64.
constexpr DType accumulate_type(DType t) { return is_bool(t) ? DType::i64 : info(t).compute; }

template <class T> inline constexpr DType dtype_for = DType::f32;
template <> inline constexpr DType dtype_for<bool> = DType::boolean;
template <> inline constexpr DType dtype_for<double> = DType::f64;
template <> inline constexpr DType dtype_for<int8_t> = DType::i8;
template <> inline constexpr DType dtype_for<int16_t> = DType::i16;
template <> inline constexpr DType dtype_for<int32_t> = DType::i32;
template <> inline constexpr DType dtype_for<int64_t> = DType::i64;
template <> inline constexpr DType dtype_for<uint8_t> = DType::u8;
template <> inline constexpr DType dtype_for<uint16_t> = DType::u16;
template <> inline constexpr DType dtype_for<uint32_t> = DType::u32;
template <> inline constexpr DType dtype_for<uint64_t> = DType::u64;

// A set of dtypes as a bit mask, for op schemas.
using DTypeSet = uint32_t;
constexpr DTypeSet dtype_bit(DType t) { return 1u << static_cast<int>(t); }
constexpr bool contains(DTypeSet s, DType t) { return s & dtype_bit(t); }
inline constexpr DTypeSet floating_types =
    dtype_bit(DType::f16) | dtype_bit(DType::bf16) | dtype_bit(DType::f32) | dtype_bit(DType::f64);
inline constexpr DTypeSet signed_int_types = dtype_bit(DType::i8) | dtype_bit(DType::i16) |
                                             dtype_bit(DType::i32) | dtype_bit(DType::i64);
inline constexpr DTypeSet unsigned_int_types = dtype_bit(DType::u8) | dtype_bit(DType::u16) |
                                               dtype_bit(DType::u32) | dtype_bit(DType::u64);
inline constexpr DTypeSet integer_types = signed_int_types | unsigned_int_types;
inline constexpr DTypeSet bool_type = dtype_bit(DType::boolean);
inline constexpr DTypeSet arithmetic_types = floating_types | integer_types;
inline constexpr DTypeSet all_types = arithmetic_types | bool_type;
// Types that are moved and cast, and that nothing computes in.
inline constexpr DTypeSet narrow_floats = dtype_bit(DType::f8e4m3) | dtype_bit(DType::f8e5m2) |
                                          dtype_bit(DType::f8e4m3fnuz) | dtype_bit(DType::f8e5m2fnuz) |
                                          dtype_bit(DType::f8e8m0) | dtype_bit(DType::f4e2m1);
inline constexpr DTypeSet narrow_ints = dtype_bit(DType::i4) | dtype_bit(DType::u4) | dtype_bit(DType::i2) |
                                        dtype_bit(DType::u2);
inline constexpr DTypeSet narrow_types = narrow_floats | narrow_ints;
inline constexpr DTypeSet stored_types = all_types | narrow_types;
// Complex numbers are only moved: there is no cast from or to them.
inline constexpr DTypeSet complex_types = dtype_bit(DType::c64) | dtype_bit(DType::c128);
inline constexpr DTypeSet moved_types = stored_types | complex_types;

}  // namespace suan
