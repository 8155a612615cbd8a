// AdamW over many tensors in one launch: the table of tensors is a kernel argument.
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/lib/storage.cuh"

namespace suan::cuda {

inline constexpr int max_adamw_tensors = 64;

struct AdamwTensor {
  float *param, *exp_avg, *exp_avg_sq;
  const float* grad;
  int64_t n;
};
struct AdamwTable {
  AdamwTensor tensor[max_adamw_tensors];
  int count = 0;
};
struct AdamwNumbers {   // 0-d tensors on the device, read by every block
  const void *lr, *step, *scale;   // scale: null for none
  DType lr_dtype, step_dtype, scale_dtype;
  double beta1, beta2, eps, decay;
};

// Launches for all tensors of the table, which need not be of one size.
void launch_adamw(const AdamwTable& table, const AdamwNumbers& numbers);

}  // namespace suan::cuda
