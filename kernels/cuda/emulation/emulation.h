// CUDA C++ for a host compiler: the keywords, built-in variables, warp functions and atomics that the kernels
// of this folder use, with a CPU meaning. Each CUDA thread is a fibre; one block runs at a time, on the thread
// that launches. It shows what a kernel computes, never how fast a GPU would be.
#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline
// A section of its own: poisoned before every block, and known to the checker. Not in a template, where
// compilers ignore sections: take it from Smem there.
#define __shared__ static __attribute__((section("emu_shared")))

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 { float x, y, z, w; };

inline constexpr int warpSize = 32;
// Written by the scheduler at every switch, so that reading them is a plain load.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace emu {

enum class Collective : uint8_t { none, shuffle, vote, sync, mma, ldmatrix };
inline constexpr int slot_bytes = 64;   // a lane's operand of a warp collective

extern unsigned char* shared_memory;
extern uint32_t lane_id;

void sync_block(const void* site);
// The operands of all lanes in `mask`, lane by lane in slots; returns when the last one has come.
const unsigned char* exchange(uint32_t mask, Collective what, const void* value, int bytes, const void* site);
void spin(const void* site);            // lets others run while a flag is polled
void* take_shared(uint32_t& offset, uint32_t& used, uint32_t bytes, uint32_t align, const void* site);
void run_grid(const char* name, dim3 grid, dim3 block, size_t shared_bytes, void (*body)(void*), void* arg);

// A fault of the kernel: kept until take_reports.
void report(const char* kind, const char* format, ...) __attribute__((format(printf, 2, 3)));
std::vector<std::string> take_reports();
long count_reports();

// Asynchronous copies take effect as late as the rules allow.
void cp_async(void* to, const void* from, int bytes, int from_bytes, const void* site);
void cp_async_commit();
void cp_async_wait(int keep);

// The warp's matrix instructions, from the lanes' fragments (fragments.cpp).
void ldmatrix(uint32_t* r, int matrices, const void* row, bool transposed, const void* site);
void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const void* site);
void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const void* site);

// Hopper's (hopper.cpp; see lib/hopper.cuh).
struct TileMap {   // of a bf16 matrix, and the box of at most 64 columns that a copy takes
  const uint16_t* matrix;
  int64_t rows, columns;
  int box_rows, box_columns;
};
void barrier_init(uint64_t* b, uint32_t arrivals, const void* site);
void barrier_arrive(uint64_t* b, uint32_t bytes, const void* site);
void barrier_wait(uint64_t* b, uint32_t parity, const void* site);
void copy_tile(void* to, const TileMap& map, int column, int row, uint64_t* b, const void* site);
void wgmma_64x64(float* d, uint64_t a, uint64_t b, const void* site);
void wgmma_commit();
void wgmma_wait(int keep);

// The checker's view of memory; does nothing in the fast build.
void checked_access(const void* p, size_t bytes, bool write, bool atomic, const void* site);
void check_aligned(const void* p, size_t bytes, const void* site);   // in both builds
void know_memory(void* p, size_t bytes);      // a device allocation, not written yet
void forget_memory(void* p);
void know_written(const void* p, size_t bytes);

enum class Order { forward, reverse, random };
void set_order(Order order, uint64_t seed = 1);   // of threads and blocks
struct Counters { long launches = 0, blocks = 0, threads = 0, switches = 0; };
Counters& counters();

#define EMU_SITE __builtin_return_address(0)
#define EMU_FUNCTION __attribute__((noinline, no_sanitize("thread")))

template <class T>
__attribute__((no_sanitize("thread"))) inline T lane_value(const unsigned char* slots, int lane) {
  T value;
  std::memcpy(&value, slots + lane * slot_bytes, sizeof value);
  return value;
}

