// Races, bounds and reads of unwritten memory. Kernels are compiled with -fsanitize=thread and linked with
// this file instead of the sanitizer's library: the compiler reports every load and store, and here they are
// judged by CUDA's rules. Two accesses to one place, one of them a write, are a race when
//   they come from two blocks of one launch (global memory), or
//   from two threads of a block with no block barrier between them, nor, within a warp, a warp barrier.
// Atomics do not race with atomics. Asynchronous copies count as accesses of the thread that issued them.
#include <link.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "kernels/cuda/emulation/internal.h"

namespace emu {
namespace {

// The last write and the last read of one granule.
struct Access {
  uint32_t block = 0, epoch = 0;
  uint16_t thread = 0, warp_epoch = 0;
  bool valid = false, atomic = false;
  const void* site = nullptr;
};
struct Cell {
  Access write, read;
  bool written = false;
  bool many = false;         // readers: several lanes of one warp
  bool many_warps = false;   // readers: several warps
};
enum class Space { global, shared, fixed };
struct Region {
  uintptr_t low, high;
  Space space;
  int shift = 2;             // log2 of the granule; 0 from the first access to less than a word on
  std::vector<Cell> cells;
};

std::map<uintptr_t, Region> regions;   // by low
Region* last_hit;
uint32_t block_number, first_block;
bool active;
uintptr_t shared_low, fixed_low;
std::vector<uintptr_t> arrays;         // named arrays in dynamic shared memory
std::set<std::tuple<int, const void*, const void*>> told;

Region* find(uintptr_t a) {
  if (last_hit && a >= last_hit->low && a < last_hit->high) return last_hit;
  auto it = regions.upper_bound(a);
  if (it == regions.begin()) return nullptr;
  Region& r = std::prev(it)->second;
  return a < r.high ? last_hit = &r : nullptr;
}
Region* nearest(uintptr_t a, uintptr_t& distance) {
  Region* best = nullptr;
  distance = ~uintptr_t(0);
  for (auto& [low, r] : regions) {
    const uintptr_t d = a >= r.high ? a - r.high : r.low > a ? r.low - a : 0;
    if (d < distance) distance = d, best = &r;
  }
  return distance < (1u << 20) ? best : nullptr;
}
void add(uintptr_t low, size_t bytes, Space space) {
  Region r{low, low + bytes, space, 2, {}};
  r.cells.resize((bytes + 3) / 4);
  regions[low] = std::move(r);
  last_hit = nullptr;
}
void drop(uintptr_t low) {
  regions.erase(low);
  last_hit = nullptr;
}
void refine(Region& r) {
  std::vector<Cell> bytes(r.high - r.low);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = r.cells[i / 4];
  r.cells.swap(bytes);
  r.shift = 0;
}
const char* name(const Region& r) { return r.space == Space::global ? "global" : "shared"; }

bool first_time(int kind, const void* site, const void* other) { return told.insert({kind, site, other}).second; }

void report_race(const char* what, const Region& r, uintptr_t a, const void* site, const Access& other) {
  if (!first_time(0, site, other.site)) return;
  report("racecheck", "%s race in %s, %s memory + %zu: thread %u at %s and thread %u%s at %s", what, running.kernel,
         name(r), size_t(a - r.low), running.thread, source_line(site).c_str(), other.thread,
         other.block != block_number ? " of another block" : "", source_line(other.site).c_str());
}
void report_outside(uintptr_t a, unsigned bytes, bool write, const void* site) {
  if (!first_time(1, site, nullptr)) return;
  uintptr_t distance;
  if (const Region* r = nearest(a, distance))
    report("memcheck", "%s of %u bytes out of bounds in %s: %zu bytes %s an allocation of %zu bytes of %s memory; "
           "thread %u, block (%u,%u,%u) at %s", write ? "write" : "read", bytes, running.kernel, size_t(distance),
           a >= r->high ? "after" : "before", size_t(r->high - r->low), name(*r), running.thread, blockIdx.x,
           blockIdx.y, blockIdx.z, source_line(site).c_str());
  else
    report("memcheck", "%s of %u bytes in %s is not of device memory (a host pointer?); thread %u at %s",
           write ? "write" : "read", bytes, running.kernel, running.thread, source_line(site).c_str());
}

bool same_warp(uint32_t a, uint32_t b) { return a >> 5 == b >> 5; }

void judge(Region& r, Cell& c, uintptr_t a, bool write, bool atomic, const void* site) {
  const uint32_t t = running.thread, epoch = running.epoch;
  const auto warp_epoch = uint16_t(running.warp_epoch);
  const Access now{block_number, epoch, uint16_t(t), warp_epoch, true, atomic, site};
  auto ordered_in_warp = [&](const Access& x) { return same_warp(x.thread, t) && x.warp_epoch != warp_epoch; };
  const Access& w = c.write;
  if (w.valid && w.block >= first_block && !(w.atomic && atomic)) {
    const bool race = w.block != block_number ? r.space == Space::global
                                              : w.thread != t && w.epoch == epoch && !ordered_in_warp(w);
    if (race) report_race(write ? "write-write" : "read-after-write", r, a, site, w);
  }
  Access& rd = c.read;
  if (write) {
    if (rd.valid && rd.block >= first_block && !(rd.atomic && atomic)) {
      const bool race = rd.block != block_number
                            ? r.space == Space::global
                            : rd.epoch == epoch && (c.many_warps || ((rd.thread != t || c.many) && !ordered_in_warp(rd)));
      if (race) report_race("write-after-read", r, a, site, rd);
    }
    c.write = now;
    c.written = true;
    return;
  }
  if (!c.written && first_time(2, site, nullptr))
    report("initcheck", "read of %s memory that nobody has written, in %s, + %zu; thread %u at %s", name(r),
           running.kernel, size_t(a - r.low), t, source_line(site).c_str());
  const bool same_epoch = rd.valid && rd.block == block_number && rd.epoch == epoch;
  const bool together = same_epoch && (!same_warp(rd.thread, t) || rd.warp_epoch == warp_epoch);
  if (!together) {
    c.many = false;
    c.many_warps = same_epoch && c.many_warps;
  } else if (rd.thread != t) {
    (same_warp(rd.thread, t) ? c.many : c.many_warps) = true;
  }
  rd = now;
}

// Constants, threadIdx and the like: what this library itself is loaded at.
bool in_own_code(uintptr_t a) {
  static const std::pair<uintptr_t, uintptr_t> own = [] {
    std::pair<uintptr_t, uintptr_t> range{0, 0};
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void* data) {
      uintptr_t low = ~uintptr_t(0), high = 0;
      for (int i = 0; i < info->dlpi_phnum; ++i) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        low = std::min<uintptr_t>(low, info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        high = std::max<uintptr_t>(high, info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz);
      }
      const auto here = uintptr_t(&find);
      if (here < low || here >= high) return 0;
      *static_cast<std::pair<uintptr_t, uintptr_t>*>(data) = {low, high};
      return 1;
    }, &range);
    return range;
  }();
  return a >= own.first && a < own.second;
}

