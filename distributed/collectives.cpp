// Collectives of fixed order: every rank gets the pieces it is to reduce from all others and adds them in one
// balanced tree over the ranks. A reduce-scatter moves (N-1)/N of the data once, as a ring does, and an
// all-reduce twice; the scratch it needs is known beforehand and comes from the plan's arena.
#include "distributed/collectives.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/convert.h"
#include "core/interrupt.h"
#include "core/tensor.h"
#include "distributed/progress.h"

namespace suan::distributed {
namespace {

// What a rank says of a call before its data moves.
struct Header {
  uint64_t sequence = 0;
  char op[24] = {};
  uint8_t dtype = 0, reduce = 0, n_dims = 0, unused = 0;
  int32_t root = 0;
  int64_t dims[8] = {};
  uint64_t hash[2] = {};
  bool operator==(const Header&) const = default;
};
static_assert(sizeof(Header) == 120 && std::is_trivially_copyable_v<Header>);

std::string describe(const Header& h) {
  Shape shape;
  for (int i = 0; i < std::min<int>(h.n_dims, 8); ++i) shape.push_back(h.dims[i]);
  std::string text = fmt::format("{} ", std::string_view(h.op, strnlen(h.op, sizeof h.op)));
  if (h.hash[0] || h.hash[1]) text += fmt::format("{:016x}{:016x} ", h.hash[0], h.hash[1]);
  else if (h.dtype < uint8_t(n_dtypes)) text += to_string(TensorType{DType(h.dtype), shape, {}}) + " ";
  if (std::string_view(h.op).ends_with("reduce") || std::string_view(h.op) == "reduce_scatter")
    text += std::string(name(Reduce(h.reduce))) + " ";
  if (std::string_view(h.op) == "broadcast") text += fmt::format("from rank {} ", h.root);
  return text + fmt::format("(call {})", h.sequence);
}

constexpr int64_t block = 512;  // elements reduced at a time: a tree's partial sums stay on the stack

template <class C>
C combine(Reduce r, C a, C b) {
  switch (r) {
    case Reduce::min: return b < a || b != b ? b : a;
    case Reduce::max: return a < b || b != b ? b : a;
    default: return a + b;
  }
}

// parts[lo, hi) -> out, pairs first: for a power of two ((0+1)+(2+3))+...
template <class C, class Load>
void tree(const Load& load, Reduce r, int lo, int hi, int64_t at, int64_t n, C* out) {
  if (hi - lo == 1) return load(lo, at, n, out);
  int half = 1;
  while (2 * half < hi - lo) half *= 2;
  C right[block];
  tree(load, r, lo, lo + half, at, n, out);
  tree(load, r, lo + half, hi, at, n, right);
  if (r == Reduce::sum || r == Reduce::mean)
    for (int64_t i = 0; i < n; ++i) out[i] += right[i];
  else
    for (int64_t i = 0; i < n; ++i) out[i] = combine(r, out[i], right[i]);
}

template <class T, class C, class To, class From>
void reduce_typed(std::span<const void* const> parts, void* out, int64_t n, Reduce r, To widen, From narrow) {
  auto load = [&](int part, int64_t at, int64_t count, C* to) {
    const T* from = static_cast<const T*>(parts[size_t(part)]) + at;
    for (int64_t i = 0; i < count; ++i) to[i] = widen(from[i]);
  };
  C sum[block];
  for (int64_t at = 0; at < n; at += block) {
    const int64_t count = std::min(block, n - at);
    tree<C>(load, r, 0, int(parts.size()), at, count, sum);
    if constexpr (std::is_floating_point_v<C>)
      if (r == Reduce::mean)
        for (int64_t i = 0; i < count; ++i) sum[i] /= C(parts.size());
    T* to = static_cast<T*>(out) + at;
    for (int64_t i = 0; i < count; ++i) to[i] = narrow(sum[i]);
  }
}

void reduce_parts(const CollectiveCall& call, std::span<const void* const> parts, void* out, int64_t n) {
  auto same = [](auto v) { return v; };
  const Reduce r = call.reduce;
  switch (call.dtype) {
    case DType::f32: return reduce_typed<float, float>(parts, out, n, r, same, same);
    case DType::f64: return reduce_typed<double, double>(parts, out, n, r, same, same);
    case DType::f16: return reduce_typed<uint16_t, float>(parts, out, n, r, half_to_float, float_to_half);
    case DType::bf16: return reduce_typed<uint16_t, float>(parts, out, n, r, bfloat_to_float, float_to_bfloat);
    case DType::i32: return reduce_typed<int32_t, int32_t>(parts, out, n, r, same, same);
    case DType::i64: return reduce_typed<int64_t, int64_t>(parts, out, n, r, same, same);
    default: fail<TypeError>(call.op, "no reduction of this dtype: expected float or int32, int64, got {}",
                             suan::name(call.dtype));
  }
}

constexpr int look_around = 50;     // milliseconds after which a waiting thread looks for Ctrl-C
thread_local bool beside = false;   // on a progress thread

// Where the time of calls goes: each moment belongs to what the call in progress does, and counts as exposed
// while a computing thread stands still for it.
class CallClock {
 public:
  enum Doing { between, waiting, moving };

