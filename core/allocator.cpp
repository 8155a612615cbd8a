// Small blocks (to 64 KiB) live in per-thread lists and cost a few nanoseconds; larger ones go through one
// mutex. Blocks of 4 MiB and more are mapped directly, so that the system gets them back on trim.
#include "core/allocator.h"

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/hooks.h"
#include "core/profile.h"

namespace suan {
namespace {

constexpr int64_t min_block = 64;
constexpr int64_t small_limit = 64 << 10;
constexpr int64_t thread_cache_bytes = 1 << 20;  // per size class
#if defined(__SANITIZE_ADDRESS__)
constexpr bool cache_small = false;  // each small block its own, so that ASan sees its end and its life
#else
constexpr bool cache_small = true;
#endif

// Four classes per power of two: at most 25 % over the request.
int class_of(int64_t bytes) {
  if (bytes <= min_block) return 0;
  int log = 63 - std::countl_zero(uint64_t(bytes - 1));
  int quarter = int(((bytes - 1) >> (log - 2)) & 3);
  return (log - 6) * 4 + quarter + 1;
}
int64_t class_bytes(int c) {
  if (c == 0) return min_block;
  int log = (c - 1) / 4 + 6, quarter = (c - 1) % 4;
  int64_t size = (int64_t(1) << log) + (int64_t(quarter + 1) << (log - 2));
  return (size + min_block - 1) / min_block * min_block;  // what an aligned allocation has to be
}
int64_t rounded(int64_t bytes) {
  if (bytes < map_limit) return class_bytes(class_of(bytes));
  return (bytes + 4095) / 4096 * 4096;
}
constexpr int n_small_classes = (16 - 6) * 4 + 1;

struct FreeBlock { FreeBlock* next; };

// A large block in use: what an out-of-memory report names.
struct Held {
  int64_t bytes;
  SourceMark line;   // that asked for it; of a gradient the forward line
};

struct Global {
  std::mutex mutex;
  std::unordered_map<void*, Held> held;
  std::unordered_map<int64_t, std::vector<void*>> blocks;  // by rounded size
  int64_t large_in_use = 0, large_cached = 0, peak = 0;
  std::vector<struct ThreadCache*> threads;
  int64_t retired_in_use = 0;  // net bytes of threads that ended
  // While a profile of memory is taken:
  std::vector<MemoryEvent> events;
  int64_t most_events = 0, dropped_events = 0, began = 0;
  void note(const void* block, int64_t bytes, const SourceMark& line);
};
Global& global() {
  static Global* g = new Global;  // outlives every static tensor
  return *g;
}

std::atomic<int64_t> limit{0};
std::atomic<int> keep_nothing{0};
std::atomic<int64_t> fail_countdown{0};

struct ThreadCache {
  FreeBlock* list[n_small_classes] = {};
  int32_t count[n_small_classes] = {};
  FreeBlock* objects[2] = {};
  std::atomic<int64_t> in_use{0};
  int64_t net = 0;                  // bytes that this thread took less those it gave back, of any size
  int64_t cap = INT64_MAX / 2;      // of net; differences do not overflow
  int64_t budget = 0;               // what the cap was asked for

