// The element-wise engine: values against a plain reference, layouts and dtypes against the contiguous
// f64 run, fused programs against their rows, rectangles as epilogues.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "core/backend.h"
#include "core/convert.h"
#include "core/graph.h"
#include "core/pool.h"
#include "core/tape.h"
#include "ops/api.h"
#include "ops/scalar.h"

namespace suan {
namespace {

using namespace ops;

Tensor filled(const Shape& shape, DType t, unsigned seed, double lo = -2, double hi = 2) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(lo, hi);
  Tensor x = Tensor::empty({t, shape, {}});
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double v = uniform(random);
    store_as(x.raw() + i * item_size(t), t, is_floating(t) ? v : std::floor(v));
  }
  return x;
}
double value(const Tensor& x, int64_t i) { return load_as(x.raw() + i * item_size(x.dtype()), x.dtype()); }
bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && a.is_contiguous() && b.is_contiguous() &&
         std::memcmp(a.raw(), b.raw(), size_t(a.numel() * item_size(a.dtype()))) == 0;
}
// The same values behind other strides: transposed, stepped or reversed.
std::vector<Tensor> relaid(const Tensor& x) {
  std::vector<Tensor> list;
  if (x.rank() < 2) return list;
  const int64_t item = item_size(x.dtype()), rows = x.dim(0), cols = x.dim(1);
  auto make = [&](int64_t size, int64_t rs, int64_t cs, int64_t offset) {
    Tensor base = Tensor::empty({x.dtype(), {size}, {}});
    std::memset(base.raw(), 0, size_t(size * item));
    Tensor t = Tensor::over(base.storage(), Layout({rows, cols}, {rs, cs}, offset), x.dtype());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        std::memcpy(t.raw() + (r * rs + c * cs) * item, x.raw() + (r * cols + c) * item, size_t(item));
    list.push_back(t);
  };
  make(rows * cols, 1, rows, 0);
  make(rows * cols * 3, cols * 3, 3, 0);
  make(rows * cols, -cols, -1, rows * cols - 1);
  return list;
}

TEST(Scalar, ValuesInFloat) {
  struct {
    const char* name;
    double (*f)(double);
    double lo, hi;
  } const cases[] = {
      {"exp", std::exp, -10, 10},     {"log", std::log, 0.01, 10},   {"tanh", std::tanh, -5, 5},
      {"erf", std::erf, -3, 3},       {"sin", std::sin, -9, 9},      {"sqrt", std::sqrt, 0, 9},
      {"expm1", std::expm1, -1, 1},   {"log1p", std::log1p, -.5, 5}, {"atan", std::atan, -9, 9},
      {"floor", std::floor, -9, 9},   {"asin", std::asin, -1, 1},    {"cosh", std::cosh, -4, 4},
      {"gelu", [](double x) { return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5))); }, -4, 4},
      {"gelu_tanh",
       [](double x) {
         return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       },
       -4, 4},
      {"silu", [](double x) { return x / (1 + std::exp(-x)); }, -9, 9},
      {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, -9, 9},
      {"rsqrt", [](double x) { return 1 / std::sqrt(x); }, 0.1, 9},
  };
  for (auto& c : cases) {
    for (DType t : {DType::f32, DType::f64}) {
      const Tensor x = filled({1037}, t, 1, c.lo, c.hi), y = apply(op(c.name), {x});
      for (int64_t i = 0; i < x.numel(); ++i) {
        const double want = c.f(value(x, i)), scale = std::max(std::abs(want), 0.1);
        EXPECT_NEAR(value(y, i), want, scale * (t == DType::f32 ? 1e-6 : 1e-14)) << c.name;
      }
    }
  }
}

TEST(Scalar, IntegersNeverTrap) {
  const int64_t low = INT64_MIN;
  const int64_t xs[] = {7, -7, 7, -7, 5, low, 3, -2}, ys[] = {3, 3, -3, -3, 0, -1, -1, 63};
  const Tensor x = Tensor::from<int64_t>(xs, {8}), y = Tensor::from<int64_t>(ys, {8});
  auto expect = [&](const char* name, std::vector<int64_t> want) {
    const Tensor z = apply(op(name), {x, y});
    for (int i = 0; i < 8; ++i) EXPECT_EQ(z.data<int64_t>()[i], want[size_t(i)]) << name << " " << i;
  };
  expect("floor_divide", {2, -3, -3, 2, 0, low, -3, -1});
  expect("remainder", {1, 2, -2, -1, 0, 0, 0, 61});
  expect("fmod", {1, -1, 1, -1, 0, 0, 0, -2});
  expect("pow", {343, -343, 0, 0, 1, 0, 0, low});
  expect("left_shift", {56, -56, 0, 0, 5, 0, 0, 0});
  expect("right_shift", {0, -1, 0, -1, 5, -1, 0, -1});
}

