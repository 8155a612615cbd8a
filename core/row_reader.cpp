#include "core/row_reader.h"

#include <chrono>

#include "core/apply.h"
#include "core/interrupt.h"
#include "core/thread_limit.h"

namespace suan {
namespace {

void check_column(const RowColumn& c, int64_t n) {
  const Tensor& rows = c.rows;
  if (!rows.device().is_cpu()) fail<DeviceError>("row_reader", "rows on {}: expected the CPU", to_string(rows.device()));
  if (rows.rank() < 1 || rows.dim(0) != n)
    fail<ShapeError>("row_reader", "columns differ: expected {} rows, got {}", n, to_string(rows.type()));
  Dims inner;
  for (int64_t k = 1; k < rows.rank(); ++k) inner.push_back(rows.dim(int(k)));
  const Dims together = contiguous_strides(inner);
  for (int k = 0; k < inner.size(); ++k)
    if (inner[k] > 1 && rows.strides()[k + 1] != together[k])
      fail<ValueError>("row_reader", "scattered rows: expected the elements of a row side by side, got strides {}",
                       to_string(rows.strides()));
  if (!c.table) return;
  if (rows.dtype() != DType::u8 || c.table.rank() != 1 || c.table.dim(0) != 256 || !c.table.is_contiguous())
    fail<TypeError>("row_reader", "wrong table: expected 256 values for uint8 rows, got {} for {}",
                    to_string(c.table.type()), to_string(rows.type()));
  if (c.dtype != c.table.dtype())
    fail<TypeError>("row_reader", "wrong dtype: expected the table's {}, got {}", info(c.table.dtype()).name,
                    info(c.dtype).name);
}

template <class T>
void look_up(const std::byte* row, int64_t count, const std::byte* table, std::byte* out) {
  const auto* codes = reinterpret_cast<const uint8_t*>(row);
  for (int64_t i = 0; i < count; ++i) reinterpret_cast<T*>(out)[i] = reinterpret_cast<const T*>(table)[codes[i]];
}

using LookUp = void (*)(const std::byte*, int64_t, const std::byte*, std::byte*);
LookUp look_up_for(int64_t bytes) {
  switch (bytes) {
    case 1: return look_up<uint8_t>;
    case 2: return look_up<uint16_t>;
    case 4: return look_up<uint32_t>;
    default: return look_up<uint64_t>;
  }
}

}  // namespace

RowReader::RowReader(std::vector<RowColumn> columns, int threads) : columns_(std::move(columns)) {
  if (columns_.empty()) fail("row_reader", "no columns: expected at least one, got none");
  if (threads < 1 || threads > 1024) fail("row_reader", "wrong threads: expected 1 to 1024, got {}", threads);
  for (RowColumn& c : columns_) {
    check_column(c, columns_[0].rows.rank() ? columns_[0].rows.dim(0) : 0);
    c.rows = c.rows.detach();
  }
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

RowReader::~RowReader() {
  {
    std::scoped_lock lock(mutex_);
    stop_ = true;
    todo_.clear();
  }
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void RowReader::ask(std::vector<int64_t> indices) {
  auto batch = std::make_shared<Batch>();
  batch->indices = std::move(indices);
  asked_.push_back(batch);
  {
    std::scoped_lock lock(mutex_);
    todo_.push_back(std::move(batch));
  }
  wake_.notify_one();
}

Tensors RowReader::next() {
  if (asked_.empty()) fail<StateError>("row_reader", "nothing to wait for: expected a batch that was asked for, got none");
  std::shared_ptr<Batch> batch = asked_.front();
  {
    std::unique_lock lock(mutex_);
    while (!batch->done) {
      made_.wait_for(lock, std::chrono::milliseconds(20));
      lock.unlock();
      check_interrupt();
      lock.lock();
    }
  }
  asked_.pop_front();
  if (batch->error) std::rethrow_exception(batch->error);
  return std::move(batch->made);
}

void RowReader::work() {
  NoGrad off;
  ThreadLimit alone(1);  // batches are what runs in parallel here
  for (;;) {
    std::shared_ptr<Batch> batch;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || !todo_.empty(); });
      if (stop_) return;
      batch = std::move(todo_.front());
      todo_.pop_front();
    }
    try {
      for (const RowColumn& column : columns_) batch->made.push_back(gather(column, batch->indices));
    } catch (...) {
      batch->error = std::current_exception();
    }
    {
      std::scoped_lock lock(mutex_);
      batch->done = true;
    }
    made_.notify_one();
  }
}

Tensor RowReader::gather(const RowColumn& c, const std::vector<int64_t>& indices) const {
  Shape shape = c.rows.shape();
  const int64_t n = shape[0];
  shape[0] = int64_t(indices.size());
  Tensor out = Tensor::empty({c.table ? c.table.dtype() : c.rows.dtype(), shape, {}});
  if (!out.numel()) return Tensor::empty({c.dtype, shape, {}});
  const int64_t count = out.numel() / shape[0], size = item_size(c.rows.dtype()), wide = item_size(out.dtype());
  const LookUp find = look_up_for(wide);
  for (size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] < 0 || indices[i] >= n)
      fail<IndexError>("row_reader", "index out of range: expected 0 to {}, got {}", n - 1, indices[i]);
    const std::byte* row = c.rows.raw() + indices[i] * c.rows.strides()[0] * size;
    std::byte* to = out.raw() + int64_t(i) * count * wide;
    if (c.table) find(row, count, c.table.raw(), to);
    else std::memcpy(to, row, size_t(count * size));
  }
  return out.dtype() == c.dtype ? out : apply(op("cast"), {out}, {c.dtype});
}

}  // namespace suan
