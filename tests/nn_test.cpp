// Linear algebra, neural-network and optimizer ops: every sample's kernel against the op's
// definition, its first and second gradients against central differences, strided inputs, and the
// rules of torch that no definition states.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "core/convert.h"
#include "core/dispatch.h"
#include "core/pool.h"
#include "core/tape.h"
#include "ops/api.h"

namespace suan {
namespace {

using namespace ops;

double value(const Tensor& x, int64_t i) {
  return load_as(x.raw() + i * item_size(x.dtype()), x.dtype());
}
bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(contiguous(a).raw(), contiguous(b).raw(),
                     size_t(a.numel() * item_size(a.dtype()))) == 0;
}

Tensor made(const SampleInput& in, DType swept, unsigned seed) {
  if (in.absent) return {};
  std::mt19937 random(seed);
  const DType t = in.dtype.value_or(swept);
  Tensor x = Tensor::empty({t, in.shape, {}});
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  std::vector<int64_t> order(size_t(x.numel()));
  for (size_t i = 0; i < order.size(); ++i) order[i] = int64_t(i);
  std::shuffle(order.begin(), order.end(), random);
  for (int64_t i = 0; i < x.numel(); ++i) {
    double v = 0;
    switch (in.fill) {
      case Fill::normal: v = normal(random); break;
      case Fill::uniform: v = in.lo + (in.hi - in.lo) * uniform(random); break;
      case Fill::positive: v = 0.3 + uniform(random); break;
      case Fill::integers:
      case Fill::index: v = std::floor(in.lo + (in.hi - in.lo) * uniform(random)); break;
      case Fill::boolean: v = uniform(random) < 0.7; break;
      case Fill::distinct: v = 0.25 * double(order[size_t(i)]) - 3; break;
    }
    store_as(x.raw() + i * item_size(t), t, v);
  }
  return x;
}
Tensors made(const Sample& s, DType t) {
  Tensors in;
  for (size_t i = 0; i < s.in.size(); ++i) in.push_back(made(s.in[i], t, unsigned(7 + i)));
  return in;
}
Tensors cast_all(const Tensors& in, DType from, DType to) {
  Tensors out;
  for (const Tensor& x : in) out.push_back(x.defined() && x.dtype() == from ? cast(x, to) : x);
  return out;
}

// The ops of this family, by where they live.
const std::vector<const char*> family = {"matmul",
                                         "linear",
                                         "bmm",
                                         "outer",
                                         "tensordot",
                                         "einsum",
                                         "softmax",
                                         "log_softmax",
                                         "softmax_grad",
                                         "log_softmax_grad",
                                         "layer_norm",
                                         "rms_norm",
                                         "batch_norm",
                                         "batch_norm_train",
                                         "group_norm",
                                         "attention",
                                         "cross_entropy",
                                         "linear_cross_entropy",
                                         "conv",
                                         "conv_input_grad",
                                         "conv_weight_grad",
                                         "max_pool",
                                         "max_pool_grad",
                                         "avg_pool",
                                         "avg_pool_grad",
                                         "adaptive_avg_pool",
                                         "nll_loss",
                                         "mse_loss",
                                         "l1_loss",
                                         "huber_loss",
                                         "smooth_l1",
                                         "bce_with_logits",
                                         "kl_div",
                                         "chunked_sum_squares",
                                         "clip_grad_norm"};

std::string label(const OpDef& def, const Sample& s) { return def.name + " (" + s.note + ")"; }

void expect_close(const Tensor& got, const Tensor& want, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(to_string(got.shape()), to_string(want.shape())) << what;
  const Tensor g = contiguous(got), w = contiguous(want);
  double size = 1;
  for (int64_t i = 0; i < w.numel(); ++i)
    if (std::isfinite(value(w, i))) size = std::max(size, std::abs(value(w, i)));
  for (int64_t i = 0; i < w.numel(); ++i) {
    const double a = value(g, i), b = value(w, i);
    if (std::isnan(b) || std::isinf(b)) {
      EXPECT_TRUE(a == b || (std::isnan(a) && std::isnan(b)))
          << what << " at " << i << ": " << a << " " << b;
    } else {
      ASSERT_NEAR(a, b, tolerance * size) << what << " at " << i;
    }
  }
}

// Kernels in every dtype against the f64 kernel, and that against the definition in plain ops.
TEST(Nn, KernelsAgreeWithDefinitions) {
  for (const char* op_name : family) {
    const OpDef& def = op(op_name);
    for (const Sample& s : def.samples()) {
      if (!s.error.empty()) {
        EXPECT_THROW(
            {
              try {
                apply_all(def, made(s, DType::f64), s.attrs);
              } catch (const Error& e) {
                EXPECT_NE(std::string(e.what()).find(s.error), std::string::npos) << e.what();
                throw;
              }
            },
            Error) << label(def, s) << " " << s.error;
        continue;
      }
      NoGrad off;
      const Tensors in = made(s, DType::f64);
      const Tensors want = apply_all(def, in, s.attrs);
      if (def.compose) {
        std::vector<Attr> filled = s.attrs.values();
        for (size_t i = filled.size(); i < def.attrs.size(); ++i)
          filled.push_back(def.attrs[i].fallback);
        const Attrs attrs(filled);
        const Tensors plain = def.compose(ComposeContext{def, in, attrs});
        for (size_t j = 0; j < plain.size(); ++j)
          expect_close(want[j], plain[j], 1e-12,
                       label(def, s) + " definition, output " + def.outputs[j]);
      }
      for (DType t : {DType::f32, DType::bf16, DType::f16}) {
        const Tensors narrow = cast_all(in, DType::f64, t);
        const Tensors got = apply_all(def, narrow, s.attrs);
        const Tensors exact = apply_all(def, cast_all(narrow, t, DType::f64), s.attrs);
        for (size_t j = 0; j < got.size(); ++j)
          expect_close(got[j], exact[j], t == DType::f32 ? 2e-5 : t == DType::f16 ? 5e-3 : 4e-2,
                       label(def, s) + " " + std::string(name(t)) + ", output " + def.outputs[j]);
      }
    }
  }
}

// A fixed random weighting of all outputs, so that one number has every gradient.
Tensor weighted(const Tensors& outs, unsigned seed) {
  Tensor total;
  for (size_t j = 0; j < outs.size(); ++j) {
    if (!is_floating(outs[j].dtype()) || outs[j].numel() == 0) continue;
    const Tensor w = made({.shape = outs[j].shape()}, outs[j].dtype(), seed + unsigned(j));
    const Tensor t = sum(outs[j] * w);
    total = total.defined() ? total + t : t;
  }
  return total;
}

// df/dx of a scalar function by central differences, at a few elements of each input.
// Returns how many elements were looked at.
template <class F>
int expect_gradients(F&& f, const Tensors& in, const Tensors& got, double tolerance,
                      const std::string& what) {
  std::mt19937 random(3);
  int looked = 0;
  const double step = 1e-5;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!got[i].defined()) continue;
    const Tensor g = contiguous(got[i]);
    for (int k = 0; k < 6 && in[i].numel(); ++k, ++looked) {
      const int64_t e = int64_t(random() % uint64_t(in[i].numel()));
      double* at = in[i].data<double>() + e;
      const double kept = *at;
      *at = kept + step;
      const double high = f();
      *at = kept - step;
      const double low = f();
      *at = kept;
      const double want = (high - low) / (2 * step);
      EXPECT_NEAR(g.data<double>()[e], want, tolerance * (1 + std::abs(want)))
          << what << ", input " << i << " element " << e;
    }
  }
  return looked;
}

