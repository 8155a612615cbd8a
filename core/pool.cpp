// Thread pool: one open job at a time, workers that spin for a millisecond before they sleep on a futex. Each thread
// begins with a range of tasks of its own, the same in every job of as many tasks, so that what it read the last time
// (weights, or what it wrote for the next step) is still in its cache; then it helps the others with theirs. `state_`
// holds everything a worker must agree on: bits 0-11 count the workers inside the job, bit 12 says it is open, the rest
// is its number.
//
// Waking: Linux may wake a sleeper on its waker's own CPU (in a virtual machine idle CPUs count as taken, and where those
// that share a cache are busy it looks for none), and the two then take turns until its balancer comes by, for
// milliseconds. So a sleeping worker is kept off the caller's CPU until it runs, and one that finds itself there leaves.
#include "core/pool.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/thread_limit.h"

namespace suan {
namespace {

constexpr uint32_t active_mask = 0xfff;
constexpr uint32_t open_bit = 0x1000;
constexpr uint32_t job_step = 0x2000;
constexpr int max_threads = 1024;
constexpr auto spin_time = std::chrono::milliseconds(1);

thread_local int current_index = 0;
thread_local bool inside_task = false;
thread_local int thread_limit = 0;   // 0: none
std::atomic<bool> forked{false};

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Tasks that run one after the other on their caller's thread.
void run_inline(int64_t n, FunctionRef<void(int64_t)> fn) {
  for (int64_t i = 0; i < n; ++i) {
    if (current_index == 0) check_interrupt();
    fn(i);
  }
}

// Spins until ready() or the time is up; false when the time is up.
template <class Ready>
bool spin_until(bool spin, Ready ready) {
  if (ready()) return true;
  if (!spin) return false;
  const auto end = std::chrono::steady_clock::now() + spin_time;
  do {
    for (int i = 0; i < 16; ++i) {
      relax();
      if (ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// CPUs granted by a cgroup's quota, or a large number where there is none.
int quota_cpus() {
  constexpr int unlimited = 1 << 20;
  const auto limit = [](double quota, double period) {
    return quota <= 0 || period <= 0 ? unlimited
                                     : std::max(1, static_cast<int>(quota / period + 0.999));
  };
  int cpus = unlimited;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t a = line.find(':'), b = line.find(':', a + 1);
    if (a == std::string::npos || b == std::string::npos) continue;
    const std::string controllers = line.substr(a + 1, b - a - 1);
    // A container often sees its own group as the root, so the path is tried with and without.
    for (const std::string& path : {line.substr(b + 1), std::string()}) {
      if (controllers.empty()) {
        std::ifstream file("/sys/fs/cgroup" + path + "/cpu.max");
        double quota = 0, period = 0;
        if (file >> quota >> period) cpus = std::min(cpus, limit(quota, period));
      } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
        std::ifstream quota_file("/sys/fs/cgroup/cpu" + path + "/cpu.cfs_quota_us");
        std::ifstream period_file("/sys/fs/cgroup/cpu" + path + "/cpu.cfs_period_us");
        double quota = 0, period = 0;
        if (quota_file >> quota && period_file >> period)
          cpus = std::min(cpus, limit(quota, period));
      }
    }
  }
  return cpus;
}

class Pool {
 public:
  // Never destroyed: a worker may still be asleep when static objects go.
  static Pool& get() {
    static Pool* pool = new Pool;
    return *pool;
  }

  int size() const { return size_.load(std::memory_order_relaxed); }

  void resize(int n, bool pin) {
    std::lock_guard lock(caller_);
    stop_workers();
    pin_ = pin;
    size_.store(n, std::memory_order_relaxed);
  }

  void run(int64_t n, FunctionRef<void(int64_t)> fn) {
    std::unique_lock lock(caller_, std::defer_lock);
    const int wanted = num_threads();
    if (wanted == 1 || !lock.try_lock()) {
      run_inline(n, fn);
      return;
    }
    if (static_cast<int>(workers_.size()) + 1 < wanted) start_workers(wanted);

    const int cpu = sched_getcpu();
    caller_cpu_.store(cpu, std::memory_order_relaxed);
    limit_.store(wanted, std::memory_order_relaxed);
    fn_ = fn;
    n_ranges_ = int(std::min<int64_t>({n, wanted, most_ranges}));
    for (int t = 0; t < n_ranges_; ++t) {
      ranges_[t].next.store(n * t / n_ranges_, std::memory_order_relaxed);
      ranges_[t].end = n * (t + 1) / n_ranges_;
    }
    error_ = nullptr;
    const uint32_t job = (state_.load(std::memory_order_relaxed) & ~active_mask) + job_step;
    state_.store(job | open_bit, std::memory_order_release);
    if (spin_ && !pin_) {
      for (int i = 0; i + 1 < wanted; ++i) keep_off(*workers_[size_t(i)], cpu);
    }
    state_.notify_all();

    inside_task = true;
    work();
    inside_task = false;

    state_.fetch_and(~open_bit, std::memory_order_acq_rel);
    const auto left = [&] { return state_.load(std::memory_order_acquire) & active_mask; };
    while (!spin_until(spin_, [&] { return left() == 0; })) {
      const uint32_t seen = state_.load(std::memory_order_acquire);
      if (seen & active_mask) state_.wait(seen, std::memory_order_acquire);
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  Pool() : size_(available_cpus()) {}

  void work() {
    const int own = int(int64_t(current_index) * n_ranges_ / limit_.load(std::memory_order_relaxed));
    for (int t = 0; t < n_ranges_; ++t) {
      Range& r = ranges_[(own + t) % n_ranges_];
      while (r.next.load(std::memory_order_relaxed) < r.end) {
        const int64_t i = r.next.fetch_add(1, std::memory_order_relaxed);
        if (i >= r.end) break;
        try {
          if (current_index == 0) check_interrupt();
          fn_(i);
        } catch (...) {
          std::lock_guard lock(error_lock_);
          if (!error_) error_ = std::current_exception();
          for (int k = 0; k < n_ranges_; ++k) ranges_[k].next.store(ranges_[k].end, std::memory_order_relaxed);
        }
      }
    }
  }

  // Where a worker stands with the caller who wakes it. Between asleep and parted the caller narrows its affinity.
  enum Rest { awake, asleep, parting, parted };
  struct Worker {
    std::thread thread;
    std::atomic<Rest> rest{awake};
    cpu_set_t allowed;   // while it sleeps: where it may run
  };

  static void keep_off(Worker& w, int cpu) {
    Rest expected = asleep;
    if (w.rest.load(std::memory_order_relaxed) != asleep ||
        !w.rest.compare_exchange_strong(expected, parting, std::memory_order_acq_rel))
      return;
    cpu_set_t others = w.allowed;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) > 0) pthread_setaffinity_np(w.thread.native_handle(), sizeof others, &others);
    w.rest.store(parted, std::memory_order_release);
  }

  // Sleeps while state_ is s.
  void sleep(Worker& self, uint32_t s) {
    const bool known = !pin_ && pthread_getaffinity_np(pthread_self(), sizeof self.allowed, &self.allowed) == 0;
    if (known) self.rest.store(asleep, std::memory_order_release);
    state_.wait(s, std::memory_order_acquire);
    Rest now = asleep;
    if (!known || self.rest.compare_exchange_strong(now, awake, std::memory_order_acq_rel)) return;
    while (self.rest.load(std::memory_order_acquire) != parted) std::this_thread::yield();
    pthread_setaffinity_np(pthread_self(), sizeof self.allowed, &self.allowed);
    self.rest.store(awake, std::memory_order_relaxed);
  }

  // A worker on its caller's CPU moves to another one it may run on.
  void leave_caller() {
    if (pin_ || !spin_) return;
    const int cpu = sched_getcpu();
    cpu_set_t allowed;
    if (cpu != caller_cpu_.load(std::memory_order_relaxed) ||
        pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) != 0)
      return;
    cpu_set_t others = allowed;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) == 0) return;
    pthread_setaffinity_np(pthread_self(), sizeof others, &others);
    pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
  }

