// The definition of cross-entropy in plain ops, shared by cross_entropy and its gradient.
#pragma once

#include "ops/nn/common.h"

namespace suan::ops {

struct CrossEntropyTerms {
  Tensor valid;        // bool [rows]: the target is not ignore_index
  Tensor target;  // [rows, classes]: weight · ((1 - smoothing) · one_hot + smoothing / classes)
  Tensor denominator;  // 0-d: what the mean divides by
};

inline CrossEntropyTerms cross_entropy_terms(int64_t classes, const Tensor& targets,
                                             const Tensor& weight, int64_t ignore, double smoothing,
                                             DType t) {
  CrossEntropyTerms e;
  const Device device = targets.device();
  e.valid = ne(targets, Tensor::scalar_int(ignore, DType::i64, device));
  const Tensor hot =
      one_hot(where(e.valid, targets, Tensor::scalar_int(0, DType::i64, device)), classes, t);
  const Tensor counted = hot * unsqueeze(cast(e.valid, t), 1);
  Tensor w = weight.defined() ? cast(weight, t) : Tensor();
  e.denominator = sum(w.defined() ? counted * w : counted);
  e.target = smoothing != 0 ? hot * (1 - smoothing) + smoothing / double(classes) : hot;
  if (w.defined()) e.target = e.target * w;
  return e;
}

}  // namespace suan::ops
