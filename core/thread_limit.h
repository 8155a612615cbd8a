// How many threads of the one pool work for what a thread asks for.
#pragma once

namespace suan {

// While it lives, parallel_for of this thread uses at most `n` threads, the caller included; 0 changes nothing. A
// number over num_threads() adds threads to the pool, which stay. It never changes a result's bits.
class ThreadLimit {
 public:
  explicit ThreadLimit(int n);   // ValueError outside 0 … 1024
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;

 private:
  int before_;
};

}  // namespace suan
