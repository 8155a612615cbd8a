// The steps of a GRU, backwards, where the reset gate multiplies the product.
#include "kernels/cpu/lib/recurrent.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  RecurrentSizes size;
  bool grad_acts;
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& st = *static_cast<const State*>(state);
  const RecurrentSizes& s = st.size;
  constexpr int lanes = lanes_of<T>, units = 4 * lanes;
  const int64_t hidden = s.hidden, width = 3 * hidden, panels = (hidden + units - 1) / units;
  const T *grad = input<T>(a, 0), *acts = input<T>(a, 1), *y = input<T>(a, 2), *first = input<T>(a, 3), *weight = input<T>(a, 4);
  const T* grad_acts = st.grad_acts ? input<T>(a, 5) : nullptr;
  T *gates = output<T>(a, 0), *products = output<T>(a, 1), *dh = output<T>(a, 2);
  T* packed = pack_columns(weight, hidden, width, units, static_cast<T*>(a.workspace));
  // tile += what the products of a later step give back to the state before it.
  auto product = [&](const T* of, int64_t row, int rows, int64_t p, T* tile) {
    tile_gemm<T>({of + row * width, width, 1, packed + p * width * units, units, tile, units, int(width), true}, rows, units);
  };
  // dh holds what goes past the gates of the later step.
  for (int64_t k = s.steps; k-- > 0;) {
    const int64_t t = s.at(k);
    const T* before = k ? y + s.at(k - 1) * s.state() : first;
    const T* later = k + 1 < s.steps ? products + s.at(k + 1) * s.batch * width : nullptr;
    recurrent_step(s, 3, panels, [&](int64_t row, int rows, int64_t p) {
      const int64_t unit = p * units, live = std::min<int64_t>(units, hidden - unit);
      alignas(64) T tile[kTileRows * units];
      for (int r = 0; r < rows; ++r)
        for (int64_t j = 0; j < units; j += lanes) {
          vec_of<T> d{};
          if (const int n = int(std::min<int64_t>(lanes, live - j)); n > 0) {
            d = load_partial(grad + t * s.state() + (row + r) * hidden + unit + j, n);
            if (later) d = d + load_partial(dh + (row + r) * hidden + unit + j, n);
          }
          store(tile + r * units + j, d);
        }
      if (later) product(later, row, rows, p, tile);
      for (int r = 0; r < rows; ++r)
        for (int64_t j = 0; j < live; j += lanes) {
          const int n = int(std::min<int64_t>(lanes, live - j));
          const int64_t at = (row + r) * hidden + unit + j, step = t * s.batch + row + r;
          auto of = [&](const T* x, int64_t g) { return load_partial(x + (step * 4 + g) * hidden + unit + j, n); };
          const auto reset = of(acts, 0), z = of(acts, 1), fresh = of(acts, 2), q = of(acts, 3), d = load(tile + r * units + j);
          auto d_fresh = d * (T(1) - z), d_z = d * (load_partial(before + at, n) - fresh);
          if (grad_acts) {
            d_fresh = d_fresh + of(grad_acts, 2);
            d_z = d_z + of(grad_acts, 1);
          }
          d_fresh = d_fresh * (T(1) - fresh * fresh);
          auto d_reset = d_fresh * q, d_q = d_fresh * reset;
          if (grad_acts) {
            d_reset = d_reset + of(grad_acts, 0);
            d_q = d_q + of(grad_acts, 3);
          }
          d_reset = d_reset * reset * (T(1) - reset);
          d_z = d_z * z * (T(1) - z);
          const int64_t gate = step * width + unit + j;
          store_partial(gates + gate, d_reset, n);
          store_partial(gates + gate + hidden, d_z, n);
          store_partial(gates + gate + 2 * hidden, d_fresh, n);
          store_partial(products + gate, d_reset, n);
          store_partial(products + gate + hidden, d_z, n);
          store_partial(products + gate + 2 * hidden, d_q, n);
          store_partial(dh + at, d * z, n);
        }
    });
  }
  recurrent_step(s, 3, panels, [&](int64_t row, int rows, int64_t p) {
    const int64_t unit = p * units, live = std::min<int64_t>(units, hidden - unit);
    alignas(64) T tile[kTileRows * units] = {};
    for (int r = 0; r < rows; ++r) std::copy_n(dh + (row + r) * hidden + unit, live, tile + r * units);
    product(products + s.at(0) * s.batch * width, row, rows, p, tile);
    for (int r = 0; r < rows; ++r) std::copy_n(tile + r * units, live, dh + (row + r) * hidden + unit);
  });
}

template <class T>
struct Make {
  static Prepared prepare(const KernelDesc& d) {
    const Shape& x = d.in[1]->layout.shape;
    auto s = std::make_shared<State>(State{{x[0], x[1], x[2] / 4, d.attrs.boolean(0)}, d.has(5)});
    constexpr int64_t units = 4 * lanes_of<T>;
    const int64_t panels = (x[2] / 4 + units - 1) / units;
    return {run<T>, s, panels * units * (x[2] / 4 * 3) * int64_t(sizeof(T))};
  }
};

}  // namespace

Kernel kernel_gru_layer_grad() {
  Kernel k = float_kernel<Make<float>, Make<double>>();
  k.supports = [](const KernelDesc& d) { return d.attrs.boolean(1); };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
