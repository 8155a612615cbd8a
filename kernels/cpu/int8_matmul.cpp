// Products of 8-bit integers, tile by tile: a task is some rows by some panels of 32 columns.
#include <algorithm>

#include "core/op.h"
#include "kernels/cpu/lib/int8_finish.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t m, n, k;                 // of one matrix
  int64_t batch = 1;
  std::vector<int64_t> a_at, b_at; // by batch: which matrix of x and of the weight; empty where there is one
  int64_t b_matrices = 1;
  DType x, w, to;
  bool packed;
  bool scale_each = false, w_zero_each = false;
  // A task.
  int64_t tile_rows, row_tiles, group, groups;   // panels of a task
  // Workspace: x as rows of u8 with their sums, where it is not read as it lies; packed weights.
  int64_t lda;
  int64_t rows_at, sums_at, panels_at;
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Rows that lie 4 KiB apart would share one set of the cache.
bool as_it_lies(const State& s) { return s.x == DType::u8 && s.k % 4 == 0 && s.k % 4096; }

template <class T>
void run_tiles(const State& s, const KernelArgs& x, const uint8_t* rows, const int32_t* row_sums, const char* panels) {
  const uint8_t flip_x = s.x == DType::i8 ? 0x80 : 0;
  const int32_t za = x.in[2] ? read_byte(x.in[2], s.x) + (flip_x ? 128 : 0) : flip_x ? 128 : 0;
  const int32_t moved_w = !s.packed && s.w == DType::u8 ? 128 : 0;
  const float* scale = static_cast<const float*>(x.in[5]);
  const int32_t out_zero = x.in[6] ? read_byte(x.in[6], s.to) : 0;
  const int32_t* bias = static_cast<const int32_t*>(x.in[4]);
  const int64_t panel_bytes = int8_panel_bytes(s.k), n_panels = int8_panels(s.n);
  parallel_for(s.batch * s.row_tiles * s.groups, [&](int64_t task) {
    const int64_t group = task % s.groups, tile = task / s.groups % s.row_tiles, batch = task / (s.groups * s.row_tiles);
    const int64_t a_matrix = s.a_at.empty() ? 0 : s.a_at[size_t(batch)], b_matrix = s.b_at.empty() ? 0 : s.b_at[size_t(batch)];
    const int64_t row0 = tile * s.tile_rows, tile_rows = std::min(s.tile_rows, s.m - row0), first_row = a_matrix * s.m + row0;
    T* out = static_cast<T*>(x.out[0]) + (batch * s.m + row0) * s.n;
    const int64_t last = std::min(n_panels, (group + 1) * s.group);
    for (int64_t p = group * s.group; p < last; ++p) {
      const int64_t col0 = p * int8_panel, cols = std::min(int8_panel, s.n - col0);
      const char* panel = panels + (b_matrix * n_panels + p) * panel_bytes;
      const int32_t* sums_of_panel = reinterpret_cast<const int32_t*>(panel + int8_quads(s.k) * 4 * int8_panel);
      alignas(64) int32_t column[int8_panel] = {}, factor[int8_panel] = {};
      alignas(64) float scales[int8_panel] = {};
      for (int64_t j = 0; j < cols; ++j) {
        const int32_t zb = (x.in[3] ? read_byte(x.in[3], s.w, s.w_zero_each ? col0 + j : 0) : 0) - moved_w;
        factor[j] = -zb;
        // (a - za)(b - zb), summed: the parts that know no row
        column[j] = int32_t(uint32_t(s.k) * uint32_t(za * zb) - uint32_t(za) * uint32_t(sums_of_panel[j]) + (bias ? uint32_t(bias[col0 + j]) : 0));
        if (scale) scales[j] = scale[s.scale_each ? col0 + j : 0];
      }
      int8_multiply(rows + first_row * s.lda, s.lda, tile_rows, s.k, panel, cols,
                    [&](const int32_t* sums, const int32_t*, int64_t row, int64_t count, int64_t, int64_t) {
                      for (int64_t i = 0; i < count; ++i)
                        finish_row<T>({sums + i * int8_panel, column, factor, 0, row_sums ? uint32_t(row_sums[first_row + row + i]) : 0},
                                      static_cast<const float*>(scales), out_zero, cols, out + (row + i) * s.n + col0);
                    });
      if (x.epilogue) (*x.epilogue)(out + col0, batch, row0, tile_rows, col0, cols, s.n);
    }
  });
}

