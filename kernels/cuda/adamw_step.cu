// AdamW of one tensor, in place.
#include "kernels/cuda/lib/adamw.cuh"
#include "kernels/cuda/lib/device.h"
#include "kernels/cuda/lib/prepare.h"

namespace suan::cuda {
namespace {

struct Params { int64_t n; AdamwNumbers numbers; bool scaled; };

void run(const Params& p, const KernelArgs& a) {
  AdamwNumbers x = p.numbers;
  x.lr = a.in[4], x.step = a.in[5], x.scale = p.scaled ? a.in[6] : nullptr;
  constexpr int updated[3] = {0, 2, 3};
  for (int k = 0; k < 3; ++k)
    if (a.out[k] != a.in[updated[k]]) copy_within(a.out[k], a.in[updated[k]], p.n * int64_t(sizeof(float)));
  const AdamwTensor t{out<float>(a, 0), out<float>(a, 1), out<float>(a, 2), in<float>(a, 1), p.n};
  launch_adamw({&t, 1}, x);
}

}  // namespace

Kernel kernel_adamw_step() {
  Kernel k;
  k.supports = [](const KernelDesc& d) { return d.in[0]->dtype == DType::f32; };
  k.prepare = [](const KernelDesc& d) {
    return prepared<Params>({d.in[0]->layout.numel(), adamw_numbers(d, 4, 5, 6), d.has(6)}, run);
  };
  return k;
}

}  // namespace suan::cuda
