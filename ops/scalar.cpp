// Op definitions of the scalar rows: what ops/scalar.h says, plus inference, gradients and samples.
#include "ops/scalar.h"

#include "ops/api.h"

namespace suan {
namespace {

// ---- inference --------------------------------------------------------------------------------------

Shape broadcast_all(const InferContext& c) {
  Shape s;
  bool first = true;
  for (int i = 0; i < c.n_in(); ++i) {
    if (!c.has(i)) continue;
    s = first ? c.shape(i) : broadcast(c.op.name, s, c.shape(i));
    first = false;
  }
  return s;
}
std::vector<TensorType> infer_same(const InferContext& c) {
  return {{c.dtype(0), broadcast_all(c), c[0].device}};
}
std::vector<TensorType> infer_truth(const InferContext& c) {
  return {{DType::boolean, broadcast_all(c), c[0].device}};
}
std::vector<TensorType> infer_where(const InferContext& c) {
  return {{c.dtype(1), broadcast_all(c), c[1].device}};
}
std::vector<TensorType> infer_clamp(const InferContext& c) {
  if (!c.has(1) && !c.has(2)) c.fail<ValueError>("no bounds: expected min, max or both, got neither");
  return infer_same(c);
}
std::vector<TensorType> infer_cast(const InferContext& c) {
  const DType to = c.attrs.dtype(0);
  if (!contains(stored_types, to)) {
    c.fail<TypeError>("unsupported dtype: expected bool, an integer or a floating type, got {}",
                      name(to));
  }
  return {{to, c.shape(0), c[0].device}};
}
Cost element_cost(const InferContext& c, double per_element) {
  return {per_element * double(numel(broadcast_all(c))), 0};
}

// ---- gradients --------------------------------------------------------------------------------------

// Values that a gradient expression may name; naming one makes the tape keep it.
struct In {
  VjpContext& c;
  int i;
  operator const Tensor&() const { return c.in(i); }
};
struct Out {
  VjpContext& c;
  operator const Tensor&() const { return c.out(0); }
};

Tensor none() { return {}; }
// A 0-d zero that broadcasts; only the dtype is read, so nothing is kept.
Tensor zero(const Tensor& like) { return ops::number(0, like); }
Tensor zero(const In& like) { return Tensor::scalar(0, like.c.dtype(like.i), like.c.in_types[like.i]->device); }
Tensor row(const char* name, const Tensor& a, const Tensor& b) { return apply(op(name), {a, b}); }

// An operand's gradient has the operand's shape: broadcast is summed, a 0-d zero is spread.
void set_gradient(VjpContext& c, int i, const Tensor& g) {
  const Shape& s = c.shape(i);
  if (g.rank() == 0 && s.size() > 0) return c.set(i, ops::expand(g, s));
  c.set(i, ops::sum_to(g, s));
}

Tensor silu_second(const Tensor& x) {
  using namespace ops;
  const Tensor s = sigmoid(x);
  return s * (1.0 - s) * (x * (1.0 - s * 2.0) + 2.0);
}
Tensor gelu_second(const Tensor& x) {
  using namespace ops;
  const Tensor xx = x * x;
  return exp(xx * -0.5) * 0.39894228040143268 * (2.0 - xx);
}
Tensor gelu_tanh_second(const Tensor& x) {
  using namespace ops;
  const Tensor xx = x * x;
  const Tensor t = tanh(x * (xx * 0.035677408136300125 + 0.79788456080286536));
  const Tensor slope = xx * 0.10703222440890037 + 0.79788456080286536;
  const Tensor inner = slope + x * (x * 0.10703222440890037 - t * slope * slope);
  return (1.0 - t * t) * inner;
}

#define SUAN_VJP1(name, types, result, cost, expr, gradient, domain, onnx, since, doc) \
  void vjp_##name(VjpContext& c) {                                                     \
    using namespace ops;                                                               \
    [[maybe_unused]] const Tensor& g = c.grad();                                       \
    [[maybe_unused]] const In x{c, 0};                                                 \
    [[maybe_unused]] const Out out{c};                                                 \
    if (c.needs(0)) set_gradient(c, 0, gradient);                                      \
  }
#define SUAN_VJP2(name, types, result, cost, expr, gradient_x, gradient_y, domain, onnx, since, doc) \
  void vjp_##name(VjpContext& c) {                                                                   \
    using namespace ops;                                                                             \
    [[maybe_unused]] const Tensor& g = c.grad();                                                     \
    [[maybe_unused]] const In x{c, 0}, y{c, 1};                                                      \
    [[maybe_unused]] const Out out{c};                                                               \
    if (c.needs(0)) set_gradient(c, 0, gradient_x);                                                  \
    if (c.needs(1)) set_gradient(c, 1, gradient_y);                                                  \
  }
SUAN_ROWS_UNARY(SUAN_VJP1)
SUAN_ROWS_BINARY(SUAN_VJP2)

void vjp_where(VjpContext& c) {
  using namespace ops;
  const Tensor& g = c.grad();
  if (c.needs(1)) set_gradient(c, 1, where(c.in(0), g, zero(g)));
  if (c.needs(2)) set_gradient(c, 2, where(c.in(0), zero(g), g));
}

