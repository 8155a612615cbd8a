// Convolution and both gradients: right against plain f64 loops for groups, strides, padding,
// dilation, one to three dimensions and every dtype; the same bits at every thread count and on
// both instruction sets.
#include "kernels/cpu/lib/conv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <vector>

#include "core/error.h"

namespace suan::cpu {
// A build for one instruction set leaves the other's kernels out.
namespace avx512 {
__attribute__((weak)) ConvPlan conv_prepare(ConvKind, const ConvShape&);
__attribute__((weak)) void conv_run(const ConvPlan&, const void*, const void*, void*, void*,
                                    TileEpilogue);
}  // namespace avx512
namespace {

struct Isa {
  const char* name;
  ConvPlan (*prepare)(ConvKind, const ConvShape&);
  void (*run)(const ConvPlan&, const void*, const void*, void*, void*, TileEpilogue);
};

std::vector<Isa> isas() {
  std::vector<Isa> found{{"avx2", avx2::conv_prepare, avx2::conv_run}};
  if (&avx512::conv_run != nullptr && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq")) {
    found.push_back({"avx512", avx512::conv_prepare, avx512::conv_run});
  }
  return found;
}

struct ThreadGuard {
  int before = num_threads();
  ~ThreadGuard() { set_num_threads(before); }
};

constexpr ConvKind kinds[] = {ConvKind::forward, ConvKind::input_grad, ConvKind::weight_grad};

int64_t volume(const ConvShape::Dims3& d) { return d[0] * d[1] * d[2]; }
int64_t x_size(const ConvShape& s) { return s.batch * s.groups * s.in_per_group * volume(s.in); }
int64_t w_size(const ConvShape& s) {
  return s.groups * s.out_per_group * s.in_per_group * volume(s.kernel);
}
int64_t y_size(const ConvShape& s) { return s.batch * s.groups * s.out_per_group * volume(s.out); }

ConvShape shape(int64_t batch, int64_t groups, int64_t in, int64_t out, ConvShape::Dims3 size,
                ConvShape::Dims3 kernel, ConvShape::Dims3 stride = {1, 1, 1},
                ConvShape::Dims3 pad = {0, 0, 0}, ConvShape::Dims3 dilation = {1, 1, 1},
                int64_t high = -1) {
  ConvShape s;
  s.batch = batch, s.groups = groups, s.in_per_group = in, s.out_per_group = out;
  s.in = size, s.kernel = kernel, s.stride = stride, s.pad_low = pad, s.dilation = dilation;
  for (int d = 0; d < 3; ++d) {
    const int64_t padded = size[d] + pad[d] + (high >= 0 && size[d] > 1 ? high : pad[d]);
    s.out[d] = (padded - dilation[d] * (kernel[d] - 1) - 1) / stride[d] + 1;
  }
  return s;
}

std::vector<ConvShape> shapes() {
  return {
      shape(3, 1, 1, 32, {1, 28, 28}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}),
      shape(2, 1, 32, 20, {1, 14, 14}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}),
      shape(2, 1, 40, 17, {1, 7, 7}, {1, 1, 1}),
      shape(2, 1, 9, 30, {1, 15, 13}, {1, 1, 1}, {1, 2, 2}),
      shape(2, 1, 3, 16, {1, 40, 40}, {1, 7, 7}, {1, 2, 2}, {0, 3, 3}),
      shape(2, 2, 2, 3, {1, 9, 8}, {1, 3, 2}, {1, 2, 1}, {0, 1, 0}, {1, 1, 2}, 1),
      shape(2, 6, 1, 1, {1, 10, 11}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}),
      shape(2, 1, 5, 4, {1, 1, 700}, {1, 1, 5}, {1, 1, 3}, {0, 0, 2}),
      shape(1, 1, 3, 5, {1, 1, 2000}, {1, 1, 4}),
      shape(2, 1, 4, 5, {5, 6, 7}, {3, 2, 3}, {2, 1, 1}, {1, 1, 1}),
      shape(1, 1, 2, 3, {1, 600, 1}, {1, 3, 1}, {1, 1, 1}, {0, 4, 0}),
      shape(1, 1, 1, 2, {1, 500, 500}, {1, 3, 3}, {1, 60, 60}, {0, 0, 0}, {1, 240, 240}),
      shape(1, 1, 2, 2, {1, 5, 5}, {1, 2, 2}, {1, 3, 3}, {0, 2, 2}),
      shape(1, 1, 300, 15, {1, 6, 6}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}),
      shape(20, 1, 8, 8, {1, 20, 20}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}),
  };
}

