// The caching CPU allocator for eager work: size classes, small ones cached per thread, large ones in one
// pool. A Run's arena and every Storage come from here, so one set of counters describes memory.
#pragma once

#include <cstdint>

namespace suan {

void* cpu_allocate(int64_t bytes);           // 64-byte aligned, never null; OutOfMemory
void cpu_free(void* p, int64_t bytes);       // the same size as asked for
constexpr int64_t map_limit = 4 << 20;       // blocks of this size and more are mapped, each for itself
void cpu_zero_mapped(void* p, int64_t bytes);  // makes such a block zero, taking no memory until it is written

struct MemoryStats {
  int64_t in_use = 0;   // bytes handed out
  int64_t peak = 0;     // highest in_use since reset_peak_memory (large blocks exact, small ones sampled)
  int64_t cached = 0;   // kept for reuse
};
MemoryStats memory_stats();
void reset_peak_memory();
void trim_memory();                          // gives cached bytes back to the system
// While one lives, freed blocks of 4 MiB and more go back to the system at once.
struct NoMappedCache {
  NoMappedCache();
  ~NoMappedCache();
  NoMappedCache(const NoMappedCache&) = delete;
};
void set_memory_limit(int64_t bytes);        // 0: none; allocation past it is OutOfMemory
// While one lives, its thread may hold at most so many bytes more than when it began: OutOfMemory. Counted are tensors'
// bytes and handles; what other threads hold is not. One inside another never allows more.
class MemoryBudget {
 public:
  explicit MemoryBudget(int64_t bytes);
  ~MemoryBudget();
  MemoryBudget(const MemoryBudget&) = delete;

 private:
  int64_t cap_, bytes_;  // of the one around
};
// OutOfMemory unless the thread's budget has room for so many bytes: asked before lists are made on the host.
void require_memory(int64_t bytes);
// While one lives, the thread's budget counts so many bytes that lie elsewhere, such as strings'. OutOfMemory.
class MemoryCharge {
 public:
  explicit MemoryCharge(int64_t bytes);
  ~MemoryCharge();
  MemoryCharge(const MemoryCharge&) = delete;

 private:
  int64_t bytes_;
};
// Test hook: the n-th allocation from now (1 = next) fails; 0 switches it off.
void fail_nth_allocation(int64_t n);

// Thread-local free list for one kind of small object.
void* object_allocate(int size_class);       // 0: 128 bytes, 1: 320 bytes
void object_free(void* p, int size_class);

}  // namespace suan