std::vector<const Sample*> checked_samples(const std::vector<Sample>& list) {
  std::vector<const Sample*> out;
  for (const Sample& s : list) {
    bool some = s.error.empty() && s.check_grad;
    for (const SampleInput& in : s.in) some &= in.absent || numel(in.shape) > 0;
    if (some) out.push_back(&s);
  }
  return out;
}

TEST(Nn, FirstGradients) {
  int looked = 0;
  for (const char* op_name : family) {
    const OpDef& def = op(op_name);
    const std::vector<Sample> list = def.samples();
    for (const Sample* s : checked_samples(list)) {
      Tensors in = made(*s, DType::f64), wanted, gradients(in.size());
      std::vector<size_t> index;
      for (size_t i = 0; i < in.size(); ++i) {
        if (!in[i].defined() || !is_floating(in[i].dtype()) || !s->in[i].grad) continue;
        in[i].set_requires_grad(true);
        wanted.push_back(in[i]);
        index.push_back(i);
      }
      const Tensor y = weighted(apply_all(def, in, s->attrs), 50);
      const Tensors g = grad({&y, 1}, wanted, {}, {}, true);
      for (size_t k = 0; k < index.size(); ++k) gradients[index[k]] = g[k];
      looked += expect_gradients(
          [&] {
            NoGrad off;
            return weighted(apply_all(def, in, s->attrs), 50).item();
          },
          in, gradients, 1e-6, label(def, *s));
    }
  }
  EXPECT_GT(looked, 900);
}

