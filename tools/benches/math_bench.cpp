// Time per element of the vector prelude on one core: 64 Ki f32 elements, in and out in L2.
// The target is GELU (both forms) at most 0.3 ns per element. Prints Markdown; with --json, JSON.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu/lib/math_eval.h"

int main(int argc, char** argv) {
  const bool json = argc > 1 && std::strcmp(argv[1], "--json") == 0;
  constexpr std::int64_t n = 64 * 1024;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  std::vector<float> x(n), positive(n), out(n);
  for (float& v : x) v = normal(random);
  for (std::int64_t i = 0; i < n; ++i) positive[i] = x[i] < 0 ? -x[i] : x[i];

  __builtin_cpu_init();
  const bool has_avx512 = __builtin_cpu_supports("avx512f");
  std::printf(json ? "{" : "| function | avx2 ns/element | avx512 ns/element |\n|---|---|---|\n");
  int count = 0;
  const suan::cpu::MathEntry* tables[2] = {suan::cpu::avx2::math_entries(count),
                                           suan::cpu::avx512::math_entries(count)};
  for (int k = 0; k < count; ++k) {
    double best[2] = {1e9, 1e9};
    for (int isa = 0; isa < (has_avx512 ? 2 : 1); ++isa) {
      for (int repeat = 0; repeat < 60; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        tables[isa][k].f32(positive.data(), x.data(), out.data(), n);
        const std::chrono::duration<double, std::nano> took =
            std::chrono::steady_clock::now() - start;
        best[isa] = std::min(best[isa], took.count() / n);
      }
    }
    char second[32];
    std::snprintf(second, sizeof second, has_avx512 ? "%.3f" : json ? "null" : "-", best[1]);
    std::printf(json ? "%s\"%s\": {\"avx2\": %.3f, \"avx512\": %s}" : "%s| %s | %.3f | %s |\n",
                json && k ? ", " : "", tables[0][k].name, best[0], second);
  }
  if (json) std::printf("}\n");
}
