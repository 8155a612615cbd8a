// The steps of an LSTM, backwards.
#include "kernels/cpu/lib/recurrent.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  RecurrentSizes size;
  bool grad_cells, grad_acts;
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& st = *static_cast<const State*>(state);
  const RecurrentSizes& s = st.size;
  constexpr int lanes = lanes_of<T>, units = 4 * lanes;
  const int64_t hidden = s.hidden, width = 4 * hidden, panels = (hidden + units - 1) / units;
  const T *grad = input<T>(a, 0), *acts = input<T>(a, 1), *cells = input<T>(a, 2), *first = input<T>(a, 3), *weight = input<T>(a, 4);
  const T *grad_cells = st.grad_cells ? input<T>(a, 5) : nullptr, *grad_acts = st.grad_acts ? input<T>(a, 6) : nullptr;
  T *gates = output<T>(a, 0), *dh = output<T>(a, 1), *dc = output<T>(a, 2);
  T* packed = pack_columns(weight, hidden, width, units, static_cast<T*>(a.workspace));
  std::fill_n(dc, s.state(), T(0));
  // tile = what the gates of a later step give back to the state before it, added.
  auto product = [&](const T* of, int64_t row, int rows, int64_t p, T* tile) {
    tile_gemm<T>({of + row * width, width, 1, packed + p * width * units, units, tile, units, int(width), true}, rows, units);
  };
  for (int64_t k = s.steps; k-- > 0;) {
    const int64_t t = s.at(k);
    const T* before = k ? cells + s.at(k - 1) * s.state() : first;
    const T* later = k + 1 < s.steps ? gates + s.at(k + 1) * s.batch * width : nullptr;
    recurrent_step(s, 4, panels, [&](int64_t row, int rows, int64_t p) {
      const int64_t unit = p * units, live = std::min<int64_t>(units, hidden - unit);
      alignas(64) T tile[kTileRows * units];
      for (int r = 0; r < rows; ++r)
        for (int64_t j = 0; j < units; j += lanes)
          store(tile + r * units + j, j < live ? load_partial(grad + t * s.state() + (row + r) * hidden + unit + j,
                                                              int(std::min<int64_t>(lanes, live - j))) : vec_of<T>{});
      if (later) product(later, row, rows, p, tile);
      for (int r = 0; r < rows; ++r)
        for (int64_t j = 0; j < live; j += lanes) {
          const int n = int(std::min<int64_t>(lanes, live - j));
          const int64_t at = (row + r) * hidden + unit + j, gate = (t * s.batch + row + r) * width + unit + j;
          auto act = [&](int64_t g) { return load_partial(acts + gate + g * hidden, n); };
          const auto i = act(0), f = act(1), g = act(2), o = act(3), h = load(tile + r * units + j);
          const auto bent = tanh(load_partial(cells + t * s.state() + at, n));
          auto c = load_partial(dc + at, n) + h * o * (T(1) - bent * bent);
          if (grad_cells) c = c + load_partial(grad_cells + t * s.state() + at, n);
          auto put = [&](int64_t q, vec_of<T> d, vec_of<T> slope) {
            if (grad_acts) d = d + load_partial(grad_acts + gate + q * hidden, n);
            store_partial(gates + gate + q * hidden, d * slope, n);
          };
          put(0, c * g, i * (T(1) - i));
          put(1, c * load_partial(before + at, n), f * (T(1) - f));
          put(2, c * i, T(1) - g * g);
          put(3, h * bent, o * (T(1) - o));
          store_partial(dc + at, c * f, n);
        }
    });
  }
  recurrent_step(s, 4, panels, [&](int64_t row, int rows, int64_t p) {
    const int64_t unit = p * units, live = std::min<int64_t>(units, hidden - unit);
    alignas(64) T tile[kTileRows * units] = {};
    product(gates + s.at(0) * s.batch * width, row, rows, p, tile);
    for (int r = 0; r < rows; ++r) std::copy_n(tile + r * units, live, dh + (row + r) * hidden + unit);
  });
}

template <class T>
struct Make {
  static Prepared prepare(const KernelDesc& d) {
    const Shape& x = d.in[1]->layout.shape;
    auto s = std::make_shared<State>(State{{x[0], x[1], x[2] / 4, d.attrs.boolean(0)}, d.has(5), d.has(6)});
    constexpr int64_t units = 4 * lanes_of<T>;
    const int64_t panels = (x[2] / 4 + units - 1) / units;
    return {run<T>, s, panels * units * x[2] * int64_t(sizeof(T))};
  }
};

}  // namespace

Kernel kernel_lstm_layer_grad() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
