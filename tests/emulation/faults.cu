// Kernels with seeded faults: what the emulation and its checker must find. Fault 0 is the sound kernel.
// Built with the scheduler and the checker into a library of its own, which tests/emulation_test.cpp loads; and
// by nvcc for sm_90a, which shows that lib/hopper.cuh is PTX.
#include "kernels/cuda/lib/hopper.cuh"
#include "kernels/cuda/lib/mma.cuh"

namespace faults {
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

// ---- a 64 x 64 product by a ring of tiles: one thread feeds it, a warpgroup multiplies -----------------------

constexpr int stages = 3, tile = 64 * 64;
__global__ void __launch_bounds__(256) ring(const __grid_constant__ TileMap a, const __grid_constant__ TileMap b,
                                            float* c, int tiles, int fault) {
  Smem shared;
  Bfloat* as = shared.take<Bfloat>(stages * tile, 1024);
  Bfloat* bs = shared.take<Bfloat>(stages * tile, 1024);
  uint64_t* full = shared.take<uint64_t>(stages);
  uint64_t* empty = shared.take<uint64_t>(stages);
  const int t = threadIdx.x;
  if (t == 0) {
    for (int i = 0; i < stages; ++i) barrier_init(full + i, 1), barrier_init(empty + i, 128);
    barrier_init_done();
  }
  __syncthreads();
  if (t < 128) {
    if (t != 0) return;
    for (int i = 0; i < tiles; ++i) {
      const int stage = i % stages, round = i / stages % 2;
      if (fault != 18) barrier_wait(empty + stage, round ^ 1);                     // the stage may still be read
      barrier_arrive_expect(full + stage, 2 * tile * 2 + (fault == 20 ? 16 : 0));  // more than will come
      copy_tile(as + stage * tile, &a, 64 * i, 0, full + stage);
      copy_tile(bs + stage * tile, &b, 64 * i, 0, full + stage);
    }
    return;
  }
  float d[32] = {};
  for (int i = 0; i < tiles; ++i) {
    const int stage = i % stages, round = i / stages % 2;
    if (fault != 17) barrier_wait(full + stage, round);                            // the tiles may not be there
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 64; k += 16)
      wgmma_64x64(d, wgmma_operand(as + stage * tile + k, fault == 19 ? Swizzle::none : Swizzle::bytes128),
                  wgmma_operand(bs + stage * tile + k));
    wgmma_commit();
    if (fault != 21 || i + 1 < tiles) wgmma_wait<0>();                             // the last is not waited for
    barrier_arrive(empty + stage);
  }
  const int warp = (t - 128) / 32, lane = t % 32;
  for (int i = 0; i < 32; ++i)
    c[(16 * warp + lane / 4 + i / 2 % 2 * 8) * 64 + i / 4 * 8 + 2 * (lane % 4) + i % 2] = d[i];
}

// ---- c = (a bᵀ) b of 16 x 32 matrices, by one warp on the tensor cores --------------------------------------------

template <class T>
__global__ void fragments(const float* a, const float* b, float* c, int fault) {
  constexpr int ld = row_stride<T, 32>;
  Smem shared;
  T* as = shared.take<T>(16 * ld);
  T* bs = shared.take<T>(16 * ld);
  const int lane = threadIdx.x;
  for (int r = 0; r < 16; ++r) {
    as[r * ld + lane] = narrow<T>(a[r * 32 + lane]);
    bs[r * ld + lane] = narrow<T>(b[r * 32 + lane]);
  }
  __syncthreads();
  if (fault == 23 && lane >= 16) return;                               // half of the warp is gone
  float x[2][4] = {}, d[4][4] = {};
  multiply_rows<T, 32>(x, as + (fault == 22 ? 1 : 0), bs);             // rows that begin beside 16 bytes
  if (fault == 24) {                                                   // columns in registers of their neighbours
    const float held = x[0][1];
    x[0][1] = x[0][2], x[0][2] = held;
  }
  multiply_columns<T, 32>(d, x, bs);
  for (int j = 0; j < 4; ++j)
    for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 32 + 8 * j + 2 * (lane % 4) + i % 2] = d[j][i];
}

}  // namespace faults

