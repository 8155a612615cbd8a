// Sums of four products of bytes a lane, a unsigned and b signed, exact: vpdpbusd where the processor has it, else in
// 16 bits, where nothing saturates. Vectors are those of the instruction set.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

// GCC 12 takes the undefined operands of its own intrinsics for uninitialised variables.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace suan::cpu::SUAN_ISA::int8 {

#ifdef __AVX512F__
using Vec = __m512i;
using Real = __m512;
inline Vec fetch(const void* p) { return _mm512_loadu_si512(p); }
inline void put(void* p, Vec v) { _mm512_storeu_si512(p, v); }
inline Real load_real(const float* p) { return _mm512_loadu_ps(p); }
inline Vec spread(int32_t x) { return _mm512_set1_epi32(x); }
inline Real spread_real(float x) { return _mm512_set1_ps(x); }
inline Vec plus(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
inline Vec times(Vec a, Vec b) { return _mm512_mullo_epi32(a, b); }
inline Real to_real(Vec v) { return _mm512_cvtepi32_ps(v); }
inline Vec whole(Real v) { return _mm512_cvtps_epi32(v); }   // ties to even
inline Real least(Real a, Real b) { return _mm512_min_ps(a, b); }
inline Real most(Real a, Real b) { return _mm512_max_ps(a, b); }
#else
using Vec = __m256i;
using Real = __m256;
inline Vec fetch(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void put(void* p, Vec v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline Real load_real(const float* p) { return _mm256_loadu_ps(p); }
inline Vec spread(int32_t x) { return _mm256_set1_epi32(x); }
inline Real spread_real(float x) { return _mm256_set1_ps(x); }
inline Vec plus(Vec a, Vec b) { return _mm256_add_epi32(a, b); }
inline Vec times(Vec a, Vec b) { return _mm256_mullo_epi32(a, b); }
inline Real to_real(Vec v) { return _mm256_cvtepi32_ps(v); }
inline Vec whole(Real v) { return _mm256_cvtps_epi32(v); }
inline Real least(Real a, Real b) { return _mm256_min_ps(a, b); }
inline Real most(Real a, Real b) { return _mm256_max_ps(a, b); }
#endif
#ifdef __AVX512F__
inline Vec widened(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Vec widened(const int8_t* p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void put_bytes(void* p, Vec v) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v)); }
#else
inline Vec widened(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
inline Vec widened(const int8_t* p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
inline void put_bytes(void* p, Vec v) {   // the low byte of each
  const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0xd8);
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_castsi256_si128(words)));
}
#endif
inline constexpr int vec_lanes = int(sizeof(Vec)) / 4;

// By name: neither instruction set of the build includes it.
struct Dot {
  static Vec run(Vec sum, Vec a, Vec b) {
#ifdef __AVX512F__
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
#endif
    return sum;
  }
};
// Even bytes, then odd ones. A pair's sum is below 2^17.
struct Wide {
  static Vec run(Vec sum, Vec a, Vec b) {
#ifdef __AVX512F__
    const Vec even = _mm512_madd_epi16(_mm512_and_si512(a, _mm512_set1_epi16(0xff)), _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8));
    const Vec odd = _mm512_madd_epi16(_mm512_srli_epi16(a, 8), _mm512_srai_epi16(b, 8));
#else
    const Vec even = _mm256_madd_epi16(_mm256_and_si256(a, _mm256_set1_epi16(0xff)), _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
    const Vec odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
#endif
    return plus(sum, plus(even, odd));
  }
};

// Whether Dot runs here. SUAN_INT8=wide leaves it aside, for tests.
inline bool has_dot() {
  static const bool has = [] {
    const char* asked = std::getenv("SUAN_INT8");
    if (asked && std::string_view(asked) == "wide") return false;
#ifdef __AVX512F__
    return bool(__builtin_cpu_supports("avx512vnni"));
#else
    unsigned a, b, c, d;   // leaf 7.1, AVX-VNNI: GCC 12 has no name for it
    asm("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(1));
    return bool(a & 1u << 4);
#endif
  }();
  return has;
}

}  // namespace suan::cpu::SUAN_ISA::int8
