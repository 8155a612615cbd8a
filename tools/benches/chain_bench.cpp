// What a step of a plan costs: a chain of 200 ops over 16 floats, called again and again on one thread. Once as it is
// optimised (element-wise ops fuse), once with every op a step of its own, and once with op by op calls. Best times.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>

#include "core/apply.h"
#include "core/pass.h"
#include "core/plan.h"
#include "core/pool.h"
#include "ops/api.h"

namespace {

using namespace suan;

constexpr int n_ops = 200;

Graph chain() {
  Graph g;
  const TensorType type{DType::f32, Shape{16}, {}};
  ValueId v = g.add_input(type);
  const ValueId half = g.add_constant(ops::full(Shape{16}, 0.5, DType::f32));
  const char* const names[] = {"add", "mul", "relu", "tanh"};
  for (int i = 0; i < n_ops; ++i) {
    const int k = i % 4;
    const int node = k < 2 ? g.append(op(names[k]), {v, half}, {}) : g.append(op(names[k]), {v}, {});
    v = g.nodes[size_t(node)].out[0];
  }
  g.outputs = {v};
  return g;
}

template <class F>
double best(F f) {
  using Clock = std::chrono::steady_clock;
  double least = 1e9;
  for (int round = 0; round < 200; ++round) {
    constexpr int repeat = 20;
    const auto start = Clock::now();
    for (int i = 0; i < repeat; ++i) f();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count() / repeat);
  }
  return least * 1e9;
}

}  // namespace

int main() {
  set_num_threads(1);
  NoGrad off;
  const Tensor x = ops::full(Shape{16}, 0.25, DType::f32);
  Graph fused = chain();
  optimize(fused);
  const Graph steps = chain();
  for (const auto& [name, g] : {std::pair("optimised", static_cast<const Graph*>(&fused)), std::pair("a step for each op", &steps)}) {
    const auto plan = std::make_shared<const Plan>(*g, PlanOptions{});
    RunPool pool(plan);
    const double ns = best([&] { pool({&x, 1}); });
    std::printf("%-20s %3zu steps: %7.0f ns a call, %6.1f ns an op\n", name, plan->steps().size(), ns, ns / n_ops);
  }
  const double ns = best([&] { interpret(steps, {&x, 1}); });
  std::printf("%-20s %3d calls: %7.0f ns in all, %6.1f ns an op\n", "op by op", n_ops, ns, ns / n_ops);
}
