// What the LSTM kernels share. A step is one pass over tiles of a few rows and the units of one vector (forward, four
// gates side by side) or four (backward): a product with the packed weight, then the gates while they are in cache.
#pragma once

#include <algorithm>

#include "kernels/cpu/lib/math.h"
#include "kernels/cpu/lib/rowwise.h"
#include "kernels/cpu/lib/tile_gemm.h"

namespace suan::cpu::SUAN_ISA {

struct LstmSizes {
  int64_t steps, batch, hidden;
  bool reverse;

  int64_t at(int64_t k) const { return reverse ? steps - 1 - k : k; }   // k-th step to be done
  int64_t state() const { return batch * hidden; }
};

// Rows of one task.
inline constexpr int64_t lstm_rows = 2 * kTileRows;

// Tasks (rows, panel) of one step; `work`: of the step, in the unit of run_tasks.
template <class F>
void lstm_step(const LstmSizes& s, int64_t panels, F&& tile) {
  const int64_t groups = (s.batch + lstm_rows - 1) / lstm_rows;
  run_tasks(groups * panels, s.batch * s.hidden * s.hidden / 4, [&](int64_t task) {
    const int64_t first = task % groups * lstm_rows, end = std::min(s.batch, first + lstm_rows);
    for (int64_t row = first; row < end; row += kTileRows) tile(row, int(std::min<int64_t>(kTileRows, end - row)), task / groups);
  });
}

}  // namespace suan::cpu::SUAN_ISA
