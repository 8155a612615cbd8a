// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): 16 counters at a time.
// Element i is lane i mod 4 of counter offset + i / 4, so no partition changes a result.
#include <algorithm>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int width = 16;  // counters at a time, four to a vector

// One counter per 64-bit lane, its four words in four vectors; each word in the low half.
void philox(uint64_t seed, uint64_t counter, uint32_t* out) {
  constexpr int groups = width / 4;
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256i x0[groups], x1[groups], x2[groups], x3[groups];
  for (int g = 0; g < groups; ++g) {
    const __m256i c = _mm256_add_epi64(_mm256_set1_epi64x(int64_t(counter) + 4 * g),
                                       _mm256_setr_epi64x(0, 1, 2, 3));
    x0[g] = _mm256_and_si256(c, low);
    x1[g] = _mm256_srli_epi64(c, 32);
    x2[g] = x3[g] = _mm256_setzero_si256();
  }
  const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const __m256i key0 = _mm256_set1_epi64x(k0), key1 = _mm256_set1_epi64x(k1);
    for (int g = 0; g < groups; ++g) {
      const __m256i p = _mm256_mul_epu32(x0[g], m0), q = _mm256_mul_epu32(x2[g], m1);
      x0[g] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(q, 32), x1[g]), key0);
      x2[g] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p, 32), x3[g]), key1);
      x1[g] = _mm256_and_si256(q, low);
      x3[g] = _mm256_and_si256(p, low);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int g = 0; g < groups; ++g) {
    const __m256i a = _mm256_or_si256(x0[g], _mm256_slli_epi64(x1[g], 32));
    const __m256i b = _mm256_or_si256(x2[g], _mm256_slli_epi64(x3[g], 32));
    const __m256i even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
    __m256i* to = reinterpret_cast<__m256i*>(out + 16 * g);
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
  }
}

void run(const void* state, const KernelArgs& a) {
  const int64_t n = *static_cast<const int64_t*>(state);
  const uint64_t seed = static_cast<const uint64_t*>(a.in[0])[0];
  const uint64_t offset = static_cast<const uint64_t*>(a.in[0])[1];
  uint32_t* out = static_cast<uint32_t*>(a.out[0]);
  constexpr int64_t step = 4 * width;
  run_ranges((n + step - 1) / step, inline_elements / step, n, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const uint64_t counter = offset + uint64_t(t) * width;
      const int64_t at = t * step, m = std::min(step, n - at);
      if (m == step) {
        philox(seed, counter, out + at);
      } else {
        uint32_t rest[step];
        philox(seed, counter, rest);
        std::copy_n(rest, m, out + at);
      }
    }
  });
}

}  // namespace

Kernel kernel_random_bits() {
  return {[](const KernelDesc& d) {
    return Prepared{run, std::make_shared<int64_t>(d.out[0]->layout.numel())};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
