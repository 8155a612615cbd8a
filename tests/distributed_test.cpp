// Ranks as threads and over TCP: the bits of collectives, calls that differ, ranks that die or stall, and
// collectives as nodes of plans.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "core/convert.h"
#include "core/interrupt.h"
#include "core/pass.h"
#include "core/plan.h"
#include "core/record.h"
#include "core/tape.h"
#include "distributed/collectives.h"
#include "ops/api.h"

namespace suan {
namespace {

using namespace distributed;
using ops::operator+;
using ops::operator*;
using Body = std::function<void(int rank, Communicator& c)>;

// Below the range that outgoing connections take theirs from.
int free_port() {
  static int next = 21000 + int(std::chrono::steady_clock::now().time_since_epoch().count() / 1000 % 11000);
  return next++;
}

std::shared_ptr<Communicator> tcp(int rank, int size, int port, double timeout, double meet = 20,
                                  bool local_reads = true) {
  return make_communicator(tcp_transport({"127.0.0.1", port, rank, size, meet, local_reads}), timeout);
}

// body on every rank, each a thread with its own communicator; an exception fails the test.
void on_ranks(int n, bool over_tcp, const Body& body, double timeout = 20) {
  std::vector<std::unique_ptr<Transport>> hub;
  if (!over_tcp) hub = thread_transports(n);
  const int port = free_port();
  std::vector<std::thread> threads;
  for (int r = 0; r < n; ++r)
    threads.emplace_back([&, r] {
      try {
        auto c = over_tcp ? tcp(r, n, port, timeout) : make_communicator(std::move(hub[size_t(r)]), timeout);
        set_thread_communicator(c);
        body(r, *c);
      } catch (const std::exception& e) {
        ADD_FAILURE() << "rank " << r << ": " << e.what();
      }
      set_thread_communicator(nullptr);
    });
  for (std::thread& t : threads) t.join();
}

Tensor values(int rank, const Shape& shape, DType dtype = DType::f32) {
  std::mt19937 rng(uint32_t(rank) * 77 + 5);
  std::normal_distribution<double> normal;
  Tensor t = Tensor::empty({dtype, shape, {}});
  for (int64_t i = 0; i < t.numel(); ++i) store_as(t.raw() + i * item_size(dtype), dtype, normal(rng));
  return t;
}

// The balanced tree over ranks, written down again: (lower power of two) + (rest).
float tree(const std::vector<float>& v, size_t lo, size_t hi) {
  if (hi - lo == 1) return v[lo];
  size_t half = 1;
  while (half * 2 < hi - lo) half *= 2;
  return tree(v, lo, lo + half) + tree(v, lo + half, hi);
}

TEST(Collectives, AllReduceIsOneTreeOnEveryTransport) {
  for (bool over_tcp : {false, true})
    for (int n : {1, 2, 3, 4, 5})
      for (int64_t size : {0, 1, 3, 1000, 40001}) {
        std::vector<Tensor> in;
        for (int r = 0; r < n; ++r) in.push_back(values(r, {size}));
        on_ranks(n, over_tcp, [&](int rank, Communicator&) {
          Tensor out = apply(op("all_reduce"), {in[size_t(rank)]}, {std::string("sum"), int64_t(n), false});
          int64_t wrong = 0;
          for (int64_t i = 0; i < size; ++i) {
            std::vector<float> each;
            for (const Tensor& t : in) each.push_back(t.data<float>()[i]);
            const float want = tree(each, 0, each.size());
            wrong += std::memcmp(&want, out.data<float>() + i, 4) != 0;
          }
          EXPECT_EQ(wrong, 0) << n << " ranks, " << size << " elements, tcp " << over_tcp;
        });
      }
}

// Pieces that are sent, and pieces that the receiver copies out of the sender's memory; sizes about the limit
// between the two, so that a rank may send to one that lets it read.
TEST(Collectives, LocalReadsAndSocketsGiveTheSame) {
  char from = 7, to = 0;
  iovec mine{&to, 1}, own{&from, 1};
  if (process_vm_readv(getpid(), &mine, 1, &own, 1, 0) != 1) GTEST_SKIP() << "this system forbids process_vm_readv";
  for (int refusing : {-1, 0, 1, 2}) {
    const int port = free_port();
    std::vector<std::thread> threads;
    for (int r = 0; r < 3; ++r)
      threads.emplace_back([=] {
        auto c = tcp(r, 3, port, 20, 20, r != refusing);
        const int n = refusing < 0 ? 2 : r == refusing ? 0 : 1;
        EXPECT_EQ(c->transport(), n ? fmt::format("tcp, reading the memory of {} of 2 ranks", n) : "tcp");
        for (int64_t size : {12000, 12288, 12300, 50000, 3000000}) {
          std::vector<Tensor> in;
          for (int k = 0; k < 3; ++k) in.push_back(values(k, {size}));
          Tensor all = Tensor::empty({DType::f32, {3 * size}, {}});
          c->all_gather({.op = "all_gather", .shape = {size}}, in[size_t(r)].raw(), all.raw());
          int64_t wrong = 0;
          for (int k = 0; k < 3; ++k)
            wrong += std::memcmp(all.raw() + k * size * 4, in[size_t(k)].raw(), size_t(size) * 4) != 0;
          EXPECT_EQ(wrong, 0) << size;
          // Uneven pieces: the last rank's is smaller, and may be small enough to be sent.
          CollectiveCall call{.op = "all_reduce", .shape = {size}};
          Tensor sum = Tensor::empty({DType::f32, {size}, {}});
          Tensor scratch = Tensor::empty({DType::f32, {collective_scratch(call, 3)}, {}});
          c->all_reduce(call, in[size_t(r)].raw(), sum.raw(), scratch.raw());
          for (int64_t i = 0; i < size; ++i) {
            std::vector<float> each;
            for (const Tensor& t : in) each.push_back(t.data<float>()[i]);
            wrong += tree(each, 0, 3) != sum.data<float>()[i];
          }
          EXPECT_EQ(wrong, 0) << size;
        }
      });
    for (std::thread& t : threads) t.join();
  }
}

TEST(Collectives, ReduceScatterAndAllGatherMakeAnAllReduce) {
  for (DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    on_ranks(4, true, [&](int rank, Communicator&) {
      Tensor x = values(rank, {8, 1111}, dtype);
      Tensor whole = apply(op("all_reduce"), {x}, {std::string("mean"), int64_t(4), false});
      Tensor part = apply(op("reduce_scatter"), {x}, {std::string("mean"), int64_t(4)});
      Tensor again = apply(op("all_gather"), {part}, {int64_t(4)});
      ASSERT_EQ(part.shape(), (Shape{2, 1111}));
      EXPECT_EQ(std::memcmp(whole.raw(), again.raw(), size_t(whole.type().bytes())), 0) << name(dtype);
    });
}

TEST(Collectives, MinMaxBroadcastIntegers) {
  on_ranks(3, false, [&](int rank, Communicator&) {
    const int64_t mine[2] = {rank, -rank};
    Tensor x = Tensor::from(std::span<const int64_t>(mine, 2), {2});
    auto reduced = [&](const char* how) { return apply(op("all_reduce"), {x}, {std::string(how), int64_t(3), false}); };
    EXPECT_EQ(reduced("sum").data<int64_t>()[0], 3);
    EXPECT_EQ(reduced("max").data<int64_t>()[0], 2);
    EXPECT_EQ(reduced("min").data<int64_t>()[1], -2);
    EXPECT_THROW(reduced("mean"), TypeError);
    EXPECT_EQ(apply(op("broadcast"), {x}, {int64_t(2), int64_t(3)}).data<int64_t>()[1], -2);
    apply(op("barrier"), {x}, {int64_t(3)});
  });
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const MismatchError& e) {
    return std::string("mismatch ") + e.what();
  } catch (const PeerLostError& e) {
    return std::string("lost ") + e.what();
  } catch (const PeerTimeoutError& e) {
    return std::string("late ") + e.what();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Collectives, RanksThatDisagreeAreNamedAndStayUsable) {
  for (bool over_tcp : {false, true})
    on_ranks(2, over_tcp, [&](int rank, Communicator& c) {
      auto contains = [&](const std::string& s, std::initializer_list<const char*> parts) {
        for (const char* p : parts) EXPECT_NE(s.find(p), std::string::npos) << p << " in: " << s;
      };
      auto reduce = [&](const Tensor& t) { apply(op("all_reduce"), {t}, {std::string("sum"), int64_t(2), false}); };
      // Another shape.
      contains(message_of([&] { reduce(values(0, {rank ? 3 : 4})); }),
               {"mismatch", "all_reduce 4 f32 sum (call 1) as on rank 0", "all_reduce 3 f32 sum (call 1) on rank 1"});
      // Another dtype, another op, another program.
      contains(message_of([&] { reduce(values(0, {4}, rank ? DType::f64 : DType::f32)); }), {"mismatch", "4 f64"});
      contains(message_of([&] {
                 if (rank) apply(op("all_gather"), {values(0, {4})}, {int64_t(2)});
                 else reduce(values(0, {4}));
               }),
               {"mismatch", "all_reduce", "all_gather"});
      contains(message_of([&] { c.agree("program", {uint64_t(rank), 7}); }), {"mismatch", "program"});
      // Nothing was moved: the next call works.
      EXPECT_EQ(message_of([&] { reduce(values(rank, {4})); }), "no error");
    });
}

TEST(Collectives, ALostRankIsNamedAtOnce) {
  for (bool over_tcp : {false, true})
    on_ranks(3, over_tcp, [&](int rank, Communicator& c) {
      c.barrier();
      if (rank == 2) {
        set_thread_communicator(nullptr);
        return;  // its communicator goes, as with the process
      }
      const auto begin = Clock::now();
      const std::string text = message_of([&] {
        apply(op("all_reduce"), {values(rank, {50000})}, {std::string("sum"), int64_t(3), false});
      });
      EXPECT_LT(Clock::now() - begin, std::chrono::seconds(2));
      // Rank 2 itself, or the other rank that met it first and gave up.
      EXPECT_TRUE(text.starts_with("lost [all_reduce] rank ")) << text;
      EXPECT_NE(message_of([&] { c.barrier(); }).find("unusable"), std::string::npos);
    });
}

TEST(Collectives, AStalledRankIsNamedAtItsLimit) {
  for (bool over_tcp : {false, true})
    on_ranks(2, over_tcp, [&](int rank, Communicator& c) {
      c.barrier();
      if (rank == 1) {
        std::this_thread::sleep_for(std::chrono::milliseconds(900));
        return;
      }
      const auto begin = Clock::now();
      const std::string text = message_of([&] {
        apply(op("all_reduce"), {values(rank, {7})}, {std::string("sum"), int64_t(2), false});
      });
      const auto took = Clock::now() - begin;
      EXPECT_GE(took, std::chrono::milliseconds(290));
      EXPECT_LT(took, std::chrono::milliseconds(800));
      EXPECT_TRUE(text.starts_with("late [all_reduce] rank 1 is late: expected it within 0.3 s")) << text;
      EXPECT_NE(text.find("all_reduce 7 f32 sum (call 2)"), std::string::npos) << text;
    }, 0.3);
}

TEST(Collectives, WrongWorldsAreRefusedOnBothSides) {
  const int port = free_port();
  std::string first, second;
  std::thread other([&] { second = message_of([&] { tcp(1, 3, port, 5, 5); }); });
  first = message_of([&] { tcp(0, 2, port, 5, 5); });
  other.join();
  const char* want = "wrong world size: expected 2 as on rank 0, got 3 on rank 1";
  EXPECT_NE(first.find(want), std::string::npos) << first;
  EXPECT_NE(second.find(want), std::string::npos) << second;
  EXPECT_TRUE(message_of([&] { tcp(1, 2, free_port(), 5, 0.2); }).starts_with("late [init_process_group] master unreachable"));
  EXPECT_NE(message_of([&] { tcp(0, 3, free_port(), 5, 0.2); }).find("got no word of rank 1, 2"), std::string::npos);
  EXPECT_NE(message_of([&] { tcp_transport({"no such host", 4000, 1, 2, 1}); }).find("unknown host"), std::string::npos);
  EXPECT_NE(message_of([&] { tcp_transport({"127.0.0.1", 4000, 2, 2, 1}); }).find("wrong rank"), std::string::npos);
}

TEST(Collectives, StrangersAtTheDoorAreTurnedAway) {
  const int port = free_port();
  std::vector<std::thread> ranks;
  std::atomic<int> met{0};
  auto rank = [&](int r) {
    ranks.emplace_back([&met, r, port] {
      try {
        tcp(r, 2, port, 5, 10)->barrier();
        ++met;
      } catch (const std::exception& e) {
        ADD_FAILURE() << e.what();
      }
    });
  };
  rank(0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  a.sin_port = htons(uint16_t(port));
  for (const char* text : {"GET / HTTP/1.1 and so on, for more than a hello", "short", ""}) {
    int s = socket(AF_INET, SOCK_STREAM, 0);
    for (int tries = 0; connect(s, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 && tries < 200; ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(send(s, text, strlen(text), MSG_NOSIGNAL), ssize_t(strlen(text)));
    close(s);
  }
  rank(1);
  for (std::thread& t : ranks) t.join();
  EXPECT_EQ(met, 2);
}

TEST(Collectives, AnOpForAnotherWorldIsRefused) {
  Tensor x = values(0, {4});
  EXPECT_NE(message_of([&] { apply(op("all_gather"), {x}, {int64_t(2)}); })
                .find("made for another number of ranks: expected 2, got 1"), std::string::npos);
  EXPECT_EQ(apply(op("all_gather"), {x}, {int64_t(1)}).shape(), (Shape{4}));
}

TEST(Collectives, PassesKeepEachOneInItsPlace) {
  // Equal calls, calls whose results nobody reads: all stay, in order, and the plan runs them.
  on_ranks(2, false, [&](int rank, Communicator&) {
    Recorder rec;
    Tensor x = values(rank, {300});
    Graph g;
    {
      ContextScope scope;
      context().recorder = &rec;
      rec.add_argument(x);
      using namespace ops;
      auto reduce = [&](const Tensor& t) {
        return apply(SUAN_OP("all_reduce"), {t}, {std::string("sum"), int64_t(2), false});
      };
      Tensor a = reduce(x), b = reduce(x);
      apply(SUAN_OP("all_gather"), {x * 2.0}, {int64_t(2)});
      Tensor c = reduce(exp(a) + b);
      apply(SUAN_OP("barrier"), {c}, {int64_t(2)});
      g = rec.finish(std::vector<Tensor>{a + c});
    }
    optimize(g);
    std::vector<std::string> seen;
    for (const Node& n : g.nodes)
      if (n.op->flags & op_effect) seen.push_back(n.op->name);
    EXPECT_EQ(seen, (std::vector<std::string>{"all_reduce", "all_reduce", "all_gather", "all_reduce", "barrier"}));
    Tensor interpreted = interpret(g, std::vector<Tensor>{x})[0];
    RunPool pool(std::make_shared<Plan>(g, PlanOptions{}));
    Tensor planned = pool(std::vector<Tensor>{x})[0];
    EXPECT_EQ(std::memcmp(interpreted.raw(), planned.raw(), size_t(planned.type().bytes())), 0);
  });
}

// What f does with x, not computed, optimised.
Graph recorded(const Tensor& x, const std::function<Tensor(const Tensor&)>& f) {
  Recorder rec;
  Graph g;
  {
    ContextScope scope;
    context() = Context{.grad_enabled = false, .dry = true, .recorder = &rec};
    rec.add_argument(x);
    g = rec.finish(std::vector<Tensor>{f(x)});
  }
  optimize(g);
  return g;
}

Tensor reduced(const Tensor& t, int64_t world = 2) {
  return apply(SUAN_OP("all_reduce"), {t}, {std::string("sum"), world, false});
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.type() == b.type() && std::memcmp(a.raw(), b.raw(), size_t(a.type().bytes())) == 0;
}

TEST(Beside, AStepWaitsOnlyForWhatItTouches) {
  on_ranks(2, false, [&](int rank, Communicator&) {
    Tensor x = values(rank, {64, 64});
    const Plan plan(recorded(x, [](const Tensor& t) {
      Tensor sum = reduced(t), other = ops::matmul(t, ops::matmul(t, t));
      return apply(SUAN_OP("cat"), {sum, other}, {int64_t(0)});
    }), PlanOptions{});
    std::vector<std::string> order;
    for (const Step& s : plan.steps())
      order.push_back(fmt::format("{} {}{}", s.node < 0 ? "copy" : plan.graph().nodes[size_t(s.node)].op->name,
                                  s.waits, s.beside ? " beside" : ""));
    ASSERT_EQ(order.size(), 4u);
    EXPECT_EQ(order[0], "all_reduce 0 beside");
    EXPECT_EQ(order[1], "matmul 0");
    EXPECT_EQ(plan.steps()[3].waits, 1) << order[3];
  });
}

// As an outgoing connection may hold it.
TEST(Tcp, WaitsForAPortThatIsHeldForAMoment) {
  const int port = free_port(), held = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  a.sin_port = htons(uint16_t(port));
  ASSERT_EQ(::bind(held, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  std::vector<std::thread> ranks;
  std::atomic<int> met{0};
  for (int r = 0; r < 2; ++r)
    ranks.emplace_back([&, r] {
      try {
        tcp(r, 2, port, 20)->barrier();
        ++met;
      } catch (const std::exception& e) {
        ADD_FAILURE() << "rank " << r << ": " << e.what();
      }
    });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  ::close(held);
  for (std::thread& t : ranks) t.join();
  EXPECT_EQ(met, 2);
}

// Random programs, in which buffers are used again and written in place while collectives are on their way.
TEST(Beside, ThreadsGiveTheInterpretersBits) {
  for (bool over_tcp : {false, true})
    for (int seed = 0; seed < 12; ++seed)
      on_ranks(2, over_tcp, [&](int rank, Communicator&) {
        Tensor x = values(rank, {96, 64});
        std::mt19937 rng{uint32_t(seed)};
        Graph g = recorded(x, [&](const Tensor& t) {
          Tensors all{t, t * 0.5};
          auto any = [&] { return all[all.size() - 1 - rng() % std::min<size_t>(all.size(), 4)]; };
          for (int k = 0; k < 40; ++k) {
            Tensor a = any(), b = any();
            switch (rng() % 6) {
              case 0: all.push_back(reduced(a) * 0.25); break;
              case 1: all.push_back(reduced(a * 0.5)); break;
              case 2: {
                Tensor part = apply(SUAN_OP("reduce_scatter"), {ops::tanh(a)}, {std::string("mean"), int64_t(2)});
                all.push_back(apply(SUAN_OP("all_gather"), {part}, {int64_t(2)}));
                break;
              }
              case 3: all.push_back(ops::tanh(ops::matmul(a, ops::slice(b, 0, 0, 64)))); break;
              case 4: all.push_back(ops::sub(a, b)); break;
              default: all.push_back(ops::tanh(a));
            }
          }
          Tensor sum = all[0];
          for (size_t k = 1; k < all.size(); k += 3) sum = ops::add(sum, all[k]);
          return sum;
        });
        const Tensor expected = interpret(g, std::vector<Tensor>{x})[0];
        RunPool pool(std::make_shared<Plan>(std::move(g), PlanOptions{}));
        for (int k = 0; k < 5; ++k)
          EXPECT_TRUE(same_bits(pool(std::vector<Tensor>{x})[0], expected)) << "seed " << seed << " replay " << k;
      });
}

TEST(Beside, ThreadsThatDisagreeStayUsable) {
  for (bool over_tcp : {false, true})
    on_ranks(2, over_tcp, [&](int rank, Communicator& c) {
      auto program = [](int64_t rows) {
        return [rows](const Tensor& t) {
          Tensor a = reduced(t), b = reduced(ops::slice(t, 0, 0, rows)), d = reduced(ops::exp(t));
          return ops::sum(a) + ops::sum(b) + ops::sum(d);
        };
      };
      Tensor x = values(rank, {100, 100});
      RunPool bad(std::make_shared<Plan>(recorded(x, program(rank ? 50 : 60)), PlanOptions{}));
      const std::string text = message_of([&] { bad(std::vector<Tensor>{x}); });
      EXPECT_NE(text.find("mismatch [all_reduce] ranks disagree: expected all_reduce 60x100 f32 sum (call 2)"),
                std::string::npos) << text;
      RunPool good(std::make_shared<Plan>(recorded(x, program(50)), PlanOptions{}));
      EXPECT_EQ(message_of([&] { good(std::vector<Tensor>{x}); }), "no error");
      c.barrier();
    });
}

thread_local bool interrupted_now = false;

TEST(Beside, ThreadsThatAreInterruptedLeaveAtOnce) {
  const InterruptPoll before = set_interrupt_poll([] {
    if (interrupted_now) throw Interrupted("stop");
  });
  on_ranks(2, true, [&](int rank, Communicator& c) {
    Tensor x = values(rank, {100, 100});
    RunPool pool(std::make_shared<Plan>(recorded(x, [](const Tensor& t) { return ops::exp(reduced(t)); }),
                                        PlanOptions{}));
    pool(std::vector<Tensor>{x});
    const auto begin = Clock::now();
    if (rank == 0) {
      interrupted_now = true;
      EXPECT_EQ(message_of([&] { pool(std::vector<Tensor>{x}); }), "stop");
      interrupted_now = false;
      EXPECT_LT(Clock::now() - begin, std::chrono::seconds(2));
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_TRUE(message_of([&] { pool(std::vector<Tensor>{x}); }).starts_with("lost [all_reduce] rank 0 is gone"));
    EXPECT_NE(message_of([&] { c.barrier(); }).find("unusable"), std::string::npos);
  });
  set_interrupt_poll(before);
}

TEST(Beside, ThreadsCountWhatIsHidden) {
  on_ranks(2, true, [&](int rank, Communicator& c) {
    Tensor x = values(rank, {256, 256});
    RunPool pool(std::make_shared<Plan>(recorded(x, [](const Tensor& t) {
      Tensor sum = reduced(t), y = t;
      for (int k = 0; k < 40; ++k) y = ops::matmul(y, t);
      return sum + y;
    }), PlanOptions{}));
    for (int k = 0; k < 5; ++k) pool(std::vector<Tensor>{x});
    const CommunicatorStats s = c.stats();
    EXPECT_EQ(s.calls, 5);
    EXPECT_EQ(s.bytes, 5 * 256 * 256 * 4);
    EXPECT_GT(s.waited + s.moved, 0);
    EXPECT_GE(s.exposed_waited, 0);
    EXPECT_LE(s.exposed_waited, s.waited);
    // A call that is made by the computing thread is exposed whole.
    const CommunicatorStats b = (c.barrier(), c.stats());
    EXPECT_NEAR(b.exposed_waited - s.exposed_waited, b.waited - s.waited, 1e-6);
    EXPECT_GT(b.waited, s.waited);
  });
}

TEST(Collectives, GradientsOfCollectives) {
  on_ranks(2, false, [&](int rank, Communicator&) {
    Tensor x = values(rank, {4}), w = values(rank + 10, {2});
    x.set_requires_grad(true);
    Tensor y = apply(op("reduce_scatter"), {x}, {std::string("sum"), int64_t(2)});
    Tensor z = apply(op("all_gather"), {ops::mul(y, w)}, {int64_t(2)});
    Tensor loss = ops::sum(apply(op("all_reduce"), {z}, {std::string("mean"), int64_t(2), false}));
    backward(std::vector<Tensor>{loss}, std::vector<Tensor>{Tensor()}, {});
    // Every rank's loss counts: d(sum of both)/dx is twice the sum over the gathered halves of w.
    Tensor both = apply(op("all_gather"), {w}, {int64_t(2)});
    for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(x.grad().data<float>()[i], 2 * both.data<float>()[i]) << i;
  });
}

}  // namespace
}  // namespace suan