  ThreadCache() {
    std::lock_guard lock(global().mutex);
    global().threads.push_back(this);
  }
  ~ThreadCache() {
    release();
    std::lock_guard lock(global().mutex);
    global().retired_in_use += in_use.load();
    std::erase(global().threads, this);
  }
  void release() {
    for (auto& head : list)
      for (; head;) std::free(std::exchange(head, head->next));
    for (auto& n : count) n = 0;
    for (auto& head : objects)
      for (; head;) std::free(std::exchange(head, head->next));
  }
  void note(int64_t delta) {
    net += delta;
    in_use.store(in_use.load(std::memory_order_relaxed) + delta, std::memory_order_relaxed);
  }
};

// Objects may outlive the thread's cache during exit: then memory goes straight to the system.
thread_local bool cache_gone = false;
struct CacheHolder {
  ThreadCache cache;
  ~CacheHolder() { cache_gone = true; }
};
thread_local ThreadCache* fast_cache = nullptr;
ThreadCache* thread_cache() {
  if (fast_cache) [[likely]] return fast_cache;
  if (cache_gone) return nullptr;
  static thread_local CacheHolder holder;
  struct Reset { ~Reset() { fast_cache = nullptr; } };
  static thread_local Reset reset;  // destroyed before the holder
  (void)reset;
  return fast_cache = &holder.cache;
}

int64_t total_in_use_locked(Global& g) {
  int64_t n = g.large_in_use + g.retired_in_use;
  for (ThreadCache* t : g.threads) n += t->in_use.load(std::memory_order_relaxed);
  return n;
}

void Global::note(const void* block, int64_t bytes, const SourceMark& line) {
  if (int64_t(events.size()) < most_events)
    events.push_back({block, bytes, total_in_use_locked(*this), detail::profile_clock() - began, line});
  else
    ++dropped_events;
}

// Who holds memory: lines with the bytes of their large blocks, largest first, and the rest in one.
std::string holders() {
  constexpr size_t most_lines = 8;
  struct Sum {
    SourceMark line;
    int64_t bytes = 0, blocks = 0;
  };
  std::vector<Sum> sums;
  int64_t total = 0, rest = 0;
  {
    Global& g = global();
    std::lock_guard lock(g.mutex);
    for (const auto& [p, held] : g.held) {
      auto sum = std::find_if(sums.begin(), sums.end(), [&, line = held.line](const Sum& s) { return s.line == line; });
      if (sum == sums.end()) sum = sums.insert(sums.end(), {held.line});
      sum->bytes += held.bytes;
      ++sum->blocks;
    }
    total = rest = total_in_use_locked(g);
  }
  std::stable_sort(sums.begin(), sums.end(), [](const Sum& a, const Sum& b) { return a.bytes > b.bytes; });
  if (sums.size() > most_lines) sums.resize(most_lines);
  std::string text;
  const auto row = [&](int64_t bytes, const std::string& what) {
    text += fmt::format("\n  {:>14} bytes {:>3.0f} %  {}", bytes, 100.0 * double(bytes) / double(std::max<int64_t>(total, 1)), what);
  };
  for (const Sum& s : sums) {
    row(s.bytes, fmt::format("{} ({} block{})", s.line ? to_string(s.line) : "no Python line", s.blocks, s.blocks == 1 ? "" : "s"));
    rest -= s.bytes;
  }
  if (rest > 0) row(rest, "other lines, and blocks up to 64 KiB");
  return text.empty() ? text : "\nHeld by the lines that asked for it:" + text;
}

[[noreturn]] void out_of_memory(int64_t bytes) {
  MemoryStats s = memory_stats();
  fail<OutOfMemory>("allocate", "no memory: expected {} bytes, got {} in use and a limit of {}{}", bytes, s.in_use,
                    limit.load() ? std::to_string(limit.load()) : "the system's", holders());
}

[[noreturn]] void over_budget(const ThreadCache& t, int64_t bytes) {
  const int64_t held = t.net - (t.cap - t.budget);
  fail<OutOfMemory>("allocate", "over the memory limit: expected at most {} bytes, got {} held and {} more asked for", t.budget, held,
                    bytes);
}

void* system_allocate(int64_t bytes) {
  if (bytes >= map_limit) {
    // Aligned to a huge page and asking for them: first touch costs 512 times fewer faults.
    constexpr uintptr_t huge = 2 << 20;
    size_t room = size_t(bytes) + huge;
    void* p = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    uintptr_t at = uintptr_t(p), start = (at + huge - 1) / huge * huge, end = start + size_t(bytes);
    if (start > at) munmap(p, start - at);
    if (at + room > end) munmap(reinterpret_cast<void*>(end), at + room - end);
    madvise(reinterpret_cast<void*>(start), size_t(bytes), MADV_HUGEPAGE);
    return reinterpret_cast<void*>(start);
  }
  return std::aligned_alloc(64, size_t(bytes));
}
void system_free(void* p, int64_t bytes) {
  if (bytes >= map_limit) munmap(p, size_t(bytes));
  else std::free(p);
}

void drop_cached_locked(Global& g) {
  for (auto& [size, list] : g.blocks)
    for (void* p : list) system_free(p, size);
  g.blocks.clear();
  g.large_cached = 0;
}

void* allocate_large(int64_t size) {
  Global& g = global();
  const SourceMark line = executing_source();
  ThreadCache* t = thread_cache();
  if (t && size > t->cap - t->net) over_budget(*t, size);
  std::unique_lock lock(g.mutex);
  int64_t cap = limit.load(std::memory_order_relaxed);
  if (cap && total_in_use_locked(g) + size > cap) { lock.unlock(); out_of_memory(size); }
  void* p = nullptr;
  if (auto it = g.blocks.find(size); it != g.blocks.end() && !it->second.empty()) {
    p = it->second.back();
    it->second.pop_back();
    g.large_cached -= size;
  } else {
    // No idle block fits: those that would lift the process above its earlier peak go first.
    if (g.large_in_use + g.large_cached + size > g.peak) drop_cached_locked(g);
    p = system_allocate(size);
    if (!p) {
      drop_cached_locked(g);
      p = system_allocate(size);
    }
    if (!p) { lock.unlock(); out_of_memory(size); }
  }
  g.large_in_use += size;
  g.held[p] = {size, line};
  if (t) t->net += size;
  if (g.most_events) [[unlikely]] g.note(p, size, line);
  g.peak = std::max(g.peak, total_in_use_locked(g));
  return p;
}

void free_large(void* p, int64_t size) {
  Global& g = global();
  if (ThreadCache* t = thread_cache()) t->net -= size;
  std::lock_guard lock(g.mutex);
  g.large_in_use -= size;
  if (g.most_events) [[unlikely]] g.note(p, -size, g.held[p].line);
  g.held.erase(p);
  // Steps repeat their sizes: blocks stay as long as the whole is not much above what was needed at once.
  if (g.large_in_use + g.large_cached + size > g.peak + g.peak / 4 + (int64_t(64) << 20) ||
      (size >= map_limit && keep_nothing.load(std::memory_order_relaxed))) {
    system_free(p, size);
    return;
  }
  g.blocks[size].push_back(p);
  g.large_cached += size;
}

void check_fault() {
  if (fail_countdown.load(std::memory_order_relaxed) == 0) [[likely]] return;
  if (fail_countdown.fetch_sub(1) == 1)
    fail<OutOfMemory>("allocate", "no memory: expected a block, got an injected failure");
}

}  // namespace

void* cpu_allocate(int64_t bytes) {
  check_fault();
  if (bytes < 0 || bytes > (int64_t(1) << 56)) out_of_memory(bytes);
  if (bytes > small_limit) return allocate_large(rounded(bytes));
  int c = class_of(bytes);
  int64_t size = class_bytes(c);
  ThreadCache* t = thread_cache();
  if (t) {
    if (size > t->cap - t->net) [[unlikely]] over_budget(*t, size);
    t->note(size);
    if (FreeBlock* b = t->list[c]) {
      t->list[c] = b->next;
      --t->count[c];
      return b;
    }
  }
  void* p = nullptr;
  if constexpr (cache_small) p = std::aligned_alloc(64, size_t(size));
  else if (posix_memalign(&p, 64, size_t(bytes))) p = nullptr;
  if (!p) {
    if (t) t->note(-size);
    out_of_memory(bytes);
  }
  return p;
}

void cpu_free(void* p, int64_t bytes) {
  if (!p) return;
  if (bytes > small_limit) return free_large(p, rounded(bytes));
  int c = class_of(bytes);
  int64_t size = class_bytes(c);
  ThreadCache* t = thread_cache();
  if (!t) return std::free(p);
  t->note(-size);
  if (!cache_small || t->count[c] * size >= thread_cache_bytes) return std::free(p);
  auto* b = static_cast<FreeBlock*>(p);
  b->next = t->list[c];
  t->list[c] = b;
  ++t->count[c];
}

void cpu_zero_mapped(void* p, int64_t bytes) {
  if (madvise(p, size_t(rounded(bytes)), MADV_DONTNEED) != 0) std::memset(p, 0, size_t(bytes));
}

MemoryStats memory_stats() {
  Global& g = global();
  std::lock_guard lock(g.mutex);
  MemoryStats s;
  s.in_use = total_in_use_locked(g);
  g.peak = std::max(g.peak, s.in_use);
  s.peak = g.peak;
  s.cached = g.large_cached;
  return s;
}

void detail::start_memory_events(int64_t most, int64_t began) {
  Global& g = global();
  std::lock_guard lock(g.mutex);
  g.most_events = most;
  g.dropped_events = 0;
  g.began = began;
  const int64_t in_use = total_in_use_locked(g);
  for (const auto& [p, held] : g.held) g.events.push_back({p, held.bytes, in_use, 0, held.line});
  if (g.events.empty()) g.events.push_back({nullptr, 0, in_use, 0, {}});
}

std::vector<MemoryEvent> detail::stop_memory_events(int64_t& dropped) {
  Global& g = global();
  std::lock_guard lock(g.mutex);
  dropped += g.dropped_events;
  g.most_events = g.dropped_events = 0;
  return std::exchange(g.events, {});
}

void reset_peak_memory() {
  Global& g = global();
  std::lock_guard lock(g.mutex);
  g.peak = total_in_use_locked(g);
}

void trim_memory() {
  {
    std::lock_guard lock(global().mutex);
    drop_cached_locked(global());
  }
  if (ThreadCache* t = thread_cache()) t->release();
  malloc_trim(0);  // blocks below map_limit come from malloc, which keeps what it was given back
}

MemoryBudget::MemoryBudget(int64_t bytes) : cap_(INT64_MAX / 2), bytes_(0) {
  ThreadCache* t = thread_cache();
  if (!t) return;
  cap_ = t->cap;
  bytes_ = t->budget;
  bytes = std::max<int64_t>(bytes, 0);
  if (t->net > t->cap - bytes) return;   // the one around is tighter
  t->cap = t->net + bytes;
  t->budget = bytes;
}
MemoryBudget::~MemoryBudget() {
  if (ThreadCache* t = thread_cache()) {
    t->cap = cap_;
    t->budget = bytes_;
  }
}
void require_memory(int64_t bytes) {
  ThreadCache* t = thread_cache();
  if (t && bytes > t->cap - t->net) over_budget(*t, bytes);
}

MemoryCharge::MemoryCharge(int64_t bytes) : bytes_(bytes) {
  require_memory(bytes);
  if (ThreadCache* t = thread_cache()) t->net += bytes;
}
MemoryCharge::~MemoryCharge() {
  if (ThreadCache* t = thread_cache()) t->net -= bytes_;
}

NoMappedCache::NoMappedCache() { ++keep_nothing; }
NoMappedCache::~NoMappedCache() { --keep_nothing; }

void set_memory_limit(int64_t bytes) { limit = bytes; }
void fail_nth_allocation(int64_t n) { fail_countdown = n; }

constexpr size_t object_bytes[2] = {128, 320};

void* object_allocate(int k) {
  ThreadCache* t = thread_cache();
  if (t && int64_t(object_bytes[k]) > t->cap - t->net) [[unlikely]] over_budget(*t, int64_t(object_bytes[k]));
  if (t) t->net += int64_t(object_bytes[k]);
  if (t && t->objects[k]) {
    FreeBlock* b = t->objects[k];
    t->objects[k] = b->next;
    return b;
  }
  void* p = std::aligned_alloc(64, object_bytes[k]);
  if (!p) throw OutOfMemory("[allocate] no memory: expected a tensor handle, got none");
  return p;
}

void object_free(void* p, int k) {
  ThreadCache* t = thread_cache();
  if (!t) return std::free(p);
  t->net -= int64_t(object_bytes[k]);
  auto* b = static_cast<FreeBlock*>(p);
  b->next = t->objects[k];
  t->objects[k] = b;
}

}  // namespace suan
