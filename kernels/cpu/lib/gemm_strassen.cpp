// Rows of A and C are halved, columns of B and C too, and what is between. With quarters so numbered and
//   S1 = A21 + A22   S2 = S1 - A11    S3 = A11 - A21   S4 = A12 - S2
//   T1 = B12 - B11   T2 = B22 - T1    T3 = B22 - B12   T4 = B21 - T2
// sums stay in registers from one product to the next, and are added to C's quarters where they are complete:
//   A11 B11 -> C11, + S2 T2 -> C12, + S3 T3 -> C21 and C22;   S1 T1 -> C22, + S4 B22 -> C12;   A12 B21 -> C11;   A22 T4 -> C21
// Eight additions to C, where the seven products alone would take fourteen. k is cut into ranges of equal sizes, whose
// sums are added in order: that, and the order of products, are all that an element's bits depend on.
#include "kernels/cpu/lib/gemm_strassen.h"

#include <atomic>
#include <limits>

#include "core/panels.h"
#include "kernels/cpu/lib/gemm_tile.h"

namespace suan::cpu::SUAN_ISA {
namespace {

using namespace gemm_tiles;

#ifdef __AVX512F__
constexpr int most_band = 13, least_first_band = 10;   // rows at a time; strassen_fits leaves no smaller first band
#else
constexpr int most_band = 6, least_first_band = 5;
#endif
constexpr int n_vectors = 2;                           // columns at a time
constexpr int64_t columns_at_once = n_vectors * lanes<float>;
constexpr int n_products = 7;
constexpr int64_t k_group = 8;       // values of k of a row that lie side by side in A's sums
constexpr int64_t most_range = 256;  // of k
constexpr int64_t most_rows = 252;   // of A that are halved together, give or take three: their sums lie in thread scratch
constexpr int64_t finish_rows = 4, finish_panels = 8;   // of C at a time: rows may share sets of the cache
constexpr float alike = 32;          // as many times may the largest values of rows that meet differ
constexpr int64_t worth_sums = 12;   // panels of a task that make light of A's sums
static_assert(size_t(n_products * (most_rows + 4) / 2 * most_range + 4 * most_range * panel_width) * sizeof(float) <= thread_scratch_bytes);

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// A row of a panel's results: 32 of each of C's quarters. They lie apart from C, whose rows may share sets of the cache.
constexpr int64_t result_row = 4 * panel_width;

// Values of k whose quarters of B's panel lie in one block each.
struct Piece {
  int64_t k, kc;                        // k: from the range's first
  const float *b11, *b12, *b21, *b22;   // [kc, 32] each
};
struct Panel {
  std::array<Piece, 6> pieces;
  int n = 0;
};

// Lines that the next panel needs, asked for one every four k while this one is multiplied.
class Ahead {
 public:
  void add(const float* at, int64_t floats) {
    const char* from = reinterpret_cast<const char*>(at);
    const int64_t lines = floats * int64_t{sizeof(float)} / 64;
    if (n_ > 0 && spans_[size_t(n_ - 1)].at + spans_[size_t(n_ - 1)].lines * 64 == from) spans_[size_t(n_ - 1)].lines += lines;
    else spans_[size_t(n_++)] = {from, lines};
  }
  struct Share {
    const char* at;
    int64_t step;
  };
  Share take(int64_t lines, const void* there) {
    if (next_ == n_) return {static_cast<const char*>(there), 0};
    Span& s = spans_[size_t(next_)];
    const char* at = s.at;
    s.at += lines * 64, s.lines -= lines;
    if (s.lines <= 0) ++next_;
    return {at, 64};
  }

 private:
  struct Span {
    const char* at;
    int64_t lines;
  };
  std::array<Span, 24> spans_;
  int n_ = 0, next_ = 0;
};

enum class Sum { none, t2_and_t1, t3_or_t4 };   // how a right operand is made while it is multiplied, and kept

// acc += left x right over kc values of k, right being x, or x - (y - z) with y - z kept beside, or x - y.
template <int R, Sum sum>
inline __attribute__((always_inline)) void multiply_add_to(Vector<float> (&acc)[R][n_vectors], int64_t kc, const float* left, const float* x,
                                                           const float* y, const float* z, float* keep, float* beside, Ahead::Share& ahead) {
  constexpr int width = lanes<float>;
  constexpr int64_t soon = 512;   // floats of A's sums
  const char* line = ahead.at;
  for (int64_t k0 = 0; k0 < kc; k0 += k_group, left += R * k_group) {
#pragma GCC unroll 8
    for (int u = 0; u < k_group; ++u) {
      if (u % 4 == 0) {
        __builtin_prefetch(line, 0, 2);
        line += ahead.step;
      }
      __builtin_prefetch(left + soon + u * R);
      Vector<float> b[n_vectors];
#pragma GCC unroll 2
      for (int j = 0; j < n_vectors; ++j) {
        b[j] = load(x + j * width);
        if constexpr (sum == Sum::t2_and_t1) {
          const Vector<float> t1 = load(y + j * width) - load(z + j * width);
          store(beside + j * width, t1);
          b[j] -= t1;
        } else if constexpr (sum == Sum::t3_or_t4) {
          b[j] -= load(y + j * width);
        }
        if constexpr (sum != Sum::none) store(keep + j * width, b[j]);
      }
      x += panel_width;
      if constexpr (sum != Sum::none) y += panel_width, keep += panel_width;
      if constexpr (sum == Sum::t2_and_t1) z += panel_width, beside += panel_width;
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const Vector<float> v = broadcast(left[i * k_group + u]);
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; ++j) add_product(acc[i][j], v, b[j]);
      }
    }
  }
  ahead.at = line;
}

