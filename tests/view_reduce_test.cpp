// Views, copies, reductions, indexing and random numbers: values against plain loops, and equal bits at
// every thread count.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/pool.h"
#include "tests/tensor_util.h"

namespace suan {
namespace {

using namespace test;

// ---- values against plain loops
// ------------------------------------------------------------------------

TEST(Copy, EveryOrderOfAxesAtSizesAroundTheTiles) {
  for (const Shape& shape :
       {Shape{67, 130}, Shape{3, 65, 9}, Shape{5, 8, 7, 16}, Shape{200, 300}}) {
    Dims axes;
    for (int i = 0; i < shape.size(); ++i) axes.push_back(i);
    do {
      for (DType t : {DType::f32, DType::u8, DType::f64, DType::i16}) {
        const Tensor x =
            t == DType::u8 ? ops::cast(counted(shape, DType::i32), t) : counted(shape, t);
        const Tensor y = ops::copy(ops::permute(x, axes));
        Dims strides;
        for (int64_t a : axes) strides.push_back(contiguous_strides(shape)[int(a)]);
        std::vector<int64_t> at(size_t(shape.size()), 0);
        for (int64_t i = 0; i < y.numel(); ++i) {
          int64_t from = 0;
          for (int d = 0; d < y.rank(); ++d) from += at[size_t(d)] * strides[d];
          ASSERT_EQ(value(y, i), value(x, from)) << to_string(shape) << " " << i;
          for (int d = y.rank() - 1; d >= 0 && ++at[size_t(d)] == y.dim(d); --d) at[size_t(d)] = 0;
        }
      }
    } while (std::next_permutation(axes.begin(), axes.end()));
  }
}

TEST(Reduce, RandomShapesAndAxesAgainstDoubles) {
  std::mt19937 random(7);
  for (int round = 0; round < 150; ++round) {
    Shape shape;
    const int rank = int(random() % 5);
    for (int i = 0; i < rank; ++i)
      shape.push_back(round % 10 == 9 ? 1 + random() % 40 : 1 + random() % 9);
    Dims dims;
    for (int i = 0; i < rank; ++i)
      if (random() & 1) dims.push_back(i);
    const Tensor x = random_tensor(shape, unsigned(round));
    const Tensor s = ops::sum(x, dims), m = run("max", {x}, {dims}),
                 v = run("var", {x}, {dims, I(0)});
    const int64_t n = s.numel();
    std::vector<double> sum(size_t(n), 0), top(size_t(n), -INFINITY), square(size_t(n), 0);
    auto slot = [&](int64_t i) {
      int64_t to = 0, scale = 1;
      for (int d = rank - 1; d >= 0; --d) {
        const int64_t at = i % shape[d];
        i /= shape[d];
        if (dims.empty() || std::find(dims.begin(), dims.end(), d) != dims.end()) continue;
        to += at * scale;
        scale *= shape[d];
      }
      return size_t(to);
    };
    const double count = double(x.numel()) / double(n);
    for (int64_t i = 0; i < x.numel(); ++i) {
      sum[slot(i)] += value(x, i);
      top[slot(i)] = std::max(top[slot(i)], value(x, i));
    }
    for (int64_t i = 0; i < x.numel(); ++i)
      square[slot(i)] += std::pow(value(x, i) - sum[slot(i)] / count, 2);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_NEAR(value(s, i), sum[size_t(i)], 1e-4) << to_string(shape);
      ASSERT_EQ(value(m, i), top[size_t(i)]);
      ASSERT_NEAR(value(v, i), square[size_t(i)] / count, 1e-5);
    }
  }
}

TEST(Reduce, LongSumsStayAccurate) {
  const Tensor x = ops::full({10'000'000}, 0.1, DType::f32);
  const double want = double(0.1f) * 1e7;
  EXPECT_NEAR(ops::sum(x).item(), want, want * 1e-6);
  EXPECT_NEAR(value(ops::sum(ops::reshape(x, {5'000'000, 2}), {0}), 1), want / 2, want * 1e-6);
  const Tensor h = ops::full({100'000}, 1, DType::f16);
  EXPECT_EQ(run("mean", {h}).item(), 1.0);  // 100000 itself is out of range in f16
}

TEST(Reduce, IntegersBoolsAndNan) {
  const Tensor b = ops::full({1000}, 1, DType::boolean);
  EXPECT_EQ(ops::sum(b).dtype(), DType::i64);
  EXPECT_EQ(ops::sum(b).item_int(), 1000);
  EXPECT_EQ(ops::sum(ops::full({300}, 200, DType::u8)).item_int(), 60000);
  Tensor x = counted({40});
  store_as(x.raw() + 20 * 4, DType::f32, NAN);
  EXPECT_TRUE(std::isnan(run("max", {x}).item()));
  EXPECT_EQ(run("argmax", {x}).item_int(), 20);
  EXPECT_EQ(run("argmin", {x}).item_int(), 20);
  EXPECT_EQ(run("argmax", {ops::full({400}, 3, DType::f32)}).item_int(), 0);
  EXPECT_THROW(run("max", {Tensor::empty({DType::f32, {0, 3}, {}})}), ShapeError);
  EXPECT_EQ(run("prod", {Tensor::empty({DType::f32, {0}, {}})}).item(), 1.0);
}

TEST(Reduce, ThreadsDoNotChangeBits) {
  const int before = num_threads();
  const Tensor x = random_tensor({300'000}, 3), wide = random_tensor({3001, 130}, 4),
               three = random_tensor({7, 900, 60}, 5);
  const Tensor index =
      ops::cast(run("remainder", {counted({5000}, DType::i64), Tensor::scalar_int(17, DType::i64)}),
                DType::i64);
  const Tensor g = random_tensor({5000, 24}, 6);
  const Tensor state = tensor({5, 0}, {2}, DType::u64);
  auto all = [&] {
    return Tensors{ops::sum(x),
                   ops::sum(wide, {0}),
                   ops::sum(wide, {1}),
                   ops::sum(three, {0, 2}),
                   ops::sum(three, {1}),
                   run("var", {three}, {Dims{1}}),
                   run("var", {x}),
                   run("cumsum", {wide}, {I(0)}),
                   run("embedding_grad", {g, index}, {I(17)}),
                   run("random_bits", {state}, {Dims{100'003}}),
                   ops::copy(ops::transpose(wide, 0, 1)),
                   run("argmax", {wide}, {I(0)})};
  };
  set_num_threads(1);
  const Tensors one = all();
  for (int n : {2, 3, 8}) {
    set_num_threads(n);
    const Tensors many = all();
    for (size_t i = 0; i < one.size(); ++i)
      EXPECT_TRUE(same_bits(one[i], many[i])) << n << " threads, case " << i;
  }
  set_num_threads(before);
}

TEST(View, ReshapeSharesStorageExactlyWhenStridesAllow) {
  const Tensor x = counted({4, 6, 5});
  auto shares = [&](const Tensor& from, const Shape& s) {
    return ops::reshape(from, s).storage() == from.storage();
  };
  EXPECT_TRUE(shares(x, {24, 5}));
  const Tensor half = ops::slice(x, 1, 0, 3);
  EXPECT_TRUE(shares(half, {2, 2, 3, 5}));
  EXPECT_TRUE(shares(half, {4, 15}));
  EXPECT_FALSE(shares(half, {12, 5}));
  const Tensor t = ops::permute(x, {1, 0, 2});
  EXPECT_TRUE(shares(t, {2, 3, 4, 5}));
  EXPECT_FALSE(shares(t, {24, 5}));
  EXPECT_TRUE(shares(ops::expand(counted({1, 5}), {3, 5}), {3, 5, 1}));
  EXPECT_THROW(run("view", {t}, {Dims{24, 5}}), ShapeError);
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {  // any base layout, any factorisation of 24
    const Shape shapes[] = {{24},   {2, 12},    {4, 6},       {2, 3, 4},
                            {3, 8}, {1, 24, 1}, {2, 2, 2, 3}, {6, 1, 4}};
    Tensor a = ops::slice(counted({4, 3, 8}), 2, int64_t(random() % 2), 8, 2);
    a = ops::slice(a, 0, 0, 4, 2);  // 2 x 3 x 4
    Dims axes{0, 1, 2};
    std::shuffle(axes.begin(), axes.end(), random);
    a = ops::permute(a, axes);
    const Tensor b = ops::reshape(a, shapes[random() % 8]);
    EXPECT_EQ(values(a), values(b));
  }
}

TEST(Index, ValuesOrderAndErrors) {
  const Tensor x = counted({3, 4});
  const Tensor i = tensor({2, 0, -1}, {3}, DType::i64), j = tensor({1}, {1}, DType::i64);
  EXPECT_EQ(values(run("index", {x, i, j}, {Dims{0, 1}})), (std::vector<double>{9, 1, 9}));
  EXPECT_EQ(values(run("index", {x, j}, {Dims{1}})), (std::vector<double>{1, 5, 9}));
  const Tensor put = run("index_put",
                         {x, tensor({1, 2, 3}, {3}), tensor({0, 0, 0}, {3}, DType::i64),
                          tensor({1, 1, 2}, {3}, DType::i64)},
                         {Dims{0, 1}, true});
  EXPECT_EQ(value(put, 1), 4);
  EXPECT_EQ(value(put, 2), 5);
  EXPECT_EQ(values(run("gather", {x, tensor({3, 0, 1}, {3, 1}, DType::i64)}, {I(1)})),
            (std::vector<double>{3, 4, 9}));
  EXPECT_EQ(values(run("nonzero", {tensor({0, 2, -0.0, 1}, {2, 2})})),
            (std::vector<double>{0, 1, 1, 1}));
  EXPECT_EQ(values(run("masked_select", {x, ops::gt(x, ops::number(8, x))})),
            (std::vector<double>{9, 10, 11}));
  for (const char* name : {"index", "gather", "embedding"}) {
    try {
      const Tensor bad = tensor({7}, {1}, DType::i64);
      if (std::strcmp(name, "index") == 0) run(name, {x, bad}, {Dims{0}});
      else if (std::strcmp(name, "gather") == 0) run(name, {x, ops::reshape(bad, {1, 1})}, {I(0)});
      else run(name, {x, bad});
      ADD_FAILURE() << name;
    } catch (const IndexError& e) {
      EXPECT_NE(std::string(e.what()).find("got 7"), std::string::npos) << e.what();
    }
  }
  const Tensors top = apply_all(op("topk"), {tensor({3, 9, 9, 1, 5}, {5})}, {I(3)});
  EXPECT_EQ(values(top[0]), (std::vector<double>{9, 9, 5}));
  EXPECT_EQ(values(top[1]), (std::vector<double>{1, 2, 4}));
}

TEST(Random, PhiloxKnownAnswersAndDraws) {
  const Tensor zero = tensor({0, 0}, {2}, DType::u64);
  const Tensor bits = run("random_bits", {zero}, {Dims{6}});
  const double want[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c,
                         0x9b00dbd8};  // Random123's test vector
  for (int i = 0; i < 4; ++i) EXPECT_EQ(value(bits, i), want[i]);
  const Tensor state = tensor({1, 0}, {2}, DType::u64);
  const Tensor u = run("rand", {state}, {Dims{100'000}});
  EXPECT_EQ(value(state, 1), 25'000);
  EXPECT_NEAR(run("mean", {u}).item(), 0.5, 0.01);
  EXPECT_LT(run("max", {u}).item(), 1.0);
  const Tensor n = run("randn", {state}, {Dims{100'001}});
  EXPECT_NEAR(run("mean", {n}).item(), 0, 0.02);
  EXPECT_NEAR(run("var", {n}).item(), 1, 0.02);
  const Tensor p = run("randperm", {state}, {I(1000)});
  std::vector<double> v = values(p);
  EXPECT_FALSE(std::is_sorted(v.begin(), v.end()));
  std::sort(v.begin(), v.end());
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(v[size_t(i)], i);
  const Tensor r = run("randint", {state}, {I(-3), I(4), Dims{10'000}});
  EXPECT_EQ(run("min", {r}).item(), -3);
  EXPECT_EQ(run("max", {r}).item(), 3);
  const Tensor w = tensor({0, 1, 3}, {3});
  const Tensor m = run("multinomial", {state, w}, {I(8000), true});
  EXPECT_NEAR(ops::sum(ops::eq(m, Tensor::scalar_int(2, DType::i64))).item(), 6000, 150);
  EXPECT_EQ(ops::sum(ops::eq(m, Tensor::scalar_int(0, DType::i64))).item(), 0);
  std::vector<double> two = values(run("multinomial", {state, w}, {I(2)}));
  std::sort(two.begin(), two.end());
  EXPECT_EQ(two, (std::vector<double>{1, 2}));
  const Tensor coin = run("bernoulli", {state, ops::full({50'000}, 0.3, DType::f32)});
  EXPECT_NEAR(run("mean", {coin}).item(), 0.3, 0.01);
}

}  // namespace
}  // namespace suan
