// AdamW of many tensors in one launch (defined in adamw_steps.cu).
#pragma once

#include <span>

#include "core/dtype.h"
#include "core/op.h"

namespace suan::cuda {

struct AdamwTensor {
  float *param, *exp_avg, *exp_avg_sq;
  const float* grad;
  int64_t n;
};
struct AdamwNumbers {   // 0-d tensors on the device, read by every block
  const void *lr, *step, *scale;   // scale: null for none
  DType lr_dtype, step_dtype, scale_dtype;
  double beta1, beta2, log_beta1, log_beta2, eps, decay;
};

AdamwNumbers adamw_numbers(const KernelDesc& d, int lr, int step, int scale);
void launch_adamw(std::span<const AdamwTensor> tensors, const AdamwNumbers& numbers);

}  // namespace suan::cuda
