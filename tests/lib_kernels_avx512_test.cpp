// The tests of lib_kernels_test.cpp on the AVX-512 kernels, and that both instruction sets agree.
#define SUAN_ISA avx512
#define SUAN_ISA_TEST(name) TEST(LibKernelsAvx512, name)
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

}  // namespace suan::cpu
