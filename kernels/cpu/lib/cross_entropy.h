// Cross entropy of logits [rows, classes] against class indices, forward and backward, f32 and f64,
// with ignore_index, class weights and label smoothing as torch.nn.functional.cross_entropy.
#pragma once

#include <cstdint>

namespace suan::cpu {

template <class T>
struct CrossEntropy {
  std::int64_t rows, classes;
  std::int64_t row_stride;      // of the logits
  const std::int64_t* targets;  // [rows]
  std::int64_t ignore_index = -100;
  T label_smoothing = T(0);
  const T* class_weight = nullptr;  // [classes] or null
};

namespace SUAN_ISA {

// loss [rows] unreduced (0 where ignored), lse [rows] for the backward, row_weight [rows]: the
// class weight of the target, 1 without weights, 0 where ignored; a mean is sum(loss) /
// sum(row_weight). Throws IndexError when a target is neither in [0, classes) nor ignore_index.
template <class T>
void cross_entropy_forward(const CrossEntropy<T>& problem, const T* logits, T* loss, T* lse,
                           T* row_weight);

// dlogits = dloss[row] * d loss[row] / d logits; dloss_stride 0 when one number serves every row.
// dlogits has the logits' row stride and may be the logits.
template <class T>
void cross_entropy_backward(const CrossEntropy<T>& problem, const T* logits, const T* lse,
                            const T* dloss, std::int64_t dloss_stride, T* dlogits);

}  // namespace SUAN_ISA
}  // namespace suan::cpu
