// Fibres, barriers, warp collectives and asynchronous copies. All state belongs to the launch in progress;
// the device lock (device.cpp) admits one at a time.
#include <dlfcn.h>
#ifdef __SANITIZE_ADDRESS__
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>

#include "kernels/cuda/emulation/internal.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
extern "C" {
extern unsigned char __start_emu_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_emu_shared[] __attribute__((weak, visibility("hidden")));
void emu_switch(void** save, void* to);
}
// Saves the registers that a call must keep, changes stacks, returns on the other one.
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
.type emu_switch,@function
emu_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size emu_switch,.-emu_switch
)");

namespace emu {

unsigned char* shared_memory;
uint32_t lane_id;
Running running;

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t stack_bytes = 256 * 1024;
#else
constexpr size_t stack_bytes = 64 * 1024;
#endif
constexpr size_t max_shared = 227 * 1024;
constexpr uint32_t red_zone = 512;      // before every array in shared memory
constexpr uint64_t stack_mark = 0xc0ffee;

enum class State : uint8_t { fresh, ready, barrier, warp, done };
struct Fibre {
  void* top = nullptr;
  char* stack = nullptr;
  size_t bytes = stack_bytes;
  void* fake = nullptr;   // ASan's
};
struct AsyncCopy { void* to; const void* from; int bytes, from_bytes; const void* site; };
struct Thread {
  uint3 index;
  uint32_t number;
  State state;
  const void* site;
  Fibre* fibre;
  std::vector<std::vector<AsyncCopy>> copies;   // committed groups; the last one is open
};
// Lanes that meet under one mask. Two phases, so that a fast lane does not overwrite what a slow one reads.
struct Meeting {
  uint32_t mask = 0, arrived = 0;
  Collective what = Collective::none;
  int phase = 0;
  alignas(16) unsigned char slots[2][32][slot_bytes];
};
struct Warp { std::vector<std::unique_ptr<Meeting>> meetings; uint32_t alive = 0, epoch = 0; };

struct Block {   // never destroyed: fibres and their stacks are kept
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<uint32_t> order, ready;
  size_t next_fresh = 0, next_ready = 0;
  int alive = 0, n_threads = 0, at_barrier = 0;
  long spins = 0;
  const void* barrier_site = nullptr;
  bool told_of_exits = false, aborted = false;
  std::vector<Fibre*> fibres, idle;
  Fibre main;
  Thread* current = nullptr;
  void (*body)(void*) = nullptr;
  void* arg = nullptr;
  uint32_t carved = 0;
};
Block& block = *new Block;

std::vector<std::string> reports;
long n_reports;
Order order = Order::forward;
uint64_t random_state = 88172645463325252ull;

uint32_t next_random() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return uint32_t(random_state >> 16);
}

// All bits set is a NaN in every floating type.
void poison(void* p, size_t bytes) { std::memset(p, 0xff, bytes); }

#ifdef __SANITIZE_ADDRESS__   // it has to know which stack is in use
void leave_stack(Fibre* from, const Fibre* to) { __sanitizer_start_switch_fiber(&from->fake, to->stack, to->bytes); }
void enter_stack(Fibre* me) { __sanitizer_finish_switch_fiber(me ? me->fake : nullptr, nullptr, nullptr); }
void find_main_stack() {
  pthread_attr_t attributes;
  void* low = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &low, &block.main.bytes);
  pthread_attr_destroy(&attributes);
  block.main.stack = static_cast<char*>(low);
}
#else
void leave_stack(Fibre*, const Fibre*) {}
void enter_stack(Fibre*) {}
void find_main_stack() {}
#endif

void jump(Fibre* from, Fibre* to) {
  ++counters().switches;
  leave_stack(from, to);
  emu_switch(&from->top, to->top);
  enter_stack(from);
}
void become(Thread* t) {
  block.current = t;
  threadIdx = t->index;
  lane_id = t->number & 31;
  running.thread = t->number;
  running.warp_epoch = block.warps[t->number >> 5].epoch;
}
void on_stack_of(const Fibre* f) {
  running.stack_low = f->stack;
  running.stack_high = f->stack + stack_bytes;
}

