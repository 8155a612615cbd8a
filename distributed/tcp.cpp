// Ranks as processes: one TCP connection between every two. Rank 0 listens at the master's address until all
// have come, says who listens where, and the others connect to one another.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "core/communicator.h"
#include "core/interrupt.h"
#include "distributed/transport.h"

namespace suan::distributed {
namespace {

constexpr const char* setup = "init_process_group";
constexpr uint64_t magic = 0x31307473696e6175ull;  // also the version of what follows

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Socket& operator=(Socket&& o) noexcept { std::swap(fd_, o.fd_); return *this; }
  ~Socket() { if (fd_ >= 0) ::close(fd_); }
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

std::string error_text(int e) { return std::strerror(e); }

void tune(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int milliseconds_to(Clock::time_point t, int most) {
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(t - Clock::now()).count();
  return int(std::clamp<int64_t>(left, 0, most));
}

// Whether the socket is ready before the deadline; Ctrl-C is heard meanwhile.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    pollfd p{fd, events, 0};
    int n = ::poll(&p, 1, milliseconds_to(deadline, 50));
    if (n > 0) return true;
    check_interrupt();
    if (Clock::now() >= deadline) return false;
  }
}

bool send_all(int fd, const void* data, size_t n, Clock::time_point deadline) {
  auto* p = static_cast<const std::byte*>(data);
  while (n > 0) {
    ssize_t k = ::send(fd, p, n, MSG_NOSIGNAL);
    if (k > 0) { p += k; n -= size_t(k); continue; }
    if (k < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (!wait_for(fd, POLLOUT, deadline)) return false;
  }
  return true;
}

bool receive_all(int fd, void* data, size_t n, Clock::time_point deadline) {
  auto* p = static_cast<std::byte*>(data);
  while (n > 0) {
    ssize_t k = ::recv(fd, p, n, 0);
    if (k > 0) { p += k; n -= size_t(k); continue; }
    if (k == 0 || (errno != EAGAIN && errno != EINTR)) return false;
    if (!wait_for(fd, POLLIN, deadline)) return false;
  }
  return true;
}

// Listens on IPv4; port 0 lets the system choose.
Socket listen_at(const in_addr& address, int port, int* chosen) {
  Socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(s.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr = address;
  a.sin_port = htons(uint16_t(port));
  if (!s || ::bind(s.fd(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || ::listen(s.fd(), 1024) != 0)
    fail<DistributedError>(setup, "cannot listen: expected port {} to be free, got {}", port, error_text(errno));
  socklen_t size = sizeof a;
  getsockname(s.fd(), reinterpret_cast<sockaddr*>(&a), &size);
  *chosen = ntohs(a.sin_port);
  tune(s.fd());
  return s;
}

Socket accept_one(const Socket& listener, Clock::time_point deadline, in_addr* from) {
  while (wait_for(listener.fd(), POLLIN, deadline)) {
    sockaddr_in a{};
    socklen_t size = sizeof a;
    Socket s(::accept4(listener.fd(), reinterpret_cast<sockaddr*>(&a), &size, SOCK_CLOEXEC));
    if (!s) continue;
    tune(s.fd());
    if (from) *from = a.sin_addr;
    return s;
  }
  return {};
}

// Tries until the deadline; `why` says what the last attempt met.
Socket connect_to(const in_addr& address, int port, Clock::time_point deadline, std::string* why) {
  *why = "no answer";
  for (;;) {
    Socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    tune(s.fd());
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr = address;
    a.sin_port = htons(uint16_t(port));
    int failed = ::connect(s.fd(), reinterpret_cast<sockaddr*>(&a), sizeof a) == 0 ? 0 : errno;
    if (failed == EINPROGRESS) {
      failed = ETIMEDOUT;
      if (wait_for(s.fd(), POLLOUT, deadline)) {
        socklen_t size = sizeof failed;
        getsockopt(s.fd(), SOL_SOCKET, SO_ERROR, &failed, &size);
      }
    }
    if (!failed) return s;
    *why = error_text(failed);
    if (Clock::now() >= deadline) return {};
    check_interrupt();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

in_addr resolve(const std::string& host) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  if (int e = getaddrinfo(host.c_str(), nullptr, &hints, &found); e != 0 || !found)
    fail<ValueError>(setup, "unknown host: expected MASTER_ADDR to name one, got '{}' ({})", host, gai_strerror(e));
  in_addr a = reinterpret_cast<sockaddr_in*>(found->ai_addr)->sin_addr;
  freeaddrinfo(found);
  return a;
}

struct Hello {
  uint64_t magic = distributed::magic;
  int32_t rank = 0, size = 0, port = 0, unused = 0;
};
struct Address {
  uint32_t ip = 0;    // network order, as rank 0 saw it
  int32_t port = 0;
};
// Rank 0's answer: an empty refusal goes before the addresses of all ranks.
struct Answer {
  uint64_t magic = distributed::magic;
  char refusal[248] = {};
};

class TcpTransport final : public Transport {
 public:
  explicit TcpTransport(const TcpOptions& o) : rank_(o.rank), size_(o.size), peers_(size_t(o.size)) {
    const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(o.timeout));
    const in_addr master = resolve(o.host);
    if (rank_ == 0) gather(o, deadline);
    else join(o, master, deadline);
  }
  ~TcpTransport() override { close(); }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in, Clock::time_point deadline) override {
    struct Progress {
      int peer;
      std::byte* data;
      size_t left;
      bool sending;
    };
    std::vector<Progress> open;
    for (const Outgoing& o : out)
      open.push_back({o.peer, static_cast<std::byte*>(const_cast<void*>(o.data)), o.bytes, true});
    for (const Incoming& i : in) open.push_back({i.peer, static_cast<std::byte*>(i.data), i.bytes, false});
    std::vector<pollfd> polled;
    for (;;) {
      std::erase_if(open, [&](Progress& p) { return advance(p.peer, p.data, p.left, p.sending); });
      if (open.empty()) return;
      polled.clear();
      for (const Progress& p : open)
        polled.push_back({peers_[size_t(p.peer)].fd(), short(p.sending ? POLLOUT : POLLIN), 0});
      if (::poll(polled.data(), polled.size(), milliseconds_to(deadline, 50)) > 0) continue;
      look_around(open.front().peer);
      if (Clock::now() < deadline) continue;
      // The one whose data is missing; a full socket comes from the same cause.
      for (const Progress& p : open)
        if (!p.sending) throw PeerFault{p.peer, true, ""};
      throw PeerFault{open.front().peer, true, ""};
    }
  }

  void close() override { peers_.clear(), peers_.resize(size_t(size_)); }

 private:
  // Moves what can be moved now; true when nothing is left.
  bool advance(int peer, std::byte*& data, size_t& left, bool sending) {
    const int fd = peers_[size_t(peer)].fd();
    while (left > 0) {
      ssize_t n = sending ? ::send(fd, data, left, MSG_NOSIGNAL) : ::recv(fd, data, left, 0);
      if (n > 0) { data += n; left -= size_t(n); continue; }
      if (n == 0 && !sending) throw PeerFault{peer, false, "a closed connection"};
      if (errno == EAGAIN) return false;
      if (errno != EINTR) throw PeerFault{peer, false, error_text(errno)};
    }
    return true;
  }

  // Rank 0: takes in all others. A connection that does not speak the protocol is dropped.
  void gather(const TcpOptions& o, Clock::time_point deadline) {
    if (size_ == 1) return;
    int port = 0;
    Socket listener = listen_at({htonl(INADDR_ANY)}, o.port, &port);
    std::vector<Address> addresses(size_t(size_), Address{});
    auto refuse = [&](Socket* last, const std::string& why) {
      Answer a;
      std::strncpy(a.refusal, why.c_str(), sizeof a.refusal - 1);
      const auto soon = Clock::now() + std::chrono::seconds(1);
      for (Socket& s : peers_)
        if (s) send_all(s.fd(), &a, sizeof a, soon);
      if (last) send_all(last->fd(), &a, sizeof a, soon);
      throw ValueError(fmt::format("[{}] {}", setup, why));
    };
    for (int missing = size_ - 1; missing > 0;) {
      in_addr from{};
      Socket s = accept_one(listener, deadline, &from);
      if (!s) {
        std::string who;
        for (int r = 1; r < size_; ++r)
          if (!peers_[size_t(r)]) who += fmt::format("{}{}", who.empty() ? "" : ", ", r);
        fail<PeerTimeoutError>(setup, "ranks are missing: expected {} ranks within {} s, got no word of rank {}", size_,
                               o.timeout, who);
      }
      Hello h;
      if (!receive_all(s.fd(), &h, sizeof h, std::min(deadline, Clock::now() + std::chrono::seconds(2))) ||
          h.magic != magic)
        continue;
      if (h.size != size_)
        refuse(&s, fmt::format("wrong world size: expected {} as on rank 0, got {} on rank {}", size_, h.size, h.rank));
      if (h.rank < 1 || h.rank >= size_)
        refuse(&s, fmt::format("wrong rank: expected 0 to {}, got {}", size_ - 1, h.rank));
      if (peers_[size_t(h.rank)])
        refuse(&s, fmt::format("rank taken: expected every rank once, got rank {} twice", h.rank));
      addresses[size_t(h.rank)] = {from.s_addr, h.port};
      peers_[size_t(h.rank)] = std::move(s);
      --missing;
    }
    const Answer welcome;
    for (int r = 1; r < size_; ++r)
      if (!send_all(peers_[size_t(r)].fd(), &welcome, sizeof welcome, deadline) ||
          !send_all(peers_[size_t(r)].fd(), addresses.data(), addresses.size() * sizeof(Address), deadline))
        fail<PeerLostError>(setup, "rank {} is gone: expected it to wait for the others, got a closed connection", r);
  }

  void join(const TcpOptions& o, const in_addr& master, Clock::time_point deadline) {
    Hello h{.rank = rank_, .size = size_};
    int port = 0;
    Socket listener = listen_at({htonl(INADDR_ANY)}, 0, &port);
    h.port = port;
    std::string why;
    Socket s = connect_to(master, o.port, deadline, &why);
    if (!s)
      fail<PeerTimeoutError>(setup, "master unreachable: expected rank 0 at {}:{} within {} s, got {}", o.host, o.port,
                             o.timeout, why);
    Answer a;
    if (!send_all(s.fd(), &h, sizeof h, deadline) || !receive_all(s.fd(), &a, sizeof a, deadline) || a.magic != magic)
      fail<PeerLostError>(setup, "rank 0 did not take us in: expected all {} ranks within {} s, got {}", size_,
                          o.timeout, Clock::now() < deadline ? "a closed connection" : "no answer");
    a.refusal[sizeof a.refusal - 1] = 0;
    if (a.refusal[0]) throw ValueError(fmt::format("[{}] {}", setup, a.refusal));
    std::vector<Address> addresses(static_cast<size_t>(size_));
    if (!receive_all(s.fd(), addresses.data(), addresses.size() * sizeof(Address), deadline))
      fail<PeerLostError>(setup, "rank 0 is gone: expected the addresses of all ranks, got a closed connection");
    peers_[0] = std::move(s);
    for (int r = 1; r < rank_; ++r) {
      Socket p = connect_to({addresses[size_t(r)].ip}, addresses[size_t(r)].port, deadline, &why);
      if (!p || !send_all(p.fd(), &h, sizeof h, deadline))
        fail<PeerTimeoutError>(setup, "rank {} is unreachable: expected it at port {}, got {}", r,
                               addresses[size_t(r)].port, why);
      peers_[size_t(r)] = std::move(p);
    }
    for (int missing = size_ - 1 - rank_; missing > 0;) {
      Socket p = accept_one(listener, deadline, nullptr);
      if (!p) fail<PeerTimeoutError>(setup, "ranks are missing: expected {} more, got none", missing);
      Hello who;
      if (!receive_all(p.fd(), &who, sizeof who, std::min(deadline, Clock::now() + std::chrono::seconds(2))) ||
          who.magic != magic || who.rank <= rank_ || who.rank >= size_ || peers_[size_t(who.rank)])
        continue;
      peers_[size_t(who.rank)] = std::move(p);
      --missing;
    }
  }

  int rank_, size_;
  std::vector<Socket> peers_;
};

}  // namespace

std::unique_ptr<Transport> tcp_transport(const TcpOptions& o) {
  if (o.size < 1 || o.size > 65536) fail<ValueError>(setup, "wrong world size: expected at least 1, got {}", o.size);
  if (o.rank < 0 || o.rank >= o.size)
    fail<ValueError>(setup, "wrong rank: expected 0 to {}, got {}", o.size - 1, o.rank);
  if (o.port < 1 || o.port > 65535) fail<ValueError>(setup, "wrong port: expected 1 to 65535, got {}", o.port);
  return std::make_unique<TcpTransport>(o);
}

}  // namespace suan::distributed
