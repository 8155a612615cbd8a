// Batches of rows, made ahead of their use by threads of their own: what a data loader needs of data that lies in
// arrays. Batches come in the order they were asked for, whichever thread made them.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/tensor.h"

namespace suan {

// One tensor of a batch: rows[index] for each index, [batch, …].
struct RowColumn {
  Tensor rows;   // [n, …], on the CPU; the elements of a row lie together, and rows may overlap (windows of a text)
  DType dtype;   // of the batch: of the table if there is one
  Tensor table;  // optional, [256]: an element is table[rows element]; rows are uint8 then
};

class RowReader {
 public:
  // TypeError, ShapeError or ValueError for columns that cannot be read this way or differ in n.
  RowReader(std::vector<RowColumn> columns, int threads);
  ~RowReader();  // batches asked for and not taken are dropped
  RowReader(const RowReader&) = delete;

  void ask(std::vector<int64_t> indices);  // IndexError, in next(), outside 0 … n-1
  Tensors next();                          // waits for the oldest batch asked for; StateError if there is none
  size_t pending() const { return asked_.size(); }

 private:
  struct Batch {
    std::vector<int64_t> indices;
    Tensors made;
    std::exception_ptr error;
    bool done = false;
  };
  void work();
  Tensor gather(const RowColumn& column, const std::vector<int64_t>& indices) const;

  std::vector<RowColumn> columns_;
  std::deque<std::shared_ptr<Batch>> asked_;  // the caller's alone
  std::deque<std::shared_ptr<Batch>> todo_;
  std::mutex mutex_;
  std::condition_variable wake_, made_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace suan
