// Products of bf16 values that lie in pairs along k, by vdpbf16ps, with weights of [blocks of 16 outputs, k, 16, 2]: sums
// stay in float32 registers from the first k to the last and are rounded once, on their way out. Private to conv_pairs.cpp
// and linear_pairs.cpp.
#pragma once

#include "kernels/cpu/lib/finish_vectors.h"
#include "kernels/cpu/lib/fast_pairs.h"
#include "kernels/cpu/lib/gemm.h"

#ifdef __AVX512F__

namespace suan::cpu::SUAN_ISA::gemm_tiles {

inline constexpr int64_t lane_block = 16, block_pairs = lane_block / 2;
inline constexpr int64_t panel_blocks = 2;   // blocks of outputs that a strip makes at a time

using Bits = const uint16_t*;

typedef uint16_t Narrow __attribute__((vector_size(2 * lane_block), aligned(2), may_alias));

// By name: of the conversions that GCC writes itself none takes one instruction.
inline Vector<float> widened(Narrow x) {
  Vector<uint32_t> r;
  asm("vpmovzxwd %1, %0" : "=v"(r) : "v"(x));
  return (Vector<float>)(r << 16);
}
inline Vector<float> load_wide(const uint16_t* p) {
  Vector<uint32_t> r;
  asm("vpmovzxwd %1, %0" : "=v"(r) : "m"(*reinterpret_cast<const Narrow*>(p)));
  return (Vector<float>)(r << 16);
}
// By name: x86-64-v4 does not include it.
inline Narrow rounded(Vector<float> v) {
  Narrow r;
  asm("vcvtneps2bf16 %1, %0" : "=v"(r) : "v"(v));
  return r;
}
// A finished position: sums with their bias, perhaps another value, then what `kind` does. Each is rounded as its row
// would round it; bounds are bf16 already.
template <class K>
inline void store_finished(uint16_t* to, Vector<float> sum, Bits other, const K& kind) {
  if (other) sum = widened(rounded(sum)) + load_wide(other);
  const Narrow result = rounded(kind(sum));
  std::memcpy(to, &result, sizeof result);
}

// ---- the register kernel -------------------------------------------------------------------------------

// C[R positions, NV blocks of channels] = the sum over k of a[offsets[k] + step × position] × b, finished. The second
// half of the positions lies `second` behind the first in a, `c_second` in c, where a position is c_step long.
struct Strip {
  const int32_t* offsets;
  int64_t kc;
  const Pair* a;
  int64_t step, second;
  const Pair* b;
  int64_t b_block;
  uint16_t* c;
  int64_t c_block, c_step, c_second;
  const float* bias;
  const Finish* finish;
  Bits other;              // added, as c
  const Pair* ahead;       // weights that the next panel needs, asked for a line every k; null: none
};

// What a strip asks for while it multiplies: nothing, weights from `ahead`, or the positions that come after its own.
enum Asking { nothing, weights, positions };

template <int R, int NV, int Step, Asking Asks>
void multiply_strip(const Strip& s) {
  constexpr int half = (R + 1) / 2;
  const int64_t step = Step ? Step : s.step, kc = s.kc, b_block = s.b_block, second = s.second;
  const int32_t* offsets = s.offsets;
  const Pair *a = s.a, *b = s.b, *ahead = s.ahead;
  Vector<float> acc[R][NV] = {};
  for (int64_t k = 0; k < kc; ++k) {
    const Pair *at = a + offsets[k], *behind = at + second;
    Vector<Pair> bv[NV];
    for (int j = 0; j < NV; ++j) bv[j] = load(b + j * b_block);
    b += lane_block;
    if constexpr (Asks == weights) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += lane_block;
    } else if constexpr (Asks == positions) {   // two of them lie in a line
      __builtin_prefetch(at + (R + 2 * (k % block_pairs)) * step, 0, 2);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vector<Pair> av = broadcast(i < half ? at[i * step] : behind[(i - half) * step]);
      for (int j = 0; j < NV; ++j) acc[i][j] = multiply_add<Pair>(av, bv[j], acc[i][j]);
    }
  }
  with_finish(s.finish, [&](auto kind) __attribute__((always_inline)) {   // or sums would go through memory
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) {   // unrolled, or the sums would pass through memory to be indexed
      uint16_t* c = s.c + j * s.c_block;
      Bits other = s.other ? s.other + j * s.c_block : nullptr;
      Vector<float> bias{};
      if (s.bias) bias = load(s.bias + j * lane_block);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const int64_t at = i < half ? i * s.c_step : s.c_second + (i - half) * s.c_step;
        store_finished(c + at, acc[i][j] + bias, other ? other + at : nullptr, kind);
      }
    }
  });
}

using StripKernel = void (*)(const Strip&);
template <int Step, Asking Asks, int... I>
constexpr auto make_strips(std::integer_sequence<int, I...>) {
  return std::array<std::array<StripKernel, 2>, sizeof...(I)>{
      {{multiply_strip<I + 1, 1, Step, Asks>, multiply_strip<I + 1, 2, Step, Asks>}...}};
}
inline constexpr auto counts = std::make_integer_sequence<int, max_rows>{};
template <int Step>
inline constexpr std::array strips{make_strips<Step, nothing>(counts), make_strips<Step, weights>(counts),
                            make_strips<Step, Step == 8 ? positions : nothing>(counts)};

// Indexed by [what is asked for][positions - 1][blocks - 1].
inline const auto& strips_for(int64_t step) {
  switch (step) {
    case 8: return strips<8>;
    case 16: return strips<16>;
    default: return strips<0>;
  }
}

}  // namespace suan::cpu::SUAN_ISA::gemm_tiles

#endif