// As torch: x's gradient passes at the bounds too; where the bounds cross, the upper one wins.
void vjp_clamp(VjpContext& c) {
  using namespace ops;
  const Tensor& g = c.grad();
  const bool lo = c.has(1), hi = c.has(2);
  if (c.needs(0)) {
    Tensor inside;
    if (lo) inside = ge(c.in(0), c.in(1));
    if (hi) {
      const Tensor below = le(c.in(0), c.in(2));
      inside = lo ? logical_and(inside, below) : below;
    }
    set_gradient(c, 0, where(inside, g, zero(g)));
  }
  if (lo && c.needs(1)) {
    Tensor hit = lt(c.in(0), c.in(1));
    if (hi) hit = logical_and(hit, lt(c.in(1), c.in(2)));
    set_gradient(c, 1, where(hit, g, zero(g)));
  }
  if (hi && c.needs(2)) {
    Tensor hit = gt(c.in(0), c.in(2));
    if (lo) hit = logical_or(hit, gt(c.in(1), c.in(2)));
    set_gradient(c, 2, where(hit, g, zero(g)));
  }
}

void vjp_cast(VjpContext& c) {
  if (c.needs(0)) c.set(0, ops::cast(c.grad(), c.dtype(0)));
}

// ---- samples ----------------------------------------------------------------------------------------

struct Domain {
  Fill fill_x = Fill::normal, fill_y = Fill::normal;
  double lo = -1, hi = 1;
};
constexpr Domain normal{};
constexpr Domain positive{Fill::positive, Fill::positive};
constexpr Domain unit{Fill::uniform, Fill::uniform, -0.9, 0.9};
constexpr Domain small{Fill::integers, Fill::integers, 0, 3};
constexpr Domain shifts{Fill::integers, Fill::integers, 0, 7};
constexpr Domain truths{Fill::integers, Fill::integers, 0, 2};

SampleInput sample_x(const Domain& d, Shape s) { return {s, d.fill_x, d.lo, d.hi}; }
SampleInput sample_y(const Domain& d, Shape s) { return {s, d.fill_y, d.lo, d.hi}; }

std::vector<Sample> unary_samples(const Domain& d) {
  return {{{sample_x(d, {3, 5, 7})}},
          {{sample_x(d, {})}, {}, "0-d"},
          {{sample_x(d, {0, 4})}, {}, "no elements"},
          {{sample_x(d, {33})}, {}, "a tail after the vectors"},
          {{sample_x(d, {40, 64})}, {}, "several tiles"}};
}
std::vector<Sample> binary_samples(const char* name, const Domain& d) {
  auto pair = [&](Shape a, Shape b, const char* note) {
    return Sample{{sample_x(d, a), sample_y(d, b)}, {}, note};
  };
  Sample wrong = pair({3, 4}, {3, 5}, "shapes that do not broadcast");
  wrong.error = std::string("[") + name + "]";
  return {pair({3, 5, 7}, {3, 5, 7}, ""),
          pair({4, 6}, {6}, "row broadcast"),
          pair({3, 1, 7}, {5, 1}, "both broadcast"),
          pair({}, {2, 3}, "0-d operand"),
          pair({}, {}, "0-d"),
          pair({0, 4}, {1, 4}, "no elements"),
          pair({20, 70}, {20, 1}, "column broadcast over tiles"),
          wrong};
}
std::vector<Sample> where_samples() {
  auto mask = [](Shape s) {
    SampleInput in{s, Fill::boolean};
    in.dtype = DType::boolean;
    in.grad = false;
    return in;
  };
  Sample wrong{{mask({3}), {{4}}, {{4}}}};
  wrong.error = "[where]";
  return {{{mask({3, 5, 7}), {{3, 5, 7}}, {{3, 5, 7}}}},
          {{mask({4, 1}), {{6}}, {{}}}, {}, "broadcast"},
          {{mask({}), {{}}, {{}}}, {}, "0-d"},
          {{mask({0, 3}), {{3}}, {{}}}, {}, "no elements"},
          wrong};
}
std::vector<Sample> clamp_samples() {
  auto bound = [](Shape s, double lo, double hi) { return SampleInput{s, Fill::uniform, lo, hi}; };
  SampleInput absent{{}};
  absent.absent = true;
  Sample wrong{{{{3}}, absent, absent}};
  wrong.error = "no bounds";
  return {{{{{3, 5, 7}}, bound({}, 0, 0.5), bound({}, 1, 2)}},
          {{{{4, 6}}, bound({6}, 0, 0.5), bound({4, 1}, 1, 2)}, {}, "broadcast bounds"},
          {{{{3, 5}}, bound({}, 0, 0.5), absent}, {}, "lower bound only"},
          {{{{3, 5}}, absent, bound({}, 0, 1)}, {}, "upper bound only"},
          {{{{0, 4}}, bound({}, 0, 0.5), bound({}, 1, 2)}, {}, "no elements"},
          {{{{}}, bound({}, 0, 0.5), bound({}, 1, 2)}, {}, "0-d"},
          wrong};
}
std::vector<Sample> cast_samples() {
  std::vector<Sample> list;
  for (DType to : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i64, DType::i32,
                   DType::i16, DType::i8, DType::u8, DType::boolean}) {
    // Non-negative, so that unsigned targets are in range; whole for the gradient check to be exact.
    Sample s{{{{3, 5, 7}, Fill::integers, 0, 5}}, {to}, "cast"};
    s.check_grad = to == DType::f64 || to == DType::f32;
    list.push_back(s);
  }
  list.push_back({{{{}, Fill::integers, 0, 5}}, {DType::f64}, "0-d"});
  list.push_back({{{{0, 4}}}, {DType::f32}, "no elements"});
  return list;
}

