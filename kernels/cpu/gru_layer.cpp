// The steps of a GRU.
#include "kernels/cpu/lib/recurrent.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct State {
  RecurrentSizes size;
  GateProduct<T, 3> product;
  bool reset_after, biased;
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State<T>& st = *static_cast<const State<T>*>(state);
  const RecurrentSizes& s = st.size;
  constexpr int units = lanes_of<T>;
  const int64_t hidden = s.hidden, panels = st.product.panels();
  const T *gates = input<T>(a, 0), *bias = st.biased ? input<T>(a, 3) : nullptr;
  T *packed = static_cast<T*>(a.workspace), *update = packed + st.product.workspace(), *product = update + s.state();
  T *y = output<T>(a, 0), *acts = output<T>(a, 1);
  const T *weight = st.product.pack(input<T>(a, 2), packed), *h = input<T>(a, 1);
  for (int64_t k = 0; k < s.steps; ++k) {
    const int64_t t = s.at(k);
    T* to_h = y + t * s.state();
    const T* before = h;
    auto gate_at = [&](int64_t row, int g, int64_t unit, int n) {
      return load_partial(gates + ((t * s.batch + row) * 3 + g) * hidden + unit, n);
    };
    auto bias_at = [&](int g, int64_t unit, int n) {
      return bias ? load_partial(bias + g * hidden + unit, n) : vec_of<T>{};
    };
    auto keep = [&](int64_t row, int g, int64_t unit, vec_of<T> v, int n) {
      if (acts) store_partial(acts + ((t * s.batch + row) * 4 + g) * hidden + unit, v, n);
    };
    if (st.reset_after) {
      constexpr int width = 3 * units;
      recurrent_step(s, 3, panels, [&](int64_t row, int rows, int64_t p) {
        const int64_t unit = p * units;
        const int n = int(std::min<int64_t>(units, hidden - unit));
        alignas(64) T tile[kTileRows * width];
        for (int r = 0; r < rows; ++r)
          for (int g = 0; g < 3; ++g)
            store(tile + r * width + g * units, g < 2 ? gate_at(row + r, g, unit, n) + bias_at(g, unit, n) : bias_at(g, unit, n));
        st.product.add(weight, before + row * hidden, rows, p, 0, 3, tile);
        for (int r = 0; r < rows; ++r) {
          const T* gate = tile + r * width;
          const int64_t at = (row + r) * hidden + unit;
          const auto reset = sigmoid(load(gate)), z = sigmoid(load(gate + units)), q = load(gate + 2 * units),
                     fresh = tanh(gate_at(row + r, 2, unit, n) + reset * q);
          store_partial(to_h + at, fresh + z * (load_partial(before + at, n) - fresh), n);
          keep(row + r, 0, unit, reset, n);
          keep(row + r, 1, unit, z, n);
          keep(row + r, 2, unit, fresh, n);
          keep(row + r, 3, unit, q, n);
        }
      });
    } else {   // the new gate needs reset * h of all units
      recurrent_step(s, 2, panels, [&](int64_t row, int rows, int64_t p) {
        constexpr int width = 2 * units;
        const int64_t unit = p * units;
        const int n = int(std::min<int64_t>(units, hidden - unit));
        alignas(64) T tile[kTileRows * width];
        for (int r = 0; r < rows; ++r)
          for (int g = 0; g < 2; ++g) store(tile + r * width + g * units, gate_at(row + r, g, unit, n) + bias_at(g, unit, n));
        st.product.add(weight, before + row * hidden, rows, p, 0, 2, tile);
        for (int r = 0; r < rows; ++r) {
          const int64_t at = (row + r) * hidden + unit;
          const auto reset = sigmoid(load(tile + r * width)), z = sigmoid(load(tile + r * width + units)),
                     q = reset * load_partial(before + at, n);
          store_partial(update + at, z, n);
          store_partial(product + at, q, n);
          keep(row + r, 0, unit, reset, n);
          keep(row + r, 1, unit, z, n);
          keep(row + r, 3, unit, q, n);
        }
      });
      recurrent_step(s, 1, panels, [&](int64_t row, int rows, int64_t p) {
        const int64_t unit = p * units;
        const int n = int(std::min<int64_t>(units, hidden - unit));
        alignas(64) T tile[kTileRows * units];
        for (int r = 0; r < rows; ++r) store(tile + r * units, gate_at(row + r, 2, unit, n) + bias_at(2, unit, n));
        st.product.add(weight, product + row * hidden, rows, p, 2, 1, tile);
        for (int r = 0; r < rows; ++r) {
          const int64_t at = (row + r) * hidden + unit;
          const auto fresh = tanh(load(tile + r * units)), z = load_partial(update + at, n);
          store_partial(to_h + at, fresh + z * (load_partial(before + at, n) - fresh), n);
          keep(row + r, 2, unit, fresh, n);
        }
      });
    }
    h = to_h;
  }
}

template <class T>
struct Make {
  static Prepared prepare(const KernelDesc& d) {
    const Shape& x = d.in[0]->layout.shape;
    const RecurrentSizes size{x[0], x[1], x[2] / 3, d.attrs.boolean(0)};
    auto s = std::make_shared<State<T>>(State<T>{size, {*d.in[2], size}, d.attrs.boolean(1), d.has(3)});
    return {run<T>, s, (s->product.workspace() + (s->reset_after ? 0 : 2 * size.state())) * int64_t(sizeof(T))};
  }
};

}  // namespace

Kernel kernel_gru_layer() {
  Kernel k = float_kernel<Make<float>, Make<double>>();
  k.flags = kernel_optional_out;
  k.supports = [](const KernelDesc& d) { return GateProduct<float, 3>::takes(*d.in[2]); };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
