// The steps of an LSTM with an 8-bit recurrent weight. Rows know nothing of one another: a task takes some rows of one
// direction through all steps, so that nobody waits between them. One row alone is cut by units at each step instead.
#include <algorithm>

#include "core/op.h"
#include "kernels/cpu/lib/int8_finish.h"
#include "kernels/cpu/lib/math.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t units = 16, columns_of_group = 4 * units;

struct State {
  int64_t steps, batch, directions, hidden, groups;
  bool reverse;
  int64_t rows, chunks;   // of a task
  int64_t lda;
};

void run(const void* state, const KernelArgs& x) {
  const State& s = *static_cast<const State*>(state);
  const int64_t columns = s.groups * columns_of_group, panel_bytes = int8_panel_bytes(s.hidden);
  const auto at = [&](int i) { return static_cast<const float*>(x.in[i]); };
  uint8_t* quantised = static_cast<uint8_t*>(x.workspace);
  const auto rows_through = [&](int64_t task, int64_t parts) {
    const int64_t d = task / s.chunks, first = task % s.chunks * s.rows, n = std::min(s.rows, s.batch - first);
    if (n <= 0) return;
    const int64_t of_state = (d * s.batch + first) * s.hidden;
    const char* panels = static_cast<const char*>(x.in[3]) + d * 2 * s.groups * panel_bytes;
    const float* scale = at(4) + d * columns;
    const int8_t* zero = static_cast<const int8_t*>(x.in[5]) + d * columns;
    const bool centred = std::any_of(zero, zero + columns, [](int8_t z) { return z != 0; });
    uint8_t *ones = quantised + (d * s.batch + first + task) * s.lda, *q = ones + s.lda;
    float *h = static_cast<float*>(x.out[1]) + of_state, *c = static_cast<float*>(x.out[2]) + of_state;
    std::copy_n(at(1) + of_state, n * s.hidden, h);
    std::copy_n(at(2) + of_state, n * s.hidden, c);
    // Sums of the weight's columns: its product with a row of ones, which goes before the states of the first step. What
    // pads a row to a multiple of four stays zero.
    int32_t* column_sums = reinterpret_cast<int32_t*>(quantised + s.directions * (s.batch + s.chunks) * s.lda) + task * columns;
    std::fill_n(ones, (n + 1) * s.lda, uint8_t{0});
    std::fill_n(ones, s.hidden, uint8_t{1});
    Steps steps[int8_max_rows];
    int32_t row_sums[int8_max_rows] = {};
    for (int64_t k = 0; k < s.steps; ++k) {
      const int64_t t = s.reverse || d == 1 ? s.steps - 1 - k : k;
      for (int64_t i = 0; i < n; ++i) {
        steps[i] = steps_of(range_of(h + i * s.hidden, s.hidden));
        quantize_row(h + i * s.hidden, steps[i].scale, steps[i].zero, s.hidden, q + i * s.lda);
        if (centred) row_sums[i] = sum_of_bytes(q + i * s.lda, s.hidden);
      }
      float* y = static_cast<float*>(x.out[0]) + ((t * s.directions + d) * s.batch + first) * s.hidden;
      const int64_t before = k == 0;   // the ones
      const auto of_group = [&](int64_t g) {
        alignas(64) float tile[int8_max_rows * columns_of_group];
        int8_multiply(q - before * s.lda, s.lda, n + before, s.hidden, panels + g * 2 * panel_bytes, columns_of_group,
                      [&](const int32_t* sums, const int32_t*, int64_t row0, int64_t rows, int64_t col0, int64_t) {
                        if (before && row0 == 0) std::copy_n(sums, int8_panel, column_sums + g * columns_of_group + col0);
                        for (int64_t j = 0; j < int8_panel; j += 16) {
                          const int64_t col = g * columns_of_group + col0 + j;
                          const u32x16 of_column = bits_as<u32x16>(load(column_sums + col));
                          u32x16 zb{};
                          if (centred) {
                            alignas(64) int32_t wide[16];
                            for (int l = 0; l < 16; ++l) wide[l] = zero[col + l];
                            zb = bits_as<u32x16>(load(wide));
                          }
                          for (int64_t r = std::max(row0, before); r < row0 + rows; ++r) {
                            const int64_t i = r - before;
                            const uint32_t za = steps[i].zero;
                            u32x16 sum = bits_as<u32x16>(load(sums + (r - row0) * int8_panel + j)) - of_column * za;
                            if (centred) sum += zb * (uint32_t(s.hidden) * za - uint32_t(row_sums[i]));
                            const float* gate = at(0) + ((t * s.batch + first + i) * s.directions + d) * columns + col;
                            store(tile + i * columns_of_group + col0 + j,
                                  to_f32(bits_as<i32x16>(sum)) * (load(scale + col) * steps[i].scale) + load(gate));
                          }
                        }
                      });
        const int64_t unit = g * units;
        const int live = int(std::min(units, s.hidden - unit));
        for (int64_t i = 0; i < n; ++i) {
          const float* gate = tile + i * columns_of_group;
          const int64_t cell = i * s.hidden + unit;
          const f32x16 now = sigmoid(load(gate + units)) * load_partial(c + cell, live) + sigmoid(load(gate)) * tanh(load(gate + 2 * units));
          const f32x16 out = sigmoid(load(gate + 3 * units)) * tanh(now);
          store_partial(c + cell, now, live);
          store_partial(h + cell, out, live);
          store_partial(y + cell, out, live);
        }
      };
      if (parts == 1)
        for (int64_t g = 0; g < s.groups; ++g) of_group(g);
      else
        parallel_for(parts, [&](int64_t part) {
          for (int64_t g = part * s.groups / parts; g < (part + 1) * s.groups / parts; ++g) of_group(g);
        });
    }
  };
  // Worth a meeting of threads at each step: some microseconds of the weight's reading.
  constexpr int64_t most_parts = 4, least_bytes = 128 << 10;
  const int64_t tasks = s.directions * s.chunks;
  if (tasks == 1) rows_through(0, std::clamp<int64_t>(s.groups * 2 * panel_bytes / least_bytes, 1, std::min(most_parts, s.groups)));
  else parallel_for(tasks, [&](int64_t task) { rows_through(task, 1); });
}

Prepared prepare(const KernelDesc& d) {
  const Shape &x = d.in[0]->layout.shape, &h = d.in[1]->layout.shape;
  auto s = std::make_shared<State>(State{x[0], x[1], x[2], h[2], x[3] / columns_of_group, d.attrs.boolean(0), 0, 0, 0});
  // Four rows take little more of the weight's time than each of them would; fewer only to have two tasks at all.
  const int64_t all = s->batch * s->directions, fewest = std::clamp<int64_t>(all / 2, 1, 4);
  s->rows = std::clamp<int64_t>((all + 15) / 16, fewest, int8_max_rows);
  s->chunks = (s->batch + s->rows - 1) / s->rows;
  s->lda = (int8_row_bytes(s->hidden) + 63) / 64 * 64;
  return {run, s, s->directions * ((s->batch + s->chunks) * s->lda + s->chunks * s->groups * columns_of_group * int64_t(sizeof(int32_t)))};
}

}  // namespace

Kernel kernel_int8_lstm() {
  Kernel k;
  k.prepare = prepare;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
