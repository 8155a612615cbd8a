// Products of 8-bit integers, tile by tile. A task is some rows by a group of panels of 32 columns. Where rows are many, a
// few at a time pass all panels of the group: they stay in L1, the panels in L2, and results are written side by side.
#include <algorithm>

#include "core/op.h"
#include "kernels/cpu/lib/int8_finish.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int inputs = 7;

struct State {
  int n_in;
  int64_t m, n, k;                 // of one matrix
  int64_t batch = 1;
  std::vector<int64_t> a_at, b_at; // by batch: which matrix of x and of the weight; empty where there is one
  int64_t b_matrices = 1;
  DType x, w, to;
  bool packed;
  bool scale_each = false, w_zero_each = false, real_bias = false;
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

constexpr int64_t most_panels = 16;   // of a group

// What turns sums into results, for the columns of a group. The whole sum of (a - za)(b - zb) is that of a b, plus
// `column`, plus the row's sum times `factor`.
struct Ending {
  alignas(64) int32_t column[most_panels * int8_panel], factor[most_panels * int8_panel];
  alignas(64) float scale[most_panels * int8_panel], bias[most_panels * int8_panel];
};

i32x16 bytes_at(const void* p, DType t, int64_t i, int n) {
  alignas(16) char b[16] = {};
  std::memcpy(b, static_cast<const char*>(p) + i, size_t(n));
  const __m128i v = _mm_load_si128(reinterpret_cast<const __m128i*>(b));
#ifdef __AVX512F__
  return (i32x16)(t == DType::i8 ? _mm512_cvtepi8_epi32(v) : _mm512_cvtepu8_epi32(v));
#else
  const __m128i upper = _mm_srli_si128(v, 8);
  if (t == DType::i8) return {(i32x8)_mm256_cvtepi8_epi32(v), (i32x8)_mm256_cvtepi8_epi32(upper)};
  return {(i32x8)_mm256_cvtepu8_epi32(v), (i32x8)_mm256_cvtepu8_epi32(upper)};
#endif
}

void prepare_ending(const State& s, const KernelArgs& x, const char* panels, int64_t first, int64_t count, int32_t za, Ending& to) {
  const int32_t moved_w = !s.packed && s.w == DType::u8 ? 128 : 0;
  const float* scale = static_cast<const float*>(x.in[5]);
  const u32x16 k_za = splat<u32x16>(uint32_t(s.k) * uint32_t(za));
  const i32x16 one_zero = splat<i32x16>((x.in[3] && !s.w_zero_each ? read_byte(x.in[3], s.w) : 0) - moved_w);
  const f32x16 one_scale = splat<f32x16>(scale && !s.scale_each ? *scale : 0);
  for (int64_t p = 0; p < count; ++p) {
    const char* sums = panels + p * int8_panel_bytes(s.k) + int8_quads(s.k) * 4 * int8_panel;
    for (int64_t j = 0; j < int8_panel; j += 16) {
      const int64_t col = (first + p) * int8_panel + j, at = p * int8_panel + j;
      const int n = int(std::clamp<int64_t>(s.n - col, 0, 16));
      const i32x16 zb = s.w_zero_each ? bytes_at(x.in[3], s.w, col, n) - moved_w : one_zero;
      u32x16 column = k_za * bits_as<u32x16>(zb) - bits_as<u32x16>(load(reinterpret_cast<const int32_t*>(sums) + j)) * uint32_t(za);
      if (x.in[4] && !s.real_bias) column += bits_as<u32x16>(load_partial(static_cast<const int32_t*>(x.in[4]) + col, n));
      store(to.column + at, bits_as<i32x16>(column));
      store(to.factor + at, -zb);
      store(to.scale + at, s.scale_each ? load_partial(scale + col, n) : one_scale);
      if (s.real_bias) store(to.bias + at, load_partial(static_cast<const float*>(x.in[4]) + col, n));
    }
  }
}

template <class T>
void run_tiles(const State& s, const KernelArgs& x, const uint8_t* rows, const int32_t* row_sums, const char* panels) {
  const uint8_t flip_x = s.x == DType::i8 ? 0x80 : 0;
  const int32_t za = (x.in[2] ? read_byte(x.in[2], s.x) : 0) + flip_x;
  const int32_t out_zero = x.in[6] ? read_byte(x.in[6], s.to) : 0;
  const int64_t panel_bytes = int8_panel_bytes(s.k), n_panels = int8_panels(s.n);
  parallel_for(s.batch * s.row_tiles * s.groups, [&](int64_t task) {
    const int64_t group = task % s.groups, tile = task / s.groups % s.row_tiles, batch = task / (s.groups * s.row_tiles);
    const int64_t a_matrix = s.a_at.empty() ? 0 : s.a_at[size_t(batch)], b_matrix = s.b_at.empty() ? 0 : s.b_at[size_t(batch)];
    const int64_t row0 = tile * s.tile_rows, row_end = std::min(s.m, row0 + s.tile_rows);
    const int64_t p0 = group * s.group, count = std::min(s.group, n_panels - p0);
    const int64_t col0 = p0 * int8_panel, cols = std::min(count * int8_panel, s.n - col0);
    if (row0 >= row_end || count <= 0) return;
    const char* of_group = panels + (b_matrix * n_panels + p0) * panel_bytes;
    Ending e;
    prepare_ending(s, x, of_group, p0, count, za, e);
    T* out = static_cast<T*>(x.out[0]) + batch * s.m * s.n + col0;
    const int64_t blocks = (row_end - row0) * s.lda <= 128 << 10 ? 1 : ceil_div(row_end - row0, int8_max_rows);
    for (int64_t b = 0; b < blocks; ++b) {   // of nearly one height
      const int64_t at = row0 + b * (row_end - row0) / blocks, end = row0 + (b + 1) * (row_end - row0) / blocks;
      const int64_t first = a_matrix * s.m + at;
      int8_multiply(rows + first * s.lda, s.lda, end - at, s.k, of_group, cols,
                    [&](const int32_t* sums, const int32_t*, int64_t row, int64_t n_rows, int64_t col, int64_t n_cols) {
                      finish_rows<T>({sums, e.column + col, row_sums ? e.factor + col : nullptr, 0, 0, s.real_bias ? e.bias + col : nullptr},
                                     n_rows, row_sums ? row_sums + first + row : nullptr, e.scale + col, out_zero, n_cols, out + (at + row) * s.n + col, s.n);
                    });
      if (x.epilogue) (*x.epilogue)(out + at * s.n, batch, at, end - at, col0, cols, s.n);
    }
  });
}

void run(const void* state, const KernelArgs& args) {
  const State& s = *static_cast<const State*>(state);
  const void* in[inputs] = {};   // those left out at the end of the list have no pointer
  std::copy_n(args.in, s.n_in, in);
  KernelArgs x = args;
  x.in = in;
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
        sums[i] = copy ? flip_row(from, s.k, s.x == DType::i8 ? 0x80 : 0, to + i * s.lda) : sum_of_bytes(from, s.k);
      }
    });
    if (copy) rows = to;
    if (sums_wanted) row_sums = sums;
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
  s.n_in = int(d.in.size());
  s.to = d.attrs.dtype(0);
  s.packed = d.attrs.integer(1) > 0;
  s.x = d.in[0]->dtype;
  s.w = d.in[1]->dtype;
  s.k = x.back();
  s.n = out.back();
  s.scale_each = d.has(5) && d.in[5]->layout.rank() == 1;
  s.real_bias = d.has(4) && d.in[4]->dtype == DType::f32;
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
  // Tasks of some 5 us, by products or by bytes of weight read; none but one where there is little to do.
  const double depth = double(std::max<int64_t>(s.k, 1)), bytes = depth * double(s.n) * double(s.b_matrices);
  const double us = std::max(depth * double(s.m) * double(s.n) * double(s.batch) / 250e3, bytes / 25e3);
  const int64_t each = std::max<int64_t>(s.batch, 1), panels = std::max<int64_t>(int8_panels(s.n), 1);
  const int64_t tasks = us < 15 ? 1 : std::clamp<int64_t>(int64_t(us / 5) / each, 1, ceil_div(48, each));
  s.group = ceil_div(panels, std::clamp<int64_t>(tasks, ceil_div(panels, most_panels), panels));
  s.groups = ceil_div(panels, s.group);
  s.row_tiles = std::clamp<int64_t>(tasks / s.groups, 1, std::max<int64_t>(1, s.m / (2 * int8_max_rows)));
  s.tile_rows = std::max<int64_t>(1, ceil_div(s.m, s.row_tiles));
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