template <class T>
std::vector<T> values(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<T> normal;
  std::vector<T> x(n);
  for (T& y : x) y = normal(random);
  return x;
}

template <class T>
std::vector<T> run(const Isa& isa, ConvKind kind, const ConvShape& s, const std::vector<T>& a,
                   const std::vector<T>& b, TileEpilogue epilogue = {}, T* into = nullptr) {
  const ConvPlan plan = isa.prepare(kind, s);
  std::vector<T> c(kind == ConvKind::forward      ? y_size(s)
                   : kind == ConvKind::input_grad ? x_size(s)
                                                  : w_size(s));
  void* workspace = std::aligned_alloc(64, (plan.workspace + 64) & ~size_t{63});
  isa.run(plan, a.data(), b.data(), into ? into : c.data(), workspace, epilogue);
  std::free(workspace);
  return c;
}

// The definition, with the sum of the terms' sizes beside each sum, for the tolerance.
template <class T>
void plain(ConvKind kind, const ConvShape& s, const std::vector<T>& a, const std::vector<T>& b,
           std::vector<double>& sum, std::vector<double>& size) {
  sum.assign(kind == ConvKind::forward      ? y_size(s)
             : kind == ConvKind::input_grad ? x_size(s)
                                            : w_size(s),
             0);
  size.assign(sum.size(), 0);
  const int64_t taps = volume(s.kernel);
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t g = 0; g < s.groups; ++g)
      for (int64_t o = 0; o < s.out_per_group; ++o)
        for (int64_t p = 0; p < volume(s.out); ++p)
          for (int64_t i = 0; i < s.in_per_group; ++i)
            for (int64_t t = 0; t < taps; ++t) {
              const int64_t at[3] = {p / (s.out[1] * s.out[2]), p / s.out[2] % s.out[1],
                                     p % s.out[2]};
              const int64_t tap[3] = {t / (s.kernel[1] * s.kernel[2]),
                                      t / s.kernel[2] % s.kernel[1], t % s.kernel[2]};
              int64_t x = (n * s.groups + g) * s.in_per_group + i;
              bool inside = true;
              for (int d = 0; d < 3; ++d) {
                const int64_t v = at[d] * s.stride[d] - s.pad_low[d] + tap[d] * s.dilation[d];
                inside = inside && v >= 0 && v < s.in[d];
                x = x * s.in[d] + v;
              }
              if (!inside) continue;
              const int64_t w = ((g * s.out_per_group + o) * s.in_per_group + i) * taps + t;
              const int64_t y = ((n * s.groups + g) * s.out_per_group + o) * volume(s.out) + p;
              const int64_t to = kind == ConvKind::forward      ? y
                                 : kind == ConvKind::input_grad ? x
                                                                : w;
              const double term = kind == ConvKind::forward      ? double(a[x]) * b[w]
                                  : kind == ConvKind::input_grad ? double(a[y]) * b[w]
                                                                 : double(a[x]) * b[y];
              sum[to] += term;
              size[to] += std::abs(term);
            }
}

template <class T>
void inputs(ConvKind kind, const ConvShape& s, std::vector<T>& a, std::vector<T>& b) {
  a = values<T>(kind == ConvKind::input_grad ? y_size(s) : x_size(s), 1);
  b = values<T>(kind == ConvKind::weight_grad ? y_size(s) : w_size(s), 2);
}

template <class T>
void compare_with_plain_loop(double tolerance) {
  int which = 0;
  for (ConvShape s : shapes()) {
    s.dtype = sizeof(T) == 4 ? DType::f32 : DType::f64;
    for (ConvKind kind : kinds) {
      std::vector<T> a, b;
      inputs(kind, s, a, b);
      std::vector<double> sum, size;
      plain(kind, s, a, b, sum, size);
      for (const Isa& isa : isas()) {
        SCOPED_TRACE(testing::Message() << isa.name << " shape " << which << " kind " << int(kind));
        const std::vector<T> c = run(isa, kind, s, a, b);
        ASSERT_EQ(c.size(), sum.size());
        for (size_t i = 0; i < c.size(); ++i)
          ASSERT_NEAR(c[i], sum[i], tolerance * (1 + size[i])) << i;
      }
    }
    ++which;
  }
}

