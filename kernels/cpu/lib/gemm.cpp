// Matrix product. A task owns a tile of C: per block of k it has B's strip packed (in L2), then
// takes A panel by panel (L1) through all of the strip. A B that several row tiles share is packed
// once, into the workspace; otherwise the task packs its strip into thread scratch.
#include "kernels/cpu/lib/gemm.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/error.h"
#include "kernels/cpu/lib/gemm_tile.h"

namespace suan::cpu::SUAN_ISA {
namespace {

using namespace gemm_tiles;

constexpr int64_t max_tile_cols = 512;
// Multiply-adds that make a task worth its dispatch, and tasks enough for balance on many threads.
constexpr int64_t task_work = 600'000;
constexpr int64_t enough_tasks = 24;
// Elements of C in a tile: what thread scratch holds beside the strip, and what stays in L2.
constexpr int64_t tile_bytes = 200 << 10;
// Elements of an operand that may be packed as a whole: 32 MiB of f32.
constexpr int64_t most_prepacked = 8 << 20;
// Panels of A that are packed together.
constexpr int64_t chunk_panels = 16;
template <class T>
constexpr int64_t panel_size = std::max(max_rows * row_stride<T>, k_major_panel<T>);
constexpr int64_t pack_cols = 128;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

bool is_narrow(DType t) { return t == DType::bf16 || t == DType::f16; }

void check(const GemmShape& s) {
  if (!(is_integer(s.dtype) && !is_packed(s.dtype)) && !is_narrow(s.dtype) &&
      s.dtype != DType::f32 && s.dtype != DType::f64) {
    fail<TypeError>("matmul",
                    "no product for this dtype: expected an integer or f16 to f64, got {}",
                    brief(s.dtype));
  }
  if (s.out_dtype != s.dtype && !(is_narrow(s.dtype) && s.out_dtype == DType::f32)) {
    fail<TypeError>("matmul", "bad output dtype: expected {}, got {}", brief(s.dtype),
                    brief(s.out_dtype));
  }
  if (std::min({s.m, s.n, s.k, s.batch}) < 0) {
    fail<ShapeError>("matmul", "negative size: expected sizes >= 0, got m={} n={} k={} batch={}",
                     s.m, s.n, s.k, s.batch);
  }
  if (s.lda < (s.trans_a ? s.m : s.k) || s.ldb < (s.trans_b ? s.k : s.n) || s.ldc < s.n) {
    fail<ShapeError>("matmul",
                     "row stride below the row: expected at least {}, {}, {}, got {}, {}, {}",
                     s.trans_a ? s.m : s.k, s.trans_b ? s.k : s.n, s.n, s.lda, s.ldb, s.ldc);
  }
}

// Whether a transposed A is fit to be read as it lies: near rows share pages and do not collide in
// L1.
bool near_rows(const GemmShape& s) { return s.lda * item_size(s.dtype) <= 2048; }

// Picks the tile that spends least on packing among those that make enough tasks. Costs are in
// cycles per vector multiply-add of a 32-column panel, measured.
void choose_tiles(GemmPlan& p) {
  const GemmShape& s = p.shape;
  const double work =
      double(s.m) * double(s.n) * double(std::max<int64_t>(s.k, 1)) / double(p.splits);
  const double want = std::clamp(work / double(task_work), 1.0,
                                 std::max(1.0, double(enough_tasks) / double(s.batch * p.splits)));
  p.panel_rows = ceil_div(s.m, ceil_div(s.m, max_rows));
  const double pack_b = s.trans_b ? 12.0 : 5.0;
  const double fetch = 8.0;  // of either operand from beyond L2, what prefetching leaves of it
  const bool one_packing = want > 1.5;
  const bool may_prepack_b = one_packing && (s.batch == 1 || s.stride_b == 0) &&
                             s.m > 3 * max_rows && s.n * s.k <= most_prepacked;
  p.prepack_a =
      one_packing && s.trans_a && !near_rows(s) && s.batch == 1 && s.m * s.k <= most_prepacked;
  const int64_t most_area = tile_bytes / item_size(compute_type(s.dtype));
  double best = std::numeric_limits<double>::infinity();
  for (int64_t cols = 32;; cols = cols < 128 ? cols + 32 : cols * 3 / 2 / 32 * 32) {
    cols = std::min(cols, max_tile_cols);
    const int64_t tile_cols = round_up(ceil_div(s.n, ceil_div(s.n, cols)), 32);
    const int64_t col_tiles = ceil_div(s.n, tile_cols);
    const int64_t fewest =
        is_narrow(s.dtype) || is_integer(s.dtype)
            ? ceil_div(s.m, std::max<int64_t>(1, most_area / tile_cols - max_rows))
            : 1;
    const int64_t rows =
        ceil_div(s.m, std::max({int64_t(want / double(col_tiles) + 0.5), fewest, int64_t{1}}));
    const int64_t tile_rows = round_up(rows, p.panel_rows);
    const int64_t row_tiles = ceil_div(s.m, tile_rows);
    const double idle = std::max(0.0, want / double(row_tiles * col_tiles) - 1.0);
    const bool prepack_b = may_prepack_b && row_tiles > 1;
    // A transposed A is read in short pieces unless the tile has many rows.
    const double pack_a = p.prepack_a                  ? 1.0
                          : s.trans_a && !near_rows(s) ? 5.0 + 1500.0 / double(tile_rows)
                                                       : 4.0;
    const double cost = (fetch + pack_a) / double(tile_cols) + fetch / double(tile_rows) +
                        pack_b / double(prepack_b ? s.m : tile_rows) + 0.01 * idle;
    if (cost < best) {
      best = cost;
      p.tile_rows = tile_rows;
      p.tile_cols = tile_cols;
      p.prepack_b = prepack_b;
    }
    if (cols >= std::min(s.n, max_tile_cols)) break;
  }
  p.row_tiles = ceil_div(s.m, p.tile_rows);
  p.col_tiles = ceil_div(s.n, p.tile_cols);
}

// Elements of the packed operands in the workspace, A's first.
int64_t packed_a_size(const GemmPlan& p) {
  const GemmShape& s = p.shape;
  // As much as either instruction set needs.
  const int64_t panel = gemm_k_block(s.dtype) * 16 + 80;
  return p.prepack_a ? ceil_div(s.k, gemm_k_block(s.dtype)) * ceil_div(s.m, p.panel_rows) * panel
                     : 0;
}
int64_t packed_b_size(const GemmPlan& p) {
  const int64_t vector = 64 / item_size(compute_type(p.shape.dtype));
  return p.prepack_b ? p.shape.k * round_up(p.shape.n, vector) : 0;
}

// What one task needs, with every pointer at the tile's own start.
struct Tile {
  const void* a;
  const void* b;
  const void* packed_a;  // all of A or B in panels, or null
  const void* packed_b;
  void* c;
  int64_t ldc;
  int64_t rows, cols, k;
  int64_t k_begin;  // where this range of k lies in the packed operands
  int64_t panel_rows;
  int64_t batch, row0, col0;
  bool accumulate;
};

template <class T, class S>
void pack_b(const GemmShape& s, const S* b, int64_t col, int64_t cols, int64_t k0, int64_t kc,
            T* to) {
  const int64_t width = round_up(cols, lanes<T>);
  if (s.trans_b) {
    pack_b_panel<T, S, true>(b + col * s.ldb + k0, s.ldb, kc, cols, width, to);
  } else {
    pack_b_panel<T, S, false>(b + k0 * s.ldb + col, s.ldb, kc, cols, width, to);
  }
}

// One task of packing all of B: a block of k by `pack_cols` columns. A block's panels lie one after
// the other, the blocks likewise, so the panel of (k0, col) begins at k0 * packed_cols + col * kc.
template <class S, class T>
void pack_b_task(const GemmShape& s, const void* b, void* packed, int64_t task) {
  const int64_t strips = ceil_div(s.n, pack_cols);
  const int64_t k0 = task / strips * k_block<T>, kc = std::min(k_block<T>, s.k - k0);
  const int64_t first = task % strips * pack_cols, last = std::min(first + pack_cols, s.n);
  T* block = static_cast<T*>(packed) + k0 * round_up(s.n, lanes<T>);
  for (int64_t col = first; col < last; col += panel_cols<T>) {
    const int64_t cols = std::min<int64_t>(panel_cols<T>, last - col);
    pack_b<T, S>(s, static_cast<const S*>(b), col, cols, k0, kc, block + col * kc);
  }
}

// The same for a transposed A: a block of k by chunk_panels panels.
template <class S, class T>
void pack_a_task(const GemmPlan& p, const void* a, void* packed, int64_t task) {
  const GemmShape& s = p.shape;
  const int64_t panels = ceil_div(s.m, p.panel_rows), chunks = ceil_div(panels, chunk_panels);
  const int64_t k0 = task / chunks * k_block<T>, kc = std::min(k_block<T>, s.k - k0);
  const int64_t panel = task % chunks * chunk_panels, row = panel * p.panel_rows;
  pack_a_k_major(static_cast<const S*>(a) + k0 * s.lda + row, s.lda,
                 std::min(chunk_panels * p.panel_rows, s.m - row), p.panel_rows, kc,
                 static_cast<T*>(packed) + (k0 / k_block<T> * panels + panel) * k_major_panel<T>);
}

// S is the stored type of A and B, T the type arithmetic runs in, O the stored type of C.
template <class S, class T, class O>
void run_tile(const GemmShape& s, const Tile& t, TileEpilogue epilogue) {
  constexpr bool c_in_place = std::is_same_v<T, O>;
  T* strip = reinterpret_cast<T*>(thread_scratch());
  T* panels = strip + max_tile_cols * k_block<T>;
  // A narrow C is summed in full precision here and rounded once.
  T* wide = panels + chunk_panels * panel_size<T>;
  const S* a = static_cast<const S*>(t.a);
  const S* b = static_cast<const S*>(t.b);
  O* c = static_cast<O*>(t.c);

  // Each block of B is read `rows` times: for a few rows, packing costs more than it saves.
  const bool direct_b = std::is_same_v<S, T> && !s.trans_b && t.rows <= 3 * max_rows;
  // A transposed A is packed already, but for its rows' distance.
  const bool direct_a = std::is_same_v<S, T> && s.trans_a && near_rows(s);
  const int64_t n_panels = ceil_div(t.cols, panel_cols<T>);
  const int64_t all_panels = ceil_div(s.m, t.panel_rows);
  const int64_t packed_cols = round_up(s.n, lanes<T>);

  const auto finish = [&](int64_t row, int64_t rows) {
    if constexpr (!c_in_place) {
      for (int64_t i = row; i < row + rows; ++i) {
        O* to = c + i * t.ldc;
        const T* from = wide + i * t.cols;
        for (int64_t j = 0; j < t.cols; ++j) {
          to[j] = narrow<O>(t.accumulate ? widen<T>(to[j]) + from[j] : from[j]);
        }
      }
    }
    if (epilogue) epilogue(c + row * t.ldc, t.batch, t.row0 + row, rows, t.col0, t.cols, t.ldc);
  };

  if (t.k == 0) {
    for (int64_t i = 0; i < t.rows; ++i) {
      if (!t.accumulate) std::memset(c + i * t.ldc, 0, t.cols * sizeof(O));
      if constexpr (!c_in_place) std::fill_n(wide + i * t.cols, t.cols, T{});
    }
    finish(0, t.rows);
    return;
  }

  for (int64_t k0 = 0; k0 < t.k; k0 += k_block<T>) {
    const int64_t kc = std::min(k_block<T>, t.k - k0);
    for (int64_t p = 0; p < n_panels && !t.packed_b; ++p) {
      const int64_t col = p * panel_cols<T>;
      const int64_t cols = std::min<int64_t>(panel_cols<T>, t.cols - col);
      if (direct_b && cols == panel_cols<T>) continue;
      pack_b(s, b, col, cols, k0, kc, strip + col * k_block<T>);
    }
    const bool add = k0 > 0 || (c_in_place && t.accumulate);
    for (int64_t row = 0, r = 0; row < t.rows; row += t.panel_rows, ++r) {
      const int64_t rows = std::min(t.panel_rows, t.rows - row);
      const T* panel = panels;
      if (t.packed_a) {
        panel = static_cast<const T*>(t.packed_a) +
                ((t.k_begin + k0) / k_block<T> * all_panels + t.row0 / t.panel_rows + r) *
                    k_major_panel<T>;
      } else if (direct_a) {
        if constexpr (std::is_same_v<S, T>) panel = a + k0 * s.lda + row;
      } else if (s.trans_a) {
        if (r % chunk_panels == 0) {
          pack_a_k_major(a + k0 * s.lda + row, s.lda,
                         std::min(chunk_panels * t.panel_rows, t.rows - row), t.panel_rows, kc,
                         panels);
        }
        panel += r % chunk_panels * k_major_panel<T>;
      } else {
        pack_a_rows(a + row * s.lda + k0, s.lda, rows, kc, panels);
      }
      const auto& kernels =
          s.trans_a ? panel_kernels<T, true>[rows - 1] : panel_kernels<T, false>[rows - 1];
      for (int64_t p = 0; p < n_panels; ++p) {
        const int64_t col = p * panel_cols<T>;
        const int64_t cols = std::min<int64_t>(panel_cols<T>, t.cols - col);
        int64_t ldb = round_up(cols, lanes<T>);
        const int64_t vectors = ldb / lanes<T>;
        const T* from = strip + col * k_block<T>;
        if (t.packed_b) {
          from = static_cast<const T*>(t.packed_b) + (t.k_begin + k0) * packed_cols +
                 (t.col0 + col) * kc;
        }
        if constexpr (std::is_same_v<S, T>) {
          if (!t.packed_b && direct_b && cols == panel_cols<T>) {
            from = b + k0 * s.ldb + col;
            ldb = s.ldb;
          }
        }
        T* to;
        int64_t ld;
        if constexpr (c_in_place) {
          to = c + row * t.ldc + col;
          ld = t.ldc;
        } else {
          to = wide + row * t.cols + col;
          ld = t.cols;
        }
        kernels[vectors - 1](kc, panel, direct_a ? s.lda : k_stride<T>, from, ldb, to, ld, cols,
                             add);
      }
      if (k0 + kc == t.k) finish(row, rows);
    }
  }
}

// Ranges of k, for a C too small to make tasks of: a function of the sizes alone, the same on any
// ISA.
int64_t count_splits(const GemmShape& s) {
  const int64_t units = s.batch * ceil_div(s.m, 64) * ceil_div(s.n, 64);
  if (units >= 8) return 1;
  const double work = double(s.batch) * double(s.m) * double(s.n) * double(s.k);
  const int64_t by_work = int64_t(std::min(16.0, work / double(task_work)));
  return std::max<int64_t>(1, std::min({int64_t{16}, s.k / (2 * gemm_k_block(s.dtype)), by_work}));
}

// C = the sum of the splits' partial results, in order, for the rows [row0, row0 + rows) of one
// batch.
template <class T, class O>
void sum_splits(const GemmPlan& p, const T* partial, O* c, int64_t batch, int64_t row0,
                int64_t rows) {
  const GemmShape& s = p.shape;
  const int64_t split_stride = s.batch * s.m * s.n;
  for (int64_t i = row0; i < row0 + rows; ++i) {
    const T* from = partial + (batch * s.m + i) * s.n;
    O* to = c + batch * s.stride_c + i * s.ldc;
    for (int64_t j = 0; j < s.n; ++j) {
      T sum = from[j];
      for (int64_t k = 1; k < p.splits; ++k) sum += from[k * split_stride + j];
      to[j] = narrow<O>(s.accumulate ? static_cast<T>(widen<T>(to[j]) + sum) : sum);
    }
  }
}

template <class T, class O>
void sum_splits_untyped(const GemmPlan& p, const void* partial, void* c, int64_t batch,
                        int64_t row0, int64_t rows) {
  sum_splits(p, static_cast<const T*>(partial), static_cast<O*>(c), batch, row0, rows);
}

struct Functions {
  void (*tile)(const GemmShape&, const Tile&, TileEpilogue);
  void (*split_tile)(const GemmShape&, const Tile&, TileEpilogue);  // C in the compute type
  void (*sum)(const GemmPlan&, const void*, void*, int64_t, int64_t, int64_t);
  void (*pack_a)(const GemmPlan&, const void*, void*, int64_t);
  void (*pack_b)(const GemmShape&, const void*, void*, int64_t);
};

template <class S, class T, class O>
constexpr Functions functions = {run_tile<S, T, O>, run_tile<S, T, T>, sum_splits_untyped<T, O>,
                                 pack_a_task<S, T>, pack_b_task<S, T>};

const Functions& functions_for(DType in, DType out) {
  switch (in) {
    case DType::f32: return functions<float, float, float>;
    case DType::f64: return functions<double, double, double>;
    case DType::bf16:
      return out == DType::f32 ? functions<Bf16, float, float> : functions<Bf16, float, Bf16>;
    case DType::f16:
      return out == DType::f32 ? functions<F16, float, float> : functions<F16, float, F16>;
    // Integer products wrap: unsigned arithmetic has the right low bits whatever the sign.
    case DType::u8: return functions<uint8_t, uint64_t, uint8_t>;
    case DType::i8: return functions<int8_t, uint64_t, int8_t>;
    case DType::u16: return functions<uint16_t, uint64_t, uint16_t>;
    case DType::i16: return functions<int16_t, uint64_t, int16_t>;
    case DType::u32: return functions<uint32_t, uint64_t, uint32_t>;
    case DType::i32: return functions<int32_t, uint64_t, int32_t>;
    default: return functions<uint64_t, uint64_t, uint64_t>;
  }
}

const void* at(const void* p, int64_t elements, int64_t size) {
  return static_cast<const std::byte*>(p) + elements * size;
}
void* at(void* p, int64_t elements, int64_t size) {
  return static_cast<std::byte*>(p) + elements * size;
}

// The tile with index `tile` of one batch, over k in [k0, k0 + k).
Tile make_tile(const GemmPlan& p, const void* a, const void* b, void* workspace, int64_t batch,
               int64_t tile, int64_t k0, int64_t k) {
  const GemmShape& s = p.shape;
  Tile t;
  // Neighbours in time share B's strip.
  t.row0 = tile % p.row_tiles * p.tile_rows;
  t.col0 = tile / p.row_tiles * p.tile_cols;
  t.rows = std::min(p.tile_rows, s.m - t.row0);
  t.cols = std::min(p.tile_cols, s.n - t.col0);
  t.k = k;
  t.k_begin = k0;
  t.panel_rows = p.panel_rows;
  t.batch = batch;
  const int64_t in = item_size(s.dtype);
  t.a = at(a, batch * s.stride_a + (s.trans_a ? t.row0 + k0 * s.lda : t.row0 * s.lda + k0), in);
  t.b = at(b, batch * s.stride_b + (s.trans_b ? t.col0 * s.ldb + k0 : t.col0 + k0 * s.ldb), in);
  t.packed_a = p.prepack_a ? workspace : nullptr;
  t.packed_b =
      p.prepack_b ? at(workspace, packed_a_size(p), item_size(compute_type(s.dtype))) : nullptr;
  return t;
}

// Packs what is packed as a whole, in parallel.
void prepack(const GemmPlan& p, const Functions& run, const void* a, const void* b,
             void* workspace) {
  const GemmShape& s = p.shape;
  void* packed_b = at(workspace, packed_a_size(p), item_size(compute_type(s.dtype)));
  const int64_t blocks = ceil_div(s.k, gemm_k_block(s.dtype));
  const int64_t chunks = ceil_div(ceil_div(s.m, p.panel_rows), chunk_panels);
  const int64_t a_tasks = p.prepack_a ? blocks * chunks : 0;
  const int64_t b_tasks = p.prepack_b ? blocks * ceil_div(s.n, pack_cols) : 0;
  parallel_for(a_tasks + b_tasks, [&](int64_t task) {
    if (task < a_tasks) {
      run.pack_a(p, a, workspace, task);
    } else {
      run.pack_b(s, b, packed_b, task - a_tasks);
    }
  });
}

}  // namespace

GemmPlan gemm_prepare(const GemmShape& shape) {
  check(shape);
  GemmPlan p;
  p.shape = shape;
  if (shape.m == 0 || shape.n == 0 || shape.batch == 0) return p;
  p.splits = count_splits(shape);
  p.split_k =
      p.splits == 1 ? shape.k : round_up(ceil_div(shape.k, p.splits), gemm_k_block(shape.dtype));
  if (p.splits > 1) p.splits = ceil_div(shape.k, p.split_k);
  choose_tiles(p);
  const int64_t tiles = p.row_tiles * p.col_tiles;
  const int64_t partial = p.splits > 1 ? p.splits * shape.batch * shape.m * shape.n : 0;
  p.workspace = size_t((packed_a_size(p) + packed_b_size(p) + partial) *
                       item_size(compute_type(shape.dtype)));
  if (p.splits == 1 && tiles == 1) {
    const double work = double(shape.m) * double(shape.n) * double(std::max<int64_t>(shape.k, 1));
    p.group = std::clamp<int64_t>(int64_t(double(task_work) / work), 1, shape.batch);
  }
  p.tasks = ceil_div(shape.batch, p.group) * tiles * p.splits;
  return p;
}

void gemm_run(const GemmPlan& p, const void* a, const void* b, void* c, void* workspace,
              TileEpilogue epilogue) {
  const GemmShape& s = p.shape;
  const int64_t tiles = p.row_tiles * p.col_tiles;
  const int64_t out = item_size(s.out_dtype), compute = item_size(compute_type(s.dtype));
  const Functions& run = functions_for(s.dtype, s.out_dtype);
  if (p.prepack_a || p.prepack_b) prepack(p, run, a, b, workspace);
  if (p.splits == 1) {
    parallel_for(p.tasks, [&](int64_t task) {
      const int64_t first = task / tiles * p.group;
      for (int64_t i = first; i < std::min(first + p.group, s.batch); ++i) {
        Tile t = make_tile(p, a, b, workspace, i, task % tiles, 0, s.k);
        t.c = at(c, i * s.stride_c + t.row0 * s.ldc + t.col0, out);
        t.ldc = s.ldc;
        t.accumulate = s.accumulate;
        run.tile(s, t, epilogue);
      }
    });
    return;
  }

  void* const partial = at(workspace, packed_a_size(p) + packed_b_size(p), compute);
  parallel_for(p.tasks, [&](int64_t task) {
    const int64_t split = task % p.splits, rest = task / p.splits;
    const int64_t batch = rest / tiles, k0 = split * p.split_k;
    Tile t = make_tile(p, a, b, workspace, batch, rest % tiles, k0, std::min(p.split_k, s.k - k0));
    t.c = at(partial, ((split * s.batch + batch) * s.m + t.row0) * s.n + t.col0, compute);
    t.ldc = s.n;
    t.accumulate = false;
    run.split_tile(s, t, {});
  });
  const int64_t rows = std::max<int64_t>(1, 16384 / (s.n * p.splits));
  const int64_t blocks = ceil_div(s.m, rows);
  parallel_for(s.batch * blocks, [&](int64_t task) {
    const int64_t batch = task / blocks, row0 = task % blocks * rows;
    const int64_t count = std::min(rows, s.m - row0);
    run.sum(p, partial, c, batch, row0, count);
    if (epilogue) {
      epilogue(at(c, batch * s.stride_c + row0 * s.ldc, out), batch, row0, count, 0, s.n, s.ldc);
    }
  });
}

}  // namespace suan::cpu::SUAN_ISA
