// Convolution with the bias added to each tile while it is in cache.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/lib/conv_op.h"

namespace suan::cpu::SUAN_ISA {
namespace {

// Adds bias[channel] to the rows of a tile: one row per channel.
template <class T>
void add_bias(DType t, void* tile, const void* bias, int64_t channel, int64_t channels,
              int64_t pixels, int64_t ld) {
  constexpr int64_t piece = 256;
  T row[piece];
  for (int64_t c = 0; c < channels; ++c) {
    T b;
    load_tile<T>(t, bias, channel + c, 1, &b);
    if (t == dtype_of<T>) {
      T* at = static_cast<T*>(tile) + c * ld;
      for (int64_t i = 0; i < pixels; ++i) at[i] += b;
      continue;
    }
    for (int64_t i = 0; i < pixels; i += piece) {
      const int64_t n = std::min(piece, pixels - i);
      void* at = element(tile, c * ld + i, item_size(t));
      load_tile<T>(t, at, 0, n, row);
      for (int64_t e = 0; e < n; ++e) row[e] += b;
      store_tile<T>(t, at, 0, n, row);
    }
  }
}

void run(const void* state, const KernelArgs& a) {
  const ConvState& s = *static_cast<const ConvState*>(state);
  const void* bias = s.biased ? a.in[2] : nullptr;
  const DType t = s.dtype;
  const TileEpilogue next = a.epilogue ? *a.epilogue : TileEpilogue{};
  const auto epilogue = [bias, t, next](void* tile, int64_t image, int64_t channel,
                                        int64_t channels, int64_t pixel, int64_t pixels,
                                        int64_t ld) {
    if (t == DType::f64) add_bias<double>(t, tile, bias, channel, channels, pixels, ld);
    else add_bias<float>(t, tile, bias, channel, channels, pixels, ld);
    if (next) next(tile, image, channel, channels, pixel, pixels, ld);
  };
  if (s.empty) {  // no input channels
    std::memset(a.out[0], 0, size_t(s.out_bytes));
    return;
  }
  if (bias) conv_run(s.plan, a.in[0], a.in[1], a.out[0], a.workspace, epilogue);
  else conv_run(s.plan, a.in[0], a.in[1], a.out[0], a.workspace, next);
}

}  // namespace

Kernel kernel_conv() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape& y = d.out[0]->layout.shape;
    Prepared p = prepare_conv(ConvKind::forward, d, d.in[0]->layout.shape, d.in[1]->layout.shape, y,
                              0, run);
    if (!static_cast<const ConvState*>(p.state.get())->empty)
      p.epilogue_row = numel(ops::spatial(y));
    return p;
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
