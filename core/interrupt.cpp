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
thread_local const CallLimit* call_limit = nullptr;

int64_t coarse_now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

InterruptPoll set_interrupt_poll(InterruptPoll poll) { return installed.exchange(poll); }

void check_interrupt() {
  if (shields) return;
  if (call_limit) call_limit->check();
  InterruptPoll poll = installed.load(std::memory_order_relaxed);
  if (!poll) return;
  int64_t now = coarse_now();
  if (now < next_poll) return;
  next_poll = now + interval_ns;
  poll();
}

CallLimit::CallLimit(const std::atomic<bool>* cancel, double seconds)
    : before_(call_limit), cancel_(cancel), seconds_(seconds) {
  constexpr double longest = 1e9;  // three decades: no overflow
  if (seconds > 0 && seconds < longest) deadline_ = coarse_now() + int64_t(seconds * 1e9);
  if (cancel || deadline_) call_limit = this;
}
CallLimit::~CallLimit() { call_limit = before_; }

void CallLimit::check() const {
  if (cancel_ && cancel_->load(std::memory_order_relaxed))
    fail<Cancelled>("run", "cancelled: expected to finish, got a request to stop");
  if (deadline_ && coarse_now() > deadline_)
    fail<TimedOut>("run", "out of time: expected an end within {:g} s, got none", seconds_);
}

InterruptShield::InterruptShield() { ++shields; }
InterruptShield::~InterruptShield() { --shields; }

}  // namespace suan
