// A look at a coarse clock costs a few nanoseconds; the poll itself, which may wait for a lock, is rare.
#include "core/interrupt.h"

#include <time.h>

#include <atomic>
#include <cstdint>

namespace suan {
namespace {

constexpr int64_t interval_ns = 20'000'000;

std::atomic<InterruptPoll> installed{nullptr};
thread_local int shields = 0;
thread_local int64_t next_poll = 0;

int64_t coarse_now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

InterruptPoll set_interrupt_poll(InterruptPoll poll) { return installed.exchange(poll); }

void check_interrupt() {
  InterruptPoll poll = installed.load(std::memory_order_relaxed);
  if (!poll || shields) return;
  int64_t now = coarse_now();
  if (now < next_poll) return;
  next_poll = now + interval_ns;
  poll();
}

InterruptShield::InterruptShield() { ++shields; }
InterruptShield::~InterruptShield() { --shields; }

}  // namespace suan
