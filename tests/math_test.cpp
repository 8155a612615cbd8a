// The vector prelude against double libm: dense random inputs, special values, tails, and equal
// bits from both instruction sets.
#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/lib/math_eval.h"

namespace {

using suan::cpu::MathEntry;

// SUAN_AVX512: whether this build holds the AVX-512 kernels (the sanitizer builds do not).
bool has_avx512() {
  __builtin_cpu_init();
  return SUAN_AVX512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const MathEntry* entries(bool avx512, int& count) {
#if SUAN_AVX512
  if (avx512) return suan::cpu::avx512::math_entries(count);
#endif
  if (avx512) throw std::logic_error("this build has no AVX-512 kernels");
  return suan::cpu::avx2::math_entries(count);
}

const MathEntry& entry(bool avx512, const std::string& name) {
  int count = 0;
  const MathEntry* all = entries(avx512, count);
  for (int i = 0; i < count; ++i) {
    if (name == all[i].name) return all[i];
  }
  throw std::runtime_error("no such function: " + name);
}

std::vector<bool> instruction_sets() {
  if (has_avx512()) return {false, true};
  std::printf("no AVX-512 in this CPU or build: that half of the kernels is not run here\n");
  return {false};
}

// Distance in units of the last place of the exact value (denormals count as the smallest
// normal's).
double ulp_error(float got, double want) {
  const float rounded = static_cast<float>(want);
  if (std::isnan(rounded)) return std::isnan(got) ? 0 : INFINITY;
  if (std::isinf(rounded) || std::isinf(got)) {
    // Within half an ulp of the overflow threshold either answer is right.
    if (rounded == got) return 0;
    return std::fabs(std::fabs(want) / static_cast<double>(FLT_MAX) - 1) < 1e-6 ? 1 : INFINITY;
  }
  int exponent = 0;
  std::frexp(want == 0 ? static_cast<double>(FLT_MIN) : want, &exponent);
  const double ulp = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::fabs(static_cast<double>(got) - want) / ulp;
}

std::vector<float> special_values() {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> v = {
      0.0f,    1.0f,   0.5f,       2.0f,        3.0f,        4.0f,        inf,        FLT_MIN,
      FLT_MAX, 1e-45f, 1e-40f,     1e-10f,      1e-5f,       0.99999994f, 1.0000001f, 1.5f,
      2.5f,    3.5f,   88.72f,     88.8f,       87.3f,       103.9f,      104.1f,     128.0f,
      126.5f,  149.0f, 150.5f,     3.14159265f, 1.57079632f, 6.2831853f,  1e4f,       4194304.0f,
      1e10f,   1e30f,  8388607.5f, 8388608.0f,  16777217.0f, 0.707106f,   0.4142135f, 2.4142135f,
      9.01f,   9.2f,   3.9f,       3.95f,       0x1p-126f,   0x1p-24f};
  const std::size_t n = v.size();
  for (std::size_t i = 0; i < n; ++i) v.push_back(-v[i]);
  v.push_back(std::numeric_limits<float>::quiet_NaN());
  return v;
}

// Random bit patterns (every exponent), and dense values over the range where functions bend.
std::vector<float> dense_values() {
  std::mt19937 random(20260728);
  std::vector<float> v;
  for (int i = 0; i < 400000; ++i) {
    const std::uint32_t bits = random();
    float x;
    std::memcpy(&x, &bits, sizeof x);
    v.push_back(x);
  }
  for (const float range : {1.0f, 4.0f, 12.0f, 110.0f}) {
    std::uniform_real_distribution<float> uniform(-range, range);
    for (int i = 0; i < 200000; ++i) v.push_back(uniform(random));
  }
  return v;
}

struct Unary {
  const char* name;
  double (*libm)(double);
  double max_ulp;
};

const Unary kUnary[] = {
    {"exp", [](double x) { return std::exp(x); }, 2},
    {"exp2", [](double x) { return std::exp2(x); }, 2},
    {"expm1", [](double x) { return std::expm1(x); }, 1},
    {"log", [](double x) { return std::log(x); }, 2},
    {"log2", [](double x) { return std::log2(x); }, 1},
    {"log10", [](double x) { return std::log10(x); }, 1},
    {"log1p", [](double x) { return std::log1p(x); }, 1},
    {"sin", [](double x) { return std::sin(x); }, 1},
    {"cos", [](double x) { return std::cos(x); }, 1},
    {"tan", [](double x) { return std::tan(x); }, 1},
    {"sinh", [](double x) { return std::sinh(x); }, 1},
    {"cosh", [](double x) { return std::cosh(x); }, 1},
    {"tanh", [](double x) { return std::tanh(x); }, 2},
    {"asin", [](double x) { return std::asin(x); }, 1},
    {"acos", [](double x) { return std::acos(x); }, 1},
    {"atan", [](double x) { return std::atan(x); }, 1},
    {"erf", [](double x) { return std::erf(x); }, 2.25},
    {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, 3},
    {"sqrt", [](double x) { return std::sqrt(x); }, 0.5},
    {"rsqrt", [](double x) { return 1 / std::sqrt(x); }, 2},
    {"floor", [](double x) { return std::floor(x); }, 0},
    {"ceil", [](double x) { return std::ceil(x); }, 0},
    {"round", [](double x) { return std::nearbyint(x); }, 0},
    {"trunc", [](double x) { return std::trunc(x); }, 0},
};

TEST(Math, unary_f32_stays_within_its_ulps) {
  std::vector<float> x = special_values();
  const std::vector<float> more = dense_values();
  x.insert(x.end(), more.begin(), more.end());
  std::vector<float> y(x.size());
  for (const bool avx512 : instruction_sets()) {
    for (const Unary& u : kUnary) {
      entry(avx512, u.name).f32(x.data(), nullptr, y.data(), static_cast<std::int64_t>(x.size()));
      double worst = 0;
      float at = 0, got = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double error = ulp_error(y[i], u.libm(static_cast<double>(x[i])));
        if (error > worst) worst = error, at = x[i], got = y[i];
      }
      if (avx512) std::printf("%-8s %.3f ulp\n", u.name, worst);
      EXPECT_LE(worst, u.max_ulp) << u.name << "(" << at << ") gave " << got << ", libm says "
                                  << u.libm(static_cast<double>(at));
    }
  }
}

TEST(Math, odd_functions_keep_the_sign_of_zero) {
  for (const bool avx512 : instruction_sets()) {
    for (const char* name : {"sin", "tan", "sinh", "tanh", "asin", "atan", "erf", "expm1", "log1p",
                             "sqrt", "floor", "ceil", "round", "trunc"}) {
      const float x[2] = {-0.0f, 0.0f};
      float y[2] = {1, 1};
      entry(avx512, name).f32(x, nullptr, y, 2);
      EXPECT_TRUE(y[0] == 0 && std::signbit(y[0])) << name;
      EXPECT_TRUE(y[1] == 0 && !std::signbit(y[1])) << name;
    }
  }
}

TEST(Math, binary_f32_stays_within_its_ulps) {
  const std::vector<float> special = special_values();
  std::vector<float> x, y;
  for (const float a : special) {
    for (const float b : special) x.push_back(a), y.push_back(b);
  }
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-20.0f, 20.0f);
  for (int i = 0; i < 200000; ++i) x.push_back(uniform(random)), y.push_back(uniform(random));
  for (int i = 0; i < 200000; ++i) {
    x.push_back(std::fabs(uniform(random))), y.push_back(uniform(random));
  }
  struct Binary {
    const char* name;
    double (*libm)(double, double);
    double max_ulp;
  };
  const Binary functions[] = {
      {"pow", [](double a, double b) { return std::pow(a, b); }, 1},
      {"atan2", [](double a, double b) { return std::atan2(a, b); }, 1},
      {"fmod", [](double a, double b) { return std::fmod(a, b); }, 0},
      {"max", [](double a, double b) { return std::isnan(a) || a > b ? a : b; }, 0},
      {"min", [](double a, double b) { return std::isnan(a) || a < b ? a : b; }, 0},
  };
  std::vector<float> got(x.size());
  for (const bool avx512 : instruction_sets()) {
    for (const Binary& f : functions) {
      entry(avx512, f.name)
          .f32(x.data(), y.data(), got.data(), static_cast<std::int64_t>(x.size()));
      int shown = 0;
      for (std::size_t i = 0; i < x.size() && shown < 5; ++i) {
        const double want = f.libm(static_cast<double>(x[i]), static_cast<double>(y[i]));
        const bool good = ulp_error(got[i], want) <= f.max_ulp &&
                          (std::isnan(want) || std::signbit(got[i]) == std::signbit(want));
        if (!good) ++shown;
        EXPECT_TRUE(good) << f.name << "(" << x[i] << ", " << y[i] << ") gave " << got[i]
                          << ", libm says " << want;
      }
    }
  }
}

