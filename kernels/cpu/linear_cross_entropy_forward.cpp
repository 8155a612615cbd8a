// The head of a language model by chunks of rows: scores, loss, and while the scores are there,
// both gradients. Memory: one chunk of scores. The chunk depends on the number of classes alone.
// bf16 inputs are multiplied as they are. Scores and the loss stay f32; their gradient is rounded to bf16 for its
// two products, into the front half of the row it came from.
#include <algorithm>

#include "kernels/cpu/lib/cross_entropy.h"
#include "kernels/cpu/lib/gemm.h"
#include "kernels/cpu/lib/rows.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t chunk_bytes = 32 << 20;
// Products of bf16 take half the time, the weight's gradient is read and written all the same: fewer chunks.
constexpr int64_t narrow_chunk_bytes = 64 << 20;

int64_t chunk_rows(int64_t classes, int64_t item, bool narrow) {
  const int64_t fit = (narrow ? narrow_chunk_bytes : chunk_bytes) / std::max<int64_t>(1, classes * item) / 64 * 64;
  return std::clamp<int64_t>(fit, 64, 1024);
}

template <class T>
struct Make {
  DType stored;   // of x and weight: T, or bf16
  int64_t rows, width, classes, ignore, chunk;
  bool mean, with_grad;
  // For a whole chunk and for the last one; the first chunk's weight gradient overwrites.
  GemmPlan scores[2], dx[2], dweight_first[2], dweight[2];
  int64_t at_loss, at_gemm;

  bool narrow() const { return stored != dtype_of<T>; }

  GemmPlan gemm(int64_t m, int64_t n, int64_t k, bool ta, bool tb, DType out, bool accumulate = false,
                int64_t lda = 0) const {
    GemmShape s{.m = m, .n = n, .k = k, .trans_a = ta, .trans_b = tb};
    s.lda = std::max<int64_t>({1, lda, ta ? m : k});
    s.ldb = std::max<int64_t>(1, tb ? k : n);
    s.ldc = std::max<int64_t>(1, n);
    s.dtype = stored;
    s.out_dtype = out;
    s.accumulate = accumulate;
    return gemm_prepare(s);
  }

  static Prepared prepare(const KernelDesc& d) {
    auto m = std::make_shared<Make>();
    const Shape &x = d.in[0]->layout.shape, &w = d.in[1]->layout.shape;
    m->stored = d.in[0]->dtype;
    m->rows = x[0];
    m->width = x[1];
    m->classes = w[0];
    m->ignore = d.attrs.integer(0);
    m->mean = d.attrs.string(1) == "mean";
    m->with_grad = d.attrs.boolean(2);
    m->chunk = std::min(std::max<int64_t>(1, m->rows), chunk_rows(m->classes, sizeof(T), m->narrow()));
    size_t most = 0;
    const int64_t last = m->rows % m->chunk ? m->rows % m->chunk : m->chunk;
    // Of the scores' gradient: from row to row.
    const int64_t step = m->narrow() ? 2 * m->classes : m->classes;
    for (int i = 0; i < 2; ++i) {
      const int64_t r = i ? last : m->chunk;
      m->scores[i] = m->gemm(r, m->classes, m->width, false, true, dtype_of<T>);
      m->dx[i] = m->gemm(r, m->width, m->classes, false, false, m->stored, false, step);
      m->dweight_first[i] = m->gemm(m->classes, m->width, r, true, false, dtype_of<T>, false, step);
      m->dweight[i] = m->gemm(m->classes, m->width, r, true, false, dtype_of<T>, true, step);
      for (auto* p : {&m->scores[i], &m->dx[i], &m->dweight_first[i], &m->dweight[i]})
        most = std::max(most, p->workspace);
    }
    auto aligned = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
    m->at_loss = aligned(m->chunk * m->classes * int64_t(sizeof(T)));
    m->at_gemm = m->at_loss + aligned(3 * m->chunk * int64_t(sizeof(T)));
    return {run, m, m->at_gemm + int64_t(most)};
  }

  // Losses of a chunk, and the gradient in place of its scores while a row is in cache.
  void over_rows(int64_t n, T* scores, const int64_t* targets, T* loss, T* lse, T* row_weight, T factor) const {
    const auto one = [&](int64_t i) {
      T* row = scores + i * classes;
      const CrossEntropy<T> p{1, classes, classes, targets + i, ignore, T(0), nullptr};
      cross_entropy_forward<T>(p, row, loss + i, lse + i, row_weight + i);
      if (!with_grad) return;
      cross_entropy_backward<T>(p, row, lse + i, &factor, 0, row);
      if (!narrow()) return;
      if constexpr (std::is_same_v<T, float>) {
        // A piece is read before it is written, and what is written lies behind what is read next.
        constexpr int64_t piece = 512;
        T values[piece];
        for (int64_t j = 0; j < classes; j += piece) {
          const int64_t here = std::min(piece, classes - j);
          std::copy_n(row + j, here, values);
          store_tile<T>(stored, row, j, here, values);
        }
      }
    };
    const int64_t each = rows_per_task(n, classes, 1024);
    parallel_for((n + each - 1) / each, [&](int64_t task) {
      for (int64_t i = task * each; i < std::min(n, (task + 1) * each); ++i) one(i);
    });
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const void *x = a.in[0], *weight = a.in[1];
    const int64_t* targets = input<int64_t>(a, 2);
    void* dx = a.out[1];
    T* dweight = output<T>(a, 2);
    const int64_t item = item_size(m.stored);
    auto* w = static_cast<std::byte*>(a.workspace);
    T* scores = reinterpret_cast<T*>(w);
    T* loss = reinterpret_cast<T*>(w + m.at_loss);
    T *lse = loss + m.chunk, *row_weight = lse + m.chunk;
    void* scratch = w + m.at_gemm;

    int64_t counted = 0;
    for (int64_t i = 0; i < m.rows; ++i) {
      if (targets[i] == m.ignore) continue;
      if (targets[i] < 0 || targets[i] >= m.classes)
        fail<IndexError>("linear_cross_entropy",
                         "target out of range: expected 0 to {}, got {} (row {})", m.classes - 1,
                         targets[i], i);
      ++counted;
    }
    const T factor = m.mean ? T(1) / T(counted) : T(1);
    double total = 0;
    if (m.rows == 0 && m.with_grad)
      std::memset(dweight, 0, size_t(m.classes * m.width) * sizeof(T));
    for (int64_t row = 0; row < m.rows; row += m.chunk) {
      const int64_t n = std::min(m.chunk, m.rows - row);
      const int which = n == m.chunk ? 0 : 1;
      const void* rows = element(x, row * m.width, item);
      gemm_run(m.scores[which], rows, weight, scores, scratch);
      m.over_rows(n, scores, targets + row, loss, lse, row_weight, factor);
      for (int64_t i = 0; i < n; ++i) total += double(loss[i]);
      if (!m.with_grad) continue;
      gemm_run(m.dx[which], scores, weight, element(dx, row * m.width, item), scratch);
      gemm_run(row ? m.dweight[which] : m.dweight_first[which], scores, rows, dweight, scratch);
    }
    *output<T>(a, 0) = T(m.mean ? total / double(counted) : total);
  }
};

}  // namespace

Kernel kernel_linear_cross_entropy_forward() {
  Kernel k = float_kernel<Make<float>, Make<double>>();
  static const auto wide = k.prepare;
  k.prepare = [](const KernelDesc& d) {
    return d.in[0]->dtype == DType::bf16 ? Make<float>::prepare(d) : wide(d);
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
