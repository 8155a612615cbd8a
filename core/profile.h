// What ran when: the kernels of eager calls and the steps of plans, in the whole process, with the Python line that
// asked for each. While no profile is taken a call pays for one load and a branch.
#pragma once

#include <atomic>
#include <vector>

#include "core/op.h"
#include "core/source.h"

namespace suan {

struct ProfiledCall {
  const OpDef* op = nullptr;   // null: a copy that the planner added
  SourceMark source;
  int64_t begin = 0, end = 0;  // nanoseconds since the profile began
  int32_t thread = 0;          // numbered as they came
  bool planned = false;
};

// A block of more than 64 KiB taken or given back; smaller ones only count in `in_use`.
struct MemoryEvent {
  const void* block = nullptr;
  int64_t bytes = 0;           // below zero when it is given back
  int64_t in_use = 0;          // of the whole process, with it
  int64_t at = 0;              // nanoseconds since the profile began; 0: it was there already
  SourceMark source;           // of the line that asked for it
};

struct Profile {
  std::vector<ProfiledCall> calls;   // by thread, then as they ended
  std::vector<MemoryEvent> memory;   // as they happened; empty unless asked for
  int64_t nanoseconds = 0;           // from start to stop
  int64_t dropped = 0;               // past the limit
};

// StateError when one is being taken. With `memory`, blocks are noted, too, under the same limit.
void start_profile(int64_t most_calls, bool memory);
Profile stop_profile();                   // StateError when none is

namespace detail {
extern std::atomic<bool> profiling;
int64_t profile_clock();
// By the allocator, under its own lock; `began` as profile_clock() tells it.
void start_memory_events(int64_t most, int64_t began);
std::vector<MemoryEvent> stop_memory_events(int64_t& dropped);
void note_call(const OpDef* op, const SourceMark* source, int64_t begin, bool planned);
}  // namespace detail

// The life of one call. Of an eager one `source` is null: it is the line of ResultSource, else the one being executed.
// A device's kernels run later: for them it is the launch that is seen.
class Profiled {
 public:
  Profiled(const OpDef* op, bool planned, const SourceMark* source = nullptr)
      : on_(detail::profiling.load(std::memory_order_relaxed)), planned_(planned), op_(op), source_(source) {
    if (on_) begin_ = detail::profile_clock();
  }
  ~Profiled() {
    if (on_) detail::note_call(op_, source_, begin_, planned_);
  }
  Profiled(const Profiled&) = delete;

 private:
  const bool on_, planned_;
  const OpDef* op_;
  const SourceMark* source_;
  int64_t begin_ = 0;
};

}  // namespace suan