#define SUAN_SAMPLES1(name, types, result, cost, expr, gradient, domain, onnx, since, doc) \
  std::vector<Sample> samples_##name() { return unary_samples(domain); }
#define SUAN_SAMPLES2(name, types, result, cost, expr, gx, gy, domain, onnx, since, doc) \
  std::vector<Sample> samples_##name() { return binary_samples(#name, domain); }
SUAN_ROWS_UNARY(SUAN_SAMPLES1)
SUAN_ROWS_BINARY(SUAN_SAMPLES2)

// ---- definitions ------------------------------------------------------------------------------------

constexpr DTypeSet fp = floating_types, num = arithmetic_types, ints = integer_types,
                   bits = integer_types | bool_type, any = all_types;
enum class Result { same, truth };

OpDef row_def(const char* name, const char* doc, std::vector<InputSpec> inputs, DTypeSet types,
              Result result, const char* onnx, int since) {
  OpDef d{.name = name, .doc = doc, .inputs = std::move(inputs)};
  d.flags = op_elementwise;
  d.infer = result == Result::truth ? infer_truth : infer_same;
  if (result == Result::truth) d.no_grad = "the result is boolean";
  if (!(types & floating_types)) d.no_grad = "integers have no gradient";
  d.onnx_name = onnx;
  d.onnx_since = since;
  return d;
}

#define SUAN_COST(name, cost) \
  Cost cost_##name(const InferContext& c) { return element_cost(c, cost); }
#define SUAN_COST1(name, types, result, cost, ...) SUAN_COST(name, cost)
#define SUAN_COST3(name, types, cost, expr) SUAN_COST(name, cost)
SUAN_ROWS_UNARY(SUAN_COST1)
SUAN_ROWS_BINARY(SUAN_COST1)
SUAN_ROWS_TERNARY(SUAN_COST3)

void finish(std::vector<OpDef>& list, OpDef d, void (*vjp)(VjpContext&),
            std::vector<Sample> (*samples)(), Cost (*cost)(const InferContext&)) {
  if (!d.no_grad) d.vjp = vjp;
  d.samples = samples;
  d.cost = cost;
  list.push_back(std::move(d));
}

}  // namespace

std::vector<OpDef> scalar_op_definitions() {
  std::vector<OpDef> list;
#define SUAN_DEF1(name, types, result, cost, expr, gradient, domain, onnx, since, doc)              \
  finish(list, row_def(#name, doc, {{"x", types}}, types, Result::result, onnx, since), vjp_##name, \
         samples_##name, cost_##name);
#define SUAN_DEF2(name, types, result, cost, expr, gx, gy, domain, onnx, since, doc)                \
  finish(list,                                                                                      \
         row_def(#name, doc, {{"x", types}, {"y", types}}, types, Result::result, onnx, since),     \
         vjp_##name, samples_##name, cost_##name);
  SUAN_ROWS_UNARY(SUAN_DEF1)
  SUAN_ROWS_BINARY(SUAN_DEF2)

  OpDef where = row_def("where", "x where the condition is true, else y; all three broadcast.",
                        {{"condition", bool_type, Arity::required, 0}, {"x", stored_types}, {"y", stored_types}}, stored_types,
                        Result::same, "Where", 9);
  where.infer = infer_where;
  finish(list, where, vjp_where, where_samples, cost_where);

  OpDef clamp = row_def("clamp",
                        "min(max(x, lower), upper) with either bound left out; NaN stays NaN. The "
                        "bounds broadcast.",
                        {{"x", num}, {"min", num, Arity::optional}, {"max", num, Arity::optional}},
                        num, Result::same, "Clip", 11);
  clamp.infer = infer_clamp;
  finish(list, clamp, vjp_clamp, clamp_samples, cost_clamp);

  OpDef cast = row_def("cast",
                       "The same values in another dtype. Floating to integer truncates towards zero "
                       "(out of range: the low bits of the 64-bit result); anything non-zero is true.",
                       {{"x", stored_types}}, stored_types, Result::same, "Cast", 6);
  cast.attrs = {{"to", AttrKind::dtype}};
  cast.infer = infer_cast;
  finish(list, cast, vjp_cast, cast_samples,
         [](const InferContext& c) { return element_cost(c, 1); });
  return list;
}

}  // namespace suan