TEST(Nn, SecondGradients) {
  int looked = 0;
  for (const char* op_name : family) {
    const OpDef& def = op(op_name);
    const std::vector<Sample> list = def.samples();
    for (const Sample* s : checked_samples(list)) {
      Tensors in = made(*s, DType::f64), wanted, gradients(in.size());
      std::vector<size_t> index;
      for (size_t i = 0; i < in.size(); ++i) {
        if (!in[i].defined() || !is_floating(in[i].dtype()) || !s->in[i].grad) continue;
        in[i].set_requires_grad(true);
        wanted.push_back(in[i]);
        index.push_back(i);
      }
      auto first = [&](bool keep) {
        // A square makes the outer derivative depend on the value, so that linear ops count too.
        const Tensor y = weighted(apply_all(def, in, s->attrs), 50);
        const Tensor z = square(y) + y;
        Tensors g = grad({&z, 1}, wanted, {}, {.create_graph = keep}, true);
        Tensors some;
        for (const Tensor& t : g)
          if (t.defined()) some.push_back(t);
        return weighted(some, 90);
      };
      const Tensor f = first(true);
      if (!f.requires_grad()) continue;
      const Tensors g = grad({&f, 1}, wanted, {}, {}, true);
      for (size_t k = 0; k < index.size(); ++k) gradients[index[k]] = g[k];
      looked += expect_gradients([&] { return first(false).item(); }, in, gradients, 1e-4,
                       label(def, *s) + " twice");
    }
  }
  EXPECT_GT(looked, 800);
}

// The same values behind other strides.
Tensor relaid(const Tensor& x, int how) {
  if (x.rank() < 2) return x;
  if (how == 0) return transpose(copy(transpose(x, -1, -2)), -1, -2);
  Tensor wide = zeros({x.dtype(), [&] {
                         Shape s = x.shape();
                         s.back() = s.back() * 2 + 1;
                         return s;
                       }(), {}});
  const int64_t last = x.rank() - 1, n = x.dim(-1);
  Tensor view = how == 1 ? slice(wide, last, 0, 2 * n, 2) : slice(wide, last, 0, n);
  apply_into(op("copy"), {x}, {}, view);
  return view;
}

TEST(Nn, StridesDoNotMatter) {
  NoGrad off;
  for (const char* op_name : {"matmul", "linear", "attention", "softmax", "layer_norm", "conv"}) {
    const OpDef& def = op(op_name);
    for (const Sample& s : def.samples()) {
      if (!s.error.empty()) continue;
      for (DType t : {DType::f32, DType::bf16}) {
        const Tensors in = made(s, t);
        const Tensors want = apply_all(def, in, s.attrs);
        for (int how = 0; how < 3; ++how) {
          Tensors other;
          for (const Tensor& x : in) other.push_back(x.defined() && x.numel() ? relaid(x, how) : x);
          const Tensors got = apply_all(def, other, s.attrs);
          for (size_t j = 0; j < got.size(); ++j)
            expect_close(got[j], want[j], t == DType::f32 ? 1e-6 : 1e-2,
                         label(def, s) + " layout " + std::to_string(how));
        }
      }
    }
  }
}

TEST(Nn, MatmulOfIntegersIsExact) {
  NoGrad off;
  for (DType t : {DType::u8, DType::i8, DType::i32, DType::i64}) {
    const Tensor a = made({.shape = {5, 9}, .fill = Fill::integers, .lo = 0, .hi = 5}, t, 1);
    const Tensor b = made({.shape = {9, 4}, .fill = Fill::integers, .lo = 0, .hi = 3}, t, 2);
    const Tensor c = matmul(a, b);
    for (int64_t i = 0; i < 5; ++i)
      for (int64_t j = 0; j < 4; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < 9; ++k) sum += value(a, i * 9 + k) * value(b, k * 4 + j);
        EXPECT_EQ(value(c, i * 4 + j), sum) << name(t);
      }
  }
}

