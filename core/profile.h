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

struct Profile {
  std::vector<ProfiledCall> calls;   // by thread, then as they ended
  int64_t nanoseconds = 0;           // from start to stop
  int64_t dropped = 0;               // past the limit
};

void start_profile(int64_t most_calls);   // StateError when one is being taken
Profile stop_profile();                   // StateError when none is

namespace detail {
extern std::atomic<bool> profiling;
int64_t profile_clock();
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
