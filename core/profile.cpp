// One list a thread, so that threads do not wait for each other.
#include "core/profile.h"

#include <chrono>
#include <memory>
#include <mutex>

#include "core/hooks.h"

namespace suan {
namespace detail {
std::atomic<bool> profiling{false};
}

namespace {

struct List {
  std::mutex mutex;            // against the thread that stops the profile
  std::vector<ProfiledCall> calls;
  int32_t thread = 0;
  uint64_t round = 0;          // of the profile that the calls belong to
};

struct Profiler {
  std::mutex mutex;            // of what follows but the atomics
  std::vector<std::shared_ptr<List>> lists;
  std::atomic<int64_t> began{0}, left{0}, dropped{0};
  std::atomic<uint64_t> round{0};
  int32_t n_threads = 0;
};
Profiler& profiler() {
  static Profiler& p = *new Profiler;  // threads may end after main does
  return p;
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

List& own_list() {
  thread_local const std::shared_ptr<List> list = [] {
    auto l = std::make_shared<List>();
    Profiler& p = profiler();
    std::lock_guard lock(p.mutex);
    l->thread = p.n_threads++;
    p.lists.push_back(l);
    return l;
  }();
  return *list;
}

}  // namespace

int64_t detail::profile_clock() { return now(); }

void detail::note_call(const OpDef* op, const SourceMark* source, int64_t begin, bool planned) {
  const int64_t end = now();
  Profiler& p = profiler();
  if (p.left.fetch_sub(1, std::memory_order_relaxed) <= 0) {
    ++p.dropped;
    return;
  }
  const int64_t began = p.began;
  const SourceMark mark = source ? *source : executing_source();
  List& list = own_list();
  std::lock_guard lock(list.mutex);
  if (!profiling || begin < began) return;  // it began before the profile, or ended after it
  if (list.round != p.round) {
    list.calls.clear();
    list.round = p.round;
  }
  list.calls.push_back({op, mark, begin - began, end - began, list.thread, planned});
}

void start_profile(int64_t most_calls, bool memory) {
  Profiler& p = profiler();
  std::lock_guard lock(p.mutex);
  if (detail::profiling) fail<StateError>("profile", "another profile is being taken: expected one at a time, got a second");
  std::erase_if(p.lists, [](const std::shared_ptr<List>& l) { return l.use_count() == 1; });  // their threads ended
  ++p.round;
  p.left = most_calls;
  p.dropped = 0;
  p.began = now();
  if (memory) detail::start_memory_events(most_calls, p.began);
  detail::profiling = true;
}

Profile stop_profile() {
  Profiler& p = profiler();
  std::lock_guard lock(p.mutex);
  if (!detail::profiling) fail<StateError>("profile", "no profile is being taken: expected one, got none");
  detail::profiling = false;
  Profile out;
  out.nanoseconds = now() - p.began;
  out.dropped = p.dropped;
  out.memory = detail::stop_memory_events(out.dropped);
  for (const std::shared_ptr<List>& list : p.lists) {
    std::lock_guard own(list->mutex);
    if (list->round == p.round) out.calls.insert(out.calls.end(), list->calls.begin(), list->calls.end());
    list->calls = {};
  }
  return out;
}

}  // namespace suan