TEST(Conv, MatchesPlainLoops) { compare_with_plain_loop<float>(4e-7); }
TEST(Conv, MatchesPlainLoopsInDouble) { compare_with_plain_loop<double>(1e-15); }

TEST(Conv, SameBitsAtEveryThreadCountAndInstructionSet) {
  ThreadGuard guard;
  for (const ConvShape& s : shapes()) {
    for (ConvKind kind : kinds) {
      std::vector<float> a, b, first;
      inputs(kind, s, a, b);
      for (const Isa& isa : isas()) {
        for (int threads : {1, 2, 3, 8}) {
          set_num_threads(threads);
          const std::vector<float> c = run(isa, kind, s, a, b);
          if (first.empty()) first = c;
          ASSERT_EQ(0, std::memcmp(first.data(), c.data(), c.size() * 4))
              << isa.name << " " << threads << " threads, kind " << int(kind);
        }
      }
    }
  }
}

// bf16 in and out is the f32 result of the widened values, rounded once.
TEST(Conv, Bfloat16AccumulatesInFloat32) {
  const auto round = [](float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
  };
  for (const Isa& isa : isas()) {
    for (ConvShape s : shapes()) {
      for (ConvKind kind : kinds) {
        std::vector<float> a, b;
        inputs(kind, s, a, b);
        std::vector<uint16_t> a16(a.size()), b16(b.size());
        const auto narrow = [&](std::vector<float>& x, std::vector<uint16_t>& to) {
          for (size_t i = 0; i < x.size(); ++i) {
            to[i] = round(x[i]);
            const uint32_t u = uint32_t{to[i]} << 16;
            std::memcpy(&x[i], &u, 4);
          }
        };
        narrow(a, a16), narrow(b, b16);
        const std::vector<float> expected = run(isa, kind, s, a, b);
        s.dtype = DType::bf16;
        const std::vector<uint16_t> c = run(isa, kind, s, a16, b16);
        for (size_t i = 0; i < c.size(); ++i) ASSERT_EQ(c[i], round(expected[i]));
        s.dtype = DType::f32;
      }
    }
  }
}

TEST(Conv, EpilogueSeesEachFinishedElementOnce) {
  for (const Isa& isa : isas()) {
    for (const ConvShape& s : shapes()) {
      for (ConvKind kind : {ConvKind::forward, ConvKind::input_grad}) {
        std::vector<float> a, b;
        inputs(kind, s, a, b);
        const std::vector<float> plain = run(isa, kind, s, a, b);
        std::vector<float> with(plain.size());
        std::vector<int> seen(plain.size());
        const int64_t per_image = int64_t(plain.size()) / s.batch;
        std::mutex lock;
        const auto twice = [&](void* tile, int64_t batch, int64_t row0, int64_t rows, int64_t col0,
                               int64_t cols, int64_t ld) {
          std::lock_guard hold(lock);
          float* c = static_cast<float*>(tile);
          const int64_t at = batch * per_image + row0 * ld + col0;
          EXPECT_EQ(c, with.data() + at);
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < cols; ++j) {
              c[i * ld + j] *= 2;
              ++seen[at + i * ld + j];
            }
          }
        };
        run(isa, kind, s, a, b, twice, with.data());
        for (size_t i = 0; i < plain.size(); ++i) {
          ASSERT_EQ(seen[i], 1);
          ASSERT_EQ(with[i], 2 * plain[i]);
        }
      }
    }
  }
}

TEST(Conv, EmptySumsAreZeroAndEmptyResultsAreNothing) {
  for (const Isa& isa : isas()) {
    ConvShape s = shape(2, 1, 3, 4, {1, 5, 5}, {1, 3, 3});
    s.batch = 0;
    EXPECT_EQ(run<float>(isa, ConvKind::weight_grad, s, {}, {}),
              std::vector<float>(w_size(s), 0.0f));
    EXPECT_TRUE(run<float>(isa, ConvKind::forward, s, {}, values<float>(w_size(s), 1)).empty());
  }
}

TEST(Conv, RefusesWhatItCannotConvolve) {
  const Isa isa = isas()[0];
  ConvShape s = shape(2, 1, 3, 4, {1, 5, 5}, {1, 3, 3});
  s.dtype = DType::i32;
  EXPECT_THROW(isa.prepare(ConvKind::forward, s), TypeError);
  s.dtype = DType::f32;
  s.stride[1] = 0;
  EXPECT_THROW(isa.prepare(ConvKind::forward, s), ShapeError);
}

}  // namespace
}  // namespace suan::cpu