TEST(Math, f64_is_right) {
  std::mt19937_64 random(3);
  for (const double range : {1.0, 30.0, 800.0}) {
    std::uniform_real_distribution<double> uniform(-range, range);
    std::vector<double> x(4099), y(x.size());
    for (double& v : x) v = uniform(random);
    for (const bool avx512 : instruction_sets()) {
      for (const Unary& u : kUnary) {
        entry(avx512, u.name).f64(x.data(), nullptr, y.data(), static_cast<std::int64_t>(x.size()));
        for (std::size_t i = 0; i < x.size(); ++i) {
          const double want = u.libm(x[i]);
          if (std::isnan(want)) {
            ASSERT_TRUE(std::isnan(y[i])) << u.name;
          } else if (std::isinf(want)) {
            ASSERT_EQ(y[i], want) << u.name;
          } else {
            ASSERT_LE(std::fabs(y[i] - want), 1e-15 * std::fabs(want) + 1e-300)
                << u.name << "(" << x[i] << ")";
          }
        }
      }
    }
  }
}

TEST(Math, half_floats_round_to_nearest_even_and_keep_nan) {
  std::vector<float> x = special_values(), y(x.size());
  for (const float v : dense_values()) x.push_back(v);
  for (const float tie : {1.00390625f, 1.01171875f, 1.00048828125f, 1.00146484375f, 65504.0f,
                          65519.0f, 65520.0f, 0x1.8p-25f, 0x1p-25f}) {
    x.push_back(tie);
  }
  y.resize(x.size());
  // Nearest multiple of 2^(exponent - bits), ties to even, no smaller step than `least`.
  const auto rounded = [](float v, int bits, int least, double limit) {
    if (!std::isfinite(v)) return static_cast<double>(v);
    int exponent = 0;
    std::frexp(static_cast<double>(v), &exponent);
    const double step = std::ldexp(1.0, std::max(exponent - bits, least));
    const double near = std::nearbyint(static_cast<double>(v) / step) * step;
    return std::fabs(near) >= limit ? std::copysign(INFINITY, near) : near;
  };
  for (const bool avx512 : instruction_sets()) {
    for (const bool f16 : {false, true}) {
      entry(avx512, f16 ? "through_f16" : "through_bf16")
          .f32(x.data(), nullptr, y.data(), static_cast<std::int64_t>(x.size()));
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double want = f16 ? rounded(x[i], 11, -24, 65520) : rounded(x[i], 8, -133, 0x1p128);
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(y[i]));
        } else {
          ASSERT_EQ(static_cast<double>(y[i]), want) << x[i] << (f16 ? " f16" : " bf16");
        }
      }
    }
  }
}

