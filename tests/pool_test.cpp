// The pool's promises: every task once, exceptions reach the caller, nesting and rival callers
// work, a fork is refused by name.
#include "core/pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"

namespace suan {
namespace {

struct ThreadGuard {
  int before = num_threads();
  ~ThreadGuard() { set_num_threads(before); }
};

TEST(Pool, RunsEveryTaskOnceAtAnyThreadCount) {
  ThreadGuard guard;
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    for (int64_t n : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> hits(n);
      std::atomic<bool> index_ok{true};
      parallel_for(n, [&](int64_t i) {
        hits[i].fetch_add(1);
        if (thread_index() < 0 || thread_index() >= threads) index_ok = false;
      });
      for (auto& h : hits) ASSERT_EQ(h.load(), 1);
      EXPECT_TRUE(index_ok);
    }
  }
}

TEST(Pool, ManyShortJobsLoseNothing) {
  ThreadGuard guard;
  for (int threads : {2, 8}) {
    set_num_threads(threads);
    std::atomic<int64_t> sum{0};
    for (int job = 0; job < 20000; ++job) parallel_for(3, [&](int64_t i) { sum += i + 1; });
    EXPECT_EQ(sum.load(), 20000 * 6);
  }
}

TEST(Pool, FirstExceptionReachesTheCallerAndThePoolStaysUsable) {
  ThreadGuard guard;
  set_num_threads(3);
  for (int round = 0; round < 100; ++round) {
    EXPECT_THROW(parallel_for(50,
                              [](int64_t i) {
                                if (i == 17) fail("task", "bad index {}", i);
                              }),
                 ValueError);
    std::atomic<int> count{0};
    parallel_for(50, [&](int64_t) { ++count; });
    EXPECT_EQ(count.load(), 50);
  }
}

struct PollGuard {
  explicit PollGuard(InterruptPoll poll) : before(set_interrupt_poll(poll)) {}
  ~PollGuard() { set_interrupt_poll(before); }
  InterruptPoll before;
};

TEST(Pool, AnInterruptDropsTheTasksNotYetBegun) {
  ThreadGuard guard;
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    std::atomic<int64_t> done{0};
    const auto endless = [&](int64_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++done;
    };
    {
      PollGuard poll([] { throw Interrupted("[test] stop"); });
      EXPECT_THROW(parallel_for(int64_t{1} << 40, endless), Interrupted);
      const int64_t before = done;
      {
        InterruptShield shield;
        parallel_for(100, endless);
      }
      EXPECT_EQ(done - before, 100);
    }
    std::atomic<int> count{0};
    parallel_for(50, [&](int64_t) { ++count; });
    EXPECT_EQ(count.load(), 50);
  }
}

TEST(Pool, ThePollRunsOnTheThreadThatAsked) {
  ThreadGuard guard;
  set_num_threads(3);
  static std::thread::id caller;
  static std::atomic<int> polls, elsewhere;
  caller = std::this_thread::get_id();
  polls = elsewhere = 0;
  PollGuard poll([] { ++(std::this_thread::get_id() == caller ? polls : elsewhere); });
  while (polls < 3)
    parallel_for(64, [](int64_t) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
  EXPECT_EQ(elsewhere.load(), 0);
}

TEST(Pool, NestedCallsRunInline) {
  ThreadGuard guard;
  set_num_threads(3);
  std::atomic<int> count{0};
  std::atomic<bool> same_thread{true};
  parallel_for(8, [&](int64_t) {
    const auto outer = std::this_thread::get_id();
    parallel_for(8, [&](int64_t) {
      ++count;
      if (std::this_thread::get_id() != outer) same_thread = false;
    });
  });
  EXPECT_EQ(count.load(), 64);
  EXPECT_TRUE(same_thread);
  EXPECT_THROW(parallel_for(2, [](int64_t) { set_num_threads(2); }), StateError);
}

TEST(Pool, SeveralCallersAtOnce) {
  ThreadGuard guard;
  set_num_threads(2);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int job = 0; job < 500; ++job) parallel_for(10, [&](int64_t i) { total += i; });
    });
  }
  for (auto& t : callers) t.join();
  EXPECT_EQ(total.load(), 4 * 500 * 45);
}

TEST(Pool, WakesAfterSleep) {
  ThreadGuard guard;
  set_num_threads(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::atomic<int> count{0};
    parallel_for(4, [&](int64_t) { ++count; });
    ASSERT_EQ(count.load(), 4);
  }
}

// A worker that slept on its caller's CPU is woken elsewhere; by the time it works, it may run everywhere again.
TEST(Pool, WakingLeavesAffinityAsItWas) {
  ThreadGuard guard;
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  set_num_threads(2);
  parallel_for(2, [](int64_t) {});   // the worker starts before this thread is moved about
  for (int round = 0; round < 4; ++round) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      std::atomic<int> arrived{0};
      std::atomic<bool> same{true};
      parallel_for(2, [&](int64_t) {
        for (++arrived; arrived.load() < 2;) std::this_thread::yield();   // one task a thread
        cpu_set_t now;
        sched_getaffinity(0, sizeof now, &now);
        if (thread_index() != 0 && !CPU_EQUAL(&now, &allowed)) same = false;
      });
      EXPECT_TRUE(same.load());
      sched_setaffinity(0, sizeof allowed, &allowed);
    }
  }
}

TEST(Pool, RefusesBadThreadCounts) {
  EXPECT_THROW(set_num_threads(0), ValueError);
  EXPECT_THROW(set_num_threads(1 << 20), ValueError);
}

TEST(Pool, ForkAfterFirstUseIsAnErrorThatNamesSpawn) {
  ThreadGuard guard;
  set_num_threads(2);
  parallel_for(4, [](int64_t) {});
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int code = 1;
    try {
      parallel_for(4, [](int64_t) {});
    } catch (const StateError& e) {
      code = std::string(e.what()).find("spawn") != std::string::npos ? 0 : 2;
    }
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace suan
