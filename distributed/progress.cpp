#include "distributed/progress.h"

#include <chrono>

#include "core/interrupt.h"

namespace suan::distributed {

Progress::~Progress() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  started_.notify_all();
  if (thread_.joinable()) thread_.join();
}

uint64_t Progress::start(std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  queue_.push_back(std::move(task));
  started_.notify_one();
  return ++n_started_;
}

bool Progress::wait(uint64_t task, int milliseconds) {
  std::unique_lock lock(mutex_);
  const bool done = done_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                                   [&] { return n_done_ >= task || failure_; });
  if (failure_) std::rethrow_exception(failure_);
  return done;
}

bool Progress::settle(int milliseconds) {
  std::unique_lock lock(mutex_);
  if (!done_.wait_for(lock, std::chrono::milliseconds(milliseconds), [&] { return n_done_ == n_started_; }))
    return false;
  failure_ = nullptr;
  return true;
}

void Progress::work() {
  const InterruptShield shield;  // Ctrl-C is for the thread that asked
  std::unique_lock lock(mutex_);
  for (;;) {
    started_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    if (!failure_) {
      lock.unlock();
      std::exception_ptr failure;
      try {
        task();
      } catch (...) {
        failure = std::current_exception();
      }
      task = nullptr;  // what it holds is let go before anyone is told
      lock.lock();
      if (failure) failure_ = failure;
    }
    ++n_done_;
    done_.notify_all();
  }
}

}  // namespace suan::distributed
