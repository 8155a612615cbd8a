// Linear attention: a vector of value columns at a time, whose state (a narrow column of a matrix) stays in the
// first-level cache while the positions go by. Columns never meet, so tasks are cut by them.
#include "kernels/cpu/lib/math.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct Make {
  int64_t batch, heads, kv_heads, length, width, value_width;
  int64_t decay_width, beta_heads;   // 0: none
  bool carried;
  T scale;

  static Prepared prepare(const KernelDesc& d) {
    const Shape &q = d.in[0]->layout.shape, &k = d.in[1]->layout.shape, &v = d.in[2]->layout.shape;
    auto m = std::make_shared<Make>();
    *m = {q[0], q[1], k[1], q[2], q[3], v[3], d.has(4) ? d.in[4]->layout.shape[3] : 0, d.has(5) ? d.in[5]->layout.shape[1] : 0,
          d.has(3), T(d.attrs.has(0) ? d.attrs.real(0) : 1 / std::sqrt(double(q[3])))};
    return {run, m, m->batch * m->kv_heads * m->length * m->decay_width * int64_t(sizeof(T))};
  }

  static void run(const void* state, const KernelArgs& a) {
    const Make& m = *static_cast<const Make*>(state);
    const int64_t groups = m.batch * m.kv_heads, per_group = m.length * m.decay_width;
    T* kept = static_cast<T*>(a.workspace);   // exp(decay)
    if (m.decay_width)
      parallel_for(groups, [&](int64_t g) {
        const T* from = input<T>(a, 4) + g * per_group;
        for (int64_t i = 0; i < per_group; i += lanes_of<T>) {
          const int n = int(std::min<int64_t>(lanes_of<T>, per_group - i));
          store_partial(kept + g * per_group + i, exp(load_partial(from + i, n)), n);
        }
      });
    const int64_t blocks = (m.value_width + lanes_of<T> - 1) / lanes_of<T>;
    parallel_for(groups * blocks, [&](int64_t task) {
      m.columns(a, kept, task / blocks, task % blocks * lanes_of<T>);
    });
  }

  // Columns from `at` of the values of one kv head of one sample, and of the query heads that share it.
  void columns(const KernelArgs& a, const T* kept, int64_t group, int64_t at) const {
    using V = vec_of<T>;
    const int n = int(std::min<int64_t>(lanes_of<T>, value_width - at));
    const int64_t sharing = heads / kv_heads;
    T* s = output<T>(a, 1) + group * width * value_width + at;
    for (int64_t i = 0; i < width; ++i)
      store_partial(s + i * value_width,
                    carried ? load_partial(input<T>(a, 3) + (group * width + i) * value_width + at, n) : V{}, n);
    for (int64_t t = 0; t < length; ++t) {
      const T* k = input<T>(a, 1) + (group * length + t) * width;
      const T* e = kept + (group * length + t) * decay_width;
      auto faded = [&](int64_t i) {
        const V v = load_partial(s + i * value_width, n);
        return decay_width ? v * splat<V>(e[decay_width == 1 ? 0 : i]) : v;
      };
      V u = load_partial(input<T>(a, 2) + (group * length + t) * value_width + at, n);
      if (beta_heads) {
        V found{};
        for (int64_t i = 0; i < width; ++i) found = fma(faded(i), splat<V>(k[i]), found);
        const int64_t of = beta_heads == 1 ? group / kv_heads : group;
        u = (u - found) * splat<V>(input<T>(a, 5)[of * length + t]);
      }
      for (int64_t i = 0; i < width; ++i) store_partial(s + i * value_width, fma(splat<V>(k[i]), u, faded(i)), n);
      for (int64_t h = 0; h < sharing; ++h) {
        const int64_t head = group / kv_heads * heads + group % kv_heads * sharing + h;
        const T* q = input<T>(a, 0) + (head * length + t) * width;
        V sum{};
        for (int64_t i = 0; i < width; ++i) sum = fma(splat<V>(q[i]), load_partial(s + i * value_width, n), sum);
        store_partial(output<T>(a, 0) + (head * length + t) * value_width + at, sum * splat<V>(scale), n);
      }
    }
  }
};

}  // namespace

Kernel kernel_linear_attention() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