void fibre_main();
Fibre* new_fibre() {
  if (!block.idle.empty()) {
    Fibre* f = block.idle.back();
    block.idle.pop_back();
    return f;
  }
  auto* f = new Fibre;
  f->stack = static_cast<char*>(mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  std::memcpy(f->stack, &stack_mark, sizeof stack_mark);
  // Tops are staggered, or all stacks would use the same lines of the first-level cache.
  char* top = f->stack + stack_bytes - 64 - block.fibres.size() % 61 * 64;
  auto** p = reinterpret_cast<void**>(uintptr_t(top) & ~uintptr_t(15));
  *--p = nullptr;
  *--p = reinterpret_cast<void*>(fibre_main);
  for (int i = 0; i < 6; ++i) *--p = nullptr;
  f->top = p;
  block.fibres.push_back(f);
  return f;
}

// Who runs next: a ready thread, else one that has not begun, else none.
Thread* pick() {
  Block& b = block;
  bool ready = b.next_ready < b.ready.size(), fresh = b.next_fresh < b.order.size();
  if (order == Order::random && ready && fresh && (next_random() & 1)) ready = false;
  if (ready && (order == Order::random || !fresh)) {
    if (order == Order::random)
      std::swap(b.ready[b.next_ready], b.ready[b.next_ready + next_random() % (b.ready.size() - b.next_ready)]);
    Thread* t = &b.threads[b.ready[b.next_ready++]];
    if (b.next_ready > 4096) {
      b.ready.erase(b.ready.begin(), b.ready.begin() + long(b.next_ready));
      b.next_ready = 0;
    }
    return t;
  }
  if (fresh) return &b.threads[b.order[b.next_fresh++]];
  return ready ? &b.threads[b.ready[b.next_ready++]] : nullptr;
}

// Gives the processor away until this thread is made ready.
void wait() {
  Thread* me = block.current;
  Thread* next = block.aborted ? nullptr : pick();
  if (!next) {
    jump(me->fibre, &block.main);
  } else if (next == me) {
    me->state = State::ready;
    become(me);
    return;
  } else {
    if (next->state == State::fresh) next->fibre = new_fibre();
    next->state = State::ready;
    become(next);
    jump(me->fibre, next->fibre);
  }
  become(me);
}

void release_barrier() {
  block.at_barrier = 0;
  ++running.epoch;
  for (uint32_t i : block.order)
    if (block.threads[i].state == State::barrier) {
      block.threads[i].state = State::ready;
      block.ready.push_back(i);
    }
}

void leave_block() {
  Thread* me = block.current;
  me->state = State::done;
  --block.alive;
  block.warps[me->number >> 5].alive &= ~(1u << (me->number & 31));
  for (auto& group : me->copies)
    if (!group.empty()) {
      report("asynccheck", "thread %u of %s exits with a cp.async that it never waited for (%s)", me->number,
             running.kernel, source_line(group[0].site).c_str());
      break;
    }
  me->copies.clear();
  hopper_thread_ends();
  if (block.at_barrier && block.at_barrier == block.alive) {
    report("synccheck", "__syncthreads of %s reached by %d threads after thread %u has exited", running.kernel,
           block.alive, me->number);
    release_barrier();
  }
}

void fibre_main() {
  enter_stack(nullptr);
  for (;;) {
    on_stack_of(block.current->fibre);
    block.body(block.arg);
    Fibre* f = block.current->fibre;
    leave_block();
    Thread* next = pick();
    if (next && next->state == State::fresh) {   // goes on with this stack: no switch
      next->fibre = f;
      next->state = State::ready;
      become(next);
      continue;
    }
    block.idle.push_back(f);
    if (!next) {
      jump(f, &block.main);
      continue;
    }
    next->state = State::ready;
    become(next);
    jump(f, next->fibre);
  }
}

void report_deadlock() {
  struct Waiting { int n; uint32_t first; };
  std::map<std::pair<const void*, State>, Waiting> where;
  int done = 0;
  for (const Thread& t : block.threads) {
    if (t.state == State::done) { ++done; continue; }
    auto [at, fresh] = where.insert({{t.site, t.state}, {0, t.number}});
    ++at->second.n;
  }
  std::string list;
  for (auto& [key, who] : where)
    list += "; " + std::to_string(who.n) + " threads (first " + std::to_string(who.first) + ") wait at " +
            source_line(key.first) + (key.second == State::barrier ? ", block barrier"
                                      : key.second == State::warp  ? ", warp collective"
                                                                   : ", flag");
  report("synccheck", "deadlock in %s, block (%u,%u,%u): %d threads have exited%s", running.kernel, blockIdx.x,
         blockIdx.y, blockIdx.z, done, list.c_str());
}

void run_block(dim3 shape) {
  Block& b = block;
  const unsigned n = unsigned(b.n_threads);
  for (unsigned i = 0; i < n; ++i) b.order[i] = order == Order::reverse ? n - 1 - i : i;
  if (order == Order::random)
    for (unsigned i = n; i-- > 1;) std::swap(b.order[i], b.order[next_random() % (i + 1)]);
  for (unsigned i = 0; i < n; ++i) {
    Thread& t = b.threads[i];
    t.index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
    t.number = i;
    t.state = State::fresh;
    t.site = nullptr;
    t.fibre = nullptr;
    t.copies.clear();
  }
  for (Warp& w : b.warps) {
    w.alive = ~0u;
    w.epoch = 0;
    for (auto& m : w.meetings) m->arrived = 0;
  }
  if (n & 31) b.warps.back().alive = (1u << (n & 31)) - 1;
  b.ready.clear();
  b.next_ready = b.next_fresh = 0;
  b.alive = int(n);
  b.at_barrier = 0;
  b.spins = 0;
  b.barrier_site = nullptr;
  b.carved = 0;
  if (running.shared_bytes) poison(shared_memory, running.shared_bytes);
  if (__start_emu_shared) poison(__start_emu_shared, size_t(__stop_emu_shared - __start_emu_shared));
  checker_next_block();
  while (b.alive > 0 && !b.aborted) {
    Thread* t = pick();
    if (!t) {
      report_deadlock();
      b.aborted = true;
      break;
    }
    if (t->state == State::fresh) t->fibre = new_fibre();
    t->state = State::ready;
    become(t);
    jump(&b.main, t->fibre);
  }
  hopper_block_ends();
  counters().threads += n;
  ++counters().blocks;
}

}  // namespace