// What the undefined-behaviour sanitizer would report where wrapping is not meant.
TEST(Scalar, IntegersWrap) {
  const int64_t low = INT64_MIN, high = INT64_MAX;
  const int64_t xs[] = {high, low, high, low, 1 << 20}, ys[] = {1, -1, high, low, int64_t(1) << 50};
  const Tensor x = Tensor::from<int64_t>(xs, {5}), y = Tensor::from<int64_t>(ys, {5});
  auto expect = [&](const char* name, const Tensor& got, auto wanted) {
    ASSERT_EQ(got.numel(), 5) << name;
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(uint64_t(got.data<int64_t>()[i]), wanted(uint64_t(xs[i]), uint64_t(ys[i]))) << name << i;
  };
  using U = uint64_t;
  expect("add", add(x, y), [](U a, U b) { return a + b; });
  expect("sub", sub(y, x), [](U a, U b) { return b - a; });
  expect("mul", mul(x, y), [](U a, U b) { return a * b; });
  expect("neg", neg(x), [](U a, U) { return 0 - a; });
  expect("abs", abs(x), [](U a, U) { return a >> 63 ? 0 - a : a; });
  expect("square", square(x), [](U a, U) { return a * a; });
  const int64_t order[] = {0, 1, 2, 3, 4};
  const Tensor at = Tensor::from<int64_t>(order, {5});
  expect("scatter_add", apply(op("scatter_add"), {x, at, y}, {int64_t(0)}),
         [](U a, U b) { return a + b; });
  expect("index_put", apply(op("index_put"), {x, y, at}, {Dims{0}, true}),
         [](U a, U b) { return a + b; });
  expect("as_strided_scatter_add",
         apply(op("as_strided_scatter_add"), {x, y}, {Shape{5}, Dims{1}, int64_t(0)}),
         [](U a, U b) { return a + b; });
  U total = 0, product = 1;
  for (int64_t v : xs) total += U(v), product *= U(v);
  EXPECT_EQ(U(sum(x).data<int64_t>()[0]), total);
  EXPECT_EQ(U(apply(op("prod"), {x}, {Dims{}, false}).data<int64_t>()[0]), product);
  EXPECT_EQ(U(apply(op("cumsum"), {x}, {int64_t(0)}).data<int64_t>()[4]), total);
}

TEST(Scalar, NarrowTypesWrapAndRound) {
  const int8_t a[] = {127, -128, 100}, b[] = {1, -1, 100};
  const Tensor s = add(Tensor::from<int8_t>(a, {3}), Tensor::from<int8_t>(b, {3}));
  EXPECT_EQ(s.data<int8_t>()[0], -128);
  EXPECT_EQ(s.data<int8_t>()[1], 127);
  EXPECT_EQ(s.data<int8_t>()[2], -56);
  for (DType t : {DType::f16, DType::bf16}) {
    const Tensor x = filled({515}, t, 2), y = filled({515}, t, 3);
    const Tensor z = mul(x, y), wide = mul(cast(x, DType::f32), cast(y, DType::f32));
    EXPECT_TRUE(same_bits(z, cast(wide, t)));
  }
}

TEST(Scalar, NanAndSpecialValues) {
  const float nan = NAN, inf = INFINITY;
  const float xs[] = {nan, 1, inf, -inf, 0}, ys[] = {1, nan, 1, 1, -0.0f};
  const Tensor x = Tensor::from<float>(xs, {5}), y = Tensor::from<float>(ys, {5});
  const Tensor high = maximum(x, y), low = minimum(x, y);
  EXPECT_TRUE(std::isnan(high.data<float>()[0]) && std::isnan(high.data<float>()[1]));
  EXPECT_TRUE(std::isnan(low.data<float>()[0]) && std::isnan(low.data<float>()[1]));
  EXPECT_TRUE(std::isnan(relu(x).data<float>()[0]));
  const Tensor finite = apply(op("isfinite"), {x});
  const bool want[] = {false, true, false, false, true};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(finite.data<bool>()[i], want[i]);
}

