// Matrix product: right against a plain f64 loop for every dtype, transpose and ragged size; the
// same bits at every thread count and on both instruction sets; epilogues see each element of C
// once.
#include "kernels/cpu/lib/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <type_traits>
#include <vector>

#include "core/error.h"

namespace suan::cpu {
// A build for one instruction set leaves the other's kernels out.
namespace avx512 {
__attribute__((weak)) GemmPlan gemm_prepare(const GemmShape&);
__attribute__((weak)) void gemm_run(const GemmPlan&, const void*, const void*, void*, void*,
                                    TileEpilogue);
}  // namespace avx512
namespace {

using Prepare = GemmPlan (*)(const GemmShape&);
using Run = void (*)(const GemmPlan&, const void*, const void*, void*, void*, TileEpilogue);
struct Isa {
  const char* name;
  Prepare prepare;
  Run run;
};

std::vector<Isa> isas() {
  std::vector<Isa> found{{"avx2", avx2::gemm_prepare, avx2::gemm_run}};
  if (&avx512::gemm_run != nullptr && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq")) {
    found.push_back({"avx512", avx512::gemm_prepare, avx512::gemm_run});
  }
  return found;
}

struct ThreadGuard {
  int before = num_threads();
  ~ThreadGuard() { set_num_threads(before); }
};

void run(const Isa& isa, const GemmPlan& plan, const void* a, const void* b, void* c,
         TileEpilogue epilogue = {}) {
  void* workspace = std::aligned_alloc(64, (plan.workspace + 64) & ~size_t{63});
  isa.run(plan, a, b, c, workspace, epilogue);
  std::free(workspace);
}

template <class T>
std::vector<T> values(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<T> x(n);
  for (T& y : x) {
    if constexpr (std::is_floating_point_v<T>) {
      y = std::normal_distribution<T>()(random);
    } else {
      y = static_cast<T>(random());
    }
  }
  return x;
}

// With slack in every row and batch, so that a wrong stride cannot pass.
GemmShape shape(int64_t m, int64_t n, int64_t k, bool ta, bool tb, int64_t batch, DType t) {
  GemmShape s;
  s.m = m, s.n = n, s.k = k, s.trans_a = ta, s.trans_b = tb, s.batch = batch;
  s.lda = (ta ? m : k) + 3, s.ldb = (tb ? k : n) + 1, s.ldc = n + 2;
  s.stride_a = (ta ? k : m) * s.lda + 5, s.stride_b = (tb ? n : k) * s.ldb,
  s.stride_c = m * s.ldc + 7;
  s.dtype = s.out_dtype = t;
  return s;
}

template <class T>
void compare_with_plain_loop(const Isa& isa, const GemmShape& s) {
  SCOPED_TRACE(testing::Message() << isa.name << " batch " << s.batch << " m " << s.m << " n "
                                  << s.n << " k " << s.k << (s.trans_a ? " T" : " N")
                                  << (s.trans_b ? "T" : "N")
                                  << (s.accumulate ? " accumulate" : ""));
  const auto a = values<T>(s.batch * s.stride_a + 64, 1),
             b = values<T>(std::max<int64_t>(s.stride_b * s.batch, 20000), 2);
  const auto before = values<T>(s.batch * s.stride_c + 64, 3);
  auto c = before;
  run(isa, isa.prepare(s), a.data(), b.data(), c.data());
  auto expected = before;
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;
  for (int64_t i = 0; i < s.batch; ++i) {
    for (int64_t row = 0; row < s.m; ++row) {
      for (int64_t col = 0; col < s.n; ++col) {
        Sum sum = 0, size = 1;
        for (int64_t k = 0; k < s.k; ++k) {
          const Sum x = a[i * s.stride_a + (s.trans_a ? k * s.lda + row : row * s.lda + k)];
          const Sum y = b[i * s.stride_b + (s.trans_b ? col * s.ldb + k : k * s.ldb + col)];
          sum += x * y;
          if constexpr (std::is_floating_point_v<T>) size += std::abs(x * y);
        }
        const int64_t at = i * s.stride_c + row * s.ldc + col;
        if (s.accumulate) sum += static_cast<Sum>(before[at]);
        expected[at] = static_cast<T>(sum);
        if constexpr (std::is_floating_point_v<T>) {
          const double tolerance = (sizeof(T) == 4 ? 4e-7 : 1e-15) * double(size);
          ASSERT_NEAR(c[at], expected[at], tolerance) << "at " << i << ", " << row << ", " << col;
          c[at] = expected[at];
        }
      }
    }
  }
  // What lies between rows and batches is untouched; integers are exact.
  ASSERT_EQ(0, std::memcmp(c.data(), expected.data(), c.size() * sizeof(T)));
}

TEST(Gemm, MatchesAPlainLoopForRaggedSizesAndTransposes) {
  for (const Isa& isa : isas()) {
    for (int64_t m : {1, 3, 14, 15, 29, 100}) {
      for (int64_t n : {1, 15, 16, 33, 65, 130}) {
        for (int64_t k : {0, 1, 7, 64, 257, 530}) {
          if (m * n * k > 2'000'000) continue;
          for (int t = 0; t < 4; ++t) {
            GemmShape s = shape(m, n, k, t & 1, t & 2, k < 100 ? 3 : 1, DType::f32);
            s.accumulate = (m + n + k) % 2;
            compare_with_plain_loop<float>(isa, s);
          }
        }
      }
    }
  }
}

TEST(Gemm, MatchesAPlainLoopWhenSplitPackedOrBroadcast) {
  for (const Isa& isa : isas()) {
    for (int t = 0; t < 4; ++t) {
      for (bool accumulate : {false, true}) {
        GemmShape s = shape(40, 50, 4000, t & 1, t & 2, 1, DType::f32);
        s.accumulate = accumulate;
        EXPECT_GT(isa.prepare(s).splits, 1);
        compare_with_plain_loop<float>(isa, s);
        s = shape(200, 150, 300, t & 1, t & 2, 1, DType::f32);
        s.accumulate = accumulate;
        compare_with_plain_loop<float>(isa, s);
      }
      GemmShape s = shape(70, 90, 120, t & 1, t & 2, 5, DType::f32);
      s.stride_b = 0;
      compare_with_plain_loop<float>(isa, s);
    }
  }
}

TEST(Gemm, OtherDtypes) {
  for (const Isa& isa : isas()) {
    for (int t = 0; t < 4; ++t) {
      compare_with_plain_loop<double>(isa, shape(37, 41, 300, t & 1, t & 2, 2, DType::f64));
      compare_with_plain_loop<int64_t>(isa, shape(37, 41, 150, t & 1, t & 2, 2, DType::i64));
      compare_with_plain_loop<int32_t>(isa, shape(37, 41, 150, t & 1, t & 2, 2, DType::i32));
      compare_with_plain_loop<uint8_t>(isa, shape(20, 300, 90, t & 1, t & 2, 1, DType::u8));
    }
  }
}

// bf16 in must be the f32 product of the widened values, rounded once when C is bf16 too: by panels of f32 and,
// where the processor has vdpbf16ps, by panels of pairs.
TEST(Gemm, Bfloat16AccumulatesInFloat32) {
  const int64_t sizes[][3] = {{150, 130, 600}, {150, 130, 601}, {7, 45, 3}, {40, 33, 1}, {64, 64, 5000}};
  for (const Isa& isa : isas()) {
    const bool has_pairs = isa.prepare == avx512::gemm_prepare && __builtin_cpu_supports("avx512bf16");
    for (int t = 0; t < (has_pairs ? 40 : 20); ++t) {
      const auto [m, n, k] = sizes[t / 4 % 5];
      const bool pairs = t >= 20;
      const auto round = [](float x) {
        uint32_t u;
        std::memcpy(&u, &x, 4);
        return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
      };
      GemmShape s = shape(m, n, k, t & 1, t & 2, 1, DType::f32);
      auto a = values<float>(s.stride_a, 1), b = values<float>(s.stride_b, 2);
      std::vector<uint16_t> a16, b16;
      const auto narrow = [&](std::vector<float>& x, std::vector<uint16_t>& to) {
        for (float& y : x) {
          to.push_back(round(y));
          const uint32_t u = uint32_t{to.back()} << 16;
          std::memcpy(&y, &u, 4);
        }
      };
      narrow(a, a16), narrow(b, b16);
      std::vector<float> expected(s.stride_c), wide(s.stride_c);
      std::vector<uint16_t> c16(s.stride_c);
      run(isa, isa.prepare(s), a.data(), b.data(), expected.data());
      s.dtype = DType::bf16;
      GemmPlan plan = isa.prepare(s);
      plan.pairs = pairs;
      run(isa, plan, a16.data(), b16.data(), wide.data());
      EXPECT_EQ(wide, expected) << m << "x" << n << "x" << k << (pairs ? " pairs" : " widened");
      s.out_dtype = DType::bf16;
      plan = isa.prepare(s);
      plan.pairs = pairs;
      run(isa, plan, a16.data(), b16.data(), c16.data());
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(c16[i * s.ldc + j], round(expected[i * s.ldc + j]));
      }
    }
  }
}

TEST(Gemm, SameBitsAtEveryThreadCountAndInstructionSet) {
  ThreadGuard guard;
  const int64_t sizes[][4] = {{1, 8, 8, 8},       {1, 32, 64, 64},    {1, 256, 384, 128},
                              {1, 384, 128, 256}, {1, 65, 128, 700},  {48, 64, 64, 32},
                              {1, 10, 128, 9000}, {1, 300, 300, 1100}};
  for (const auto& z : sizes) {
    for (int t = 0; t < 4; ++t) {
      const GemmShape s = shape(z[1], z[2], z[3], t & 1, t & 2, z[0], DType::f32);
      const auto a = values<float>(s.batch * s.stride_a, 1),
                 b = values<float>(s.batch * s.stride_b, 2);
      std::vector<float> first;
      for (const Isa& isa : isas()) {
        for (int threads : {1, 2, 3, 8}) {
          set_num_threads(threads);
          std::vector<float> c(s.batch * s.stride_c);
          run(isa, isa.prepare(s), a.data(), b.data(), c.data());
          if (first.empty()) first = c;
          ASSERT_EQ(0, std::memcmp(first.data(), c.data(), c.size() * 4))
              << isa.name << " " << threads << " threads, " << z[1] << "x" << z[2] << "x" << z[3];
        }
      }
    }
  }
}

TEST(Gemm, EpilogueSeesEachFinishedElementOnce) {
  for (const Isa& isa : isas()) {
    for (int64_t k : {0, 64, 5000}) {
      const GemmShape s = shape(60, 60, k, false, true, 3, DType::f32);
      const auto a = values<float>(s.batch * s.stride_a, 1),
                 b = values<float>(s.batch * s.stride_b, 2);
      std::vector<float> plain(s.batch * s.stride_c), with(plain.size());
      run(isa, isa.prepare(s), a.data(), b.data(), plain.data());
      std::vector<int> seen(s.batch * s.m * s.n);
      std::mutex lock;
      const auto twice = [&](void* tile, int64_t batch, int64_t row0, int64_t rows, int64_t col0,
                             int64_t cols, int64_t ldc) {
        std::lock_guard hold(lock);
        float* c = static_cast<float*>(tile);
        EXPECT_EQ(c, with.data() + batch * s.stride_c + row0 * s.ldc + col0);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < cols; ++j) {
            c[i * ldc + j] *= 2;
            ++seen[(batch * s.m + row0 + i) * s.n + col0 + j];
          }
        }
      };
      run(isa, isa.prepare(s), a.data(), b.data(), with.data(), twice);
      for (int n : seen) ASSERT_EQ(n, 1);
      for (size_t i = 0; i < plain.size(); ++i) ASSERT_EQ(with[i], 2 * plain[i]);
    }
  }
}

TEST(Gemm, RefusesWhatItCannotMultiply) {
  const Isa isa = isas()[0];
  EXPECT_THROW(isa.prepare(shape(2, 2, 2, false, false, 1, DType::boolean)), TypeError);
  EXPECT_THROW(isa.prepare(shape(2, 2, 2, false, false, 1, DType::c64)), TypeError);
  GemmShape s = shape(2, 2, 2, false, false, 1, DType::f32);
  s.m = -1;
  EXPECT_THROW(isa.prepare(s), ShapeError);
  s = shape(2, 2, 2, false, false, 1, DType::f32);
  s.ldb = 1;
  EXPECT_THROW(isa.prepare(s), ShapeError);
  EXPECT_EQ(isa.prepare(shape(0, 4, 4, false, false, 1, DType::f32)).tasks, 0);
}

}  // namespace
}  // namespace suan::cpu