  class StandsStill {
   public:
    explicit StandsStill(CallClock& c) : clock_(c) { clock_.stand_still(1); }
    ~StandsStill() { clock_.stand_still(-1); }
    StandsStill(const StandsStill&) = delete;

   private:
    CallClock& clock_;
  };

  void turn_to(Doing next) {
    const std::lock_guard lock(mutex_);
    count();
    doing_ = next;
    stats_.calls += next == moving;
  }
  void stand_still(int threads) {
    const std::lock_guard lock(mutex_);
    count();
    still_ += threads;
  }
  void sent(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    stats_.bytes += bytes;
  }
  CommunicatorStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  void count() {
    const auto now = Clock::now();
    const double passed = std::chrono::duration<double>(now - since_).count();
    since_ = now;
    if (doing_ == waiting) stats_.waited += passed;
    if (doing_ == moving) stats_.moved += passed;
    if (!still_) return;
    (doing_ == waiting ? stats_.exposed_waited : stats_.exposed_moved) += passed;
  }
  mutable std::mutex mutex_;
  CommunicatorStats stats_;
  Clock::time_point since_ = Clock::now();
  Doing doing_ = between;
  int still_ = 0;                   // computing threads that stand still
};

class Collectives final : public Communicator {
 public:
  Collectives(std::unique_ptr<Transport> t, double timeout) : transport_(std::move(t)), timeout_(timeout) {}
  ~Collectives() override {
    progress_.reset();
    transport_->close();
  }
  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }
  std::string transport() const override { return transport_->name(); }

  void all_reduce(const CollectiveCall& call, const void* in, void* out, void* scratch) override {
    const Guard guard(*this, call);
    const int64_t n = numel(call.shape), item = item_size(call.dtype);
    if (whole(call)) {  // small: one round, everyone adds everything
      std::vector<const void*> parts = receive_parts(in, n * item, scratch, [&](int) { return in; });
      return reduce_parts(call, parts, out, n);
    }
    const int64_t p = piece(n);
    auto from = [&](int r) { return std::min(n, r * p) * item; };
    auto length = [&](int r) { return size_t(from(r + 1) - from(r)); };
    const std::byte* x = static_cast<const std::byte*>(in);
    std::byte* y = static_cast<std::byte*>(out);
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    std::vector<const void*> parts(size_t(size()), x + from(rank()));
    std::byte* at = static_cast<std::byte*>(scratch);
    for_peers([&](int r) {
      send.push_back({r, x + from(r), length(r)});
      receive.push_back({r, at, length(rank())});
      parts[size_t(r)] = at;
      at += p * item;
    });
    exchange(send, receive);
    reduce_parts(call, parts, y + from(rank()), int64_t(length(rank())) / item);
    send.clear();
    receive.clear();
    for_peers([&](int r) {
      send.push_back({r, y + from(rank()), length(rank())});
      receive.push_back({r, y + from(r), length(r)});
    });
    exchange(send, receive);
  }

