// AdamW in place. The kernel takes a table of tensors (blockIdx.y: which); the op gives it one.
#include "kernels/cuda/lib/adamw.cuh"

#include "kernels/cuda/lib/prepare.h"

namespace suan::cuda {
namespace {

__global__ void __launch_bounds__(256) adamw_kernel(const __grid_constant__ AdamwTable table, AdamwNumbers x) {
  const AdamwTensor& t = table.tensor[blockIdx.y];
  const double lr = load_as<double>(x.lr, x.lr_dtype, 0), step = load_as<double>(x.step, x.step_dtype, 0);
  const float scale = x.scale ? load_as<float>(x.scale, x.scale_dtype, 0) : 1.0f;
  const float correction1 = float(1 - pow(x.beta1, step)), correction2 = float(1 - pow(x.beta2, step));
  const float step_size = float(lr) / correction1, root = 1.0f / sqrtf(correction2);
  const float keep = 1.0f - float(lr) * float(x.decay), eps = float(x.eps);
  const float beta2 = float(x.beta2), new1 = 1.0f - float(x.beta1), new2 = 1.0f - beta2;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < t.n; i += stride) {
    const float g = t.grad[i] * scale, first = t.exp_avg[i];
    const float mean = fmaf(g - first, new1, first);
    const float square = fmaf(g * g, new2, t.exp_avg_sq[i] * beta2);
    t.exp_avg[i] = mean;
    t.exp_avg_sq[i] = square;
    t.param[i] = t.param[i] * keep - mean / fmaf(sqrtf(square), root, eps) * step_size;
  }
}

struct Params { int64_t n; AdamwNumbers numbers; bool scaled; };

void run(const Params& p, const KernelArgs& a) {
  AdamwNumbers x = p.numbers;
  x.lr = a.in[4], x.step = a.in[5], x.scale = p.scaled ? a.in[6] : nullptr;
  constexpr int updated[3] = {0, 2, 3};
  for (int k = 0; k < 3; ++k)
    if (a.out[k] != a.in[updated[k]]) copy_within(a.out[k], a.in[updated[k]], p.n * int64_t(sizeof(float)));
  AdamwTable table;
  table.count = 1;
  table.tensor[0] = {out<float>(a, 0), out<float>(a, 1), out<float>(a, 2), in<float>(a, 1), p.n};
  launch_adamw(table, x);
}

}  // namespace

void launch_adamw(const AdamwTable& table, const AdamwNumbers& numbers) {
  int64_t longest = 0;
  for (int i = 0; i < table.count; ++i) longest = longest < table.tensor[i].n ? table.tensor[i].n : longest;
  if (longest == 0) return;
  SUAN_LAUNCH(adamw_kernel, dim3(blocks_for(longest, 1024, 4096), unsigned(table.count)), dim3(256), 0, table, numbers);
}

Kernel kernel_adamw_step() {
  Kernel k;
  k.supports = [](const KernelDesc& d) {
    for (size_t i = 0; i < 4; ++i)
      if (d.in[i]->dtype != DType::f32) return false;
    return true;
  };
  k.prepare = [](const KernelDesc& d) {
    Params p{d.in[0]->layout.numel(), {}, d.has(6)};
    p.numbers = {nullptr, nullptr, nullptr, d.in[4]->dtype, d.in[5]->dtype, p.scaled ? d.in[6]->dtype : DType::f32,
                 d.attrs.real(0), d.attrs.real(1), d.attrs.real(2), d.attrs.real(3)};
    return prepared<Params>(p, run);
  };
  return k;
}

}  // namespace suan::cuda