// What a product adds to: a quarter of C or two; and whether it starts a new sum.
struct Step {
  bool starts;
  int first, second;   // -1: none
};
constexpr Step steps[n_products] = {{true, 0, -1}, {false, 1, -1}, {false, 2, 3}, {true, 3, -1}, {false, 1, -1}, {true, 0, -1}, {true, 2, -1}};

// Rows of results [R, 2 vectors] of each quarter (+)= the seven products over `range` values of k. `a`: for each product,
// groups of 8 values of k of R rows. sums: T1 to T4, [range, 32] each; Make: they are not there yet.
template <int R, bool Make>
void multiply(const Panel& panel, int64_t range, const float* a, float* sums, int64_t col, float* c, bool add, Ahead& next) {
  constexpr int width = lanes<float>;
  const int64_t size = range * panel_width;
  Vector<float> acc[R][n_vectors] = {};
  // One loop, not seven in a row, which the compiler would fill with copies of the sums.
#pragma GCC unroll 1
  for (int which = 0; which < n_products; ++which) {
    const Step& step = steps[which];
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      __builtin_prefetch(c + step.first * panel_width + i * result_row, 1);
      if (columns_at_once > 16) __builtin_prefetch(c + step.first * panel_width + i * result_row + 16, 1);
    }
    if (step.starts) {
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; ++j) acc[i][j] = Vector<float>{};
    }
    Ahead::Share ahead = next.take(range / 4, a);
    for (const Piece* p = panel.pieces.data(); p < panel.pieces.data() + panel.n; ++p) {
      float *t1 = sums + p->k * panel_width + col, *t2 = t1 + size, *t3 = t2 + size, *t4 = t3 + size;
      const float* const plain[n_products] = {p->b11 + col, t2, t3, t1, p->b22 + col, p->b21 + col, t4};
      if (Make && which == 1)
        multiply_add_to<R, Sum::t2_and_t1>(acc, p->kc, a, p->b22 + col, p->b12 + col, p->b11 + col, t2, t1, ahead);
      else if (Make && (which == 2 || which == 6))
        multiply_add_to<R, Sum::t3_or_t4>(acc, p->kc, a, (which == 2 ? p->b22 : p->b21) + col, which == 2 ? p->b12 + col : t2, nullptr,
                                          which == 2 ? t3 : t4, nullptr, ahead);
      else
        multiply_add_to<R, Sum::none>(acc, p->kc, a, plain[which], nullptr, nullptr, nullptr, nullptr, ahead);
      a += p->kc * R;
    }
    int quarter = step.first;
#pragma GCC unroll 1
    do {
      float* to = c + quarter * panel_width;
      if (add || which > 2) {
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
          for (int j = 0; j < n_vectors; ++j) store(to + i * result_row + j * width, load(to + i * result_row + j * width) + acc[i][j]);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
          for (int j = 0; j < n_vectors; ++j) store(to + i * result_row + j * width, acc[i][j]);
      }
      quarter = quarter == step.first ? step.second : -1;
    } while (quarter >= 0);
  }
}

using Multiply = void (*)(const Panel&, int64_t, const float*, float*, int64_t, float*, bool, Ahead&);
template <bool Make, int Least, int... I>
constexpr auto make_multiplies(std::integer_sequence<int, I...>) {
  return std::array<Multiply, sizeof...(I)>{multiply<Least + I, Make>...};
}
template <bool Make, int Least>   // [rows - Least]
constexpr auto multiplies = make_multiplies<Make, Least>(std::make_integer_sequence<int, most_band - Least + 1>{});

