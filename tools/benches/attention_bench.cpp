// Attention forward and backward on one core, f32, packed [batch, seq, 3, heads, dim] inputs.
// GFLOP/s counts the pairs a causal mask leaves; the peak is measured beside it (512-bit fma).
#define SUAN_ISA avx512
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>

#include "core/pool.h"
#include "kernels/cpu/lib/attention.h"

namespace {

using namespace suan::cpu;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float[], Free>;

Buffer random_buffer(std::int64_t n) {
  Buffer buffer(static_cast<float*>(
      std::aligned_alloc(64, (static_cast<std::size_t>(n) * 4 + 63) / 64 * 64)));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < n; ++i) buffer[i] = normal(random);
  return buffer;
}

__attribute__((target("avx512f"))) double peak_gflops() {
  typedef float V __attribute__((vector_size(64)));
  double best = 1e9;
  constexpr int loops = 1000000;
  for (int repeat = 0; repeat < 10; ++repeat) {
    V a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{}, i{}, j{};
    const V x = V{} + 0.5f;
    const auto start = Clock::now();
    for (int n = 0; n < loops; ++n) {
      asm volatile(
          "vfmadd213ps %10,%10,%0\n vfmadd213ps %10,%10,%1\n vfmadd213ps %10,%10,%2\n"
          "vfmadd213ps %10,%10,%3\n vfmadd213ps %10,%10,%4\n vfmadd213ps %10,%10,%5\n"
          "vfmadd213ps %10,%10,%6\n vfmadd213ps %10,%10,%7\n vfmadd213ps %10,%10,%8\n"
          "vfmadd213ps %10,%10,%9"
          : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h), "+v"(i), "+v"(j)
          : "v"(x));
    }
    best = std::min(best, seconds_since(start));
  }
  return 10.0 * 32 * loops / best * 1e-9;
}

void measure(std::int64_t heads, std::int64_t seq, std::int64_t dim, bool causal, double peak) {
  const std::int64_t width = heads * dim;
  const Buffer qkv = random_buffer(seq * 3 * width), dqkv = random_buffer(seq * 3 * width);
  const Buffer out = random_buffer(seq * width), dout = random_buffer(seq * width);
  const Buffer lse = random_buffer(heads * seq), space = random_buffer(heads * seq);
  AttentionProblem<float> problem{
      1, heads, heads, seq, seq, dim, 1 / std::sqrt(static_cast<float>(dim)), causal};
  const auto third = [&](const Buffer& packed, int which) {
    return HeadsView<float>{packed.get() + which * width, seq * 3 * width, dim, 3 * width};
  };
  const auto read = [](HeadsView<float> v) {
    return HeadsView<const float>{v.data, v.batch, v.head, v.seq};
  };
  const HeadsView<float> o{out.get(), seq * width, dim, width},
      g{dout.get(), seq * width, dim, width};
  const auto q = read(third(qkv, 0)), k = read(third(qkv, 1)), v = read(third(qkv, 2));
  double forward = 1e9, backward = 1e9;
  for (int repeat = 0; repeat < 50; ++repeat) {
    auto start = Clock::now();
    avx512::attention_forward<float>(problem, q, k, v, o, lse.get());
    forward = std::min(forward, seconds_since(start));
    start = Clock::now();
    avx512::attention_backward<float>(problem, q, k, v, read(o), lse.get(), read(g), third(dqkv, 0),
                                      third(dqkv, 1), third(dqkv, 2), space.get());
    backward = std::min(backward, seconds_since(start));
  }
  const double pairs = static_cast<double>(causal ? seq * (seq + 1) / 2 : seq * seq);
  const double flops = 4e-9 * static_cast<double>(width) * pairs;
  std::printf("| %ld heads, seq %ld, dim %ld%s | %.3f | %.0f (%.0f %%) | %.3f | %.0f (%.0f %%) |\n",
              heads, seq, dim, causal ? ", causal" : "", forward * 1e3, flops / forward,
              100 * flops / forward / peak, backward * 1e3, 2.5 * flops / backward,
              250 * flops / backward / peak);
}

}  // namespace

int main() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bw")) {
    std::printf("attention_bench measures the AVX-512 kernels: this CPU has none\n");
    return 0;
  }
  suan::set_num_threads(1);
  const double peak = peak_gflops();
  std::printf("one core, fma peak %.0f GFLOP/s\n", peak);
  std::printf("| shape | forward ms | GFLOP/s | backward ms | GFLOP/s |\n|---|---|---|---|---|\n");
  for (const bool causal : {true, false}) {
    measure(6, 256, 64, causal, peak);
    measure(12, 64, 32, causal, peak);
    measure(6, 1024, 64, causal, peak);
  }
}