void touch(uintptr_t a, unsigned bytes, bool write, bool atomic, const void* site) {
  if (!active || (a >= uintptr_t(running.stack_low) && a < uintptr_t(running.stack_high))) return;
  Region* r = find(a);
  if (!r) {
    if ((!write && in_own_code(a)) || is_scheduler_memory(a)) return;
    return report_outside(a, bytes, write, site);
  }
  if (a + bytes > r->high) return report_outside(a, bytes, write, site);
  if (r->shift && ((a | bytes) & 3)) refine(*r);
  const size_t from = (a - r->low) >> r->shift, to = (a + bytes - 1 - r->low) >> r->shift;
  for (size_t i = from; i <= to; ++i) judge(*r, r->cells[i], a, write, atomic, site);
}
void aligned(const void* p, unsigned bytes, const void* site) {
  if (active && (uintptr_t(p) & (bytes - 1)) && find(uintptr_t(p)) && first_time(3, site, nullptr))
    report("misaligned", "%u-byte access in %s, thread %u at %s: a GPU faults here", bytes, running.kernel,
           running.thread, source_line(site).c_str());
}

}  // namespace

void checker_begin(void* shared, size_t shared_bytes, void* fixed, size_t fixed_bytes) {
  first_block = block_number + 1;
  active = true;
  told.clear();
  shared_low = shared_bytes ? uintptr_t(shared) : 0;
  fixed_low = fixed_bytes ? uintptr_t(fixed) : 0;
  if (shared_low) add(shared_low, shared_bytes, Space::shared);
  if (fixed_low) add(fixed_low, fixed_bytes, Space::fixed);
}
void checker_shared_array(void* p, size_t bytes) {   // from the first named one on, only those are legal
  if (arrays.empty() && shared_low) drop(shared_low);
  add(uintptr_t(p), bytes, Space::shared);
  arrays.push_back(uintptr_t(p));
}
void checker_next_block() {
  ++block_number;
  for (uintptr_t p : arrays) drop(p);
  if (!arrays.empty() && shared_low) add(shared_low, running.shared_bytes, Space::shared);
  arrays.clear();
  for (uintptr_t low : {shared_low, fixed_low})
    if (auto it = regions.find(low); low && it != regions.end())
      std::fill(it->second.cells.begin(), it->second.cells.end(), Cell{});
}
void checker_end() {
  active = false;
  for (uintptr_t p : arrays) drop(p);
  arrays.clear();
  drop(shared_low);
  drop(fixed_low);
}
void checked_access(const void* p, size_t bytes, bool write, bool atomic, const void* site) {
  touch(uintptr_t(p), unsigned(bytes), write, atomic, site);
}
void know_memory(void* p, size_t bytes) { add(uintptr_t(p), std::max<size_t>(bytes, 1), Space::global); }
void forget_memory(void* p) { drop(uintptr_t(p)); }
void know_written(const void* p, size_t bytes) {
  Region* r = bytes ? find(uintptr_t(p)) : nullptr;
  if (!r) return;
  const size_t from = (uintptr_t(p) - r->low) >> r->shift;
  const size_t to = std::min((uintptr_t(p) + bytes - 1 - r->low) >> r->shift, r->cells.size() - 1);
  for (size_t i = from; i <= to; ++i) r->cells[i].written = true;
}

}  // namespace emu

