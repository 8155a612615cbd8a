// What one small op costs from C++: a call whose signature is known, one whose signature is new, and
// the memory of ten million calls. Prints a Markdown table; with --json, JSON instead.
//
// A new signature is timed on a fresh thread, whose table is empty; the counters tell whether every
// call missed. The time holds inference, kernel selection and the kernel itself.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/allocator.h"
#include "core/backend.h"
#include "core/pool.h"
#include "core/tape.h"
#include "ops/api.h"

namespace {

using namespace suan;
using Clock = std::chrono::steady_clock;

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

struct Times {
  double median, least;
};
template <class F>
Times time_rounds(int rounds, F one_round) {
  std::vector<double> each;
  for (int i = 0; i < rounds; ++i) each.push_back(one_round());
  std::sort(each.begin(), each.end());
  return {each[each.size() / 2], each[0]};
}

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "[apply_bench] %s\n", what);
  std::exit(1);
}

Times known_signature(const Tensor& a, const Tensor& b) {
  ops::add(a, b);
  const uint64_t misses = apply_counters().cache_misses;
  const int calls = 20000;
  const Times t = time_rounds(101, [&] {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) ops::add(a, b);
    return ns_since(start) / calls;
  });
  expect(apply_counters().cache_misses == misses, "expected only known signatures, got a new one");
  return t;
}

Times new_signature() {
  const char* names[] = {"add", "sub", "mul", "div", "maximum"};
  std::vector<Tensor> inputs;  // every shape of three dimensions and at most 64 elements
  for (int64_t i = 1; i <= 64; ++i)
    for (int64_t j = 1; i * j <= 64; ++j)
      for (int64_t k = 1; i * j * k <= 64; ++k) inputs.push_back(ops::full({i, j, k}, 1, DType::f32));
  return time_rounds(21, [&] {
    double took = 0;
    std::thread([&] {
      const Tensor warm = ops::full({3}, 1, DType::f32);
      for (const char* name : names) suan::apply(op(name), {warm, warm});
      const uint64_t before = apply_counters().cache_misses;
      const auto start = Clock::now();
      for (const char* name : names) {
        const OpDef& def = op(name);
        for (const Tensor& x : inputs) suan::apply(def, {x, x});
      }
      took = ns_since(start);
      expect(apply_counters().cache_misses - before == inputs.size() * std::size(names),
             "expected only new signatures, got a known one");
    }).join();
    return took / double(inputs.size() * std::size(names));
  });
}

int64_t resident_bytes() {
  long long total = 0, resident = 0;
  FILE* file = std::fopen("/proc/self/statm", "r");
  expect(file && std::fscanf(file, "%lld %lld", &total, &resident) == 2, "no /proc/self/statm");
  std::fclose(file);
  return resident * sysconf(_SC_PAGESIZE);
}

struct Growth {
  double seconds;
  uint64_t calls;
  int64_t resident, in_use;
};
// Forward and backward of a small layer, again and again, with new signatures among the known.
Growth memory_of(uint64_t calls) {
  const Tensor w = ops::full({8, 8}, 0.5, DType::f32), b = ops::full({8}, 0.1, DType::f32);
  w.set_requires_grad(true);
  b.set_requires_grad(true);
  const Tensor x = ops::full({512, 8}, 0.25, DType::f32);
  auto step = [&](int64_t i) {
    const Tensor rows = ops::slice(x, 0, 0, 1 + i % 512);
    const Tensor y = ops::tanh(ops::add(ops::matmul(ops::slice(rows, 0, 0, 1), w), b));
    const Tensor loss = ops::sum(y), none;
    backward({&loss, 1}, {&none, 1}, {});
    w.set_grad({});
    b.set_grad({});
    NoGrad off;
    ops::mul(rows, rows);
  };
  for (int64_t i = 0; i < 5000; ++i) step(i);
  const uint64_t first = apply_counters().calls;
  const int64_t resident = resident_bytes(), in_use = memory_stats().in_use;
  const auto start = Clock::now();
  int64_t i = 0;
  while (apply_counters().calls - first < calls) step(i++);
  return {ns_since(start) * 1e-9, apply_counters().calls - first, resident_bytes() - resident,
          memory_stats().in_use - in_use};
}

}  // namespace

int main(int argc, char** argv) {
  const bool json = argc > 1 && std::strcmp(argv[1], "--json") == 0;
  set_num_threads(1);
  const Tensor a = ops::full({8, 8}, 1, DType::f32);
  const Times known = known_signature(a, a), fresh = new_signature();
  const Growth growth = memory_of(10'000'000);
  if (json) {
    std::printf(
        "{\"isa\": \"%s\", \"known_ns\": {\"median\": %.1f, \"min\": %.1f}, "
        "\"new_ns\": {\"median\": %.1f, \"min\": %.1f}, \"calls\": %llu, \"seconds\": %.2f, "
        "\"resident_growth_bytes\": %lld, \"in_use_growth_bytes\": %lld}\n",
        cpu_isa(), known.median, known.least, fresh.median, fresh.least,
        static_cast<unsigned long long>(growth.calls), growth.seconds,
        static_cast<long long>(growth.resident), static_cast<long long>(growth.in_use));
    return 0;
  }
  std::printf("%s, one thread\n\n| work | median | best | target |\n|---|---|---|---|\n", cpu_isa());
  std::printf("| add 8x8, known signature | %.0f ns | %.0f ns | <= 150 ns |\n", known.median, known.least);
  std::printf("| op of at most 64 elements, new signature | %.0f ns | %.0f ns | <= 1000 ns |\n",
              fresh.median, fresh.least);
  std::printf("\n%llu calls, forward and backward, in %.1f s: resident memory grew by %.1f KiB, "
              "tensors in use by %lld bytes\n",
              static_cast<unsigned long long>(growth.calls), growth.seconds,
              double(growth.resident) / 1024, static_cast<long long>(growth.in_use));
}