void run(const void* state, const KernelArgs& x) {
  const State& s = *static_cast<const State*>(state);
  if (s.m == 0 || s.n == 0 || s.batch == 0) return;
  std::byte* workspace = static_cast<std::byte*>(x.workspace);
  const uint8_t* rows = static_cast<const uint8_t*>(x.in[0]);
  const int32_t* row_sums = nullptr;
  const int64_t matrices = s.a_at.empty() ? s.batch : s.a_at.back() + 1;
  bool sums_wanted = !s.packed && s.w == DType::u8;
  if (x.in[3] && !sums_wanted)
    for (int64_t j = 0; j < (s.w_zero_each ? s.n : 1); ++j) sums_wanted |= read_byte(x.in[3], s.w, j) != 0;
  if (!as_it_lies(s) || sums_wanted) {
    uint8_t* to = reinterpret_cast<uint8_t*>(workspace + s.rows_at);
    int32_t* sums = reinterpret_cast<int32_t*>(workspace + s.sums_at);
    const bool copy = !as_it_lies(s);
    const int64_t total = matrices * s.m, piece = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, s.k));
    parallel_for(ceil_div(total, piece), [&](int64_t t) {
      for (int64_t i = t * piece; i < std::min(total, (t + 1) * piece); ++i) {
        const uint8_t* from = rows + i * s.k;
        if (copy) {
          sums[i] = flip_row(from, s.k, s.x == DType::i8 ? 0x80 : 0, to + i * s.lda);
        } else {
          uint32_t sum = 0;
          for (int64_t j = 0; j < s.k; ++j) sum += from[j];
          sums[i] = int32_t(sum);
        }
      }
    });
    if (copy) rows = to;
    row_sums = sums;
  }
  const char* panels = static_cast<const char*>(x.in[1]);
  if (!s.packed) {
    std::byte* to = workspace + s.panels_at;
    const int64_t n_panels = int8_panels(s.n);
    parallel_for(s.b_matrices * n_panels, [&](int64_t t) {
      const int64_t col0 = t % n_panels * int8_panel;
      int8_pack_panel(static_cast<const uint8_t*>(x.in[1]) + t / n_panels * s.k * s.n + col0, s.n, 1, s.k,
                      std::min(int8_panel, s.n - col0), s.w == DType::u8 ? 0x80 : 0, to + t * int8_panel_bytes(s.k));
    });
    panels = reinterpret_cast<const char*>(to);
  }
  with_int8_result(s.to, [&](auto t) { run_tiles<decltype(t)>(s, x, rows, row_sums, panels); });
}

// By matrix of the result: the matrix of an operand with the batch dimensions of `own`.
std::vector<int64_t> matrices_of(const Shape& own, const Shape& out) {
  std::vector<int64_t> at{0};
  int64_t n = 1;
  // From the last batch dimension on: `at` holds the numbers below it.
  for (int d = 0; d < out.size() - 2; ++d) {
    const int o = own.size() - 3 - d, r = out.size() - 3 - d;
    const int64_t size = o >= 0 ? own[o] : 1;
    std::vector<int64_t> next;
    for (int64_t i = 0; i < out[r]; ++i)
      for (int64_t v : at) next.push_back(v + (size > 1 ? i * n : 0));
    at = std::move(next);
    n *= size;
  }
  return at;
}

Prepared prepare(const KernelDesc& d) {
  const Shape &x = d.in[0]->layout.shape, &w = d.in[1]->layout.shape, &out = d.out[0]->layout.shape;
  auto state = std::make_shared<State>();
  State& s = *state;
  s.to = d.attrs.dtype(0);
  s.packed = d.attrs.integer(1) > 0;
  s.x = d.in[0]->dtype;
  s.w = d.in[1]->dtype;
  s.k = x.back();
  s.n = out.back();
  s.scale_each = d.has(5) && d.in[5]->layout.rank() == 1;
  s.w_zero_each = d.has(3) && d.in[3]->layout.rank() == 1;
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.size(); ++i) rows *= x[i];
  if (s.packed || w.size() == 2) {
    s.m = rows;
  } else {
    s.m = out[out.size() - 2];
    s.batch = s.m * s.n > 0 ? numel(out) / (s.m * s.n) : 0;
    s.a_at = matrices_of(x, out);
    s.b_at = matrices_of(w, out);
    s.b_matrices = 1;
    for (int i = 0; i + 2 < w.size(); ++i) s.b_matrices *= w[i];
  }
  // Rows of A that stay in L2 beside the panels; tasks worth their dispatch, by products or by bytes read.
  constexpr int64_t a_bytes = 512 << 10, task_products = 1'500'000, task_bytes = 128 << 10;
  const int64_t depth = std::max<int64_t>(s.k, 1);
  s.row_tiles = std::max<int64_t>(1, ceil_div(s.m, std::max<int64_t>(int8_max_rows, a_bytes / depth)));
  s.tile_rows = std::max<int64_t>(1, ceil_div(s.m, s.row_tiles));
  const int64_t per_panel = s.tile_rows * depth * int8_panel, panels = int8_panels(s.n);
  s.group = std::clamp<int64_t>(std::min(ceil_div(task_products, per_panel), ceil_div(task_bytes, depth * int8_panel)), 1, std::max<int64_t>(panels, 1));
  s.groups = ceil_div(panels, s.group);
  s.lda = as_it_lies(s) ? s.k : round_up(int8_row_bytes(s.k), 4) + (int8_row_bytes(s.k) % 1024 ? 0 : 64);
  int64_t workspace = 0;
  const auto take = [&](int64_t bytes) { return std::exchange(workspace, round_up(workspace + bytes, 64)); };
  s.rows_at = as_it_lies(s) ? 0 : take(rows * s.lda);
  s.sums_at = take(rows * 4);
  s.panels_at = s.packed ? 0 : take(s.b_matrices * int8_packed_bytes(s.k, s.n));
  return {run, state, workspace, s.to == DType::f32 ? s.n : 0};
}

}  // namespace

Kernel kernel_int8_matmul() {
  Kernel k;
  k.prepare = prepare;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