// ---- what the compiler calls ----------------------------------------------------------------------------

#define SITE __builtin_return_address(0)
#define HOOKS(n)                                                                                             \
  void __tsan_read##n(void* p) { emu::aligned(p, n, SITE); emu::touch(uintptr_t(p), n, false, false, SITE); }  \
  void __tsan_write##n(void* p) { emu::aligned(p, n, SITE); emu::touch(uintptr_t(p), n, true, false, SITE); }  \
  void __tsan_unaligned_read##n(void* p) { emu::touch(uintptr_t(p), n, false, false, SITE); }                 \
  void __tsan_unaligned_write##n(void* p) { emu::touch(uintptr_t(p), n, true, false, SITE); }                 \
  void __tsan_volatile_read##n(void* p) { emu::touch(uintptr_t(p), n, false, true, SITE); }                   \
  void __tsan_volatile_write##n(void* p) { emu::touch(uintptr_t(p), n, true, true, SITE); }
#define ATOMICS(bits, type)                                                                                   \
  type __tsan_atomic##bits##_load(const type* p, int) { return __atomic_load_n(p, 5); }                       \
  void __tsan_atomic##bits##_store(type* p, type v, int) { __atomic_store_n(p, v, 5); }                       \
  type __tsan_atomic##bits##_exchange(type* p, type v, int) { return __atomic_exchange_n(p, v, 5); }          \
  type __tsan_atomic##bits##_fetch_add(type* p, type v, int) { return __atomic_fetch_add(p, v, 5); }          \
  type __tsan_atomic##bits##_fetch_sub(type* p, type v, int) { return __atomic_fetch_sub(p, v, 5); }          \
  int __tsan_atomic##bits##_compare_exchange_strong(type* p, type* e, type v, int, int) {                     \
    return __atomic_compare_exchange_n(p, e, v, false, 5, 5);                                                 \
  }
extern "C" {
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
ATOMICS(8, uint8_t) ATOMICS(32, uint32_t) ATOMICS(64, uint64_t)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* p, size_t n) { emu::touch(uintptr_t(p), unsigned(n), false, false, SITE); }
void __tsan_write_range(void* p, size_t n) { emu::touch(uintptr_t(p), unsigned(n), true, false, SITE); }
void* __tsan_memcpy(void* to, const void* from, size_t n) {
  emu::touch(uintptr_t(from), unsigned(n), false, false, SITE);
  emu::touch(uintptr_t(to), unsigned(n), true, false, SITE);
  return std::memcpy(to, from, n);
}
void* __tsan_memset(void* to, int c, size_t n) {
  emu::touch(uintptr_t(to), unsigned(n), true, false, SITE);
  return std::memset(to, c, n);
}
void* __tsan_memmove(void* to, const void* from, size_t n) {
  emu::touch(uintptr_t(from), unsigned(n), false, false, SITE);
  emu::touch(uintptr_t(to), unsigned(n), true, false, SITE);
  return std::memmove(to, from, n);
}
}
