// Cross entropy (see cross_entropy.h). With e = label_smoothing, w the class weights, t the target:
// loss = (1 - e) w[t] (lse - x[t]) + e / C * sum_c w[c] (lse - x[c]).
#include "kernels/cpu/lib/cross_entropy.h"

#include "core/error.h"
#include "core/pool.h"
#include "kernels/cpu/lib/rows.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr std::int64_t kMaxTasks = 1024;

template <class T, class F>
void over_rows(const CrossEntropy<T>& p, F body) {
  const std::int64_t per_task = rows_per_task(p.rows, p.classes, kMaxTasks);
  parallel_for((p.rows + per_task - 1) / per_task, [&](std::int64_t task) {
    const std::int64_t end = std::min(p.rows, (task + 1) * per_task);
    for (std::int64_t r = task * per_task; r < end; ++r) body(r);
  });
}

// sum of the class weights: what a smoothed row spreads over.
template <class T>
T spread_weight(const CrossEntropy<T>& p) {
  if (p.class_weight == nullptr) return static_cast<T>(p.classes);
  return sum_row<T>(p.classes, [&](auto at) { return at.get(p.class_weight); });
}

}  // namespace

template <class T>
void cross_entropy_forward(const CrossEntropy<T>& p, const T* logits, T* loss, T* lse,
                           T* row_weight) {
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const std::int64_t t = p.targets[r];
    if (t != p.ignore_index && (t < 0 || t >= p.classes)) {
      fail<IndexError>("cross_entropy",
                       "target out of range: expected 0 to {} or {}, got {} in row {}",
                       p.classes - 1, p.ignore_index, t, r);
    }
  }
  const T smoothing = p.label_smoothing;
  const T all = smoothing != T(0) ? spread_weight(p) : T(0);
  over_rows(p, [&](std::int64_t r) {
    const T* x = logits + r * p.row_stride;
    const std::int64_t t = p.targets[r];
    const T top = max_row<T>(p.classes, [&](auto at) { return at.get(x); });
    const T total = sum_row<T>(p.classes, [&](auto at) { return exp_weight(at.get(x) - top); });
    const T norm = top + log(total);
    lse[r] = norm;
    if (t == p.ignore_index) {
      loss[r] = row_weight[r] = T(0);
      return;
    }
    const T weight = p.class_weight != nullptr ? p.class_weight[t] : T(1);
    T value = weight * (norm - x[t]);
    if (smoothing != T(0)) {
      const T weighted = sum_row<T>(p.classes, [&](auto at) {
        return p.class_weight != nullptr ? at.get(x) * at.get(p.class_weight) : at.get(x);
      });
      const T spread = (all * norm - weighted) / static_cast<T>(p.classes);
      value = (T(1) - smoothing) * value + smoothing * spread;
    }
    loss[r] = value;
    row_weight[r] = weight;
  });
}

template <class T>
void cross_entropy_backward(const CrossEntropy<T>& p, const T* logits, const T* lse, const T* dloss,
                            std::int64_t dloss_stride, T* dlogits) {
  const T smoothing = p.label_smoothing;
  const T each = smoothing / static_cast<T>(p.classes);
  const T all = smoothing != T(0) ? spread_weight(p) : T(0);
  over_rows(p, [&](std::int64_t r) {
    const T* x = logits + r * p.row_stride;
    T* dx = dlogits + r * p.row_stride;
    const std::int64_t t = p.targets[r];
    if (t == p.ignore_index) {
      std::fill_n(dx, p.classes, T(0));
      return;
    }
    const T grad = dloss[r * dloss_stride];
    const T weight = p.class_weight != nullptr ? p.class_weight[t] : T(1);
    const T norm = lse[r];
    const T on_target = (T(1) - smoothing) * weight * grad;
    const T on_all = on_target + each * all * grad;  // factor of the softmax
    if (smoothing == T(0)) {
      each_vec<T>(p.classes, [&](auto at) { at.put(dx, exp_weight(at.get(x) - norm) * on_all); });
    } else {
      const T push = each * grad;
      each_vec<T>(p.classes, [&](auto at) {
        auto v = exp_weight(at.get(x) - norm) * on_all;
        v = p.class_weight != nullptr ? v - at.get(p.class_weight) * push : v - push;
        at.put(dx, v);
      });
    }
    dx[t] -= on_target;
  });
}

#define SUAN_CROSS_ENTROPY(T)                                                                   \
  template void cross_entropy_forward<T>(const CrossEntropy<T>&, const T*, T*, T*, T*);         \
  template void cross_entropy_backward<T>(const CrossEntropy<T>&, const T*, const T*, const T*, \
                                          std::int64_t, T*);
SUAN_CROSS_ENTROPY(float)
SUAN_CROSS_ENTROPY(double)
#undef SUAN_CROSS_ENTROPY

}  // namespace suan::cpu::SUAN_ISA
