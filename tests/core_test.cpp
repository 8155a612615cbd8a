// Tensors, views, in-place writes, the tape and the recorder, from C++.
#include <gtest/gtest.h>

#include "core/allocator.h"
#include "core/compile.h"
#include "core/tape.h"
#include "ops/api.h"

namespace suan {
namespace {

using namespace ops;

Tensor range(const Shape& s, float step = 1) {
  Tensor t = Tensor::empty({DType::f32, s, {}});
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = float(i) * step;
  return t;
}
float at(const Tensor& t, int64_t i) { return contiguous(t).data<float>()[i]; }

TEST(Apply, StrictTypesAndShapes) {
  Tensor a = range({2, 3}), b = cast(range({2, 3}), DType::f64), c = range({2, 4});
  EXPECT_THROW(a + b, TypeError);
  try {
    a + c;
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "[add] shapes do not broadcast: expected equal sizes or 1 at dim 1, got 2x3 and 2x4");
  }
  EXPECT_THROW(op("ad"), ValueError);
}

TEST(Tape, ProductRuleAndReuse) {
  Tensor x = range({3});
  x.set_requires_grad(true);
  Tensor y = sum(x * x * x);
  backward({&y, 1}, {}, {});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(at(x.grad(), i), 3.0f * float(i * i));
  EXPECT_THROW(backward({&y, 1}, {}, {}), StateError);
}

TEST(Tape, SecondDerivative) {
  Tensor x = range({3});
  x.set_requires_grad(true);
  Tensor y = sum(x * x * x);
  Tensor g = grad({&y, 1}, {&x, 1}, {}, {.create_graph = true})[0];
  Tensor s = sum(g);
  Tensor h = grad({&s, 1}, {&x, 1}, {}, {})[0];
  for (int i = 0; i < 3; ++i) EXPECT_EQ(at(h, i), 6.0f * float(i));
}

TEST(Tape, OverwrittenSavedTensorIsAnError) {
  Tensor x = range({3}), w = range({3});
  x.set_requires_grad(true);
  Tensor y = x * w, s = sum(y);
  apply_into(op("add"), {w, w}, {}, w);
  try {
    backward({&s, 1}, {}, {});
    FAIL();
  } catch (const StateError& e) {
    EXPECT_NE(std::string(e.what()).find("overwritten before backward"), std::string::npos) << e.what();
  }
}

TEST(Tape, WriteThroughAViewReachesTheBase) {
  Tensor w = range({2});
  w.set_requires_grad(true);
  Tensor base = zeros({DType::f32, {4}, {}});
  Tensor view = slice(base, 0, 1, 3), other = slice(base, 0, 0, 2);
  apply_into(op("copy"), {w * 2.0}, {}, view);
  EXPECT_TRUE(base.requires_grad());
  Tensor s = sum(base * base) + sum(other);
  backward({&s, 1}, {}, {});
  EXPECT_EQ(at(w.grad(), 0), 8.0f * 0 + 2.0f);
  EXPECT_EQ(at(w.grad(), 1), 8.0f);
}

TEST(Tape, DeepChainsDieWithoutRecursion) {
  Tensor x = range({1});
  x.set_requires_grad(true);
  Tensor y = x;
  for (int i = 0; i < 300000; ++i) y = neg(y);
  y = Tensor();
}

TEST(Memory, ManyOpsStayFlat) {
  Tensor a = range({8, 8});
  auto burst = [&](int n) { for (int i = 0; i < n; ++i) a + a; };
  burst(1000);
  int64_t before = memory_stats().in_use;
  burst(200000);
  EXPECT_EQ(memory_stats().in_use, before);
}

TEST(Memory, EveryAllocationMayFail) {
  Tensor x = range({64, 64});
  x.set_requires_grad(true);
  auto step = [&] {
    x.set_grad(Tensor());
    Tensor s = sum(matmul(x, tanh(x)));
    backward({&s, 1}, {}, {});
    return at(sum(x.grad()), 0);
  };
  float want = step();
  int failures = 0;
  for (int n = 1; n < 200; ++n) {
    fail_nth_allocation(n);
    try {
      step();
    } catch (const OutOfMemory&) {
      ++failures;
    }
    fail_nth_allocation(0);
    EXPECT_EQ(step(), want) << "after failing allocation " << n;
  }
  EXPECT_GT(failures, 5);
}

// Runs f as suan.compile does, until it replays.
template <class F>
Tensors call(Tracer& t, const Tensors& args, F&& f) {
  if (t.ready()) return t.executable()(args);
  t.start(args);
  Tensors out = f(args);
  return t.finish(out);
}

TEST(Compile, StepWithStateReplaysWithEqualBits) {
  auto make = [] {
    Tensor w = range({4, 4}, 0.1f);
    w.set_requires_grad(true);
    return w;
  };
  Tensor we = make(), wc = make();
  auto step_of = [](Tensor w) {
    return [w](const Tensors& in) -> Tensors {
      w.set_grad(Tensor());
      Tensor y = tanh(matmul(in[0], w));
      Tensor loss = sum(y * y);
      backward({&loss, 1}, {}, {});
      NoGrad off;
      apply_into(op("sub"), {w, w.grad() * 0.1}, {}, w);
      return {loss};
    };
  };
  auto eager = step_of(we), compiled = step_of(wc);
  Tracer tracer{CompileOptions{}};
  for (int i = 0; i < 10; ++i) {
    Tensor x = range({2, 4}, 0.01f * float(i + 1));
    uint64_t before = apply_counters().calls;
    Tensor a = eager({x})[0], b;
    uint64_t eager_calls = apply_counters().calls - before;
    before = apply_counters().calls;
    bool replay = tracer.ready();
    b = call(tracer, {x}, compiled)[0];
    if (replay) {
      EXPECT_EQ(apply_counters().calls - before, 0u);
    }
    EXPECT_GT(eager_calls, 0u);
    EXPECT_EQ(at(a, 0), at(b, 0)) << i;
    for (int k = 0; k < 16; ++k) EXPECT_EQ(at(we, k), at(wc, k)) << i;
  }
  EXPECT_EQ(tracer.recordings(), 2);
}

TEST(Compile, ModuleIsOneNodeUnderEagerAutograd) {
  Tensor w = range({4, 4}, 0.1f);
  w.set_requires_grad(true);
  auto forward = [w](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w)) * in[0]}; };
  Tracer tracer{CompileOptions{}};
  Tensor want;
  for (int i = 0; i < 5; ++i) {
    Tensor x = range({4, 4}, 0.05f);
    x.set_requires_grad(true);
    w.set_grad(Tensor());
    Tensor s = sum(square(call(tracer, {x}, forward)[0]));
    backward({&s, 1}, {}, {});
    if (i == 0) want = w.grad();
    for (int k = 0; k < 16; ++k) EXPECT_EQ(at(want, k), at(w.grad(), k)) << i;
    EXPECT_TRUE(x.grad().defined());
  }
  EXPECT_TRUE(tracer.ready());
}

TEST(Compile, ChangingNumberIsAnErrorNamingIt) {
  Tracer tracer{CompileOptions{}};
  Tensor x = range({2});
  auto run = [&] {
    for (int i = 0; i < 10; ++i)
      call(tracer, {x}, [&](const Tensors& in) -> Tensors { return {in[0] * double(i)}; });
  };
  try {
    run();
    FAIL();
  } catch (const StateError& e) {
    EXPECT_NE(std::string(e.what()).find("keeps changing"), std::string::npos) << e.what();
  }
}

TEST(Compile, ReadingAValueIsAnError) {
  Tracer tracer{CompileOptions{}};
  Tensor x = range({1});
  tracer.start({&x, 1});
  EXPECT_THROW((x * 2.0).item(), StateError);
  tracer.abandon();
  EXPECT_EQ((x + 2.0).item(), 2.0);
}

}  // namespace
}  // namespace suan