// `rows` rows of A's upper half and those below them as the seven left operands over kc values of k, of which `upper` and
// `lower` are the first; rows from `low` on lie beyond A.
void sum_left(const float* upper, const float* lower, int64_t ld, int64_t half, int64_t rows, int64_t low, int64_t kc, float* to) {
  typedef float Group __attribute__((vector_size(32)));
  typedef float Unaligned __attribute__((vector_size(32), aligned(4), may_alias));
  static_assert(sizeof(Group) == k_group * sizeof(float));
  const auto at = [](const float* p) -> Group { return *reinterpret_cast<const Unaligned*>(p); };
  for (int64_t i = 0; i < rows; ++i, upper += ld, lower += ld) {
    for (int64_t k = 0; k < kc; k += k_group) {
      const bool there = i < low;
      const Group a11 = at(upper + k), a12 = at(upper + half + k);
      const Group a21 = there ? at(lower + k) : Group{}, a22 = there ? at(lower + half + k) : Group{};
      const Group s1 = a21 + a22, s2 = s1 - a11;
      float* p = to + k * rows + i * k_group;
      const auto keep = [&](int which, Group x) { *reinterpret_cast<Unaligned*>(p + which * kc * rows) = x; };
      keep(0, a11), keep(1, s2), keep(2, a11 - a21), keep(3, s1), keep(4, a12 - s2), keep(5, a12), keep(6, a22);
    }
  }
}

struct Run {
  const StrassenPlan& p;
  const float *a, *panels;
  float *c, *results;
  TileEpilogue epilogue;

  int64_t half_k() const { return p.k / 2; }
  int64_t half_n() const { return p.n / 2; }

  // Row k of the panel at a column.
  const float* at(int64_t k, int64_t col) const {
    const int64_t k0 = k / p.depth * p.depth, here = std::min(p.depth, p.k - k0);
    return panels + k0 * p.n + col * here + (k - k0) * panel_width;
  }

  Panel panel(int64_t col, int64_t k0, int64_t range) const {
    Panel out;
    for (int64_t k = k0; k < k0 + range;) {
      const int64_t lower = half_k() + k;
      const int64_t end = std::min({k0 + range, (k / p.depth + 1) * p.depth, (lower / p.depth + 1) * p.depth - half_k()});
      out.pieces[size_t(out.n++)] = {k - k0, end - k, at(k, col), at(k, half_n() + col), at(lower, col), at(lower, half_n() + col)};
      k = end;
    }
    return out;
  }

  // Panels [first, end) of rows [row0, row0 + rows), `after` being the panel that this thread may take next.
  void task(int64_t row0, int64_t rows, int64_t first, int64_t end, int64_t after) const {
    const int64_t half = ceil_div(rows, 2), bands = ceil_div(half, most_band), band = ceil_div(half, bands);
    float *sums = reinterpret_cast<float*>(thread_scratch()), *left = sums + 4 * most_range * panel_width;
    for (int64_t k0 = 0; k0 < half_k(); k0 += p.range) {
      const int64_t range = std::min(p.range, half_k() - k0);
      for (int64_t row = 0; row < half; row += band) {
        const float* from = a + (row0 + row) * p.k + k0;
        const int64_t here = std::min(band, half - row);
        sum_left(from, from + half * p.k, p.k, half_k(), here, rows - half - row, range, left + n_products * range * row);
      }
      for (int64_t i = first; i < end; ++i) {
        const Panel now = panel(i * panel_width, k0, range);
        Ahead next;
        const bool more = k0 + range < half_k();
        const int64_t next_i = i + 1 < end ? i + 1 : more ? first : after, next_k = i + 1 < end ? k0 : more ? k0 + range : 0;
        if (next_i * panel_width < half_n()) {
          const Panel then = panel(next_i * panel_width, next_k, std::min(p.range, half_k() - next_k));
          for (const auto quarter : {&Piece::b11, &Piece::b12, &Piece::b21, &Piece::b22})
            for (int j = 0; j < then.n; ++j) next.add(then.pieces[size_t(j)].*quarter, then.pieces[size_t(j)].kc * panel_width);
        }
        for (int64_t row = 0; row < half; row += band) {
          const int64_t here = std::min(band, half - row);
          float* to = results + (i * half + row) * result_row;
          if (k0 + range == half_k()) fetch(row0, rows, i, row, here);
          for (int64_t col = 0; col < panel_width; col += columns_at_once) {
            const Multiply run = row == 0 ? multiplies<true, least_first_band>[size_t(here - least_first_band)]
                                          : multiplies<false, 1>[size_t(here - 1)];
            run(now, range, left + n_products * range * row, sums, col, to + col, k0 > 0, next);
          }
        }
        const int64_t done = (i - first) % finish_panels + 1;
        if (k0 + range == half_k() && (done == finish_panels || i + 1 == end)) finish(row0, rows, i + 1 - done, i + 1);
      }
    }
  }

