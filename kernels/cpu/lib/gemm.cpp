// Matrix product. A task owns a tile of C: per block of k it has B's strip packed (in L2), then
// takes A panel by panel (L1) through all of the strip. A B that several row tiles share is packed
// once, into the workspace; otherwise the task packs its strip into thread scratch.
#include "kernels/cpu/lib/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/error.h"
#include "kernels/cpu/lib/fast_pairs.h"
#include "kernels/cpu/lib/gemm_panels.h"
#include "kernels/cpu/lib/gemm_pairs.h"
#include "core/panels.h"

namespace suan::cpu::SUAN_ISA {
namespace {

using namespace gemm_tiles;

constexpr int64_t max_tile_cols = 512;
// Multiply-adds that make a task worth its dispatch.
constexpr int64_t task_work = 600'000;
// C's tile: what thread scratch holds beside the strip, and what waits in L2 for the next block.
constexpr int64_t tile_bytes = 200 << 10, c_bytes = 320 << 10;
// Elements of a B that may be packed as a whole: 32 MiB of f32.
constexpr int64_t most_prepacked = 8 << 20;
// Panels of A that are packed together.
constexpr int64_t chunk_panels = 16;
template <class T>
constexpr int64_t panel_size = std::max(max_rows * row_stride<T>, k_major_panel<T>);
constexpr int64_t pack_cols = 128;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// B is given in panels (gemm_panels.h).
bool in_panels(const GemmShape& s) { return s.ldb == 0; }

bool is_narrow(DType t) { return t == DType::bf16 || t == DType::f16; }

void check(const GemmShape& s) {
  if (!contains(integer_types, s.dtype) && !is_narrow(s.dtype) &&
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

// Picks the tile whose product is estimated to end first. The unit is the panel kernel's own time;
// what packing and fetching an operand costs beside it was measured.
void choose_tiles(GemmPlan& p) {
  const GemmShape& s = p.shape;
  const double work = double(s.m) * double(s.n) * double(std::max<int64_t>(s.k, 1));
  const double others = double(s.batch * p.splits);
  const double most_tasks = std::max(1.0, work / double(p.splits) / double(task_work));
  p.panel_rows = ceil_div(s.m, ceil_div(s.m, max_rows));
  const bool may_prepack_b = !in_panels(s) && most_tasks > 1.5 && (s.batch == 1 || s.stride_b == 0) &&
                             s.m > 3 * max_rows && s.n * s.k <= most_prepacked;
  const bool as_it_lies = near_rows(s) && !is_narrow(s.dtype);
  const double pack_a = s.trans_a ? (as_it_lies ? 3.0 : 16.0) : p.pairs ? 6.0 : 12.0;
  // Panels that are given come from memory as long as a model's weights fill the caches: best once.
  const double pack_b = in_panels(s) ? 6.0 : s.trans_b ? 36.0 : s.m <= 3 * max_rows ? 4.0 : 20.0;
  const bool summed_aside = is_narrow(s.dtype) || is_integer(s.dtype);
  const int64_t most_area = (summed_aside ? tile_bytes : c_bytes) / item_size(compute_type(s.dtype));
  double best = std::numeric_limits<double>::infinity();
  for (const int64_t cols : {512, 384, 256, 192, 128, 96, 64, 32}) {
    if (cols > 32 && s.n <= cols / 2) continue;
    const int64_t tile_cols = round_up(ceil_div(s.n, ceil_div(s.n, cols)), 32);
    const int64_t col_tiles = ceil_div(s.n, tile_cols);
    for (const int64_t panels : {28, 20, 14, 10, 7, 4, 2, 1}) {
      if (panels > 1 && s.m <= panels / 2 * p.panel_rows) continue;
      int64_t row_tiles = ceil_div(s.m, panels * p.panel_rows);
      if (row_tiles > 2) row_tiles += row_tiles % 2;  // an even number of tasks
      const int64_t tile_rows = round_up(ceil_div(s.m, row_tiles), p.panel_rows);
      row_tiles = ceil_div(s.m, tile_rows);
      if (tile_rows * tile_cols > most_area && tile_rows > p.panel_rows) continue;
      if (double(row_tiles * col_tiles) > 1.25 * most_tasks && std::isfinite(best)) continue;
      const bool prepack_b = may_prepack_b && row_tiles > 1;
      const double tasks = double(row_tiles * col_tiles) * others;
      double cost = pack_a / double(tile_cols) +
                    (prepack_b ? 6.0 / double(tile_rows) + pack_b / double(s.m)
                               : pack_b / double(tile_rows));
      // What threads wait for the last task, on few and on many.
      for (const double threads : {2.0, 8.0}) {
        const double rounds = std::ceil(tasks / threads);
        cost += 0.5 / threads * (rounds * threads / std::min(tasks, most_tasks * others) - 1.0);
      }
      if (cost < best) {
        best = cost;
        p.tile_rows = tile_rows;
        p.tile_cols = tile_cols;
        p.prepack_b = prepack_b;
      }
    }
  }
  p.row_tiles = ceil_div(s.m, p.tile_rows);
  p.col_tiles = ceil_div(s.n, p.tile_cols);
}

// Elements of the packed B in the workspace.
int64_t packed_b_size(const GemmPlan& p) {
  const int64_t vector = 64 / item_size(compute_type(p.shape.dtype));
  return p.prepack_b ? p.shape.k * round_up(p.shape.n, vector) : 0;
}

// What one task needs, with every pointer at the tile's own start.
struct Tile {
  const void* a;
  const void* b;
  const void* packed_b;  // all of B in panels, or null
  void* c;
  int64_t ldc;
  int64_t rows, cols, k;
  int64_t k_begin;  // where this range of k lies in the packed operands
  int64_t panel_rows, k_block;
  int64_t batch, row0, col0;
  bool accumulate;
  bool given = false;    // packed_b is the caller's (gemm_panels.h)
};

// Elements of T that kc values of k take.
template <class T>
int64_t units(int64_t kc) {
  return (kc + k_per<T> - 1) / k_per<T>;
}

// Columns [col, col + cols) of the block of k at k0: panel after panel, units(kc) rows each.
template <class T, class S>
void pack_b(const GemmShape& s, const S* b, int64_t col, int64_t cols, int64_t k0, int64_t kc,
            T* to) {
  int64_t done = 0;
  if (!s.trans_b) {
    const int64_t panels = cols / panel_cols<T>;
    pack_b_rows(b + k0 * s.ldb + col, s.ldb, kc, panels, to);
    done = panels * panel_cols<T>;
  }
  for (; done < cols; done += panel_cols<T>) {
    const int64_t here = std::min<int64_t>(panel_cols<T>, cols - done);
    const int64_t width = round_up(here, lanes<T>);
    T* panel = to + done * units<T>(kc);
    if (s.trans_b) {
      pack_b_panel<true>(b + (col + done) * s.ldb + k0, s.ldb, kc, here, width, panel);
    } else {
      pack_b_panel<false>(b + k0 * s.ldb + col + done, s.ldb, kc, here, width, panel);
    }
  }
}

// One task of packing all of B: a block of k by `pack_cols` columns. A block's panels lie one after
// the other, the blocks likewise, so the panel of (k0, col) begins at
// k0 * packed_cols + col * kc, with k counted in elements of T.
template <class S, class T>
void pack_b_task(const GemmPlan& p, const void* b, void* packed, int64_t task) {
  const GemmShape& s = p.shape;
  const int64_t strips = ceil_div(s.n, pack_cols);
  const int64_t k0 = task / strips * p.k_block, kc = std::min(p.k_block, s.k - k0);
  const int64_t col = task % strips * pack_cols;
  pack_b<T, S>(s, static_cast<const S*>(b), col, std::min(pack_cols, s.n - col), k0, kc,
               static_cast<T*>(packed) + k0 / k_per<T> * round_up(s.n, lanes<T>) + col * units<T>(kc));
}

// Memory that is packed or read soon, handed out in shares that a panel asks for while it is
// multiplied. Narrow pieces are taken row by row, wide ones as columns of cache lines.
class Region {
 public:
  Region() = default;
  // `rows` pieces of `bytes`, ld bytes apart.
  Region(const void* at, int64_t ld, int64_t rows, int64_t bytes)
      : at_(static_cast<const char*>(at)),
        ld_(ld),
        rows_(rows),
        lines_(ceil_div(bytes, line)),
        narrow_(lines_ <= ahead_lines) {}

  bool empty() const { return rows_ <= 0 || lines_ <= 0; }
  // The next `share` lines.
  Ahead take(int64_t share) {
    if (narrow_) {
      const int64_t rows = std::max<int64_t>(1, share / ahead_lines);
      rows_ -= rows;
      at_ += rows * ld_;
      return {at_ - rows * ld_, line, ld_ - (ahead_lines - 1) * line};
    }
    const char* at = at_ + row_ * ld_;
    row_ += share;
    if (row_ >= rows_) {
      row_ = 0;
      at_ += line;
      --lines_;
    }
    return {at, ld_, ld_};
  }

 private:
  static constexpr int64_t line = 64;
  const char* at_ = nullptr;
  int64_t ld_ = 0, rows_ = 0, lines_ = 0, row_ = 0;
  bool narrow_ = true;
};

// One row of A by a transposed B, which is then read once: 32 rows of B at a time and along all of k, so that memory
// is read in long streams. Sums are run_tile's own.
void run_row(const GemmShape& s, const Tile& t) {
  constexpr int64_t width = panel_cols<float>, ahead = 128;   // floats
  const float *a = static_cast<const float*>(t.a), *b = static_cast<const float*>(t.b);
  float *panel = reinterpret_cast<float*>(thread_scratch()), *c = static_cast<float*>(t.c);
  for (int64_t col = 0; col < t.cols; col += width) {
    const int64_t cols = std::min(width, t.cols - col), padded = round_up(cols, lanes<float>);
    const float* rows = b + col * s.ldb;
    for (int64_t k0 = 0; k0 < t.k; k0 += t.k_block) {
      const int64_t kc = std::min(t.k_block, t.k - k0);
      if (cols < width) {
        pack_b_panel<true>(rows + k0, s.ldb, kc, cols, padded, panel);
      } else {
        constexpr int64_t line = 16;
        for (int64_t k = 0; k < kc; k += line) {
          const int64_t n = std::min(line, kc - k);
          for (int64_t j = 0; j < width; ++j) __builtin_prefetch(rows + j * s.ldb + k0 + k + ahead, 0, 2);
          pack_b_panel<true>(rows + k0 + k, s.ldb, n, width, width, panel + k * width);
        }
      }
      panel_kernels<float, false>[0][padded / lanes<float> - 1](kc, a + k0, 0, panel, padded, c + col, t.ldc, cols,
                                                                k0 > 0 || t.accumulate, nothing_ahead(panel));
    }
  }
}

// S is the stored type of A and B, T the panels', O the stored type of C.
template <class S, class T, class O>
void run_tile(const GemmShape& s, const Tile& t, TileEpilogue epilogue) {
  constexpr bool c_in_place = std::is_same_v<Sum<T>, O>;
  T* strip = reinterpret_cast<T*>(thread_scratch());
  T* panels = strip + max_tile_cols * k_block<T>;
  // A narrow C is summed in full precision here and rounded once.
  Sum<T>* wide = reinterpret_cast<Sum<T>*>(panels + chunk_panels * panel_size<T>);
  const S* a = static_cast<const S*>(t.a);
  const S* b = static_cast<const S*>(t.b);
  O* c = static_cast<O*>(t.c);

  // Each block of B is read `rows` times: for a few rows, packing costs more than it saves.
  const bool direct_b = std::is_same_v<S, T> && !s.trans_b && t.rows <= 3 * max_rows;
  // A transposed A is packed already, but for its rows' distance.
  const bool direct_a = std::is_same_v<S, T> && s.trans_a && near_rows(s);
  // The widest vector's panels, also where they take two steps.
  constexpr int64_t given_cols = std::max<int64_t>(panel_cols<T>, panel_width);
  const int64_t packed_cols = round_up(s.n, t.given ? panel_unit : lanes<T>), in = sizeof(S);

  const auto finish = [&](int64_t row, int64_t rows) {
    if constexpr (!c_in_place) {
      for (int64_t i = row; i < row + rows; ++i) {
        O* to = c + i * t.ldc;
        const Sum<T>* from = wide + i * t.cols;
        for (int64_t j = 0; j < t.cols; ++j) {
          to[j] = narrow<O>(t.accumulate ? widen<Sum<T>>(to[j]) + from[j] : from[j]);
        }
      }
    }
    if (epilogue) epilogue(c + row * t.ldc, t.batch, t.row0 + row, rows, t.col0, t.cols, t.ldc);
  };

  if (t.k == 0) {
    for (int64_t i = 0; i < t.rows; ++i) {
      if (!t.accumulate) std::memset(c + i * t.ldc, 0, t.cols * sizeof(O));
      if constexpr (!c_in_place) std::fill_n(wide + i * t.cols, t.cols, Sum<T>{});
    }
    finish(0, t.rows);
    return;
  }

  if constexpr (std::is_same_v<S, float> && std::is_same_v<O, float>) {
    if (t.rows == 1 && s.trans_b && !s.trans_a && !t.packed_b) {
      run_row(s, t);
      return finish(0, 1);
    }
  }

  for (int64_t k0 = 0; k0 < t.k; k0 += t.k_block) {
    const int64_t kc = std::min(t.k_block, t.k - k0), depth = units<T>(kc);
    const T* packed = strip;
    if (t.packed_b) {
      packed = static_cast<const T*>(t.packed_b) + (t.k_begin + k0) / k_per<T> * packed_cols +
               t.col0 * depth;
    } else {
      const int64_t first = direct_b ? t.cols / panel_cols<T> * panel_cols<T> : 0;
      pack_b(s, b, first, t.cols - first, k0, kc, strip + first * depth);
    }
    Region next_rows, next_a, next_b;
    if (const int64_t next = std::min(kc, t.k - k0 - kc); next > 0) {
      const int64_t k1 = k0 + kc;
      if (s.trans_a && !direct_a) next_a = {a + k1 * s.lda, s.lda * in, next, t.rows * in};
      if (t.packed_b) {
        const int64_t bytes = round_up(t.cols, lanes<T>) * units<T>(next) * int64_t(sizeof(T));
        next_b = {packed + depth * packed_cols - t.col0 * (depth - units<T>(next)), 1024,
                  bytes / 1024, 1024};
      } else if (s.trans_b) {
        next_b = {b + k1, s.ldb * in, t.cols, next * in};
      } else {
        next_b = {b + k1 * s.ldb, s.ldb * in, next, t.cols * in};
      }
    }
    const bool add = k0 > 0 || (c_in_place && t.accumulate);
    for (int64_t row = 0, r = 0; row < t.rows; row += t.panel_rows, ++r) {
      const int64_t rows = std::min(t.panel_rows, t.rows - row);
      const T* panel = panels;
      if (direct_a) {
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
        next_rows = {a + (row + rows) * s.lda + k0, s.lda * in,
                     std::min(t.panel_rows, t.rows - row - rows), kc * in};
      }
      if constexpr (!c_in_place) {
        // Where finish() will write: stores that miss go out one after the other.
        if (k0 + kc == t.k) {
          constexpr int64_t line = 64 / int64_t{sizeof(O)};
          for (int64_t i = row; i < row + rows; ++i) {
            for (int64_t j = 0; j < t.cols; j += line) __builtin_prefetch(c + i * t.ldc + j, 1);
          }
        }
      }
      const auto& kernels =
          s.trans_a ? panel_kernels<T, true>[rows - 1] : panel_kernels<T, false>[rows - 1];
      for (int64_t col = 0; col < t.cols; col += panel_cols<T>) {
        const int64_t cols = std::min<int64_t>(panel_cols<T>, t.cols - col);
        int64_t ldb = round_up(cols, lanes<T>);
        const int64_t vectors = ldb / lanes<T>;   // of C's part
        const T* from = packed + col * depth;
        if (t.given) {
          const int64_t panel_col = col / given_cols * given_cols;
          from = packed + panel_col * depth + (col - panel_col);
          ldb = std::min(given_cols, packed_cols - t.col0 - panel_col);
        }
        if constexpr (std::is_same_v<S, T>) {
          if (!t.packed_b && direct_b && cols == panel_cols<T>) {
            from = b + k0 * s.ldb + col;
            ldb = s.ldb;
          }
        }
        Sum<T>* to;
        int64_t ld;
        if constexpr (c_in_place) {
          to = c + row * t.ldc + col;
          ld = t.ldc;
        } else {
          to = wide + row * t.cols + col;
          ld = t.cols;
        }
        Region& ahead = !next_rows.empty() ? next_rows : !next_b.empty() ? next_b : next_a;
        kernels[vectors - 1](
            depth, panel, direct_a ? s.lda : k_stride<T>, from, ldb, to, ld, cols, add,
            ahead.empty() ? nothing_ahead(panel) : ahead.take(depth / 4));
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
  void (*pack_b)(const GemmPlan&, const void*, void*, int64_t);
};

template <class S, class T, class O>
constexpr Functions functions = {run_tile<S, T, O>, run_tile<S, T, Sum<T>>,
                                 sum_splits_untyped<Sum<T>, O>, pack_b_task<S, T>};

#ifdef __AVX512F__
bool measure_pairs() {
  if (!__builtin_cpu_supports("avx512bf16")) return false;
  constexpr int chains = 16, steps = 64;
  const auto least = [](auto zero, auto one) {
    uint64_t best = ~uint64_t{0};
    for (int attempt = 0; attempt < 8; ++attempt) {
      Vector<float> sum[chains] = {};
      const uint64_t start = __rdtsc();
      for (int i = 0; i < steps; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < chains; ++j) {
          // Kept in registers, and from being computed beforehand.
          sum[j] = multiply_add<decltype(zero)>(broadcast(zero), broadcast(one), sum[j]);
          asm volatile("" : "+v"(sum[j]));
        }
      }
      best = std::min<uint64_t>(best, __rdtsc() - start);
    }
    return best;
  };
  return least(Pair{0}, Pair{0}) < 3 * least(0.0f, 0.0f) / 2;
}
#endif

const Functions& functions_for(DType in, DType out, [[maybe_unused]] bool pairs) {
  switch (in) {
    case DType::f32: return functions<float, float, float>;
    case DType::f64: return functions<double, double, double>;
    case DType::bf16:
#ifdef __AVX512F__
      if (pairs) {
        return out == DType::f32 ? functions<Bf16, Pair, float> : functions<Bf16, Pair, Bf16>;
      }
#endif
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
  t.k_block = p.k_block;
  t.batch = batch;
  const int64_t in = item_size(s.dtype);
  t.a = at(a, batch * s.stride_a + (s.trans_a ? t.row0 + k0 * s.lda : t.row0 * s.lda + k0), in);
  t.b = at(b, batch * s.stride_b + (s.trans_b ? t.col0 * s.ldb + k0 : t.col0 + k0 * s.ldb), in);
  t.given = in_panels(s);
  t.packed_b = t.given ? b : p.prepack_b ? workspace : nullptr;
  return t;
}

}  // namespace

#ifdef __AVX512F__
bool fast_pairs() {
  static const bool fast = measure_pairs();
  return fast;
}
#endif

GemmPlan gemm_prepare_panels(int64_t m, int64_t n, int64_t k) {
  GemmPlan p;
  p.shape = {.m = m, .n = n, .k = k, .lda = k, .ldb = 0, .ldc = n};
  p.split_k = k;
  p.k_block = panel_depth(k);
  choose_tiles(p);
  p.tasks = p.row_tiles * p.col_tiles;
  return p;
}

GemmPlan gemm_prepare(const GemmShape& shape) {
  check(shape);
  GemmPlan p;
  p.shape = shape;
  if (shape.m == 0 || shape.n == 0 || shape.batch == 0) return p;
  if (shape.dtype == DType::bf16) p.pairs = fast_pairs();
  p.splits = count_splits(shape);
  p.split_k =
      p.splits == 1 ? shape.k : round_up(ceil_div(shape.k, p.splits), gemm_k_block(shape.dtype));
  if (p.splits > 1) p.splits = ceil_div(shape.k, p.split_k);
  p.k_block = gemm_k_block(shape.dtype);
  // Blocks of one size: the last would otherwise cost as much as a whole one.
  if (p.splits == 1 && shape.k > 0) {
    p.k_block = round_up(ceil_div(shape.k, ceil_div(shape.k, p.k_block)), 8);
  }
  choose_tiles(p);
  const int64_t tiles = p.row_tiles * p.col_tiles;
  const int64_t partial = p.splits > 1 ? p.splits * shape.batch * shape.m * shape.n : 0;
  p.workspace = size_t((packed_b_size(p) + partial) * item_size(compute_type(shape.dtype)));
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
  const Functions& run = functions_for(s.dtype, s.out_dtype, p.pairs);
  if (p.prepack_b) {
    parallel_for(ceil_div(s.k, p.k_block) * ceil_div(s.n, pack_cols),
                 [&](int64_t task) { run.pack_b(p, b, workspace, task); });
  }
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

  void* const partial = at(workspace, packed_b_size(p), compute);
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
