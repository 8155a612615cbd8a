// softmax and log_softmax (see softmax.h): rows by vectors along the row; other axes by vectors
// across the inner positions, each lane one slice.
#include "kernels/cpu/lib/softmax.h"

#include "core/pool.h"
#include "kernels/cpu/lib/rows.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr std::int64_t kMaxTasks = 1024;

// Runs body(slice) for outer slices along contiguous rows, in tasks cut by shape, then the epilogue
// on the task's results.
template <class T, class F>
void over_rows(T* to, std::int64_t outer, std::int64_t n, TileFn epilogue, F body) {
  const std::int64_t per_task = rows_per_task(outer, n, kMaxTasks);
  parallel_for((outer + per_task - 1) / per_task, [&](std::int64_t task) {
    const std::int64_t begin = task * per_task, end = std::min(outer, begin + per_task);
    for (std::int64_t r = begin; r < end; ++r) body(r);
    if (epilogue) epilogue(to + begin * n, 0, begin, end - begin, 0, n, n);
  });
}

// Runs body(offset of the slice's first vector, lanes that count) for vectors of inner positions.
template <class T, class F>
void over_columns(std::int64_t outer, std::int64_t n, std::int64_t inner, F body) {
  constexpr int lanes = lanes_of<T>;
  const std::int64_t vecs = (inner + lanes - 1) / lanes;
  const std::int64_t per_task = rows_per_task(outer * vecs, n * lanes, kMaxTasks);
  parallel_for((outer * vecs + per_task - 1) / per_task, [&](std::int64_t task) {
    const std::int64_t end = std::min(outer * vecs, (task + 1) * per_task);
    for (std::int64_t at = task * per_task; at < end; ++at) {
      const std::int64_t column = at % vecs * lanes;
      body(at / vecs * n * inner + column,
           static_cast<int>(std::min<std::int64_t>(lanes, inner - column)));
    }
  });
}

template <class T>
void forward_row(const T* x, T* y, std::int64_t n, bool log_form) {
  const T top = max_row<T>(n, [&](auto at) { return at.get(x); });
  if (log_form) {
    const T total = sum_row<T>(n, [&](auto at) { return exp_weight(at.get(x) - top); });
    const T shift = log(total);
    each_vec<T>(n, [&](auto at) { at.put(y, at.get(x) - top - shift); });
    return;
  }
  const T total = sum_row<T>(n, [&](auto at) {
    const auto e = exp_weight(at.get(x) - top);
    at.put(y, e);
    return e;
  });
  const T factor = T(1) / total;
  each_vec<T>(n, [&](auto at) { at.put(y, at.get(y) * factor); });
}

}  // namespace

template <class T>
void softmax_forward(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner,
                     bool log_form, TileFn epilogue) {
  if (outer * n * inner == 0) return;
  if (inner == 1) {
    over_rows(y, outer, n, epilogue,
              [&](std::int64_t r) { forward_row(x + r * n, y + r * n, n, log_form); });
    return;
  }
  using V = vec_of<T>;
  over_columns<T>(outer, n, inner, [&](std::int64_t offset, int count) {
    const auto get = [&](const T* p, std::int64_t j) {
      return load_partial(p + offset + j * inner, count);
    };
    const auto put = [&](std::int64_t j, V v) { store_partial(y + offset + j * inner, v, count); };
    V top = get(x, 0), total{};
    for (std::int64_t j = 1; j < n; ++j) top = max(top, get(x, j));
    for (std::int64_t j = 0; j < n; ++j) total = total + exp_weight(get(x, j) - top);
    const V scale = log_form ? log(total) : T(1) / total;
    for (std::int64_t j = 0; j < n; ++j) {
      const V shifted = get(x, j) - top;
      put(j, log_form ? shifted - scale : exp_weight(shifted) * scale);
    }
  });
}

template <class T>
void softmax_backward(const T* dy, const T* y, T* dx, std::int64_t outer, std::int64_t n,
                      std::int64_t inner, bool log_form, TileFn epilogue) {
  if (outer * n * inner == 0) return;
  if (inner == 1) {
    over_rows(dx, outer, n, epilogue, [&](std::int64_t r) {
      const T* g = dy + r * n;
      const T* out = y + r * n;
      T* to = dx + r * n;
      if (log_form) {
        const T total = sum_row<T>(n, [&](auto at) { return at.get(g); });
        each_vec<T>(n, [&](auto at) { at.put(to, at.get(g) - exp_weight(at.get(out)) * total); });
      } else {
        const T total = sum_row<T>(n, [&](auto at) { return at.get(g) * at.get(out); });
        each_vec<T>(n, [&](auto at) { at.put(to, at.get(out) * (at.get(g) - total)); });
      }
    });
    return;
  }
  using V = vec_of<T>;
  over_columns<T>(outer, n, inner, [&](std::int64_t offset, int count) {
    const auto get = [&](const T* p, std::int64_t j) {
      return load_partial(p + offset + j * inner, count);
    };
    V total{};
    for (std::int64_t j = 0; j < n; ++j) {
      total = total + (log_form ? get(dy, j) : get(dy, j) * get(y, j));
    }
    for (std::int64_t j = 0; j < n; ++j) {
      const V g = get(dy, j), out = get(y, j);
      const V to = log_form ? g - exp_weight(out) * total : out * (g - total);
      store_partial(dx + offset + j * inner, to, count);
    }
  });
}

#define SUAN_SOFTMAX(T)                                                                    \
  template void softmax_forward<T>(const T*, T*, std::int64_t, std::int64_t, std::int64_t, \
                                   bool, TileFn);                                          \
  template void softmax_backward<T>(const T*, const T*, T*, std::int64_t, std::int64_t,    \
                                    std::int64_t, bool, TileFn);
SUAN_SOFTMAX(float)
SUAN_SOFTMAX(double)
#undef SUAN_SOFTMAX

}  // namespace suan::cpu::SUAN_ISA
