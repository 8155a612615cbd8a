// The k largest or smallest along an axis, in order; equal values keep their order, NaN counts as largest.
#include <algorithm>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t outer, n, inner, k, tasks;
  DType dtype;
  bool largest;
};

int64_t room(int64_t n) { return n * 16; }  // a position and a value per element

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const int64_t lines = s.outer * s.inner;
  run_tasks(s.tasks, lines * s.n * 8, [&](int64_t task) {
    int64_t* order = reinterpret_cast<int64_t*>(static_cast<std::byte*>(a.workspace) + task * room(s.n));
    T* x = reinterpret_cast<T*>(order + s.n);
    for (int64_t line = task; line < lines; line += s.tasks) {
      const int64_t at = line / s.inner * s.n * s.inner + line % s.inner;
      if (s.inner == 1) load_tile(s.dtype, a.in[0], at, s.n, x);
      else for (int64_t i = 0; i < s.n; ++i) load_tile(s.dtype, a.in[0], at + i * s.inner, 1, x + i);
      for (int64_t i = 0; i < s.n; ++i) order[i] = i;
      auto before = [&](int64_t i, int64_t j) {
        const T u = x[i], v = x[j];
        const bool nan_u = u != u, nan_v = v != v;
        if (nan_u != nan_v) return s.largest == nan_u;
        if (u == v || nan_u) return i < j;
        return s.largest ? u > v : u < v;
      };
      if (s.k < s.n) std::nth_element(order, order + s.k, order + s.n, before);
      std::sort(order, order + s.k, before);
      const int64_t to = line / s.inner * s.k * s.inner + line % s.inner;
      for (int64_t i = 0; i < s.k; ++i) {
        store_tile(s.dtype, a.out[0], to + i * s.inner, 1, x + order[i]);
        static_cast<int64_t*>(a.out[1])[to + i * s.inner] = order[i];
      }
    }
  });
}

}  // namespace

Kernel kernel_topk() {
  return {[](const KernelDesc& d) {
    const Shape& shape = d.in[0]->layout.shape;
    const int64_t given = d.attrs.integer(1);
    const int axis = int(given < 0 ? given + std::max(1, shape.size()) : given);
    auto s = std::make_shared<State>();
    s->outer = product(shape, 0, axis);
    s->n = shape.empty() ? 1 : shape[axis];
    s->inner = product(shape, axis + 1, shape.size());
    s->k = d.attrs.integer(0);
    s->tasks = std::min<int64_t>(16, s->outer * s->inner);
    s->dtype = d.in[0]->dtype;
    s->largest = d.attrs.boolean(2);
    const int64_t workspace = s->tasks * room(s->n);
    return with_compute(s->dtype, [&](auto t) { return Prepared{run<decltype(t)>, s, workspace}; });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