enum class Shuffle { index, up, down, exclusive_or };
template <class T>
EMU_FUNCTION T shuffle(uint32_t mask, T value, int by, int width, Shuffle how) {
  const int lane = int(lane_id), first = lane & ~(width - 1);
  int from = lane;
  switch (how) {
    case Shuffle::index: from = first + (by & (width - 1)); break;
    case Shuffle::up: from = lane - by < first ? lane : lane - by; break;
    case Shuffle::down: from = lane + by >= first + width ? lane : lane + by; break;
    case Shuffle::exclusive_or: from = (lane ^ by) >= first + width ? lane : lane ^ by; break;
  }
  const unsigned char* slots = exchange(mask, Collective::shuffle, &value, sizeof value, EMU_SITE);
  if (!(mask >> from & 1)) report("synccheck", "shuffle reads lane %d, which mask %08x leaves out", from, mask);
  return lane_value<T>(slots, from);
}
EMU_FUNCTION inline uint32_t ballot(uint32_t mask, int predicate) {
  predicate = predicate != 0;
  const unsigned char* slots = exchange(mask, Collective::vote, &predicate, sizeof predicate, EMU_SITE);
  uint32_t result = 0;
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) result |= uint32_t(lane_value<int>(slots, i)) << i;
  return result;
}
EMU_FUNCTION inline void sync_warp(uint32_t mask = ~0u) {
  char nothing = 0;
  exchange(mask, Collective::sync, &nothing, 1, EMU_SITE);
}
template <class T, class F>
EMU_FUNCTION T atomic_update(T* p, F f) {
  checked_access(p, sizeof(T), true, true, EMU_SITE);
  T before, after;
  std::memcpy(&before, p, sizeof before);
  after = f(before);
  std::memcpy(p, &after, sizeof after);
  return before;
}
template <class F>
void call(void* f) { (*static_cast<F*>(f))(); }

}  // namespace emu

// Arrays in dynamic shared memory, by name: in the checker each has bounds of its own.
struct Smem {
  uint32_t offset = 0, used = 0;
  template <class T>
  EMU_FUNCTION T* take(int n, int align = 16) {
    return static_cast<T*>(emu::take_shared(offset, used, uint32_t(n) * uint32_t(sizeof(T)), uint32_t(align), EMU_SITE));
  }
};

#define __syncthreads() ::emu::sync_block(__builtin_return_address(0))
#define __syncwarp(...) ::emu::sync_warp(__VA_ARGS__)
template <class T> inline T __shfl_sync(uint32_t m, T v, int s, int w = 32) { return emu::shuffle(m, v, s, w, emu::Shuffle::index); }
template <class T> inline T __shfl_up_sync(uint32_t m, T v, int s, int w = 32) { return emu::shuffle(m, v, s, w, emu::Shuffle::up); }
template <class T> inline T __shfl_down_sync(uint32_t m, T v, int s, int w = 32) { return emu::shuffle(m, v, s, w, emu::Shuffle::down); }
template <class T> inline T __shfl_xor_sync(uint32_t m, T v, int s, int w = 32) { return emu::shuffle(m, v, s, w, emu::Shuffle::exclusive_or); }
inline uint32_t __ballot_sync(uint32_t m, int p) { return emu::ballot(m, p); }
inline int __any_sync(uint32_t m, int p) { return emu::ballot(m, p) != 0; }
inline void __threadfence() {}
template <class T> inline T atomicAdd(T* p, T v) { return emu::atomic_update(p, [&](T o) { return T(o + v); }); }
template <class T> inline T atomicCAS(T* p, T c, T v) { return emu::atomic_update(p, [&](T o) { return o == c ? v : o; }); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline float __int_as_float(int i) { return __builtin_bit_cast(float, i); }
inline int __float_as_int(float f) { return __builtin_bit_cast(int, f); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }

template <class... P, class... A>
void emu_launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, A&&... args) {
  std::tuple<P...> held{static_cast<P>(std::forward<A>(args))...};
  auto body = [&] { std::apply(kernel, held); };
  emu::run_grid(name, grid, block, shared_bytes, emu::call<decltype(body)>, &body);
}