#ifndef __CUDACC__
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/emulation/internal.h"

namespace suan::cuda {
LaunchScope::LaunchScope(const char* kernel) : kernel_(kernel) {}
LaunchScope::~LaunchScope() noexcept(false) {}
void launch_emulated(const EmulatedKernel& kernel, const LaunchShape& shape, size_t shared_bytes, void** arguments) {
  kernel.run(kernel, shape, shared_bytes, arguments);
}
}  // namespace suan::cuda

namespace {
using namespace faults;

// ---- device memory: exact bounds ---------------------------------------------------------------------------

template <class T>
struct ArrayOf {
  T* p;
  explicit ArrayOf(int n) : p(static_cast<T*>(aligned_alloc(256, size_t(n) * sizeof(T) / 256 * 256 + 512))) {
    emu::know_memory(p, size_t(n) * sizeof(T));
  }
  template <class F>
  ArrayOf(int n, F value) : ArrayOf(n) {
    for (int i = 0; i < n; ++i) p[i] = value(i);
    emu::know_written(p, size_t(n) * sizeof(T));
  }
  ~ArrayOf() {
    emu::forget_memory(p);
    free(p);
  }
  ArrayOf(const ArrayOf&) = delete;
};
struct Array : ArrayOf<float> {
  explicit Array(int n) : ArrayOf(n) {}
  Array(int n, float step) : ArrayOf(n, [=](int i) { return float(i % 17) * step; }) {}
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

bool ring_right(int fault) {
  const int tiles = 5, k = 64 * tiles;
  const auto small = [](int i) { return bfloat_bits(float(i * 7 % 5 - 2)); };   // sums are exact
  ArrayOf<uint16_t> a(64 * k, small), b(64 * k, small);
  Array c(64 * 64);
  const TileMap ma{a.p, 64, k, 64, 64}, mb{b.p, 64, k, 64, 64};
  SUAN_LAUNCH(ring, dim3(1), dim3(256), 2 * stages * tile * 2 + 2 * stages * 8 + 16, ma, mb, c.p, tiles, fault);
  bool right = true;
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 64; ++j) {
      float total = 0;
      for (int at = 0; at < k; ++at) total += bfloat_value(a.p[i * k + at]) * bfloat_value(b.p[j * k + at]);
      right &= total == c.p[i * 64 + j];
    }
  return right;
}
template <class T>
bool fragments_right(int fault) {
  const auto small = [](int i) { return float((unsigned(i) * 2654435761u >> 13) % 3) - 1; };   // exact in bf16, too
  ArrayOf<float> a(16 * 32, small), b(16 * 32, [&](int i) { return small(i + 1000); }), c(16 * 32);
  SUAN_LAUNCH(fragments<T>, dim3(1), dim3(32), 32 * row_stride<T, 32> * sizeof(T), a.p, b.p, c.p, fault);
  bool right = true;
  for (int i = 0; i < 16; ++i) {
    float row[32] = {};
    for (int j = 0; j < 16; ++j) {
      float total = 0;
      for (int k = 0; k < 32; ++k) total += a.p[i * 32 + k] * b.p[j * 32 + k];
      for (int k = 0; k < 32; ++k) row[k] += total * b.p[j * 32 + k];
    }
    for (int k = 0; k < 32; ++k) right &= row[k] == c.p[i * 32 + k];
  }
  return right;
}

}  // namespace

// Runs a kernel (0 to 7) with a fault, in an order (0 forward, 1 reverse, 2 random with the seed). Writes
// the reports, one a line; returns whether the result was right.
extern "C" __attribute__((visibility("default"))) bool run_fault(int kernel, int fault, int order, int seed,
                                                                 char* reports, size_t size) {
  emu::take_reports();
  emu::set_order(emu::Order(order), uint64_t(seed));
  bool (*const run[])(int) = {twice_right, product_right, sums_right, reverse_right, staged_right,
                               ring_right, fragments_right<float>, fragments_right<Bfloat>};
  const bool right = run[kernel](fault);
  std::string text;
  for (const std::string& r : emu::take_reports()) text += r + "\n";
  snprintf(reports, size, "%s", text.c_str());
  return right;
}
#endif
