// AdamW of many tensors in one launch, in place: the list of tensors is a kernel argument, and a block finds in
// it the tensor and the 4096 elements that are its own. Reads and writes every element once: bandwidth is all.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/lib/adamw.cuh"
#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/ptx.cuh"

namespace suan::cuda {
namespace {

constexpr int threads = 256, chunk = 16 * threads;

template <int N>
struct Table {
  AdamwTensor tensor[N];
  int first_block[N + 1];   // of each tensor; then their number
  int count;
};
constexpr int few = 64, many = 640;   // an argument list holds 32,764 bytes
static_assert(sizeof(Table<many>) + sizeof(AdamwNumbers) <= 32764);

struct Factors { float scale, step_size, root, keep, eps, beta2, new1, new2; };

__device__ __forceinline__ void update(float& param, float& first, float& second, float grad, const Factors& f) {
  const float g = grad * f.scale;
  first = fmaf(g - first, f.new1, first);
  second = fmaf(g * g, f.new2, second * f.beta2);
  param = param * f.keep - first / fmaf(sqrtf(second), f.root, f.eps) * f.step_size;
}

template <int N>
__global__ void __launch_bounds__(threads, 2) adamw_kernel(const __grid_constant__ Table<N> table, AdamwNumbers x) {
  Smem memory;
  Factors& shared = *memory.take<Factors>(1);
  if (threadIdx.x == 0) {   // in double, so once per block is often enough
    const double lr = load_as<double>(x.lr, x.lr_dtype, 0), step = load_as<double>(x.step, x.step_dtype, 0);
    // 1 - beta^step
    const float correction1 = float(-expm1(step * x.log_beta1)), correction2 = float(-expm1(step * x.log_beta2));
    shared.scale = x.scale ? load_as<float>(x.scale, x.scale_dtype, 0) : 1.0f;
    shared.step_size = float(lr) / correction1;
    shared.root = 1.0f / sqrtf(correction2);
    shared.keep = 1.0f - float(lr) * float(x.decay);
    shared.eps = float(x.eps);
    shared.beta2 = float(x.beta2);
    shared.new1 = 1.0f - float(x.beta1);
    shared.new2 = 1.0f - float(x.beta2);
  }
  __syncthreads();
  const Factors f = shared;
  int at = 0, end = table.count;   // the last tensor that begins at or before this block
  while (end - at > 1) {
    const int middle = (at + end) / 2;
    (table.first_block[middle] <= int(blockIdx.x) ? at : end) = middle;
  }
  const AdamwTensor& t = table.tensor[at];
  const int64_t from = int64_t(int(blockIdx.x) - table.first_block[at]) * chunk;
  const int n = t.n - from < chunk ? int(t.n - from) : chunk;
  float *param = t.param + from, *first = t.exp_avg + from, *second = t.exp_avg_sq + from;
  const float* grad = t.grad + from;
  const bool wide = (uintptr_t(param) | uintptr_t(first) | uintptr_t(second) | uintptr_t(grad)) % 16 == 0;
  const int n4 = wide ? n / 4 * 4 : 0;
  for (int i = 4 * int(threadIdx.x); i < n4; i += 4 * threads) {
    float4 p = load4(param + i), m = load4(first + i), v = load4(second + i);
    const float4 g = load4(grad + i);
    update(p.x, m.x, v.x, g.x, f);
    update(p.y, m.y, v.y, g.y, f);
    update(p.z, m.z, v.z, g.z, f);
    update(p.w, m.w, v.w, g.w, f);
    store4(param + i, p), store4(first + i, m), store4(second + i, v);
  }
  for (int i = n4 + int(threadIdx.x); i < n; i += threads) update(param[i], first[i], second[i], grad[i], f);
}

template <int N>
void launch_table(std::span<const AdamwTensor> tensors, const AdamwNumbers& numbers) {
  Table<N> table;
  table.count = int(tensors.size());
  int blocks = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    table.tensor[i] = tensors[i];
    table.first_block[i] = blocks;
    blocks += int((tensors[i].n + chunk - 1) / chunk);
  }
  table.first_block[tensors.size()] = blocks;
  SUAN_LAUNCH(adamw_kernel<N>, dim3(unsigned(blocks)), dim3(threads), sizeof(Factors), table, numbers);
}

struct Params { std::vector<int64_t> sizes; AdamwNumbers numbers; bool scaled; };

void run(const Params& p, const KernelArgs& a) {
  AdamwNumbers x = p.numbers;
  x.lr = a.in[0], x.step = a.in[1], x.scale = p.scaled ? a.in[2] : nullptr;
  std::vector<AdamwTensor> tensors;
  for (int i = 0; i < int(p.sizes.size()); ++i) {
    const int64_t n = p.sizes[size_t(i)];
    constexpr int updated[3] = {0, 2, 3};
    for (int k = 0; k < 3; ++k)
      if (const void* from = a.in[3 + 4 * i + updated[k]]; a.out[3 * i + k] != from)
        copy_within(a.out[3 * i + k], from, n * int64_t(sizeof(float)));
    tensors.push_back({out<float>(a, 3 * i), out<float>(a, 3 * i + 1), out<float>(a, 3 * i + 2),
                       in<float>(a, 3 + 4 * i + 1), n});
  }
  launch_adamw(tensors, x);
}

}  // namespace

AdamwNumbers adamw_numbers(const KernelDesc& d, int lr, int step, int scale) {
  return {nullptr, nullptr, nullptr, d.in[size_t(lr)]->dtype, d.in[size_t(step)]->dtype,
          d.has(scale) ? d.in[size_t(scale)]->dtype : DType::f32,
          d.attrs.real(0), d.attrs.real(1), std::log(d.attrs.real(0)), std::log(d.attrs.real(1)), d.attrs.real(2),
          d.attrs.real(3)};
}

void launch_adamw(std::span<const AdamwTensor> tensors, const AdamwNumbers& numbers) {
  std::vector<AdamwTensor> filled;   // a block cannot belong to an empty one
  for (const AdamwTensor& t : tensors)
    if (t.n > 0) filled.push_back(t);
  const std::span<const AdamwTensor> all(filled);
  for (size_t from = 0; from < all.size(); from += many) {
    const auto part = all.subspan(from, std::min<size_t>(many, all.size() - from));
    if (part.size() <= few) launch_table<few>(part, numbers);
    else launch_table<many>(part, numbers);
  }
}

Kernel kernel_adamw_steps() {
  Kernel k;
  k.supports = [](const KernelDesc& d) { return d.in[3]->dtype == DType::f32; };
  k.prepare = [](const KernelDesc& d) {
    Params p{{}, adamw_numbers(d, 0, 1, 2), d.has(2)};
    for (size_t i = 3; i < d.in.size(); i += 4) p.sizes.push_back(d.in[i]->layout.numel());
    return prepared<Params>(std::move(p), run);
  };
  return k;
}

}  // namespace suan::cuda