  void worker(int index, Worker& self, uint32_t seen) {
    current_index = index;
    inside_task = true;
    for (;;) {
      const auto fresh = [&] {
        const uint32_t s = state_.load(std::memory_order_acquire);
        return (s & open_bit) && (s & ~active_mask) != seen;
      };
      if (!spin_until(spin_, fresh)) {
        const uint32_t s = state_.load(std::memory_order_acquire);
        if (!stop_.load(std::memory_order_acquire) &&
            !((s & open_bit) && (s & ~active_mask) != seen))
          sleep(self, s);
      }
      leave_caller();
      if (stop_.load(std::memory_order_acquire)) return;
      uint32_t s = state_.load(std::memory_order_acquire);
      while ((s & open_bit) && (s & ~active_mask) != seen) {
        // Not wanted in this job. Should the number be a later job's, this one is over.
        if (index >= limit_.load(std::memory_order_relaxed)) {
          seen = s & ~active_mask;
          break;
        }
        if (!state_.compare_exchange_weak(s, s + 1, std::memory_order_acq_rel)) continue;
        seen = s & ~active_mask;
        work();
        // The caller sleeps only after it has closed the job, so only the last one out need wake
        // it.
        const uint32_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
        if (!(before & open_bit) && (before & active_mask) == 1) state_.notify_all();
        break;
      }
    }
  }

