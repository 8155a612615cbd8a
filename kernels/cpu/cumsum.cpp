// Running sums along one axis; floats run in f64 and round at each element, integers wrap in i64.
#include <algorithm>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t outer, n, inner;
  DType in, out;
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;
  constexpr int64_t strip = 256;
  const int64_t strips = (s.inner + strip - 1) / strip, total = s.outer * s.n * s.inner;
  run_ranges(s.outer * strips, inline_elements / (s.n * std::min(strip, s.inner) + 1), total,
             [&](int64_t begin, int64_t end) {
    T tile[strip];
    Sum sum[strip];
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = t % strips * strip, at = t / strips * s.n * s.inner + first;
      if (s.inner == 1) {
        Sum running = 0;
        for (int64_t i = 0; i < s.n; i += strip) {
          const int64_t m = std::min(strip, s.n - i);
          load_tile(s.in, a.in[0], at + i, m, tile);
          for (int64_t j = 0; j < m; ++j) tile[j] = T(running += Sum(tile[j]));
          store_tile(s.out, a.out[0], at + i, m, tile);
        }
        continue;
      }
      const int64_t m = std::min(strip, s.inner - first);
      std::fill_n(sum, strip, Sum(0));
      for (int64_t i = 0; i < s.n; ++i) {
        load_tile(s.in, a.in[0], at + i * s.inner, m, tile);
        for (int64_t j = 0; j < m; ++j) tile[j] = T(sum[j] += Sum(tile[j]));
        store_tile(s.out, a.out[0], at + i * s.inner, m, tile);
      }
    }
  });
}

}  // namespace

Kernel kernel_cumsum() {
  return {[](const KernelDesc& d) {
    const Shape& shape = d.in[0]->layout.shape;
    const int64_t given = d.attrs.integer(0);
    const int axis = int(given < 0 ? given + std::max(1, shape.size()) : given);
    State s{product(shape, 0, axis), shape.empty() ? 1 : shape[axis],
            product(shape, axis + 1, shape.size()), d.in[0]->dtype, d.out[0]->dtype};
    auto state = std::make_shared<State>(s);
    return with_compute(s.in, [&](auto t) { return Prepared{run<decltype(t)>, state}; });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
