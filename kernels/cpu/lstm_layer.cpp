// The steps of an LSTM.
#include "kernels/cpu/lib/lstm.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  LstmSizes size;
  bool packed;   // else the few rows there are take dot products with the weight as it lies
};

template <class T>
T dot(const T* a, const T* b, int64_t n) {
  constexpr int lanes = lanes_of<T>;
  vec_of<T> even{}, odd{};
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = fma(load(a + i), load(b + i), even);
    odd = fma(load(a + i + lanes), load(b + i + lanes), odd);
  }
  for (; i < n; i += lanes) {
    const int m = int(std::min<int64_t>(lanes, n - i));
    even = fma(load_partial(a + i, m), load_partial(b + i, m), even);
  }
  return sum_lanes(even + odd);
}

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& st = *static_cast<const State*>(state);
  const LstmSizes& s = st.size;
  constexpr int units = lanes_of<T>, width = 4 * units;
  const int64_t hidden = s.hidden, panels = (hidden + units - 1) / units;
  const T *gates = input<T>(a, 0), *weight = input<T>(a, 3);
  T *packed = static_cast<T*>(a.workspace), *spare = packed + (st.packed ? panels * hidden * width : 0);
  T *y = output<T>(a, 0), *cells = output<T>(a, 1), *acts = output<T>(a, 2);
  if (st.packed)
    run_tasks(panels * 4, 4 * hidden * hidden, [&](int64_t task) {
      const int64_t p = task / 4, g = task % 4, n = std::min<int64_t>(units, hidden - p * units);
      pack_transposed<T>(weight + (g * hidden + p * units) * hidden, hidden, int(n), int(hidden),
                         packed + p * hidden * width + g * units, width, units);
    });
  const T *h = input<T>(a, 1), *c = input<T>(a, 2);
  for (int64_t k = 0; k < s.steps; ++k) {
    const int64_t t = s.at(k);
    T *to_h = y + t * s.state(), *to_c = cells ? cells + t * s.state() : spare;   // nobody reads cells: one state is enough
    lstm_step(s, panels, [&](int64_t row, int rows, int64_t p) {
      const int64_t unit = p * units;
      const int n = int(std::min<int64_t>(units, hidden - unit));
      alignas(64) T tile[kTileRows * width];
      for (int r = 0; r < rows; ++r)
        for (int g = 0; g < 4; ++g)
          store(tile + r * width + g * units, load_partial(gates + ((t * s.batch + row + r) * 4 + g) * hidden + unit, n));
      if (st.packed) {
        tile_gemm<T>({h + row * hidden, hidden, 1, packed + p * hidden * width, width, tile, width, int(hidden), true}, rows, width);
      } else {
        for (int r = 0; r < rows; ++r)
          for (int g = 0; g < 4; ++g)
            for (int j = 0; j < n; ++j)
              tile[r * width + g * units + j] += dot(weight + (g * hidden + unit + j) * hidden, h + (row + r) * hidden, hidden);
      }
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
    auto s = std::make_shared<State>(State{{x[0], x[1], x[2] / 4, d.attrs.boolean(0)}, x[0] * x[1] > 8});
    constexpr int64_t units = lanes_of<T>;
    const int64_t hidden = x[2] / 4, panels = (hidden + units - 1) / units;
    const int64_t values = (s->packed ? panels * hidden * 4 * units : 0) + x[1] * hidden;
    return {run<T>, s, values * int64_t(sizeof(T))};
  }
};

}  // namespace

Kernel kernel_lstm_layer() {
  Kernel k = float_kernel<Make<float>, Make<double>>();
  k.flags = kernel_optional_out;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
