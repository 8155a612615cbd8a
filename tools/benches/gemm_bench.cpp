// Matrix products on the shapes of the examples and of GPT-2: Suan's tiles on its pool against
// oneDNN's own threaded matmul, alternating in one run: gemm_bench [THREADS [CASE [bf16]]]. Prints the best times (on a shared host a
// median shows the neighbours) and oneDNN's time over Suan's.
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/pool.h"
#include "kernels/cpu/lib/gemm.h"

namespace {

using suan::DType;
using suan::cpu::GemmPlan;
using suan::cpu::GemmShape;

struct Case {
  const char* name;
  int64_t m, n, k;
  bool ta, tb;
  int64_t batch = 1;
};

const Case cases[] = {
    {"tiny", 8, 8, 8, false, false},
    {"tiny NT", 16, 16, 16, false, true},
    {"mlp 1", 32, 128, 64, false, true},
    {"mlp 2", 32, 64, 128, false, true},
    {"mlp dX", 32, 64, 128, false, false},
    {"mlp dW", 128, 64, 32, true, false},
    {"cnn fc", 128, 128, 3136, false, true},
    {"cnn fc dX", 128, 3136, 128, false, false},
    {"cnn fc dW", 128, 3136, 128, true, false},
    {"char4 qkv", 768, 384, 128, false, true},
    {"char4 proj", 768, 128, 128, false, true},
    {"char4 up", 768, 512, 128, false, true},
    {"char4 down", 768, 128, 512, false, true},
    {"char4 head", 768, 65, 128, false, true},
    {"char4 up dX", 768, 128, 512, false, false},
    {"char4 down dX", 768, 512, 128, false, false},
    {"char4 up dW", 512, 128, 768, true, false},
    {"char4 qkv dW", 384, 128, 768, true, false},
    {"char4 proj dW", 128, 128, 768, true, false},
    {"char4 down dW", 128, 512, 768, true, false},
    {"char4 head dW", 65, 128, 768, true, false},
    {"char6 qkv", 3072, 1152, 384, false, true},
    {"char6 proj", 3072, 384, 384, false, true},
    {"char6 up", 3072, 1536, 384, false, true},
    {"char6 down", 3072, 384, 1536, false, true},
    {"char6 up dX", 3072, 384, 1536, false, false},
    {"char6 down dX", 3072, 1536, 384, false, false},
    {"char6 up dW", 1536, 384, 3072, true, false},
    {"char6 proj dW", 384, 384, 3072, true, false},
    {"char6 down dW", 384, 1536, 3072, true, false},
    {"gpt2 qkv", 1024, 2304, 768, false, true},
    {"gpt2 proj", 1024, 768, 768, false, true},
    {"gpt2 up", 1024, 3072, 768, false, true},
    {"gpt2 down", 1024, 768, 3072, false, true},
    {"gpt2 head", 1024, 50304, 768, false, true},
    {"gpt2 up dX", 1024, 768, 3072, false, false},
    {"gpt2 up dW", 3072, 768, 1024, true, false},
    {"gpt2 proj dW", 768, 768, 1024, true, false},
    {"gpt2 head dX", 1024, 768, 50304, false, false},
    {"gpt2 head dW", 50304, 768, 1024, true, false},
    {"attention QK", 64, 64, 32, false, true, 48},
    {"attention PV", 64, 32, 64, false, false, 48},
    {"attention QK", 256, 256, 64, false, true, 48},
    {"attention PV", 256, 64, 256, false, false, 48},
    {"square", 1024, 1024, 1024, false, false},
};

struct Reference {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul primitive;
  std::unordered_map<int, dnnl::memory> args;