  void reduce_scatter(const CollectiveCall& call, const void* in, void* out, void* scratch) override {
    const Guard guard(*this, call);
    const int64_t n = numel(call.shape) / size(), item = item_size(call.dtype);
    const std::byte* x = static_cast<const std::byte*>(in);
    std::vector<const void*> parts =
        receive_parts(x + rank() * n * item, n * item, scratch, [&](int r) { return x + r * n * item; });
    reduce_parts(call, parts, out, n);
  }

  void all_gather(const CollectiveCall& call, const void* in, void* out) override {
    const Guard guard(*this, call);
    const size_t bytes = size_t(numel(call.shape) * item_size(call.dtype));
    std::byte* y = static_cast<std::byte*>(out);
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    if (bytes) std::memcpy(y + size_t(rank()) * bytes, in, bytes);
    for_peers([&](int r) {
      send.push_back({r, in, bytes});
      receive.push_back({r, y + size_t(r) * bytes, bytes});
    });
    exchange(send, receive);
  }

  void broadcast(const CollectiveCall& call, const void* in, void* out) override {
    const Guard guard(*this, call);
    const size_t bytes = size_t(numel(call.shape) * item_size(call.dtype));
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    if (rank() == call.root) {
      if (bytes) std::memcpy(out, in, bytes);
      for_peers([&](int r) { send.push_back({r, in, bytes}); });
    } else {
      receive.push_back({call.root, out, bytes});
    }
    exchange(send, receive);
  }

  CommunicatorStats stats() const override { return clock_.stats(); }

  void barrier() override { const Guard guard(*this, {.op = "barrier"}); }

  void agree(const char* what, std::pair<uint64_t, uint64_t> hash) override {
    const Guard guard(*this, {.op = what}, hash);
  }

  uint64_t start(std::function<void()> task) override {
    return progress_->start([task = std::move(task)] {
      beside = true;
      task();
    });
  }

  void wait(uint64_t task) override {
    try {
      if (progress_->wait(task, 0)) return;
      const CallClock::StandsStill still(clock_);
      while (!progress_->wait(task, look_around)) check_interrupt();
    } catch (const Unplaced& u) {
      u.raise(where(u.mark));
    }
  }

  void settle(bool give_up) noexcept override {
    const CallClock::StandsStill still(clock_);
    for (bool heard = false; !progress_->settle(look_around); heard = give_up) {
      try {
        check_interrupt();
      } catch (...) {
        give_up = true;
      }
      if (give_up && !heard) transport_->give_up();
    }
  }

 private:
  // One call: waits for its turn, compares it with the other ranks', and turns faults into its errors.
  class Guard {
   public:
    Guard(Collectives& c, const CollectiveCall& call, std::pair<uint64_t, uint64_t> hash = {})
        : lock_(c.mutex_), clock_(c.clock_), still_(!beside) {
      if (still_) clock_.stand_still(1);
      clock_.turn_to(CallClock::waiting);
      try {
        c.begin(call, hash);
      } catch (...) {
        end();
        throw;
      }
      clock_.turn_to(CallClock::moving);
    }
    ~Guard() { end(); }
    Guard(const Guard&) = delete;

   private:
    void end() {
      clock_.turn_to(CallClock::between);
      if (still_) clock_.stand_still(-1);
    }
    std::lock_guard<std::mutex> lock_;
    CallClock& clock_;
    const bool still_;
  };

  int64_t piece(int64_t n) const { return (n + size() - 1) / size(); }
  bool whole(const CollectiveCall& call) const { return numel(call.shape) * item_size(call.dtype) <= small_all_reduce; }
  template <class F>
  void for_peers(F&& f) const {
    for (int k = 1; k < size(); ++k) f((rank() + k) % size());  // everyone begins with another one
  }

  // `bytes` of every other rank's data, beside this rank's own.
  template <class Part>
  std::vector<const void*> receive_parts(const void* own, int64_t bytes, void* scratch, Part&& part_for) {
    std::vector<const void*> parts(size_t(size()), own);
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    std::byte* at = static_cast<std::byte*>(scratch);
    for_peers([&](int r) {
      send.push_back({r, part_for(r), size_t(bytes)});
      receive.push_back({r, at, size_t(bytes)});
      parts[size_t(r)] = at;
      at += bytes;
    });
    exchange(send, receive);
    return parts;
  }

