// Kernels with seeded faults: what the emulation and its checker must find. Fault 0 is the sound kernel.
// Built with the scheduler and the checker into a library of its own; tests/emulation_test.cpp loads it.
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/emulation/internal.h"
#include "kernels/cuda/lib/ptx.cuh"

namespace suan::cuda {
LaunchScope::LaunchScope(const char* kernel) : kernel_(kernel) {}
LaunchScope::~LaunchScope() noexcept(false) {}
}  // namespace suan::cuda

namespace {
using namespace suan::cuda;

// ---- y = 2 x, four at a time, and a tail -------------------------------------------------------------------

__global__ void twice(const float* x, float* y, int n, int fault) {
  int n4 = n / 4;
  if (fault == 4) n4 = (n + 3) / 4;                               // the last four pass the end
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n4; i += gridDim.x * blockDim.x) {
    const int at = 4 * i + (fault == 10 && i + 1 < n4 ? 1 : 0);   // not at a multiple of 16 bytes
    float4 v = load4(x + at);
    v.x *= 2, v.y *= 2, v.z *= 2, v.w *= 2;
    store4(y + 4 * i, v);
  }
  int t = 4 * (n / 4) + blockIdx.x * blockDim.x + threadIdx.x;
  if (fault == 12) t = threadIdx.x;                               // every block writes the head
  if (t < n) y[t] = 2 * x[t];
}

// ---- c = a b by 16 x 16 tiles ------------------------------------------------------------------------------

constexpr int side = 16;
__global__ void product(const float* a, const float* b, float* c, int n, int fault) {
  Smem shared;
  float* as = shared.take<float>(side * side);
  float* bs = shared.take<float>(side * side);
  const int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * side + y, col = blockIdx.x * side + x;
  float total = 0;
  for (int k0 = 0; k0 < n; k0 += side) {
    as[y * side + x + (fault == 3 && y == side - 1 ? 1 : 0)] = a[row * n + k0 + x];    // runs into bs
    bs[y * side + x + (fault == 13 && y == side - 1 ? 1 : 0)] = b[(k0 + y) * n + col]; // past the last array
    if (fault != 1) __syncthreads();
    for (int k = 0; k < side; ++k) total += as[y * side + k] * bs[k * side + x];
    if (fault != 2) __syncthreads();
  }
  c[row * n + col] = total;
}

// ---- sums of rows ------------------------------------------------------------------------------------------

