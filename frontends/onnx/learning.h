// What classifiers and regressors of ai.onnx.ml share.
#pragma once

#include "frontends/onnx/build.h"

namespace suan::onnx {

// The classes of a classifier: numbers or strings, one of which may be empty.
struct Labels {
  std::vector<int64_t> numbers;
  std::vector<std::string> texts;
  int64_t size() const { return int64_t(texts.empty() ? numbers.size() : texts.size()); }
};
Labels labels_of(Call& c, const char* numbers);   // strings under "classlabels_strings"
// The labels at positions at [rows] int64. Strings need the positions now.
Value pick(Call& c, const Labels& labels, const Tensor& at);
// NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT of scores [rows, n].
Tensor transformed(Call& c, const Tensor& scores, const std::string& how);
// x [features] or [rows, features] of any number type as [rows, features] f64, or f32.
Tensor features_of(Call& c, const Tensor& x, DType t);

}  // namespace suan::onnx