TEST(Math, tails_give_the_bits_of_full_vectors_and_touch_nothing_else) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-3.0f, 3.0f);
  std::vector<float> x(64), full(64);
  for (float& v : x) v = uniform(random);
  for (const bool avx512 : instruction_sets()) {
    const MathEntry& gelu = entry(avx512, "gelu_erf");
    gelu.f32(x.data(), nullptr, full.data(), 64);
    for (int n = 0; n <= 64; ++n) {
      std::vector<float> part(65, -77.0f);
      gelu.f32(x.data(), nullptr, part.data(), n);
      EXPECT_EQ(std::memcmp(part.data(), full.data(), static_cast<std::size_t>(n) * 4), 0);
      for (int i = n; i < 65; ++i) ASSERT_EQ(part[i], -77.0f);
    }
  }
}

TEST(Math, both_instruction_sets_give_equal_bits) {
  if (!has_avx512()) GTEST_SKIP() << "no AVX-512 in this CPU or build";
  std::vector<float> x = special_values();
  const std::vector<float> more = dense_values();
  x.insert(x.end(), more.begin(), more.end());
  std::vector<float> other(x.rbegin(), x.rend()), a(x.size()), b(x.size());
  int count = 0;
  const MathEntry* all = entries(false, count);
  for (int k = 0; k < count; ++k) {
    const auto n = static_cast<std::int64_t>(x.size());
    all[k].f32(x.data(), other.data(), a.data(), n);
    entry(true, all[k].name).f32(x.data(), other.data(), b.data(), n);
    std::size_t different = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool both_nan = std::isnan(a[i]) && std::isnan(b[i]);
      different += !both_nan && std::memcmp(&a[i], &b[i], sizeof(float)) != 0;
    }
    EXPECT_EQ(different, 0u) << all[k].name;
  }
}

}  // namespace