__device__ float warp_total(float v, int fault) {
  const uint32_t mask = fault == 16 ? 0x0000ffffu : 0xffffffffu;  // leaves half of the callers out
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(mask, v, o);
  return v;
}
__device__ float block_total(float v, float* part, int fault) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  v = warp_total(v, fault);
  if (lane == 0) part[warp + (fault == 14 && warp == 7 ? 1 : 0)] = v;   // one past the end
  if (fault != 5) __syncthreads();
  const int filled = fault == 9 ? warps + 1 : warps;                    // a slot that nobody has written
  v = lane < filled ? part[lane] : 0.0f;
  v = warp_total(v, fault);
  __syncthreads();
  return v;
}
__global__ void row_sums(const float* x, float* sums, int cols, int fault) {
  __shared__ float part[8];
  if (fault == 6 && int(threadIdx.x) >= cols) return;                   // lanes leave before the collectives
  float v = 0;
  for (int i = threadIdx.x; i < cols; i += blockDim.x) v += x[blockIdx.x * cols + i];
  float total;
  if (fault == 11 && threadIdx.x < 128) total = block_total(v, part, fault);   // a barrier in each branch
  else total = block_total(v, part, fault);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// ---- a warp turns round what it holds ----------------------------------------------------------------------

__global__ void reverse(const float* x, float* y, int rounds, int fault) {
  Smem shared;
  float* held = shared.take<float>(32);
  const int lane = threadIdx.x;
  float v = x[lane];
  for (int i = 0; i < rounds; ++i) {
    held[lane] = v;
    if (fault != 7) __syncwarp();
    v = held[31 - lane];
    if (fault != 7) __syncwarp();
  }
  y[lane] = v;
}

// ---- two stages of asynchronous copies ---------------------------------------------------------------------

__global__ void staged(const float* x, float* y, int tiles, int fault) {
  Smem shared;
  float* stage = shared.take<float>(2 * 128);
  const int t = threadIdx.x;   // 32 threads, 16 bytes each
  cp_async16(stage + 4 * t, x + 4 * t, true);
  cp_async_commit();
  for (int i = 0; i < tiles; ++i) {
    const int at = i % 2 * 128;
    if (i + 1 < tiles) {
      cp_async16(stage + (128 - at) + 4 * t, x + (i + 1) * 128 + 4 * t, true);
      cp_async_commit();
      cp_async_wait<1>();
    } else if (fault == 8) {
      cp_async_wait<1>();      // the last stage is not waited for
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();
    for (int j = 0; j < 4; ++j) y[i * 128 + t + 32 * j] = stage[at + t + 32 * j];
    __syncthreads();
  }
}

// ---- device memory: exact bounds ---------------------------------------------------------------------------

struct Array {
  float* p;
  explicit Array(int n) : p(static_cast<float*>(aligned_alloc(256, size_t(n) * 4 / 256 * 256 + 512))) {
    emu::know_memory(p, size_t(n) * 4);
  }
  Array(int n, float step) : Array(n) {
    for (int i = 0; i < n; ++i) p[i] = float(i % 17) * step;
    emu::know_written(p, size_t(n) * 4);
  }
  ~Array() {
    emu::forget_memory(p);
    free(p);
  }
  Array(const Array&) = delete;
};

bool twice_right(int fault) {
  const int n = 1003;
  Array x(n, 0.5f), y(n);
  const float* from = fault == 15 ? static_cast<float*>(calloc(n, 4)) : x.p;   // of the host
  SUAN_LAUNCH(twice, dim3(2), dim3(128), 0, from, y.p, n, fault);
  bool right = true;
  for (int i = 0; i < n; ++i) right &= y.p[i] == 2 * x.p[i];
  return right;
}
bool product_right(int fault) {
  const int n = 48;
  Array a(n * n, 1.0f), b(n * n, 2.0f), c(n * n);
  SUAN_LAUNCH(product, dim3(n / side, n / side), dim3(side, side), 2 * side * side * 4, a.p, b.p, c.p, n, fault);
  bool right = true;
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      float total = 0;
      for (int k = 0; k < n; ++k) total += a.p[i * n + k] * b.p[k * n + j];
      right &= total == c.p[i * n + j];
    }
  return right;
}
bool sums_right(int fault) {
  const int rows = 3, cols = fault == 6 ? 100 : 300, threads = fault == 9 ? 224 : 256;
  Array x(rows * cols, 1.0f), y(rows);
  SUAN_LAUNCH(row_sums, dim3(rows), dim3(threads), 0, x.p, y.p, cols, fault);
  bool right = true;
  for (int r = 0; r < rows; ++r) {
    float total = 0;
    for (int i = 0; i < cols; ++i) total += x.p[r * cols + i];
    right &= total == y.p[r];
  }
  return right;
}
bool reverse_right(int fault) {
  Array x(32, 1.0f), y(32);
  SUAN_LAUNCH(reverse, dim3(1), dim3(32), 32 * 4, x.p, y.p, 3, fault);
  bool right = true;
  for (int i = 0; i < 32; ++i) right &= y.p[i] == x.p[31 - i];
  return right;
}
bool staged_right(int fault) {
  const int n = 128 * 5;
  Array x(n, 1.0f), y(n);
  SUAN_LAUNCH(staged, dim3(1), dim3(32), 2 * 128 * 4, x.p, y.p, 5, fault);
  bool right = true;
  for (int i = 0; i < n; ++i) right &= y.p[i] == x.p[i];
  return right;
}

}  // namespace

// Runs a kernel (0 to 4) with a fault, in an order (0 forward, 1 reverse, 2 random with the seed). Writes
// the reports, one a line; returns whether the result was right.
extern "C" __attribute__((visibility("default"))) bool run_fault(int kernel, int fault, int order, int seed,
                                                                 char* reports, size_t size) {
  emu::take_reports();
  emu::set_order(emu::Order(order), uint64_t(seed));
  bool (*const run[])(int) = {twice_right, product_right, sums_right, reverse_right, staged_right};
  const bool right = run[kernel](fault);
  std::string text;
  for (const std::string& r : emu::take_reports()) text += r + "\n";
  snprintf(reports, size, "%s", text.c_str());
  return right;
}
