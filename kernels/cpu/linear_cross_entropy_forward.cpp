// The head of a language model by chunks of rows: scores, loss, and while the scores are there,
// both gradients. Memory: one chunk of scores. The chunk depends on the number of classes alone.
#include <algorithm>

#include "kernels/cpu/lib/cross_entropy.h"
#include "kernels/cpu/lib/gemm.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t chunk_bytes = 32 << 20;

int64_t chunk_rows(int64_t classes, int64_t item) {
  const int64_t fit = chunk_bytes / std::max<int64_t>(1, classes * item) / 64 * 64;
  return std::clamp<int64_t>(fit, 64, 1024);
}

template <class T>
struct Make {
  int64_t rows, width, classes, ignore, chunk;
  bool mean, with_grad;
  // For a whole chunk and for the last one; the first chunk's weight gradient overwrites.
  GemmPlan scores[2], dx[2], dweight_first[2], dweight[2];
  int64_t at_loss, at_gemm;

  static GemmPlan gemm(int64_t m, int64_t n, int64_t k, bool ta, bool tb, bool accumulate) {
    GemmShape s{.m = m, .n = n, .k = k, .trans_a = ta, .trans_b = tb};
    s.lda = std::max<int64_t>(1, ta ? m : k);
    s.ldb = std::max<int64_t>(1, tb ? k : n);
    s.ldc = std::max<int64_t>(1, n);
    s.dtype = s.out_dtype = dtype_of<T>;
    s.accumulate = accumulate;
    return gemm_prepare(s);
  }

  static Prepared prepare(const KernelDesc& d) {
    auto m = std::make_shared<Make>();
    const Shape &x = d.in[0]->layout.shape, &w = d.in[1]->layout.shape;
    m->rows = x[0];
    m->width = x[1];
    m->classes = w[0];
    m->ignore = d.attrs.integer(0);
    m->mean = d.attrs.string(1) == "mean";
    m->with_grad = d.attrs.boolean(2);
    m->chunk = std::min(std::max<int64_t>(1, m->rows), chunk_rows(m->classes, sizeof(T)));
    size_t most = 0;
    const int64_t last = m->rows % m->chunk ? m->rows % m->chunk : m->chunk;
    for (int i = 0; i < 2; ++i) {
      const int64_t r = i ? last : m->chunk;
      m->scores[i] = gemm(r, m->classes, m->width, false, true, false);
      m->dx[i] = gemm(r, m->width, m->classes, false, false, false);
      m->dweight_first[i] = gemm(m->classes, m->width, r, true, false, false);
      m->dweight[i] = gemm(m->classes, m->width, r, true, false, true);
      for (auto* p : {&m->scores[i], &m->dx[i], &m->dweight_first[i], &m->dweight[i]})
        most = std::max(most, p->workspace);
    }
    auto aligned = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
    m->at_loss = aligned(m->chunk * m->classes * int64_t(sizeof(T)));
    m->at_gemm = m->at_loss + aligned(3 * m->chunk * int64_t(sizeof(T)));
    return {run, m, m->at_gemm + int64_t(most)};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const T *x = input<T>(a, 0), *weight = input<T>(a, 1);
    const int64_t* targets = input<int64_t>(a, 2);
    T *dx = output<T>(a, 1), *dweight = output<T>(a, 2);
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
      gemm_run(m.scores[which], x + row * m.width, weight, scores, scratch);
      const CrossEntropy<T> p{n, m.classes, m.classes, targets + row, m.ignore, T(0), nullptr};
      cross_entropy_forward<T>(p, scores, loss, lse, row_weight);
      for (int64_t i = 0; i < n; ++i) total += double(loss[i]);
      if (!m.with_grad) continue;
      cross_entropy_backward<T>(p, scores, lse, &factor, 0, scores);
      gemm_run(m.dx[which], scores, weight, dx + row * m.width, scratch);
      gemm_run(row ? m.dweight[which] : m.dweight_first[which], scores, x + row * m.width, dweight,
               scratch);
    }
    *output<T>(a, 0) = T(m.mean ? total / double(counted) : total);
  }
};

}  // namespace

Kernel kernel_linear_cross_entropy_forward() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
