// linear_cross_entropy_forward: the loss and, if asked for, both gradients in one pass over row
// chunks.
#include "ops/nn/cross_entropy.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  if (x.size() != 2 || w.size() != 2)
    c.fail<ShapeError>(
        "wrong rank: expected x [rows, width] and weight [classes, width], got {} and {}",
        to_string(c[0]), to_string(c[1]));
  if (x[1] != w[1]) c.fail<ShapeError>("inner dimensions differ: expected {}, got {}", w[1], x[1]);
  if (c.shape(2) != Shape{x[0]})
    c.fail<ShapeError>("targets do not fit: expected [{}], got {}", x[0], to_string(c[2]));
  const std::string& r = c.attrs.string(1);
  if (r != "mean" && r != "sum")
    c.fail<ValueError>("wrong reduction: expected 'mean' or 'sum', got '{}'", r);
  auto gradient = [&](int i, DType t) {
    return TensorType{t, c.attrs.boolean(2) ? c.shape(i) : Shape{0}, c[i].device};
  };
  const DType t = ops::statistic_type(c.dtype(0));
  return {{t, {}, c[0].device}, gradient(0, c.dtype(0)), gradient(1, t)};
}

// The softmax less the target, per row times what the reduction gives that row.
struct Pieces {
  Tensor x, w, p, difference, factor, loss;
};
Pieces pieces(const Tensor& x, const Tensor& w, const Tensor& targets, const Attrs& attrs) {
  using namespace ops;
  const DType t = statistic_type(x.dtype());
  Pieces s{cast(x, t), cast(w, t), {}, {}, {}, {}};
  const Tensor logits = matmul(s.x, transpose(s.w, 0, 1));
  const CrossEntropyTerms e =
      cross_entropy_terms(w.dim(0), targets, {}, attrs.integer(0), 0, t);
  const Tensor valid = cast(e.valid, t);
  s.factor = unsqueeze(attrs.string(1) == "mean" ? valid / e.denominator : valid, 1);
  const Tensor lp = apply(SUAN_OP("log_softmax"), {logits}, {int64_t(1)});
  s.loss = neg(sum(lp * e.target * s.factor));
  s.p = exp(lp);
  s.difference = (s.p - e.target) * s.factor;
  // As the products of bf16 take it. f16 is not rounded: most of these numbers are too small for it.
  if (x.dtype() == DType::bf16) s.difference = cast(cast(s.difference, DType::bf16), t);
  return s;
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Pieces s = pieces(c[0], c[1], c[2], c.attrs);
  const DType t = c[0].dtype();
  if (!c.attrs.boolean(2))
    return {s.loss, zeros({t, {0}, c[0].device()}), zeros({s.loss.dtype(), {0}, c[0].device()})};
  return {s.loss, cast(matmul(s.difference, s.w), t), matmul(transpose(s.difference, 0, 1), s.x)};
}

void vjp(VjpContext& c) {
  using namespace ops;
  Tensor dx, dw;
  auto add_to = [](Tensor& at, const Tensor& t) { at = at.defined() ? at + t : t; };
  const bool kept = c.attrs.boolean(2);
  if (c.grad(0).defined()) {
    if (kept) {
      if (c.needs(0)) dx = cast(cast(c.out(1), c.grad(0).dtype()) * c.grad(0), c.dtype(0));
      if (c.needs(1)) dw = cast(c.out(2) * c.grad(0), c.dtype(1));
    } else {
      const Pieces s = pieces(c.in(0), c.in(1), c.in(2), c.attrs);
      const Tensor d = s.difference * cast(c.grad(0), s.p.dtype());
      if (c.needs(0)) dx = cast(matmul(d, s.w), c.dtype(0));
      if (c.needs(1)) dw = cast(matmul(transpose(d, 0, 1), s.x), c.dtype(1));
    }
  }
  if (kept && (c.grad(1).defined() || c.grad(2).defined())) {
    // Second order. The outputs are D W and Dᵀ X with D = (softmax(X Wᵀ) - target) · factor.
    const Pieces s = pieces(c.in(0), c.in(1), c.in(2), c.attrs);
    const DType t = s.p.dtype();
    const Tensor gx = cast(c.grad_or_zeros(1), t), gw = cast(c.grad_or_zeros(2), t);
    const Tensor wanted =
        (matmul(gx, transpose(s.w, 0, 1)) + matmul(s.x, transpose(gw, 0, 1))) * s.factor;
    const Tensor logits = s.p * (wanted - sum(s.p * wanted, {1}, true));
    if (c.needs(0)) add_to(dx, cast(matmul(logits, s.w) + matmul(s.difference, gw), c.dtype(0)));
    if (c.needs(1))
      add_to(dw,
             cast(matmul(transpose(logits, 0, 1), s.x) + matmul(transpose(s.difference, 0, 1), gx),
                  c.dtype(1)));
  }
  if (c.needs(0)) c.set(0, dx);
  if (c.needs(1)) c.set(1, dw);
}

}  // namespace

OpDef op_def_linear_cross_entropy_forward() {
  return {
      .name = "linear_cross_entropy_forward",
      .doc = "The loss of linear_cross_entropy and, with with_grad, its gradients for x and "
             "weight (empty tensors without). Of f16 and bf16 the loss and the weight's gradient, sums over all "
             "rows, are f32.",
      .inputs = {{"x", floating_types},
                 {"weight", floating_types},
                 {"targets", dtype_bit(DType::i64), Arity::required, 2}},
      .attrs = {{"ignore_index", AttrKind::integer, int64_t(-100)},
                {"reduction", AttrKind::string, std::string("mean")},
                {"with_grad", AttrKind::boolean, false}},
      .outputs = {"loss", "dx", "dweight"},
      .infer = infer,
      .compose = compose,
      .vjp = vjp,
      .cost = [](const InferContext& c) -> Cost {
        return {
            (c.attrs.boolean(2) ? 6.0 : 2.0) * double(numel(c.shape(0))) * double(c.shape(1)[0]),
            0};
      }};
}

}  // namespace suan
