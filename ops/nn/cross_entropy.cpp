// cross_entropy: -log softmax(logits)[target], without a copy of the logits.
#include "ops/nn/cross_entropy.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& x = c.shape(0);
  if (x.size() != 2)
    c.fail<ShapeError>("wrong rank: expected logits [rows, classes], got {}", to_string(c[0]));
  if (c.shape(1) != Shape{x[0]})
    c.fail<ShapeError>("targets do not fit: expected [{}], got {}", x[0], to_string(c[1]));
  if (c.has(2) && c.shape(2) != Shape{x[1]})
    c.fail<ShapeError>("weight does not fit: expected [{}], got {}", x[1], to_string(c[2]));
  const double s = c.attrs.real(1);
  if (!(s >= 0 && s <= 1)) c.fail<ValueError>("wrong label_smoothing: expected 0 to 1, got {}", s);
  const std::string& r = c.attrs.string(2);
  ops::check_reduction(c.op.name, r);
  return {{c.dtype(0), r == "none" ? Shape{x[0]} : Shape{}, c[0].device},
          {ops::statistic_type(c.dtype(0)), {x[0]}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const DType t = statistic_type(c[0].dtype());
  const Tensor x = cast(c[0], t);
  const CrossEntropyTerms e = cross_entropy_terms(x.dim(1), c[1], c.has(2) ? c[2] : Tensor(),
                                                  c.attrs.integer(0), c.attrs.real(1), t);
  const Tensor top = maximum_over(x, {1}, true);
  const Tensor lse = top + log(sum(exp(x - top), {1}, true));
  Tensor loss = sum((lse - x) * e.target, {1});
  loss = where(e.valid, loss, number(0, loss));
  const std::string& r = c.attrs.string(2);
  if (r != "none") loss = sum(loss);
  if (r == "mean") loss = loss / e.denominator;
  return {cast(loss, c[0].dtype()), squeeze(lse, 1)};
}

void vjp(VjpContext& c) {
  using namespace ops;
  if (!c.needs(0)) return;
  Tensor dx;
  if (c.grad(0).defined())
    dx = apply(op("cross_entropy_grad"),
               {c.grad(0), c.in(0), c.in(1), c.has(2) ? c.in(2) : Tensor(), c.out(1)}, c.attrs);
  if (c.grad(1).defined()) {
    const Tensor lse = c.out(1);
    const Tensor p = exp(cast(c.in(0), lse.dtype()) - unsqueeze(lse, 1));
    const Tensor t = cast(p * unsqueeze(c.grad(1), 1), c.dtype(0));
    dx = dx.defined() ? dx + t : t;
  }
  c.set(0, dx);
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  auto labels = [](int64_t n, double classes) {
    return SampleInput{
        .shape = {n}, .fill = Fill::index, .lo = 0, .hi = classes, .dtype = DType::i64};
  };
  const SampleInput weight{.shape = {7}, .fill = Fill::positive, .grad = false};
  const std::string mean = "mean", sum = "sum", each = "none";
  return {{{{{5, 7}}, labels(5, 7), none}, {int64_t(-100), 0.0, mean}},
          {{{{5, 7}}, labels(5, 7), none}, {int64_t(-100), 0.0, sum}},
          {{{{5, 7}}, labels(5, 7), none}, {int64_t(2), 0.0, each}, "ignored class"},
          {{{{9, 7}}, labels(9, 7), weight}, {int64_t(2), 0.1, mean}, "weights and smoothing"},
          {{{{4, 65}}, labels(4, 65), none}, {int64_t(-100), 0.0, mean}, "wide"},
          {{{{0, 7}}, labels(0, 7), none}, {int64_t(-100), 0.0, sum}, "no rows"},
          {.in = {{{5, 7}}, labels(4, 7), none}, .error = "targets do not fit"},
          {.in = {{{5, 7}}, labels(5, 7), none},
           .attrs = {int64_t(-100), 0.0, std::string("median")},
           .error = "wrong reduction"}};
}

}  // namespace

OpDef op_def_cross_entropy() {
  return {.name = "cross_entropy",
          .doc = "-log softmax(logits)[target] per row of logits [rows, classes], as torch: class "
                 "weights, label_smoothing, rows whose target is ignore_index count nothing, the "
                 "mean divides by the targets' weights. Also gives each row's logsumexp. No "
                 "gradient flows to weight.",
          .inputs = {{"logits", floating_types},
                     {"targets", dtype_bit(DType::i64), Arity::required, 2},
                     {"weight", floating_types, Arity::optional}},
          .attrs = {{"ignore_index", AttrKind::integer, int64_t(-100)},
                    {"label_smoothing", AttrKind::real, 0.0},
                    {"reduction", AttrKind::string, std::string("mean")}},
          .outputs = {"loss", "logsumexp"},
          .infer = infer,
          .compose = compose,
          .vjp = vjp,
          .samples = samples};
}

}  // namespace suan
