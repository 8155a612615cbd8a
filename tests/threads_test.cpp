// Several threads at once: one plan, eager training, tensors that die on another thread, shared
// parameters, counters read meanwhile. The thread sanitizer's build is where these say most.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "core/allocator.h"
#include "core/plan.h"
#include "core/pool.h"
#include "core/row_reader.h"
#include "core/tape.h"
#include "ops/api.h"

namespace suan {
namespace {

constexpr int n_threads = 4;

// Runs body(thread) on several threads; what one throws fails the test.
template <class Body>
void on_threads(Body body) {
  std::vector<std::thread> threads;
  for (int k = 0; k < n_threads; ++k)
    threads.emplace_back([&body, k] {
      try {
        body(k);
      } catch (const std::exception& e) {
        ADD_FAILURE() << "thread " << k << ": " << e.what();
      }
    });
  for (std::thread& t : threads) t.join();
}

Tensor filled(const Shape& shape, float first) {
  Tensor t = Tensor::empty({DType::f32, shape, {}});
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = first + 0.01f * float(i % 101);
  return t;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.type() == b.type() && std::memcmp(a.raw(), b.raw(), size_t(a.type().bytes())) == 0;
}

// tanh(x w + b) summed over rows: large enough for the pool to cut it.
Graph layer_graph() {
  Graph g;
  const ValueId x = g.add_input({DType::f32, {96, 256}, {}}), w = g.add_input({DType::f32, {256, 320}, {}}),
                b = g.add_input({DType::f32, {320}, {}});
  auto append = [&](const char* name, std::vector<ValueId> in, const Attrs& attrs = {}) {
    return g.nodes[size_t(g.append(op(name), std::move(in), attrs))].out[0];
  };
  const ValueId y = append("tanh", {append("add", {append("matmul", {x, w}), b})});
  g.outputs = {append("sum", {y}, {Dims{0}, false}), y};
  return g;
}

TEST(Threads, OnePlanServesAllAtOnce) {
  const int before = num_threads();
  set_num_threads(2);
  const Graph g = layer_graph();
  RunPool pool(std::make_shared<Plan>(g, PlanOptions{}));
  const Tensor w = filled({256, 320}, -0.4f), b = filled({320}, 0.1f);
  std::vector<Tensor> inputs;
  std::vector<Tensors> alone;
  for (int k = 0; k < n_threads; ++k) {
    inputs.push_back(filled({96, 256}, 0.1f * float(k)));
    alone.push_back(interpret(g, Tensors{inputs.back(), w, b}));
  }
  on_threads([&](int k) {
    for (int round = 0; round < 20; ++round) {
      const Tensors got = pool(Tensors{inputs[size_t(k)], w, b});
      ASSERT_EQ(got.size(), 2u);
      ASSERT_TRUE(same_bytes(got[0], alone[size_t(k)][0])) << "thread " << k;
      ASSERT_TRUE(same_bytes(got[1], alone[size_t(k)][1])) << "thread " << k;
      if (round == 10) pool.trim();
    }
  });
  set_num_threads(before);
}

float train(int steps) {
  const Tensor w = filled({24, 24}, -0.1f), x = filled({16, 24}, 0.3f);
  w.set_requires_grad(true);
  for (int i = 0; i < steps; ++i) {
    const Tensor loss = ops::sum(ops::tanh(ops::matmul(x, w))), none;
    backward({&loss, 1}, {&none, 1}, {});
    NoGrad off;
    apply_into(op("sub"), {w, ops::mul(w.grad(), ops::number(0.01, w))}, {}, w);
    w.set_grad({});
  }
  return w.data<float>()[5];
}

TEST(Threads, EagerTrainingIsEachThreadsOwn) {
  const float alone = train(50);
  on_threads([&](int) { EXPECT_EQ(train(50), alone); });
}

TEST(Threads, SharedParametersAreReadByAll) {
  const Tensor w = filled({64, 64}, -0.3f);
  w.set_requires_grad(true);
  const Tensor x = filled({8, 64}, 0.2f), alone = ops::tanh(ops::matmul(x, w)).detach();
  on_threads([&](int) {
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(same_bytes(ops::tanh(ops::matmul(x, w)).detach(), alone));
  });
}

TEST(Threads, TensorsMayDieElsewhere) {
  const int64_t in_use = memory_stats().in_use;
  std::vector<Tensors> handed(n_threads);
  on_threads([&](int k) {
    for (int i = 0; i < 100; ++i) handed[size_t(k)].push_back(filled({1 + i * 37}, float(i)));
    handed[size_t(k)].push_back(filled({2 << 20}, 1));  // mapped
  });
  on_threads([&](int k) { handed[size_t((k + 1) % n_threads)].clear(); });
  EXPECT_EQ(memory_stats().in_use, in_use);
}

TEST(Threads, CountersAreReadWhileOthersAllocate) {
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      EXPECT_GE(memory_stats().peak, 0);
      trim_memory();
      std::this_thread::yield();
    }
  });
  on_threads([&](int) {
    for (int i = 0; i < 200; ++i) filled({1 + (i % 7) * 9000}, 0);
  });
  done = true;
  reader.join();
}

TEST(Threads, RowsComeInTheOrderAskedFor) {
  const Tensor rows = filled({200, 7}, 0);
  RowReader reader({{rows, DType::f32, {}}, {rows, DType::f64, {}}}, n_threads);
  for (int64_t round = 0; round < 60; ++round) {
    for (int64_t k = 0; k < 5; ++k) reader.ask({round, 3 * round % 200, k});
    for (int64_t k = 0; k < 5; ++k) {
      const Tensors batch = reader.next();
      ASSERT_EQ(batch.size(), 2u);
      EXPECT_EQ(batch[1].dtype(), DType::f64);
      EXPECT_EQ(0, std::memcmp(batch[0].data<float>() + 14, rows.data<float>() + 7 * k, 7 * sizeof(float)));
      EXPECT_EQ(batch[1].data<double>()[7], double(rows.data<float>()[7 * (3 * round % 200)]));
    }
  }
  reader.ask({1});
  reader.ask({200});
  reader.ask({2});
  EXPECT_EQ(reader.next().size(), 2u);
  EXPECT_THROW(reader.next(), IndexError);
  EXPECT_EQ(reader.pending(), 1u);   // dropped with the reader
}

}  // namespace
}  // namespace suan