  void start_workers(int n) {
    // Registered once, when there is something a fork would lose.
    static const int registered = pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
    (void)registered;
    spin_ = n <= available_cpus();
    const uint32_t seen = state_.load(std::memory_order_relaxed) & ~active_mask;
    try {
      for (int i = static_cast<int>(workers_.size()) + 1; i < n; ++i) {
        workers_.push_back(std::make_unique<Worker>());
        Worker& w = *workers_.back();
        w.thread = std::thread([this, i, &w, seen] { worker(i, w, seen); });
        if (pin_) pin(w.thread, i);
      }
    } catch (const std::system_error&) {
      if (!workers_.back()->thread.joinable()) workers_.pop_back();
      const size_t got = workers_.size() + 1;
      stop_workers();
      fail<StateError>("parallel_for", "cannot start threads: expected {}, got {}", n, got);
    }
  }

  void stop_workers() {
    stop_.store(true, std::memory_order_release);
    state_.fetch_add(job_step, std::memory_order_acq_rel);
    state_.notify_all();
    for (const auto& w : workers_) w->thread.join();
    workers_.clear();
    stop_.store(false, std::memory_order_release);
  }

  static void pin(std::thread& thread, int index) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    int skip = index % std::max(1, CPU_COUNT(&allowed));
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed) || skip-- > 0) continue;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
      return;
    }
  }

  std::mutex caller_;
  std::atomic<int> size_;
  bool pin_ = false;
  std::atomic<bool> spin_{true};
  std::atomic<int> caller_cpu_{-1};
  std::atomic<int> limit_{0};   // threads wanted in the open job
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<bool> stop_{false};

  FunctionRef<void(int64_t)> fn_;
  // Tasks [next, end) of a job.
  struct alignas(64) Range {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  static constexpr int most_ranges = 16;
  Range ranges_[most_ranges];
  int n_ranges_ = 0;
  std::mutex error_lock_;
  std::exception_ptr error_;

  alignas(64) std::atomic<uint32_t> state_{0};
};

}  // namespace

int available_cpus() {
  static const int cpus = [] {
    cpu_set_t allowed;
    const int affinity = sched_getaffinity(0, sizeof allowed, &allowed) == 0
                             ? CPU_COUNT(&allowed)
                             : static_cast<int>(std::thread::hardware_concurrency());
    return std::clamp(std::min(affinity, quota_cpus()), 1, max_threads);
  }();
  return cpus;
}

void parallel_for(int64_t n, FunctionRef<void(int64_t)> fn) {
  if (forked.load(std::memory_order_relaxed)) {
    fail<StateError>("parallel_for",
                     "this process was forked after the thread pool started: expected a process "
                     "begun with 'spawn', got 'fork'");
  }
  if (n == 1) return fn(0);
  if (n <= 0) return;
  if (inside_task) return run_inline(n, fn);
  Pool::get().run(n, fn);
}

int num_threads() { return thread_limit ? thread_limit : Pool::get().size(); }

ThreadLimit::ThreadLimit(int n) : before_(thread_limit) {
  if (n < 0 || n > max_threads) fail("threads", "bad number of threads: expected 0 to {}, got {}", max_threads, n);
  if (n) thread_limit = n;
}
ThreadLimit::~ThreadLimit() { thread_limit = before_; }

void set_num_threads(int n, bool pin_to_cpus) {
  if (n < 1 || n > max_threads) {
    fail("set_num_threads", "bad number of threads: expected 1 to {}, got {}", max_threads, n);
  }
  if (inside_task) {
    fail<StateError>("set_num_threads",
                     "called from a task: expected a call outside parallel_for, "
                     "got one from thread {}",
                     current_index);
  }
  Pool::get().resize(n, pin_to_cpus);
}

int thread_index() { return current_index; }

// Mapped by itself, so that it takes as much memory as was ever written to.
std::byte* thread_scratch() {
  struct Unmap {
    void operator()(std::byte* p) const { ::munmap(p, thread_scratch_bytes); }
  };
  thread_local std::unique_ptr<std::byte, Unmap> buffer;
  if (!buffer) {
    void* p = ::mmap(nullptr, thread_scratch_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
      fail<OutOfMemory>("thread_scratch", "no memory: expected {} bytes, got none",
                        thread_scratch_bytes);
    buffer.reset(static_cast<std::byte*>(p));
  }
  return buffer.get();
}

}  // namespace suan
