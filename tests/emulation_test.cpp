// The CUDA emulation finds the faults that are seeded in tests/emulation/faults.cu, and none in sound kernels.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>

namespace {

using RunFault = bool (*)(int kernel, int fault, int order, int seed, char* reports, size_t size);

RunFault library() {
#ifdef SUAN_FAULTS_LIBRARY
  static void* handle = dlopen(SUAN_FAULTS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  return handle ? reinterpret_cast<RunFault>(dlsym(handle, "run_fault")) : nullptr;
#else
  return nullptr;
#endif
}

struct Outcome { bool right; std::string reports; };
Outcome run(int kernel, int fault, int order = 0, int seed = 1) {
  char text[16384] = "";
  const bool right = library()(kernel, fault, order, seed, text, sizeof text);
  return {right, text};
}

struct Seeded {
  int fault, kernel;
  const char* finder;    // how the report that names it begins
  const char* what;
};
// kernels: 0 twice, 1 product, 2 row_sums, 3 reverse, 4 staged, 5 ring, 6 and 7 fragments (float, bf16)
constexpr int n_kernels = 8;
constexpr Seeded seeded[] = {
    {1, 1, "initcheck|racecheck", "no barrier between the loads of a tile and its use"},
    {2, 1, "racecheck", "no barrier between the use of a tile and the next loads"},
    {3, 1, "memcheck", "a shared array overruns into the next"},
    {4, 0, "memcheck", "a vector access passes the end of an allocation"},
    {5, 2, "racecheck|initcheck", "no barrier before the partial sums are read"},
    {6, 2, "synccheck", "lanes exit before a warp collective"},
    {7, 3, "racecheck|initcheck", "no warp barrier around an exchange in shared memory"},
    {8, 4, "asynccheck", "an asynchronous copy is not waited for"},
    {9, 2, "initcheck", "a shared slot is read that nobody wrote"},
    {10, 0, "misaligned", "a 16-byte access at an odd address"},
    {11, 2, "synccheck", "a barrier in a divergent branch"},
    {12, 0, "racecheck", "all blocks write the same elements"},
    {13, 1, "memcheck", "the last shared array overruns"},
    {14, 2, "memcheck", "a fixed shared array overruns"},
    {15, 0, "memcheck", "a host pointer reaches the device"},
    {16, 2, "synccheck", "a mask leaves callers out"},
    {17, 5, "asynccheck|synccheck", "a tile is not waited for"},
    {18, 5, "synccheck", "a stage is filled while it may be read"},
    {19, 5, "asynccheck", "a swizzled tile is read as if it were not"},
    {20, 5, "synccheck", "a barrier waits for more bytes than come"},
    {21, 5, "asynccheck", "the last product is not waited for"},
    {22, 6, "misaligned", "a fragment is loaded from rows at odd addresses"},
    {23, 7, "synccheck", "half of a warp is missing from a matrix product"},
    {24, 6, "", "a fragment's registers are confused"},   // wrong numbers, which only results can show
    {24, 7, "", "a fragment's registers are confused"},
};

bool begins_with_one_of(const std::string& report, std::string finders) {
  for (size_t at = 0; at <= finders.size();) {
    const size_t end = std::min(finders.find('|', at), finders.size());
    if (report.find(finders.substr(at, end - at) + ":") != std::string::npos) return true;
    at = end + 1;
  }
  return false;
}

class Emulation : public testing::Test {
  void SetUp() override {
#ifndef SUAN_FAULTS_LIBRARY
    GTEST_SKIP() << "thread sanitizer: it does not know the emulation's fibres";
#else
    ASSERT_NE(library(), nullptr) << dlerror();
#endif
  }
};

TEST_F(Emulation, SoundKernelsAreRightInEveryOrderAndHaveNoReports) {
  for (int kernel = 0; kernel < n_kernels; ++kernel)
    for (int order = 0; order < 3; ++order)
      for (int seed = 1; seed <= (order == 2 ? 10 : 1); ++seed) {
        const Outcome o = run(kernel, 0, order, seed);
        EXPECT_TRUE(o.right) << "kernel " << kernel << " order " << order << " seed " << seed;
        EXPECT_EQ(o.reports, "") << "kernel " << kernel << " order " << order << " seed " << seed;
      }
}

TEST_F(Emulation, EverySeededFaultIsFoundAndNamed) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "address sanitizer: the checker is in the other builds";
#endif
  for (const Seeded& s : seeded) {
    const Outcome o = run(s.kernel, s.fault);
    if (!*s.finder) {
      EXPECT_FALSE(o.right) << "fault " << s.fault << " (" << s.what << ") in kernel " << s.kernel;
      continue;
    }
    EXPECT_TRUE(begins_with_one_of(o.reports, s.finder))
        << "fault " << s.fault << " (" << s.what << "), expected " << s.finder << ", got:\n" << o.reports;
    // Line numbers come from the debug information through addr2line.
    EXPECT_TRUE(o.reports.find("faults.cu:") != std::string::npos || o.reports.find("mma.cuh:") != std::string::npos || s.fault == 16 || s.fault == 6)
        << "fault " << s.fault << " has no line:\n" << o.reports;
  }
}

}  // namespace
