// Communicator: what collective ops need from the ranks of a program. The interface is here, so that kernels
// know no transport; implementations are in distributed/.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/shape.h"
#include "core/dtype.h"
#include "core/source.h"

namespace suan {

class DistributedError : public Error { using Error::Error; };
// Ranks called different things: nothing was moved, and the communicator stays usable.
class MismatchError : public DistributedError { using DistributedError::DistributedError; };
// A rank ended or its connection broke.
class PeerLostError : public DistributedError { using DistributedError::DistributedError; };
// A rank did not arrive within the time limit.
class PeerTimeoutError : public DistributedError { using DistributedError::DistributedError; };

enum class Reduce : uint8_t { sum, mean, min, max };
const char* name(Reduce r);
Reduce parse_reduce(std::string_view op, std::string_view text);  // ValueError

// One call as its rank sees it; compared between ranks before data moves.
struct CollectiveCall {
  const char* op = "";
  Shape shape = {};             // of the input
  DType dtype = DType::f32;
  Reduce reduce = Reduce::sum;
  int root = 0;
};

// An all-reduce up to this size goes round once, all data to all ranks; larger ones are scattered and gathered.
inline constexpr int64_t small_all_reduce = 16384;  // bytes
// Scratch memory in bytes that an all_reduce or reduce_scatter wants.
int64_t collective_scratch(const CollectiveCall& call, int64_t world);

// What a rank's collectives took since it joined the group.
struct CommunicatorStats {
  int64_t calls = 0, bytes = 0;   // bytes of tensors that it sent
  double waited = 0, moved = 0;   // seconds until all ranks had come to a call, and from then to its end
  // The parts of these in which the computing thread stood still; the rest was hidden behind its work.
  double exposed_waited = 0, exposed_moved = 0;
};

// Every rank makes the same calls in the same order. A sum is a balanced binary tree over the ranks, element
// by element, so its bits depend on neither transport nor timing; narrow floats are summed in float32 and
// rounded once. Outputs never overlap inputs.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string transport() const = 0;  // "tcp", and what it uses beside
  virtual void all_reduce(const CollectiveCall& call, const void* in, void* out, void* scratch) = 0;
  // out [size * n, ...] from in [n, ...].
  virtual void all_gather(const CollectiveCall& call, const void* in, void* out) = 0;
  // out [n, ...] from in [size * n, ...].
  virtual void reduce_scatter(const CollectiveCall& call, const void* in, void* out, void* scratch) = 0;
  virtual void broadcast(const CollectiveCall& call, const void* in, void* out) = 0;
  virtual void barrier() = 0;
  // MismatchError unless every rank gives the same hash for `what` (at most 23 characters).
  virtual void agree(const char* what, std::pair<uint64_t, uint64_t> hash) = 0;
  virtual CommunicatorStats stats() const = 0;

  // Runs `task`, a collective, beside the caller and after all that were started before. Returns its number.
  virtual uint64_t start(std::function<void()> task) = 0;
  // Until that task and all before it are done. Throws what the first one that failed threw; those after it were
  // not begun, on no rank.
  virtual void wait(uint64_t task) = 0;
  // Until no task runs; forgets a failure. give_up: without waiting for other ranks, who lose this one.
  virtual void settle(bool give_up) noexcept = 0;
};

// This thread's communicator: its own (ranks as threads), else the process's, else null: a world of one.
std::shared_ptr<Communicator> current_communicator();
void set_process_communicator(std::shared_ptr<Communicator> c);
void set_thread_communicator(std::shared_ptr<Communicator> c);
// The communicator for an op that was made for `world` ranks; null when that is one. MismatchError otherwise.
std::shared_ptr<Communicator> communicator_for(const char* op, int64_t world);

// The line that a collective of this scope was recorded at: a plan sets it around its steps.
class CollectiveSource {
 public:
  explicit CollectiveSource(const SourceMark& mark);
  ~CollectiveSource();
  CollectiveSource(const CollectiveSource&) = delete;

 private:
  SourceMark before_;
};
SourceMark collective_source();  // that line, else the one being executed

}  // namespace suan