// Every binary and unary row, every dtype it takes: any layout gives the contiguous bits.
TEST(Scalar, LayoutsGiveContiguousBits) {
  int checked = 0;
  for (const OpDef* def : all_ops()) {
    if (!(def->flags & op_elementwise) || def->inputs.size() > 2 || def->name == "cast") continue;
    for (DType t : {DType::boolean, DType::u8, DType::i16, DType::i64, DType::u64, DType::f16,
                    DType::bf16, DType::f32, DType::f64}) {
      if (!contains(def->inputs[0].dtypes, t)) continue;
      const bool wide = is_signed_int(t) || is_floating(t);
      const Tensor x = filled({37, 45}, t, 5, wide ? -3 : 0, is_bool(t) ? 2 : 3);
      const Tensor y = filled({37, 45}, t, 6, wide ? -3 : 0, is_bool(t) ? 2 : 3);
      const bool binary = def->inputs.size() == 2;
      const Tensor want = binary ? apply(*def, {x, y}) : apply(*def, {x});
      const auto xs = relaid(x), ys = relaid(y);
      for (size_t k = 0; k < xs.size(); ++k) {
        const Tensor got = binary ? apply(*def, {xs[k], ys[(k + 1) % 3]}) : apply(*def, {xs[k]});
        EXPECT_TRUE(same_bits(got, want)) << def->name << " " << name(t) << " layout " << k;
        ++checked;
      }
      if (!binary) continue;
      // A broadcast operand equals the same operand written out.
      for (const Dims& strides : {Dims{0, 1}, Dims{45, 0}}) {
        const Tensor spread = Tensor::over(y.storage(), Layout({37, 45}, strides, 0), t);
        const Shape small = strides[0] ? Shape{37, 1} : Shape{45};
        const Tensor operand = Tensor::over(
            y.storage(), strides[0] ? Layout(small, {45, 1}, 0) : Layout(small), t);
        Tensor written = Tensor::empty({t, {37, 45}, {}});
        for (int64_t r = 0; r < 37; ++r)
          for (int64_t c = 0; c < 45; ++c)
            std::memcpy(written.raw() + (r * 45 + c) * item_size(t),
                        y.raw() + (r * strides[0] + c * strides[1]) * item_size(t),
                        size_t(item_size(t)));
        const Tensor broadcast = apply(*def, {x, written});
        EXPECT_TRUE(same_bits(apply(*def, {x, spread}), broadcast)) << def->name << " " << name(t);
        EXPECT_TRUE(same_bits(apply(*def, {x, operand}), broadcast)) << def->name << " " << name(t);
      }
      if (want.dtype() == t) {
        const Tensor target = filled({37, 45}, t, 5, wide ? -3 : 0, is_bool(t) ? 2 : 3);
        apply_into(*def, {target, y}, {}, target);
        EXPECT_TRUE(same_bits(target, want)) << def->name << " " << name(t) << " in place";
      }
    }
  }
  EXPECT_GT(checked, 500);
}

TEST(Scalar, ThreadsDoNotChangeBits) {
  const Tensor x = filled({300, 701}, DType::f32, 7), row = filled({701}, DType::f32, 8);
  const int before = num_threads();
  set_num_threads(1);
  const Tensor one = apply(op("gelu"), {add(x, row)});
  for (int n : {2, 3, 8}) {
    set_num_threads(n);
    EXPECT_TRUE(same_bits(apply(op("gelu"), {add(x, row)}), one)) << n;
  }
  set_num_threads(before);
}

// Random bodies: the fused kernel against the rows one by one, strided and broadcast inputs included.
TEST(Fused, RandomBodiesEqualTheirRows) {
  const char* unary[] = {"neg", "abs", "tanh", "sigmoid", "relu", "exp", "gelu", "square"};
  const char* binary[] = {"add", "sub", "mul", "maximum", "relu_grad", "gelu_grad"};
  const DType types[] = {DType::f32, DType::bf16, DType::f16, DType::f64};
  std::mt19937 random(11);
  for (int round = 0; round < 400; ++round) {
    const DType t = types[random() % 4];
    const TensorType full{t, {21, 53}, {}}, row{t, {53}, {}}, column{t, {21, 1}, {}}, one{t, {}, {}};
    Graph body;
    std::vector<ValueId> all;
    std::vector<Tensor> inputs;
    for (const TensorType* type : {&full, &full, &row, &column, &one}) {
      all.push_back(body.add_input(*type));
      inputs.push_back(filled(type->shape, t, random(), -1, 1));
    }
    if (random() % 2) inputs[1] = relaid(inputs[1])[random() % 3];
    ValueId last = all[0];
    for (int k = 0; k < 12; ++k) {
      const ValueId other = all[random() % all.size()];
      const bool two = random() % 2;
      const OpDef& def = op(two ? binary[random() % 6] : unary[random() % 8]);
      std::vector<ValueId> in{last};
      if (two) in.push_back(other);
      const int node = body.append_typed(def, in, {}, {&full, 1});
      last = body.nodes[size_t(node)].out[0];
      all.push_back(last);
      if (random() % 4 == 0) body.outputs.push_back(last);
      if (random() % 5 == 0) {
        const TensorType mask{DType::boolean, full.shape, {}};
        const int m = body.append_typed(op("gt"), {last, other}, {}, {&mask, 1});
        const int w = body.append_typed(op("where"), {body.nodes[size_t(m)].out[0], other, last}, {},
                                        {&full, 1});
        last = body.nodes[size_t(w)].out[0];
        all.push_back(last);
      }
    }
    if (body.outputs.empty() || body.outputs.back() != last) body.outputs.push_back(last);
    if (body.outputs.size() > 6) body.outputs.resize(6);
    const Tensors want = interpret(body, inputs);
    const uint64_t kernels = apply_counters().kernels;
    const Tensors got = apply_all(op("fused_elementwise"), inputs, {GraphPtr(new Graph(body))});
    EXPECT_EQ(apply_counters().kernels, kernels + 1) << "the body did not run as one program";
    ASSERT_EQ(got.size(), want.size());
    for (size_t j = 0; j < got.size(); ++j)
      EXPECT_TRUE(same_bits(got[j], contiguous(want[j]))) << "round " << round << " output " << j;
  }
}

