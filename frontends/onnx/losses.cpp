// Losses over class scores [batch, classes, size...] and labels [batch, size...].
#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

Tensor nll(Call& c, const Tensor& log_p, const Tensor& labels, const Tensor& weight) {
  if (log_p.rank() < 2 || labels.rank() != log_p.rank() - 1)
    c.fail<ShapeError>("labels do not fit: expected {} dimensions, got {}", log_p.rank() - 1, to_string(labels.type()));
  Tensor at = cast(labels, DType::i64), counts;
  if (c.has_attr("ignore_index")) {
    counts = ne(at, number(double(c.integer("ignore_index")), at));
    at = where(counts, at, number(0, at));
  }
  const Tensor picked = reshape(apply(SUAN_OP("gather"), {log_p, unsqueeze(at, 1)}, {int64_t(1)}), labels.shape());
  Tensor w = weight ? reshape(apply(SUAN_OP("index"), {weight, reshape(at, {at.numel()})}, {Dims{0}}), labels.shape())
                    : full(labels.shape(), 1, log_p.dtype());
  if (counts) w = where(counts, w, number(0, w));
  const Tensor loss = -(picked * w);
  const std::string reduction = c.string("reduction", "mean");
  if (reduction == "none") return loss;
  if (reduction == "sum") return sum(loss);
  if (reduction != "mean") c.fail<ValueError>("unknown reduction: expected none, sum or mean, got '{}'", reduction);
  return sum(loss) / sum(w);
}

Values build_nll(Call& c) { return {nll(c, c[0], c[1], c.optional(2))}; }
Values build_softmax_cross_entropy(Call& c) {
  const Tensor log_p = apply(SUAN_OP("log_softmax"), {c[0]}, {int64_t(1)});
  return {nll(c, log_p, c[1], c.optional(2)), log_p};
}

}  // namespace

std::vector<Mapping> loss_ops() {
  return {
      {"NegativeLogLikelihoodLoss", 12, build_nll},
      {"SoftmaxCrossEntropyLoss", 12, build_softmax_cross_entropy},
  };
}

}  // namespace suan::onnx