TEST(Nn, ThreadsDoNotChangeBits) {
  NoGrad off;
  const int before = num_threads();
  const Tensor x = made({.shape = {4, 130, 96}}, DType::f32, 1),
               w = made({.shape = {200, 96}}, DType::f32, 2);
  const Tensor q = made({.shape = {2, 4, 100, 32}}, DType::f32, 3);
  const Tensor image = made({.shape = {8, 16, 20, 20}}, DType::f32, 4);
  const Tensor kernel = made({.shape = {24, 16, 3, 3}}, DType::f32, 5);
  const Tensor targets =
      made({.shape = {520}, .fill = Fill::index, .lo = 0, .hi = 200}, DType::i64, 6);
  auto all = [&] {
    Tensors r{apply(op("linear"), {x, w, Tensor()}), matmul(transpose(x, -1, -2), x)};
    for (Tensor& t : apply_all(op("attention"), {q, q, q, Tensor()}, {true})) r.push_back(t);
    r.push_back(apply(op("conv"), {image, kernel, Tensor()}));
    r.push_back(apply(op("conv_weight_grad"), {image, r.back()}, {Dims{3, 3}}));
    for (Tensor& t : apply_all(op("layer_norm"), {x, Tensor(), Tensor()})) r.push_back(t);
    for (Tensor& t : apply_all(op("batch_norm_train"), {image, Tensor(), Tensor()})) r.push_back(t);
    for (Tensor& t :
         apply_all(op("linear_cross_entropy_forward"), {reshape(x, {520, 96}), w, targets},
                   {int64_t(-100), std::string("mean"), true}))
      r.push_back(t);
    r.push_back(apply(op("chunked_sum_squares"), {image}));
    return r;
  };
  set_num_threads(1);
  const Tensors want = all();
  for (int n : {2, 3, 8}) {
    set_num_threads(n);
    const Tensors got = all();
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_TRUE(same_bits(got[i], want[i])) << n << " threads, " << i;
  }
  set_num_threads(before);
}

TEST(Nn, RunningStatisticsMoveAsInTorch) {
  const Tensor x = made({.shape = {4, 3, 5}}, DType::f32, 1);
  x.set_requires_grad(true);
  const Tensor mean = full({3}, 0.5, DType::f32), var = full({3}, 2, DType::f32);
  apply(op("batch_norm"), {x, Tensor(), Tensor(), mean, var}, {true, 0.25, 1e-5});
  EXPECT_FALSE(mean.requires_grad());
  for (int c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (int b = 0; b < 4; ++b)
      for (int i = 0; i < 5; ++i) sum += value(x, (b * 3 + c) * 5 + i);
    for (int b = 0; b < 4; ++b)
      for (int i = 0; i < 5; ++i) squares += std::pow(value(x, (b * 3 + c) * 5 + i) - sum / 20, 2);
    EXPECT_NEAR(value(mean, c), 0.75 * 0.5 + 0.25 * sum / 20, 1e-6);
    EXPECT_NEAR(value(var, c), 0.75 * 2 + 0.25 * squares / 19, 1e-5);
  }
}

TEST(Nn, OptimizerSteps) {
  for (DType t : {DType::f32, DType::f64, DType::bf16}) {
    const double tolerance = t == DType::bf16 ? 2e-2 : 1e-6;
    const SampleInput in{.shape = {37}}, positive{.shape = {37}, .fill = Fill::positive};
    const Tensor p = made(in, t, 1), g = made(in, t, 2), m = made(in, t, 3),
                 v = made(positive, t, 4);
    const Tensor p0 = copy(p), m0 = copy(m), v0 = copy(v);
    const Tensor lr = Tensor::scalar(0.01, DType::f32), step = Tensor::scalar(3, DType::f32);
    apply_all(op("adamw_step"), {p, g, m, v, lr, step}, {0.9, 0.99, 1e-8, 0.1});
    for (int64_t i = 0; i < 37; ++i) {
      const double m1 = 0.9 * value(m0, i) + 0.1 * value(g, i);
      const double v1 = 0.99 * value(v0, i) + 0.01 * value(g, i) * value(g, i);
      const double want =
          value(p0, i) * (1 - 0.01 * 0.1) -
          0.01 * (m1 / (1 - std::pow(0.9, 3))) / (std::sqrt(v1 / (1 - std::pow(0.99, 3))) + 1e-8);
      EXPECT_NEAR(value(m, i), m1, tolerance * 2);
      EXPECT_NEAR(value(v, i), v1, tolerance * 2);
      EXPECT_NEAR(value(p, i), want, tolerance * 2) << name(t);
    }
    const Tensor q = made(in, t, 5), buffer = made(in, t, 6), q0 = copy(q), b0 = copy(buffer);
    apply_all(op("sgd_step"), {q, g, buffer, lr}, {0.9, 0.5, 0.1, false});
    for (int64_t i = 0; i < 37; ++i) {
      const double b1 = 0.9 * value(b0, i) + 0.5 * (value(g, i) + 0.1 * value(q0, i));
      EXPECT_NEAR(value(buffer, i), b1, tolerance * 2);
      EXPECT_NEAR(value(q, i), value(q0, i) - 0.01 * b1, tolerance * 2);
    }
  }
}