Counters& counters() {
  static Counters c;
  return c;
}

void set_order(Order o, uint64_t seed) {
  order = o;
  random_state = seed * 0x9e3779b97f4a7c15ull + 88172645463325252ull;
}

void report(const char* kind, const char* format, ...) {
  if (++n_reports > 12) return;
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  reports.push_back(std::string(kind) + ": " + text);
}
std::vector<std::string> take_reports() {
  n_reports = 0;
  return std::exchange(reports, {});
}
long count_reports() { return n_reports; }

// "softmax.cu:41", from the debug information; the address itself without it.
std::string source_line(const void* site) {
  static std::map<const void*, std::string> known;
  if (const auto it = known.find(site); it != known.end()) return it->second;
  Dl_info info{};
  if (!site || !dladdr(site, &info) || !info.dli_fname) return "unknown line";
  char command[768];
  const auto offset = long(static_cast<const char*>(site) - static_cast<const char*>(info.dli_fbase)) - 1;
  snprintf(command, sizeof command, "addr2line -e '%s' %#lx 2>/dev/null", info.dli_fname, offset);
  char text[512] = "";
  if (FILE* f = popen(command, "r")) {
    if (!fgets(text, sizeof text, f)) text[0] = 0;
    pclose(f);
  }
  std::string line = text;
  line = line.substr(0, line.find(" (discriminator"));
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  if (line.empty() || line[0] == '?') {
    snprintf(text, sizeof text, "%#lx", offset);
    return known[site] = text;
  }
  return known[site] = line.substr(line.rfind('/') + 1);
}

