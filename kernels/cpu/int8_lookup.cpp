// A table of 256 values, byte by byte: 16 KiB of bytes a task. Where the processor has byte permutations, the table lies in
// four registers.
#include <immintrin.h>

#include <algorithm>

#include "core/op.h"
#include "core/pool.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t piece = 1 << 14;

void look_up(const uint8_t* table, const uint8_t* x, uint8_t* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = table[x[i]];
}

#ifdef __AVX512F__
__attribute__((target("avx512vbmi"))) void look_up_wide(const uint8_t* table, const uint8_t* x, uint8_t* out, int64_t n) {
  const __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + 64);
  const __m512i c = _mm512_loadu_si512(table + 128), d = _mm512_loadu_si512(table + 192);
  constexpr int64_t wide = 64;
  for (int64_t i = 0; i < n; i += wide) {
    const __mmask64 live = n - i < wide ? (uint64_t{1} << (n - i)) - 1 : ~uint64_t{0};
    const __m512i at = _mm512_maskz_loadu_epi8(live, x + i);
    const __m512i low = _mm512_permutex2var_epi8(a, at, b), high = _mm512_permutex2var_epi8(c, at, d);
    _mm512_mask_storeu_epi8(out + i, live, _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), low, high));
  }
}
#endif

struct State {
  int64_t n;
  void (*look_up)(const uint8_t*, const uint8_t*, uint8_t*, int64_t);
};

void run(const void* state, const KernelArgs& a) {
  const State s = *static_cast<const State*>(state);
  const uint8_t *x = static_cast<const uint8_t*>(a.in[0]), *table = static_cast<const uint8_t*>(a.in[1]);
  uint8_t* out = static_cast<uint8_t*>(a.out[0]);
  parallel_for((s.n + piece - 1) / piece, [&](int64_t t) {
    const int64_t first = t * piece;
    s.look_up(table, x + first, out + first, std::min(piece, s.n - first));
  });
}

}  // namespace

Kernel kernel_int8_lookup() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    State s{d.in[0]->layout.numel(), look_up};
#ifdef __AVX512F__
    if (__builtin_cpu_supports("avx512vbmi")) s.look_up = look_up_wide;
#endif
    return Prepared{run, std::make_shared<State>(s)};
  };
  k.flags = kernel_in_place;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