  void begin(const CollectiveCall& call, std::pair<uint64_t, uint64_t> hash) {
    if (!broken_.empty())
      fail<DistributedError>(call.op, "the group is unusable: expected all ranks alive, got an error before ({})",
                             broken_);
    Header mine;
    mine.sequence = ++sequence_;
    std::strncpy(mine.op, call.op, sizeof mine.op - 1);
    mine.dtype = uint8_t(call.dtype);
    mine.reduce = uint8_t(call.reduce);
    mine.root = call.root;
    mine.n_dims = uint8_t(call.shape.size());
    for (int i = 0; i < call.shape.size(); ++i) mine.dims[i] = call.shape[i];
    mine.hash[0] = hash.first;
    mine.hash[1] = hash.second;
    what_ = mine;
    std::vector<Header> all(size_t(size()), mine);
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    for_peers([&](int r) {
      send.push_back({r, &mine, sizeof mine});
      receive.push_back({r, &all[size_t(r)], sizeof mine});
    });
    exchange(send, receive);
    clock_.sent(-int64_t(send.size() * sizeof mine));  // not a tensor's
    for (int r = 1; r < size(); ++r)
      if (!(all[size_t(r)] == all[0]))
        raise<MismatchError>(fmt::format("[{}] ranks disagree: expected {} as on rank 0, got {} on rank {} (rank {} is ",
                                         call.op, describe(all[0]), describe(all[size_t(r)]), r, rank()), ")");
  }

  static std::string where(const SourceMark& mark) { return mark ? "at " + to_string(mark) : "at an unknown line"; }

  // Throws E with the call's line between two texts. Only the thread that asked can look a line up: it may hold a
  // lock that this takes (Python's). So a progress thread leaves it to wait().
  template <class E>
  [[noreturn]] static void raise(const std::string& before, const std::string& after = "") {
    const SourceMark mark = collective_source();
    if (!beside) throw E(before + where(mark) + after);
    throw Unplaced{mark, [before, after](const std::string& line) { throw E(before + line + after); }};
  }
  struct Unplaced {
    SourceMark mark;
    std::function<void(const std::string& line)> raise;
  };

  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) {
    const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(timeout_));
    try {
      transport_->exchange(out, in, deadline);
      int64_t sent = 0;
      for (const Outgoing& o : out) sent += int64_t(o.bytes);
      clock_.sent(sent);
    } catch (const PeerFault& f) {
      const std::string op(what_.op);
      if (f.late) {
        broken_ = fmt::format("rank {} was late", f.peer);
        transport_->close();
        raise<PeerTimeoutError>(fmt::format("[{}] rank {} is late: expected it within {} s, got nothing on rank {} in {}, ",
                                            op, f.peer, timeout_, rank(), describe(what_)));
      }
      broken_ = transport_->given_up() ? "a call was given up" : fmt::format("rank {} was lost", f.peer);
      transport_->close();
      raise<PeerLostError>(fmt::format("[{}] rank {} is gone: expected its data, got {} on rank {} in {}, ", op, f.peer,
                                       f.what, rank(), describe(what_)));
    } catch (const std::exception& e) {  // Ctrl-C in the middle: bytes are half moved
      broken_ = e.what();
      transport_->close();
      throw;
    } catch (...) {
      broken_ = "a call was given up";
      transport_->close();
      throw;
    }
  }

  std::unique_ptr<Transport> transport_;
  double timeout_;
  std::mutex mutex_;              // one call at a time
  CallClock clock_;
  uint64_t sequence_ = 0;
  Header what_;
  std::string broken_;
  std::unique_ptr<Progress> progress_ = std::make_unique<Progress>();
};

}  // namespace

void Transport::look_around(int peer) const {
  if (given_up()) throw PeerFault{peer, false, "a call that was given up"};
  check_interrupt();
}

std::shared_ptr<Communicator> make_communicator(std::unique_ptr<Transport> transport, double timeout) {
  return std::make_shared<Collectives>(std::move(transport), timeout);
}

}  // namespace suan::distributed
