// nll_loss: the negative of the target's log-probability.
#include "ops/nn/common.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &x = c[0], &targets = c[1];
  if (x.rank() != 2 || targets.shape() != Shape{x.dim(0)})
    fail<ShapeError>("nll_loss",
                     "wrong shapes: expected input [rows, classes] and target [rows], got {} "
                     "and {}",
                     to_string(x.type()), to_string(targets.type()));
  const std::string& r = c.attrs.string(1);
  check_reduction("nll_loss", r);
  const Device device = x.device();
  const Tensor valid = ne(targets, Tensor::scalar_int(c.attrs.integer(0), DType::i64, device));
  const Tensor label = where(valid, targets, Tensor::scalar_int(0, DType::i64, device));
  Tensor weight = cast(valid, x.dtype());
  if (c.has(2)) {
    if (c[2].shape() != Shape{x.dim(1)})
      fail<ShapeError>("nll_loss", "weight does not fit: expected [{}], got {}", x.dim(1),
                       to_string(c[2].type()));
    weight = weight * gather(c[2], 0, label);
  }
  const Tensor loss = -squeeze(gather(x, 1, unsqueeze(label, 1)), 1) * weight;
  if (r == "none") return {loss};
  return {r == "sum" ? sum(loss) : sum(loss) / sum(weight)};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  auto labels = [](int64_t n) {
    return SampleInput{.shape = {n}, .fill = Fill::index, .lo = 0, .hi = 7, .dtype = DType::i64};
  };
  const SampleInput weight{.shape = {7}, .fill = Fill::positive, .grad = false};
  return {
      {{{{5, 7}}, labels(5), none}, {int64_t(-100), std::string("mean")}},
      {{{{9, 7}}, labels(9), weight}, {int64_t(2), std::string("mean")}, "weights, ignored class"},
      {{{{5, 7}}, labels(5), none}, {int64_t(2), std::string("none")}, "per row"},
      {.in = {{{5, 7}}, labels(4), none}, .error = "wrong shapes"}};
}

}  // namespace

OpDef op_def_nll_loss() {
  return {
      .name = "nll_loss",
      .doc = "-input[target] · weight[target] per row of log-probabilities [rows, classes]; the "
             "mean divides by the weights; rows whose target is ignore_index count nothing.",
      .inputs = {{"input", floating_types},
                 {"target", dtype_bit(DType::i64), Arity::required, 2},
                 {"weight", floating_types, Arity::optional}},
      .attrs = {{"ignore_index", AttrKind::integer, int64_t(-100)},
                {"reduction", AttrKind::string, std::string("mean")}},
      .compose = compose,
      .samples = samples};
}

}  // namespace suan
