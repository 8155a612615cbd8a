// What the tests of the hand-written kernels share: the skip on a CPU without the instructions,
// random inputs, and comparison against a double reference.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#define SUAN_TEXT2(x) #x
#define SUAN_TEXT(x) SUAN_TEXT2(x)

// Tests of the AVX-512 kernels need the instructions; elsewhere they say why they did not run.
#define SUAN_NEEDS_ISA()                                                            \
  __builtin_cpu_init();                                                             \
  if (std::string_view(SUAN_TEXT(SUAN_ISA)) == "avx512" &&                          \
      !(__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && \
        __builtin_cpu_supports("avx512dq"))) {                                      \
    GTEST_SKIP() << "this CPU has no AVX-512";                                      \
  }

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
std::vector<T> random_values(std::int64_t n, unsigned seed, double scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, scale);
  std::vector<T> v(static_cast<std::size_t>(n));
  for (T& x : v) x = static_cast<T>(normal(random));
  return v;
}

template <class T>
void expect_close(const std::vector<T>& got, const std::vector<double>& want, double tolerance,
                  const char* what) {
  ASSERT_EQ(got.size(), want.size());
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error =
        std::fabs(static_cast<double>(got[i]) - want[i]) / (1 + std::fabs(want[i]));
    if (!(error <= worst)) worst = error, at = i;
  }
  EXPECT_LE(worst, tolerance) << what << " at " << at << ": " << got[at] << " against " << want[at];
}

template <class T>
constexpr double kTolerance = sizeof(T) == 4 ? 3e-5 : 1e-12;

}  // namespace
}  // namespace suan::cpu::SUAN_ISA
