// Ranks as processes: one TCP connection between every two. Rank 0 listens at the master's address until all
// have come, says who listens where, and the others connect to one another. Between processes of one machine
// large pieces do not go through the socket: the receiver copies them out of the sender's memory.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <thread>

#include "core/communicator.h"
#include "core/interrupt.h"
#include "distributed/transport.h"

namespace suan::distributed {
namespace {

constexpr const char* setup = "init_process_group";
constexpr uint64_t magic = 0x32307473696e6175ull;  // also the version of what follows

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

// Listens on IPv4; port 0 lets the system choose. A port of the range for outgoing connections may be held by one of
// these for a moment, so a second is given before it counts as taken.
Socket listen_at(const in_addr& address, int port, int* chosen) {
  const auto patience = Clock::now() + std::chrono::seconds(1);
  Socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(s.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr = address;
  a.sin_port = htons(uint16_t(port));
  while (!s || ::bind(s.fd(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || ::listen(s.fd(), 1024) != 0) {
    if (!s || errno != EADDRINUSE || Clock::now() >= patience)
      fail<DistributedError>(setup, "cannot listen: expected port {} to be free, got {}", port, error_text(errno));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
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

// A connection to a port of this machine where nobody listens may be given that port for its own end: it then talks
// to itself, and holds the port that rank 0 wants.
bool meets_itself(int fd) {
  sockaddr_in own{}, peer{};
  socklen_t n = sizeof own, m = sizeof peer;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&own), &n) == 0 &&
         getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &m) == 0 && own.sin_port == peer.sin_port &&
         own.sin_addr.s_addr == peer.sin_addr.s_addr;
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
    if (!failed && meets_itself(s.fd())) failed = ECONNREFUSED;
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
  explicit TcpTransport(const TcpOptions& o) : rank_(o.rank), size_(o.size), peers_(size_t(o.size)),
                                                 direct_(size_t(o.size), false), pids_(size_t(o.size), 0) {
    const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(o.timeout));
    const in_addr master = resolve(o.host);
    if (rank_ == 0) gather(o, deadline);
    else join(o, master, deadline);
    if (size_ > 1) find_direct(o.local_reads, deadline);
  }
  ~TcpTransport() override { close(); }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::string name() const override {
    const auto n = std::count(direct_.begin(), direct_.end(), true);
    return n ? fmt::format("tcp, reading the memory of {} of {} ranks", n, size_ - 1) : "tcp";
  }

  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in, Clock::time_point deadline) override {
    std::vector<Lane> lanes;
    lanes.reserve(out.size() + in.size());  // a lane holds pointers to itself
    auto lane = [&](int peer) -> Lane& {
      for (Lane& l : lanes)
        if (l.peer == peer) return l;
      lanes.emplace_back().peer = peer;
      return lanes.back();
    };
    for (const Outgoing& o : out) lane(o.peer).take(o, direct(o.peer, o.bytes));
    for (const Incoming& i : in) lane(i.peer).take(i, direct(i.peer, i.bytes));
    std::vector<pollfd> polled;
    for (;;) {
      polled.clear();
      const Lane* missing = nullptr;
      for (Lane& l : lanes) {
        if (advance(l)) continue;
        const int events = (l.to_send ? POLLOUT : 0) | (l.to_receive ? POLLIN : 0);
        polled.push_back({peers_[size_t(l.peer)].fd(), short(events), 0});
        // The one whose data is missing; a full socket comes from the same cause.
        if (!missing || (l.to_receive && !missing->to_receive)) missing = &l;
      }
      if (polled.empty()) return;
      if (::poll(polled.data(), polled.size(), milliseconds_to(deadline, 50)) > 0) continue;
      look_around(missing->peer);
      if (Clock::now() >= deadline) throw PeerFault{missing->peer, true, ""};
    }
  }

  void close() override { peers_.clear(), peers_.resize(size_t(size_)); }

 private:
  static constexpr size_t least_direct = 16384;  // bytes; below, a socket is as fast

  // What goes to and comes from one rank in an exchange. A direct piece is not sent: its address is, the other
  // side reads it there and says so with one byte.
  struct Lane {
    int peer = -1;
    const std::byte* send = nullptr;
    std::byte* receive = nullptr;
    size_t to_send = 0, to_receive = 0;
    void* target = nullptr;              // where a direct piece is to be read to, until it is
    size_t target_bytes = 0;
    bool owes_word = false, awaits_word = false;
    uint64_t address = 0, their_address = 0;
    std::byte word{1}, their_word{};

    void take(const Outgoing& o, bool direct) {
      address = reinterpret_cast<uint64_t>(o.data);
      send = direct ? reinterpret_cast<const std::byte*>(&address) : static_cast<const std::byte*>(o.data);
      to_send = direct ? sizeof address : o.bytes;
      awaits_word = direct;
    }
    void take(const Incoming& i, bool direct) {
      receive = direct ? reinterpret_cast<std::byte*>(&their_address) : static_cast<std::byte*>(i.data);
      to_receive = direct ? sizeof their_address : i.bytes;
      if (direct) target = i.data, target_bytes = i.bytes;
    }
  };

  bool direct(int peer, size_t bytes) const { return bytes >= least_direct && direct_[size_t(peer)]; }

  // Moves what can be moved now; true when nothing is left.
  bool advance(Lane& l) {
    for (bool more = true; more;) {
      more = false;
      const int fd = peers_[size_t(l.peer)].fd();
      pump(l.peer, l.send, l.to_send, [&] { return ::send(fd, l.send, l.to_send, MSG_NOSIGNAL); }, true);
      pump(l.peer, l.receive, l.to_receive, [&] { return ::recv(fd, l.receive, l.to_receive, 0); }, false);
      if (l.target && !l.to_receive) {
        if (!read_memory(pids_[size_t(l.peer)], l.their_address, l.target, l.target_bytes))
          throw PeerFault{l.peer, false, error_text(errno)};
        // A rank that gives up closes its connections before its memory goes: what was read is good only if not.
        pollfd open{fd, POLLRDHUP, 0};
        if (::poll(&open, 1, 0) > 0) throw PeerFault{l.peer, false, "a closed connection"};
        l.target = nullptr;
        l.owes_word = true;
      }
      if (l.owes_word && !l.to_send) {
        l.send = &l.word, l.to_send = 1;
        l.owes_word = false, more = true;
      }
      if (l.awaits_word && !l.to_receive) {
        l.receive = &l.their_word, l.to_receive = 1;
        l.awaits_word = false, more = true;
      }
    }
    return !l.to_send && !l.to_receive;
  }

  template <class P, class F>
  static void pump(int peer, P*& data, size_t& left, F&& some, bool sending) {
    while (left > 0) {
      const ssize_t n = some();
      if (n > 0) { data += n; left -= size_t(n); continue; }
      if (n == 0 && !sending) throw PeerFault{peer, false, "a closed connection"};
      if (errno == EAGAIN) return;
      if (errno != EINTR) throw PeerFault{peer, false, error_text(errno)};
    }
  }

  static bool read_memory(pid_t pid, uint64_t address, void* to, size_t bytes) {
    for (auto* at = static_cast<std::byte*>(to); bytes > 0;) {
      iovec mine{at, bytes}, theirs{reinterpret_cast<void*>(address), bytes};
      const ssize_t n = process_vm_readv(pid, &mine, 1, &theirs, 1, 0);
      if (n <= 0) return false;
      at += n, address += uint64_t(n), bytes -= size_t(n);
    }
    return true;
  }

  // Finds out which ranks' memory this one may read: those where it finds the number they told. Both sides have
  // to be able to.
  void find_direct(bool wanted, Clock::time_point deadline) {
    struct Told {
      int64_t pid;
      uint64_t address, number;
    };
    const uint64_t number = (uint64_t(std::random_device{}()) << 32) | std::random_device{}();
    const Told mine{getpid(), reinterpret_cast<uint64_t>(&number), number};
    std::vector<Told> told(static_cast<size_t>(size_));
    std::vector<char> can(size_t(size_), 0), both(size_t(size_), 0);
    auto swap_with_all = [&](auto&& own, auto& theirs) {
      std::vector<Outgoing> out;
      std::vector<Incoming> in;
      for (int r = 0; r < size_; ++r) {
        if (r == rank_) continue;
        out.push_back({r, own(r), sizeof theirs[0]});
        in.push_back({r, &theirs[size_t(r)], sizeof theirs[0]});
      }
      exchange(out, in, deadline);
    };
    try {
      swap_with_all([&](int) { return &mine; }, told);
      for (int r = 0; r < size_; ++r) {
        uint64_t seen = 0;
        pids_[size_t(r)] = pid_t(told[size_t(r)].pid);
        can[size_t(r)] = wanted && r != rank_ && read_memory(pids_[size_t(r)], told[size_t(r)].address, &seen, sizeof seen) &&
                         seen == told[size_t(r)].number;
      }
      // Whoever has an answer has read: `number` may go.
      swap_with_all([&](int r) { return &can[size_t(r)]; }, both);
    } catch (const PeerFault& f) {
      if (f.late) fail<PeerTimeoutError>(setup, "rank {} is late: expected it to meet all others, got nothing", f.peer);
      fail<PeerLostError>(setup, "rank {} is gone: expected it to meet all others, got {}", f.peer, f.what);
    }
    for (int r = 0; r < size_; ++r) direct_[size_t(r)] = can[size_t(r)] && both[size_t(r)];
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
  std::vector<bool> direct_;      // both may read the other's memory
  std::vector<pid_t> pids_;
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