  Reference(const Case& c, bool bf16, void* a, void* b, void* out) {
    using D = dnnl::memory::dims;
    const auto type = bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
    const dnnl::memory::desc da({c.batch, c.m, c.k}, type,
                                c.ta ? D{c.m * c.k, 1, c.m} : D{c.m * c.k, c.k, 1});
    const dnnl::memory::desc db({c.batch, c.k, c.n}, type,
                                c.tb ? D{c.k * c.n, 1, c.k} : D{c.k * c.n, c.n, 1});
    const dnnl::memory::desc dc({c.batch, c.m, c.n}, type, D{c.m * c.n, c.n, 1});
    primitive = dnnl::matmul({{da, db, dc}, engine});
    args = {{DNNL_ARG_SRC, {da, engine, a}},
            {DNNL_ARG_WEIGHTS, {db, engine, b}},
            {DNNL_ARG_DST, {dc, engine, out}}};
  }
  void run() {
    primitive.execute(stream, args);
    stream.wait();
  }
};

// With one thread its CPU time, which other processes cannot lengthen much; else the wall clock.
bool cpu_time = false;
double clock_now() {
  timespec t;
  clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// The rest before it lets the other runtime's threads stop spinning: libgomp's do so for some 20
// ms.
double seconds(int64_t repeats, auto&& f) {
  if (!cpu_time) std::this_thread::sleep_for(std::chrono::milliseconds(40));
  f();
  const double start = clock_now();
  for (int64_t i = 0; i < repeats; ++i) f();
  return (clock_now() - start) / double(repeats);
}

double minimum(const std::vector<double>& v) { return *std::min_element(v.begin(), v.end()); }

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : suan::available_cpus();
  cpu_time = threads == 1;
  const std::string filter = argc > 2 ? argv[2] : "";
  const bool bf16 = argc > 3 && std::string(argv[3]) == "bf16";
  const bool wide = __builtin_cpu_supports("avx512f") && !std::getenv("SUAN_AVX2");
  // Both runtimes' threads on the same CPUs, so that the scheduler's choices are in neither's time.
  suan::set_num_threads(threads, true);
  suan::parallel_for(threads, [](int64_t) {});
#pragma omp parallel num_threads(threads)
  {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(omp_get_thread_num() % suan::available_cpus(), &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
  }
  omp_set_num_threads(threads);
  const dnnl_version_t* v = dnnl_version();
  std::printf("%d threads, %s, oneDNN %d.%d.%d\n\n", threads, wide ? "AVX-512" : "AVX2", v->major,
              v->minor, v->patch);
  std::printf(
      "| case | batch x m x n x k | op | Suan us | GFLOP/s | oneDNN us | oneDNN / Suan |\n");
  std::printf("|---|---|---|---|---|---|---|\n");

  double worst = 1e9;
  for (const Case& c : cases) {
    if (std::string(c.name).find(filter) == std::string::npos) continue;
    GemmShape s;
    s.m = c.m, s.n = c.n, s.k = c.k, s.trans_a = c.ta, s.trans_b = c.tb;
    s.lda = c.ta ? c.m : c.k, s.ldb = c.tb ? c.k : c.n, s.ldc = c.n;
    s.batch = c.batch, s.stride_a = c.m * c.k, s.stride_b = c.k * c.n, s.stride_c = c.m * c.n;
    if (bf16) s.dtype = s.out_dtype = DType::bf16;
    const GemmPlan plan =
        wide ? suan::cpu::avx512::gemm_prepare(s) : suan::cpu::avx2::gemm_prepare(s);
    const auto run = wide ? suan::cpu::avx512::gemm_run : suan::cpu::avx2::gemm_run;

    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto make = [&](int64_t n) {
      std::vector<float> x(n);
      for (float& y : x) y = normal(random);
      return x;
    };
    std::vector<float> a = make(c.batch * c.m * c.k), b = make(c.batch * c.k * c.n);
    std::vector<float> out(c.batch * c.m * c.n), out_reference(out.size());
    std::unique_ptr<std::byte, decltype(&std::free)> workspace(
        static_cast<std::byte*>(std::aligned_alloc(64, (plan.workspace + 64) & ~size_t{63})),
        &std::free);
    // In bf16 the same memory holds the numbers' upper halves, results too.
    const auto halve = [](std::vector<float>& x) {
      auto* to = reinterpret_cast<char*>(x.data());
      for (size_t i = 0; i < x.size(); ++i) std::memmove(to + 2 * i, to + 4 * i + 2, 2);
    };
    const auto result = [&](const std::vector<float>& x, size_t i) {
      if (!bf16) return x[i];
      float y = 0;
      std::memcpy(reinterpret_cast<char*>(&y) + 2, reinterpret_cast<const char*>(x.data()) + 2 * i, 2);
      return y;
    };
    if (bf16) halve(a), halve(b);
    const double tolerance = bf16 ? 1e-2 : 1e-3;
    Reference reference(c, bf16, a.data(), b.data(), out_reference.data());
    const auto ours = [&] { run(plan, a.data(), b.data(), out.data(), workspace.get(), {}); };
    const auto theirs = [&] { reference.run(); };

    const double flops = 2.0 * double(c.batch) * double(c.m) * double(c.n) * double(c.k);
    const int64_t repeats = std::max<int64_t>(1, int64_t(1e-3 / (flops / 3e11 + 1e-6)));
    const int rounds = flops > 1e10 ? 5 : 21;
    seconds(1, ours), seconds(1, theirs);
    for (size_t i = 0; i < out.size(); i += 97) {
      const double x = result(out, i), y = result(out_reference, i);
      if (std::abs(x - y) > tolerance * (1 + std::abs(y))) {
        std::printf("%s: results differ at %zu: expected %g, got %g\n", c.name, i, y, x);
        return 1;
      }
    }
    std::vector<double> t_ours, t_theirs;
    for (int r = 0; r < rounds; ++r) {
      t_ours.push_back(seconds(repeats, ours));
      t_theirs.push_back(seconds(repeats, theirs));
    }
    const double x = minimum(t_ours), y = minimum(t_theirs);
    worst = std::min(worst, y / x);
    std::printf("| %s | %ld x %ld x %ld x %ld | %c%c | %.2f | %.1f | %.2f | %.2f |\n", c.name,
                c.batch, c.m, c.n, c.k, c.ta ? 'T' : 'N', c.tb ? 'T' : 'N', x * 1e6,
                flops / x * 1e-9, y * 1e6, y / x);
    std::fflush(stdout);
  }
  std::printf("\nworst ratio %.2f\n", worst);
}