TEST(Fused, OutputMayBeAnInputThatIsReadLater) {
  const TensorType type{DType::f32, {5000}, {}};
  auto body = std::make_shared<Graph>();
  const ValueId x = body->add_input(type);
  auto add_node = [&](const char* name, std::vector<ValueId> in) {
    return body->nodes[size_t(body->append_typed(op(name), std::move(in), {}, {&type, 1}))].out[0];
  };
  const ValueId doubled = add_node("add", {x, x});
  const ValueId product = add_node("mul", {doubled, x});   // reads x after `doubled` is known
  body->outputs = {doubled, product};
  const Tensor in = filled({5000}, DType::f32, 4), want0 = add(in, in), want1 = mul(want0, in);

  const OpDef& def = op("fused_elementwise");
  const Kernel* kernel = find_kernel(def, {});
  ASSERT_NE(kernel, nullptr);
  const Attrs attrs{GraphPtr(body)};
  const TensorDesc desc{DType::f32, Layout({5000})};
  const TensorDesc* ins[] = {&desc};
  const TensorDesc* outs[] = {&desc, &desc};
  const Prepared p = kernel->prepare({def, attrs, ins, outs});
  const Tensor second = Tensor::empty(type);
  const void* in_data[] = {in.raw()};
  void* out_data[] = {in.raw(), second.raw()};
  p.run(p.state.get(), {in_data, out_data, nullptr});
  EXPECT_TRUE(same_bits(in, want0));
  EXPECT_TRUE(same_bits(second, want1));
}

// First gradients by central differences and second ones by differences of the first, in f64.
TEST(Scalar, GradientsOfTheActivationRows) {
  for (const char* name : {"gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "erf", "exp", "log1p", "atan"}) {
    const OpDef& def = op(name);
    auto derivatives = [&](double at) {
      Tensor x = Tensor::scalar(at, DType::f64);
      x.set_requires_grad(true);
      const Tensor y = apply(def, {x});
      const Tensor g = grad({&y, 1}, {&x, 1}, {}, {.create_graph = true})[0];
      const Tensor h = grad({&g, 1}, {&x, 1}, {}, {})[0];
      return std::array<double, 3>{y.item(), g.item(), h.item()};
    };
    for (double at : {-0.7, 0.1, 1.3}) {
      const double step = 1e-5;
      const auto low = derivatives(at - step), here = derivatives(at), high = derivatives(at + step);
      EXPECT_NEAR(here[1], (high[0] - low[0]) / (2 * step), 1e-8) << name;
      const double second = (high[1] - low[1]) / (2 * step);
      EXPECT_NEAR(here[2], second, 1e-8 * std::max(1.0, std::abs(second))) << name;
    }
  }
}

TEST(Scalar, RowsOfTheTableAreComplete) {
  for (const OpDef& def : scalar_op_definitions()) {
    EXPECT_TRUE(def.vjp || def.no_grad) << def.name;
    EXPECT_GE(def.samples().size(), 4u) << def.name;
    EXPECT_NE(find_kernel(op(def.name), {}), nullptr) << def.name;
    for (const Sample& s : def.samples()) EXPECT_EQ(s.in.size(), def.inputs.size()) << def.name;
  }
}

}  // namespace
}  // namespace suan
