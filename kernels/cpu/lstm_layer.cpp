// The steps of an LSTM.
#include "kernels/cpu/lib/recurrent.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct State {
  RecurrentSizes size;
  GateProduct<T, 4> product;
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State<T>& st = *static_cast<const State<T>*>(state);
  const RecurrentSizes& s = st.size;
  constexpr int units = lanes_of<T>, width = 4 * units;
  const int64_t hidden = s.hidden;
  const T* gates = input<T>(a, 0);
  T *packed = static_cast<T*>(a.workspace), *spare = packed + st.product.workspace();
  T *y = output<T>(a, 0), *cells = output<T>(a, 1), *acts = output<T>(a, 2);
  const T* weight = st.product.pack(input<T>(a, 3), packed);
  const T *h = input<T>(a, 1), *c = input<T>(a, 2);
  for (int64_t k = 0; k < s.steps; ++k) {
    const int64_t t = s.at(k);
    T *to_h = y + t * s.state(), *to_c = cells ? cells + t * s.state() : spare;   // nobody reads cells: one state is enough
    recurrent_step(s, 4, st.product.panels(), [&](int64_t row, int rows, int64_t p) {
      const int64_t unit = p * units;
      const int n = int(std::min<int64_t>(units, hidden - unit));
      alignas(64) T tile[kTileRows * width];
      for (int r = 0; r < rows; ++r)
        for (int g = 0; g < 4; ++g)
          store(tile + r * width + g * units, load_partial(gates + ((t * s.batch + row + r) * 4 + g) * hidden + unit, n));
      st.product.add(weight, h + row * hidden, rows, p, 0, 4, tile);
      for (int r = 0; r < rows; ++r) {
        const T* gate = tile + r * width;
        const int64_t at = (row + r) * hidden + unit;
        const auto i = sigmoid(load(gate)), f = sigmoid(load(gate + units)), g = tanh(load(gate + 2 * units)),
                   o = sigmoid(load(gate + 3 * units));
        const auto now = f * load_partial(c + at, n) + i * g;
        store_partial(to_c + at, now, n);
        store_partial(to_h + at, o * tanh(now), n);
        if (acts) {
          T* act = acts + ((t * s.batch + row + r) * 4) * hidden + unit;
          store_partial(act, i, n);
          store_partial(act + hidden, f, n);
          store_partial(act + 2 * hidden, g, n);
          store_partial(act + 3 * hidden, o, n);
        }
      }
    });
    h = to_h;
    c = to_c;
  }
}

template <class T>
struct Make {
  static Prepared prepare(const KernelDesc& d) {
    const Shape& x = d.in[0]->layout.shape;
    const RecurrentSizes size{x[0], x[1], x[2] / 4, d.attrs.boolean(0)};
    auto s = std::make_shared<State<T>>(State<T>{size, {*d.in[3], size}});
    return {run<T>, s, (s->product.workspace() + size.state()) * int64_t(sizeof(T))};
  }
};

}  // namespace

Kernel kernel_lstm_layer() {
  Kernel k = float_kernel<Make<float>, Make<double>>();
  k.flags = kernel_optional_out;
  k.supports = [](const KernelDesc& d) { return GateProduct<float, 4>::takes(*d.in[3]); };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
