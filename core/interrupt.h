// Ctrl-C inside long work. Loops that may run long call check_interrupt() where giving up is safe: between
// tasks and between the steps of a plan. What is to happen then is the binding's: it installs the poll.
#pragma once

namespace suan {

// Runs every few milliseconds on the thread that asked for the work; throws to end it. Returns the one before.
using InterruptPoll = void (*)();
InterruptPoll set_interrupt_poll(InterruptPoll poll);

void check_interrupt();

// What this thread begins within is finished.
class InterruptShield {
 public:
  InterruptShield();
  ~InterruptShield();
  InterruptShield(const InterruptShield&) = delete;
};

}  // namespace suan
