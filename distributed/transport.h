// Transport: bytes between ranks, and nothing else. Collectives are written on it once (collectives.cpp), so
// their results cannot depend on how bytes travel.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace suan::distributed {

using Clock = std::chrono::steady_clock;

struct Outgoing {
  int peer;
  const void* data;
  size_t bytes;
};
struct Incoming {
  int peer;
  void* data;
  size_t bytes;
};

// What went wrong with which rank; the collective that was waiting turns it into its own error.
struct PeerFault {
  int peer;
  bool late;         // false: it is gone
  std::string what;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string name() const = 0;
  // Moves all pieces, both ways at once: at most one outgoing and one incoming piece a peer. Between two ranks
  // pieces keep their order, and both sides know their sizes. Throws PeerFault.
  virtual void exchange(std::span<const Outgoing> out, std::span<const Incoming> in,
                        Clock::time_point deadline) = 0;
  // Other ranks that wait for this one learn at once that it is gone.
  virtual void close() = 0;
  // From any thread: an exchange in progress ends with a PeerFault within some 50 ms.
  void give_up() { given_up_.store(true, std::memory_order_relaxed); }
  bool given_up() const { return given_up_.load(std::memory_order_relaxed); }

 protected:
  // What an exchange does now and then while it waits.
  void look_around(int peer) const;

 private:
  std::atomic<bool> given_up_{false};
};

// Ranks as threads of one process.
std::vector<std::unique_ptr<Transport>> thread_transports(int size);

struct TcpOptions {
  std::string host = "127.0.0.1";  // where rank 0 listens
  int port = 29500;
  int rank = 0, size = 1;
  double timeout = 60;             // seconds for all ranks to meet
  bool local_reads = true;         // large pieces between processes of one machine are read from the other's memory
};
// Every rank is connected to every other; rank 0 listens at host:port until all have met. ValueError,
// PeerTimeoutError or DistributedError naming what is wrong.
std::unique_ptr<Transport> tcp_transport(const TcpOptions& options);

}  // namespace suan::distributed
