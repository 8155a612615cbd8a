// Which communicator a thread uses, and whose line a collective came from.
#include "core/communicator.h"

#include <mutex>

namespace suan {
namespace {
std::mutex process_mutex;
std::shared_ptr<Communicator>& process_communicator() {
  static auto* c = new std::shared_ptr<Communicator>;  // outlives static destructors of other libraries
  return *c;
}
thread_local std::shared_ptr<Communicator> thread_communicator;
thread_local SourceMark recorded_at;
}  // namespace

const char* name(Reduce r) {
  switch (r) {
    case Reduce::sum: return "sum";
    case Reduce::mean: return "mean";
    case Reduce::min: return "min";
    case Reduce::max: return "max";
  }
  return "?";
}

Reduce parse_reduce(std::string_view op, std::string_view text) {
  for (Reduce r : {Reduce::sum, Reduce::mean, Reduce::min, Reduce::max})
    if (text == name(r)) return r;
  fail<ValueError>(op, "unknown reduction: expected sum, mean, min or max, got '{}'", text);
}

int64_t collective_scratch(const CollectiveCall& call, int64_t world) {
  const int64_t n = numel(call.shape), item = item_size(call.dtype);
  const bool whole = std::string_view(call.op) == "all_reduce" && n * item <= small_all_reduce;
  return (world - 1) * (whole ? n : (n + world - 1) / world) * item;
}

std::shared_ptr<Communicator> current_communicator() {
  if (thread_communicator) return thread_communicator;
  std::lock_guard lock(process_mutex);
  return process_communicator();
}

void set_process_communicator(std::shared_ptr<Communicator> c) {
  std::lock_guard lock(process_mutex);
  std::swap(process_communicator(), c);
}

void set_thread_communicator(std::shared_ptr<Communicator> c) { thread_communicator = std::move(c); }

std::shared_ptr<Communicator> communicator_for(const char* op, int64_t world) {
  if (world == 1) return nullptr;
  std::shared_ptr<Communicator> c = current_communicator();
  const int64_t size = c ? c->size() : 1;
  if (size != world)
    fail<MismatchError>(op, "made for another number of ranks: expected {}, got {}{}", world, size,
                        c ? "" : " (init_process_group was not called, or the group was destroyed)");
  return c;
}

CollectiveSource::CollectiveSource(const SourceMark& mark) : before_(recorded_at) { recorded_at = mark; }
CollectiveSource::~CollectiveSource() { recorded_at = before_; }
SourceMark collective_source() { return recorded_at ? recorded_at : capture_source(); }

}  // namespace suan