TEST(Nn, LinearCrossEntropyIsTheUnfusedLoss) {
  const Tensor x = made({.shape = {70, 12}}, DType::f64, 1),
               w = made({.shape = {33, 12}}, DType::f64, 2);
  const Tensor targets =
      made({.shape = {70}, .fill = Fill::index, .lo = 0, .hi = 33}, DType::i64, 3);
  x.set_requires_grad(true);
  w.set_requires_grad(true);
  const Tensor wanted[] = {x, w};
  const Tensor fused =
      apply(op("linear_cross_entropy"), {x, w, targets}, {int64_t(4), std::string("mean")});
  const Tensor plain =
      apply_all(op("cross_entropy"), {apply(op("linear"), {x, w, Tensor()}), targets, Tensor()},
                {int64_t(4), 0.0, std::string("mean")})[0];
  EXPECT_NEAR(fused.item(), plain.item(), 1e-12);
  const Tensors a = grad({&fused, 1}, wanted, {}, {}), b = grad({&plain, 1}, wanted, {}, {});
  for (int i = 0; i < 2; ++i) expect_close(a[size_t(i)], b[size_t(i)], 1e-12, "gradient");
}

TEST(Nn, BadDataIsAnErrorAndTheEngineGoesOn) {
  const Tensor logits = made({.shape = {3, 4}}, DType::f32, 1);
  const int64_t bad[] = {0, 4, 1};
  const Tensor targets = Tensor::from<int64_t>(bad, {3});
  EXPECT_THROW(apply_all(op("cross_entropy"), {logits, targets, Tensor()}), IndexError);
  EXPECT_THROW(apply(op("linear_cross_entropy"), {logits, logits, targets}), IndexError);
  const float nan[] = {1, NAN};
  EXPECT_THROW(apply(op("assert_finite"), {Tensor::from<float>(nan, {2})}, {std::string("loss")}),
               ValueError);
  EXPECT_TRUE(*apply(op("assert_finite"), {logits}).data<bool>());
}

TEST(Optimizer, UpdatesOfAVariadicOpComeRoundByRound) {
  const OpDef& steps = op("adamw_steps");   // lr, step, grad_scale, then rounds of four
  constexpr int want[] = {3, 5, 6, 7, 9, 10};
  for (size_t k = 0; k < 6; ++k) EXPECT_EQ(updated_input(steps, k, 11, 6), want[k]) << k;
  EXPECT_EQ(updated_input(steps, 6, 11, 6), -1);
  const OpDef& step = op("adamw_step");
  EXPECT_EQ(updated_input(step, 2, 6, 3), 3);
  EXPECT_EQ(updated_input(step, 3, 6, 3), -1);
  EXPECT_EQ(updated_input(op("add"), 0, 2, 1), -1);
}

// bf16 is compared as it lies: values and places of the same numbers in float32.
TEST(Nn, max_pool_of_bf16_is_that_of_its_numbers) {
  const Shape shapes[] = {{2, 3, 9, 11, 16}, {1, 2, 6, 8, 35}, {2, 2, 13, 21}, {1, 3, 8, 40}};
  for (const Shape& shape : shapes) {
    for (const int64_t size : {1, 2, 3}) {
      const bool lanes = shape.size() == 5;
      const Dims kernel = lanes ? Dims{size, size, 1} : Dims{size, size}, strides = lanes ? Dims{2, 2, 1} : Dims{2, 2};
      const Dims padding = size == 3 ? (lanes ? Dims{1, 1, 0, 1, 1, 0} : Dims{1, 1, 1, 1}) : Dims{};
      const Tensor values = made({.shape = shape, .dtype = DType::f32}, DType::f32, 7);
      const Tensor x = apply(op("cast"), {values}, {DType::bf16}), wide = apply(op("cast"), {x}, {DType::f32});
      const Attrs attrs{kernel, strides, padding, Dims{}, false};
      const Tensors got = apply_all(op("max_pool"), {x}, attrs), want = apply_all(op("max_pool"), {wide}, attrs);
      const Tensor bits = apply(op("cast"), {want[0]}, {DType::bf16});
      ASSERT_TRUE(got[0].type() == bits.type());
      EXPECT_EQ(std::memcmp(got[0].raw(), bits.raw(), size_t(bits.type().bytes())), 0) << to_string(shape) << size;
      EXPECT_EQ(std::memcmp(got[1].raw(), want[1].raw(), size_t(want[1].type().bytes())), 0) << to_string(shape) << size;
    }
  }
}

}  // namespace
}  // namespace suan
