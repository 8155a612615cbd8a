// Convolutions of the example CNN and of ResNet-50, forward and both gradients: Suan's tiles on its
// pool against oneDNN's own threaded primitives with the reorders from and to plain tensors that a
// framework with plain tensors must make. Alternating in one run; best times, and oneDNN's time
// over Suan's.
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/pool.h"
#include "kernels/cpu/lib/conv.h"

namespace {

using suan::cpu::ConvKind;
using suan::cpu::ConvPlan;
using suan::cpu::ConvShape;

struct Case {
  const char* name;
  int64_t batch, in, out, size, kernel, stride, pad;
};

const Case cases[] = {
    {"cnn 1", 128, 1, 32, 28, 3, 1, 1},
    {"cnn 2", 128, 32, 64, 14, 3, 1, 1},
    {"resnet stem", 4, 3, 64, 224, 7, 2, 3},
    {"resnet 56 1x1", 4, 64, 256, 56, 1, 1, 0},
    {"resnet 56 3x3", 4, 64, 64, 56, 3, 1, 1},
    {"resnet 28 3x3", 4, 128, 128, 28, 3, 1, 1},
    {"resnet 28 1x1", 4, 512, 128, 28, 1, 1, 0},
    {"resnet 14 3x3", 4, 256, 256, 14, 3, 1, 1},
    {"resnet 14 1x1", 4, 1024, 256, 14, 1, 1, 0},
    {"resnet 7 3x3", 4, 512, 512, 7, 3, 1, 1},
    {"resnet 28 3x3 s2", 4, 256, 256, 28, 3, 2, 1},
    {"resnet 56 1x1 s2", 4, 256, 512, 56, 1, 2, 0},
};

// oneDNN's primitive in the formats it likes best, with a reorder wherever that is not the plain
// one.
struct Reference {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::vector<std::pair<dnnl::primitive, std::unordered_map<int, dnnl::memory>>> steps;

  dnnl::memory prepare(const dnnl::memory& plain, const dnnl::memory::desc& wanted) {
    if (plain.get_desc() == wanted) return plain;
    dnnl::memory blocked(wanted, engine);
    steps.push_back(
        {dnnl::reorder(plain, blocked), {{DNNL_ARG_FROM, plain}, {DNNL_ARG_TO, blocked}}});
    return blocked;
  }
  void finish(dnnl::primitive primitive, std::unordered_map<int, dnnl::memory> args, int result,
              const dnnl::memory& plain, const dnnl::memory::desc& wanted) {
    const bool same = plain.get_desc() == wanted;
    const dnnl::memory to = same ? plain : dnnl::memory(wanted, engine);
    args[result] = to;
    steps.push_back({primitive, args});
    if (!same)
      steps.push_back({dnnl::reorder(to, plain), {{DNNL_ARG_FROM, to}, {DNNL_ARG_TO, plain}}});
  }

