// Progress: one thread that carries out a rank's collectives beside its computation, in the order in which they
// were started.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace suan::distributed {

class Progress {
 public:
  Progress() = default;
  ~Progress();
  Progress(const Progress&) = delete;

  // The number to wait for. After a failure, until settle(), tasks are taken but not begun.
  uint64_t start(std::function<void()> task);
  // True once that task and all before it are done; false after `milliseconds`. Throws what the first one that
  // failed threw.
  bool wait(uint64_t task, int milliseconds);
  // True once no task runs or waits; then a failure is forgotten.
  bool settle(int milliseconds);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable started_, done_;
  std::deque<std::function<void()>> queue_;
  uint64_t n_started_ = 0, n_done_ = 0;
  std::exception_ptr failure_;
  bool stop_ = false;
  std::thread thread_;      // from the first task on
};

}  // namespace suan::distributed