bool is_scheduler_memory(uintptr_t a) {
  for (const Fibre* f : block.fibres)
    if (a >= uintptr_t(f->stack) && a < uintptr_t(f->stack) + stack_bytes) return true;
  for (const Warp& w : block.warps)
    for (const auto& m : w.meetings)
      if (a >= uintptr_t(m.get()) && a < uintptr_t(m.get() + 1)) return true;
  return a >= uintptr_t(running.launch_frame);
}

void sync_block(const void* site) {
  Thread* me = block.current;
  if (block.alive < block.n_threads && !block.told_of_exits) {
    block.told_of_exits = true;
    report("synccheck", "__syncthreads of %s at %s while %d of %d threads have exited", running.kernel,
           source_line(site).c_str(), block.n_threads - block.alive, block.n_threads);
  }
  if (block.at_barrier && block.barrier_site != site)
    report("synccheck", "threads of one block of %s meet at different barriers: %s and %s", running.kernel,
           source_line(block.barrier_site).c_str(), source_line(site).c_str());
  block.barrier_site = me->site = site;
  if (++block.at_barrier == block.alive) release_barrier();
  else {
    me->state = State::barrier;
    wait();
  }
  on_stack_of(block.current->fibre);
}

const unsigned char* exchange(uint32_t mask, Collective what, const void* value, int bytes, const void* site) {
  Thread* me = block.current;
  const int lane = int(me->number & 31);
  Warp& warp = block.warps[me->number >> 5];
  const uint32_t exist = (me->number | 31) < uint32_t(block.n_threads) ? ~0u : (1u << (block.n_threads & 31)) - 1;
  if (!(mask >> lane & 1))
    report("synccheck", "lane %d of %s calls a warp collective with mask %08x that leaves it out (%s)", lane,
           running.kernel, mask, source_line(site).c_str());
  if (mask & ~warp.alive & exist) {
    report("synccheck", "mask %08x in %s names exited lanes %08x (%s)", mask, running.kernel, mask & ~warp.alive,
           source_line(site).c_str());
    mask &= warp.alive;
  }
  mask &= exist;
  Meeting* m = nullptr;
  for (auto& known : warp.meetings)
    if (known->mask == mask) m = known.get();
  if (!m) {
    warp.meetings.push_back(std::make_unique<Meeting>());
    m = warp.meetings.back().get();
    m->mask = mask;
  }
  if (m->arrived && m->what != what)
    report("synccheck", "lanes of one warp of %s meet in different collectives (%s)", running.kernel,
           source_line(site).c_str());
  m->what = what;
  me->site = site;
  const int phase = m->phase;
  std::memcpy(m->slots[phase][lane], value, size_t(bytes));
  m->arrived |= 1u << lane;
  if ((m->arrived & mask) == mask) {
    m->arrived = 0;
    m->phase ^= 1;
    if (what == Collective::sync) running.warp_epoch = ++warp.epoch;
    for (uint32_t i = 0; i < 32; ++i)
      if (int(i) != lane && (mask >> i & 1)) {
        const uint32_t j = (me->number & ~31u) + i;
        if (block.threads[j].state != State::warp) continue;
        block.threads[j].state = State::ready;
        block.ready.push_back(j);
      }
  } else {
    me->state = State::warp;
    wait();
  }
  on_stack_of(block.current->fibre);
  return &m->slots[phase][0][0];
}

void spin(const void* site) {
  Thread* me = block.current;
  me->site = site;
  me->state = State::ready;
  if (++block.spins > 2000000) {
    report_deadlock();
    block.aborted = true;
  }
  block.ready.push_back(me->number);
  wait();
  on_stack_of(block.current->fibre);
}

void* take_shared(uint32_t& offset, uint32_t& used, uint32_t bytes, uint32_t align, const void* site) {
  used = (used + align - 1) / align * align + bytes;
  if (used > running.shared_bytes)
    report("launch", "%s takes %u bytes of shared memory but was launched with %zu (%s)", running.kernel, used,
           running.shared_bytes, source_line(site).c_str());
  offset = (offset + red_zone + align - 1) / align * align;
  void* p = shared_memory + offset;
  offset += bytes;
  if (offset > block.carved) {
    block.carved = offset;
    checker_shared_array(p, bytes);
    poison(p, bytes);
  }
  return p;
}