  Reference(ConvKind kind, const Case& c, int64_t out_size, float* x, float* w, float* y) {
    using Tag = dnnl::memory::format_tag;
    using namespace dnnl;
    const auto f32 = memory::data_type::f32;
    const memory::dims dx{c.batch, c.in, c.size, c.size}, dw{c.out, c.in, c.kernel, c.kernel};
    const memory::dims dy{c.batch, c.out, out_size, out_size}, s{c.stride, c.stride},
        p{c.pad, c.pad};
    const memory::dims high(2, (out_size - 1) * c.stride + c.kernel - c.size - c.pad);
    const memory::desc ax(dx, f32, Tag::any), aw(dw, f32, Tag::any), ay(dy, f32, Tag::any);
    const memory mx({dx, f32, Tag::nchw}, engine, x), mw({dw, f32, Tag::oihw}, engine, w);
    const memory my({dy, f32, Tag::nchw}, engine, y);
    const auto direct = algorithm::convolution_direct;
    const convolution_forward::primitive_desc forward(
        {prop_kind::forward_training, direct, ax, aw, ay, s, p, high}, engine);
    if (kind == ConvKind::forward) {
      auto in = prepare(mx, forward.src_desc()), weight = prepare(mw, forward.weights_desc());
      finish(convolution_forward(forward), {{DNNL_ARG_SRC, in}, {DNNL_ARG_WEIGHTS, weight}},
             DNNL_ARG_DST, my, forward.dst_desc());
    } else if (kind == ConvKind::input_grad) {
      const convolution_backward_data::primitive_desc d({direct, ax, aw, ay, s, p, high}, engine,
                                                        forward);
      auto grad = prepare(my, d.diff_dst_desc()), weight = prepare(mw, d.weights_desc());
      finish(convolution_backward_data(d), {{DNNL_ARG_DIFF_DST, grad}, {DNNL_ARG_WEIGHTS, weight}},
             DNNL_ARG_DIFF_SRC, mx, d.diff_src_desc());
    } else {
      const convolution_backward_weights::primitive_desc d({direct, ax, aw, ay, s, p, high}, engine,
                                                           forward);
      auto in = prepare(mx, d.src_desc()), grad = prepare(my, d.diff_dst_desc());
      finish(convolution_backward_weights(d), {{DNNL_ARG_SRC, in}, {DNNL_ARG_DIFF_DST, grad}},
             DNNL_ARG_DIFF_WEIGHTS, mw, d.diff_weights_desc());
    }
  }
  void run() {
    for (auto& [primitive, args] : steps) primitive.execute(stream, args);
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

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : suan::available_cpus();
  cpu_time = threads == 1;
  const std::string filter = argc > 2 ? argv[2] : "";
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
  std::printf("%d threads, %s, oneDNN %d.%d.%d with reorders\n\n", threads,
              wide ? "AVX-512" : "AVX2", v->major, v->minor, v->patch);
  std::printf(
      "| case | kind | Suan us | GFLOP/s | oneDNN us | oneDNN / Suan "
      "|\n|---|---|---|---|---|---|\n");
  const char* const kind_names[] = {"forward", "input grad", "weight grad"};

  double worst = 1e9;
  for (const Case& c : cases) {
    if (std::string(c.name).find(filter) == std::string::npos) continue;
    const int64_t out = (c.size + 2 * c.pad - c.kernel) / c.stride + 1;
    ConvShape s;
    s.batch = c.batch, s.in_per_group = c.in, s.out_per_group = c.out;
    s.in = {1, c.size, c.size}, s.out = {1, out, out}, s.kernel = {1, c.kernel, c.kernel};
    s.stride = {1, c.stride, c.stride}, s.pad_low = {0, c.pad, c.pad};
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto make = [&](int64_t n) {
      std::vector<float> x(n);
      for (float& e : x) e = normal(random);
      return x;
    };
    const auto x = make(c.batch * c.in * c.size * c.size),
               w = make(c.out * c.in * c.kernel * c.kernel);
    const auto y = make(c.batch * c.out * out * out);
    for (ConvKind kind : {ConvKind::forward, ConvKind::input_grad, ConvKind::weight_grad}) {
      const bool f = kind == ConvKind::forward, g = kind == ConvKind::input_grad;
      const ConvPlan plan =
          wide ? suan::cpu::avx512::conv_prepare(kind, s) : suan::cpu::avx2::conv_prepare(kind, s);
      const auto run = wide ? suan::cpu::avx512::conv_run : suan::cpu::avx2::conv_run;
      const std::vector<float>&a = g ? y : x, &b = f || g ? w : y;
      std::vector<float> ours_out((f ? y : g ? x : w).size()), theirs_out(ours_out.size());
      std::unique_ptr<std::byte, decltype(&std::free)> workspace(
          static_cast<std::byte*>(std::aligned_alloc(64, (plan.workspace + 64) & ~size_t{63})),
          &std::free);
      const auto in = [](const std::vector<float>& t) { return const_cast<float*>(t.data()); };
      Reference reference(kind, c, out, g ? theirs_out.data() : in(x),
                          f || g ? in(w) : theirs_out.data(), f ? theirs_out.data() : in(y));
      const auto ours = [&] {
        run(plan, a.data(), b.data(), ours_out.data(), workspace.get(), {});
      };
      const auto theirs = [&] { reference.run(); };
      const double flops = 2.0 * double(y.size()) * double(c.in * c.kernel * c.kernel);
      const int64_t repeats = std::max<int64_t>(1, int64_t(1e-3 / (flops / 2e11 + 1e-6)));
      ours(), theirs();
      for (size_t i = 0; i < ours_out.size(); i += 97) {
        if (std::abs(ours_out[i] - theirs_out[i]) > 1e-2 * (1 + std::abs(theirs_out[i]))) {
          std::printf("%s %s: results differ at %zu: expected %g, got %g\n", c.name,
                      kind_names[int(kind)], i, theirs_out[i], ours_out[i]);
          return 1;
        }
      }
      double best_ours = 1e9, best_theirs = 1e9;
      for (int round = 0; round < 9; ++round) {
        best_ours = std::min(best_ours, seconds(repeats, ours));
        best_theirs = std::min(best_theirs, seconds(repeats, theirs));
      }
      worst = std::min(worst, best_theirs / best_ours);
      std::printf("| %s | %s | %.1f | %.1f | %.1f | %.2f |\n", c.name, kind_names[int(kind)],
                  best_ours * 1e6, flops / best_ours * 1e-9, best_theirs * 1e6,
                  best_theirs / best_ours);
      std::fflush(stdout);
    }
  }
  std::printf("\nworst ratio %.2f\n", worst);
}
