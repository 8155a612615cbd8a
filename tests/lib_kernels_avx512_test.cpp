// The tests of lib_kernels_test.cpp on the AVX-512 kernels, and that both instruction sets agree.
#define SUAN_ISA avx512
#define SUAN_ISA_TEST(name) TEST(LibKernelsAvx512, name)
#include "kernels/cpu/lib/attention_pairs.h"
#include "kernels/cpu/lib/fast_pairs.h"
#include "lib_kernels_test.cpp"

namespace suan::cpu {
namespace avx2 {
std::vector<float> lib_kernel_bits();
}

TEST(LibKernels, both_instruction_sets_give_equal_bits) {
  using suan::cpu::avx512::lib_kernel_bits;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bw")) GTEST_SKIP() << "this CPU has no AVX-512";
  const std::vector<float> a = avx2::lib_kernel_bits(), b = lib_kernel_bits();
  ASSERT_EQ(a.size(), b.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) different += std::memcmp(&a[i], &b[i], 4) != 0;
  EXPECT_EQ(different, 0u);
}

// q, k, v and masks as bf16 in memory, against the same numbers widened.
TEST(LibKernelsAvx512, attention_of_pairs_gives_the_widened_bits) {
  using namespace avx512;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bw") || !fast_pairs()) GTEST_SKIP() << "this CPU multiplies no pairs fast";
  const auto top = [](const std::vector<float>& x) {
    std::vector<std::uint16_t> bits;
    for (float v : x) bits.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(v) >> 16));
    return bits;
  };
  const auto as = []<class T>(HeadsView<float> x, T* data) { return HeadsView<T>{data, x.batch, x.head, x.seq}; };
  for (const AttentionCase& c : kAttentionCases) {
    for (const bool one_line : {false, true}) {   // a mask for all queries alike
      SCOPED_TRACE(testing::Message() << c.q_len << "x" << c.kv_len << " dim " << c.dim << " causal " << c.causal << " mask "
                                      << c.mask << (one_line ? ", one line" : ""));
      AttentionData<float> wide(c);
      wide.narrow();
      AttentionMask<float>& m = wide.problem.mask;
      std::vector<std::uint16_t> added = top(wide.additive);
      for (std::size_t i = 0; i < added.size(); ++i) wide.additive[i] = std::bit_cast<float>(std::uint32_t{added[i]} << 16);
      if (one_line) m.query = 0;
      std::vector<std::uint16_t> q = top(wide.q), k = top(wide.k), v = top(wide.v), out(wide.out.size());
      std::vector<float> lse(wide.lse.size());
      attention_forward<float>(wide.problem, wide.read(wide.by_seq(wide.q)), wide.read(wide.by_head(wide.k)),
                               wide.read(wide.by_head(wide.v)), wide.by_seq(wide.out), wide.lse.data());
      const AttentionMask<std::uint16_t> mask{m.additive ? added.data() : nullptr, m.keep, m.batch, m.head, m.query, m.key};
      using Bits = const std::uint16_t;
      attention_forward_pairs(wide.problem, mask, as(wide.by_seq(wide.q), static_cast<Bits*>(q.data())),
                              as(wide.by_head(wide.k), static_cast<Bits*>(k.data())),
                              as(wide.by_head(wide.v), static_cast<Bits*>(v.data())), as(wide.by_seq(wide.out), out.data()), lse.data());
      for (std::size_t i = 0; i < out.size(); ++i) {
        const auto u = std::bit_cast<std::uint32_t>(wide.out[i]);
        ASSERT_EQ(out[i], std::uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16)) << i;
      }
      EXPECT_EQ(std::memcmp(lse.data(), wide.lse.data(), lse.size() * sizeof(float)), 0);
    }
  }
}

}  // namespace suan::cpu