void check_aligned(const void* p, size_t bytes, const void* site) {
  if (uintptr_t(p) & (bytes - 1))
    report("misaligned", "%zu-byte access in %s, thread %u at %s: a GPU faults here", bytes, running.kernel,
           running.thread, source_line(site).c_str());
}

// ---- asynchronous copies -------------------------------------------------------------------------------

namespace {
void finish(const AsyncCopy& c) {
  const auto at = uintptr_t(c.to) | (c.from_bytes ? uintptr_t(c.from) : 0);
  if (at & uintptr_t(c.bytes - 1)) report("misaligned", "cp.async of %d bytes at %s", c.bytes, source_line(c.site).c_str());
  if (c.from_bytes) checked_access(c.from, size_t(c.from_bytes), false, false, c.site);
  checked_access(c.to, size_t(c.bytes), true, false, c.site);
  std::memcpy(c.to, c.from, size_t(c.from_bytes));
  std::memset(static_cast<char*>(c.to) + c.from_bytes, 0, size_t(c.bytes - c.from_bytes));
}
}  // namespace

void cp_async(void* to, const void* from, int bytes, int from_bytes, const void* site) {
  auto& groups = block.current->copies;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({to, from, bytes, from_bytes, site});
  checked_access(to, size_t(bytes), true, false, site);
  poison(to, size_t(bytes));    // in flight: the contents are not there yet
}
void cp_async_commit() {
  if (!block.current->copies.empty()) block.current->copies.emplace_back();
}
void cp_async_wait(int keep) {
  auto& groups = block.current->copies;
  const int committed = int(groups.size()) - 1;
  for (int i = 0; i < committed - keep; ++i)
    for (const AsyncCopy& c : groups[size_t(i)]) finish(c);
  if (committed > keep) groups.erase(groups.begin(), groups.begin() + (committed - keep));
  if (groups.size() == 1 && groups[0].empty()) groups.clear();
}

// ---- launches ------------------------------------------------------------------------------------------

void run_grid(const char* name, dim3 grid, dim3 shape, size_t shared_bytes, void (*body)(void*), void* arg) {
  const unsigned n = shape.x * shape.y * shape.z;
  if (!n || n > 1024 || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535 || shared_bytes > max_shared) {
    report("launch", "bad configuration of %s: grid (%u,%u,%u), block of %u threads, %zu bytes of shared memory",
           name, grid.x, grid.y, grid.z, n, shared_bytes);
    return;
  }
  // Twice the largest size and red zones: overruns stay inside what is mapped.
  static auto* arena = static_cast<unsigned char*>(
      mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  running.launch_frame = static_cast<char*>(__builtin_frame_address(0));
  running.kernel = name;
  running.shared_bytes = shared_bytes;
  shared_memory = arena + 65536;
  gridDim = grid;
  blockDim = shape;
  block.n_threads = int(n);
  block.body = body;
  block.arg = arg;
  block.aborted = block.told_of_exits = false;
  block.threads.resize(n);
  block.warps.resize((n + 31) / 32);
  block.order.resize(n);
  ++counters().launches;
  find_main_stack();
  checker_begin(shared_memory, shared_bytes, __start_emu_shared,
                __start_emu_shared ? size_t(__stop_emu_shared - __start_emu_shared) : 0);
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  for (uint64_t i = 0; i < blocks && !block.aborted; ++i) {
    const uint64_t at = order == Order::reverse ? blocks - 1 - i : i;
    blockIdx = {unsigned(at % grid.x), unsigned(at / grid.x % grid.y), unsigned(at / grid.x / grid.y)};
    run_block(shape);
  }
  for (const Fibre* f : block.fibres) {
    uint64_t mark;
    std::memcpy(&mark, f->stack, sizeof mark);
    if (mark != stack_mark) report("stack", "a thread of %s needs more than %zu bytes of stack", name, stack_bytes);
  }
  if (block.aborted) {   // its stacks hold threads that will not go on
    block.fibres.clear();
    block.idle.clear();
  }
  checker_end();
}

}  // namespace emu
