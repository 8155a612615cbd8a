// Ranks as threads of one process: a mailbox for every ordered pair of ranks.
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>

#include "distributed/transport.h"

namespace suan::distributed {
namespace {

struct Hub {
  explicit Hub(int n) : size(n), boxes(size_t(n) * size_t(n)), closed(size_t(n), false) {}
  std::deque<std::vector<std::byte>>& box(int from, int to) { return boxes[size_t(from * size + to)]; }
  const int size;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::deque<std::vector<std::byte>>> boxes;
  std::vector<bool> closed;
};

class ThreadTransport final : public Transport {
 public:
  ThreadTransport(std::shared_ptr<Hub> hub, int rank) : hub_(std::move(hub)), rank_(rank) {}
  ~ThreadTransport() override { close(); }
  int rank() const override { return rank_; }
  int size() const override { return hub_->size; }
  std::string name() const override { return "threads"; }

  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in, Clock::time_point deadline) override {
    std::unique_lock lock(hub_->mutex);
    for (const Outgoing& o : out) {
      auto* p = static_cast<const std::byte*>(o.data);
      hub_->box(rank_, o.peer).emplace_back(p, p + o.bytes);
    }
    hub_->changed.notify_all();
    for (const Incoming& i : in) {
      auto& box = hub_->box(i.peer, rank_);
      while (box.empty()) {
        if (hub_->closed[size_t(i.peer)]) throw PeerFault{i.peer, false, "a closed group"};
        const auto now = Clock::now();
        if (now >= deadline) throw PeerFault{i.peer, true, ""};
        hub_->changed.wait_until(lock, std::min(deadline, now + std::chrono::milliseconds(50)));
        lock.unlock();
        look_around(i.peer);
        lock.lock();
      }
      if (i.bytes) std::memcpy(i.data, box.front().data(), std::min(i.bytes, box.front().size()));
      box.pop_front();
    }
  }

  void close() override {
    std::lock_guard lock(hub_->mutex);
    hub_->closed[size_t(rank_)] = true;
    hub_->changed.notify_all();
  }

 private:
  std::shared_ptr<Hub> hub_;
  int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> thread_transports(int size) {
  auto hub = std::make_shared<Hub>(size);
  std::vector<std::unique_ptr<Transport>> all;
  for (int r = 0; r < size; ++r) all.push_back(std::make_unique<ThreadTransport>(hub, r));
  return all;
}

}  // namespace suan::distributed