  // Asks for the part of C that finish() will write.
  void fetch(int64_t row0, int64_t rows, int64_t panel, int64_t row, int64_t here) const {
    const int64_t half = ceil_div(rows, 2);
    for (int64_t quarter = 0; quarter < 4; ++quarter) {
      const int64_t first = row + quarter / 2 * half, n = std::min(here, rows - first);
      const float* to = c + (row0 + first) * p.n + panel * panel_width + quarter % 2 * half_n();
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < panel_width; j += 16) __builtin_prefetch(to + i * p.n + j, 1, 2);
    }
  }

  // Results of panels [first, end) to C, and what follows.
  void finish(int64_t row0, int64_t rows, int64_t first, int64_t end) const {
    const int64_t half = ceil_div(rows, 2), cols = (end - first) * panel_width;
    for (int64_t lower = 0; lower < 2; ++lower) {
      const int64_t down = lower * half, all = lower ? rows - half : half;
      for (int64_t row = 0; row < all; row += finish_rows) {
        const int64_t here = std::min(finish_rows, all - row);
        for (int64_t side = 0; side < 2; ++side) {
          const int64_t col = first * panel_width + side * half_n();
          float* to = c + (row0 + down + row) * p.n + col;
          for (int64_t i = 0; i < here; ++i) {
            const float* from = results + (first * half + row + i) * result_row + (2 * lower + side) * panel_width;
            for (int64_t panel = first; panel < end; ++panel, from += half * result_row)
              std::memcpy(to + i * p.n + (panel - first) * panel_width, from, panel_width * sizeof(float));
          }
          if (epilogue) epilogue(to, 0, row0 + down + row, here, col, cols, p.n);
        }
      }
    }
  }
};

// The largest absolute value of k numbers; a NaN counts as more than infinity.
float largest(const float* row, int64_t k) {
  typedef int32_t Bits __attribute__((vector_size(64)));
  typedef int32_t Unaligned __attribute__((vector_size(64), aligned(4), may_alias));
  Bits most{};
  for (int64_t j = 0; j < k; j += 2 * k_group) {
    const Bits x = *reinterpret_cast<const Unaligned*>(row + j) & 0x7fffffff;
    most = x > most ? x : most;
  }
  int32_t one = 0;
  for (size_t i = 0; i < sizeof(Bits) / sizeof(int32_t); ++i) one = std::max(one, most[i]);
  return std::bit_cast<float>(one);
}

int64_t chunk_begin(const StrassenPlan& p, int64_t chunk) { return chunk == p.chunks ? p.m : p.m * chunk / p.chunks / 2 * 2; }

}  // namespace

bool strassen_fits(int64_t m, int64_t n, int64_t k) {
  return m >= 96 && n >= 256 && k >= 256 && n % (2 * panel_width) == 0 && k % (2 * k_group) == 0;
}

StrassenPlan strassen_prepare(int64_t m, int64_t n, int64_t k) {
  StrassenPlan p{.m = m, .n = n, .k = k, .depth = panel_depth(k)};
  p.chunks = ceil_div(m, most_rows);
  p.range = round_up(ceil_div(k / 2, ceil_div(k / 2, most_range)), k_group);
  p.workspace = size_t((ceil_div(m, p.chunks) + 4) * n) * sizeof(float);
  return p;
}

bool strassen_suits(const StrassenPlan& p, const float* a) {
  std::atomic<bool> suits{true};
  const int64_t tasks = num_threads();
  parallel_for(tasks, [&](int64_t t) {
    for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
      const int64_t row0 = chunk_begin(p, chunk), rows = chunk_begin(p, chunk + 1) - row0, half = ceil_div(rows, 2);
      for (int64_t i = half * t / tasks; i < half * (t + 1) / tasks; ++i) {
        const float x = largest(a + (row0 + i) * p.k, p.k), y = half + i < rows ? largest(a + (row0 + half + i) * p.k, p.k) : x;
        constexpr float most = std::numeric_limits<float>::max();
        if (!(x <= most && y <= most) || x > alike * y || y > alike * x) suits = false;
      }
      if (!suits) return;
    }
  });
  return suits;
}

void strassen_run(const StrassenPlan& p, const float* a, const float* panels, float* c, void* workspace, TileEpilogue epilogue) {
  const Run run{p, a, panels, c, static_cast<float*>(workspace), epilogue};
  // Each task makes A's sums for itself: in its own cache, where other threads' would come from theirs.
  const int64_t n_panels = p.n / 2 / panel_width, threads = num_threads();
  const int64_t tasks = std::min(n_panels, threads * std::max<int64_t>(1, n_panels / (worth_sums * threads)));
  for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
    parallel_for(tasks, [&](int64_t t) {
      const auto panel = [&](int64_t task) { return n_panels * task / tasks; };
      run.task(chunk_begin(p, chunk), chunk_begin(p, chunk + 1) - chunk_begin(p, chunk), panel(t), panel(t + 1), panel(t + threads));
    });
  }
}

}  // namespace suan::cpu::SUAN_ISA
