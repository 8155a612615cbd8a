// Ctrl-C, deadlines and cancellation inside long work. Loops that may run long call check_interrupt() where giving up
// is safe: between tasks and between the steps of a plan. What Ctrl-C does then is the binding's: it installs the poll.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/error.h"

namespace suan {

class Cancelled : public Interrupted { using Interrupted::Interrupted; };
class TimedOut : public Cancelled { using Cancelled::Cancelled; };

// Runs every few milliseconds on the thread that asked for the work; throws to end it. Returns the one before.
using InterruptPoll = void (*)();
InterruptPoll set_interrupt_poll(InterruptPoll poll);

void check_interrupt();

// What this thread does within ends early: with Cancelled once another thread has set the flag (null: none does), with
// TimedOut once `seconds` have passed (0: no limit; seen a few milliseconds late). A scope inside another replaces it.
class CallLimit {
 public:
  CallLimit(const std::atomic<bool>* cancel, double seconds);
  ~CallLimit();
  CallLimit(const CallLimit&) = delete;

 private:
  friend void check_interrupt();
  void check() const;
  const CallLimit* before_;
  const std::atomic<bool>* cancel_;
  int64_t deadline_ = 0;      // nanoseconds of the coarse clock
  double seconds_;
};

// What this thread begins within is finished.
class InterruptShield {
 public:
  InterruptShield();
  ~InterruptShield();
  InterruptShield(const InterruptShield&) = delete;
};

}  // namespace suan
