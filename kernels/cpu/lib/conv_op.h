// From op descriptions to the convolution kernels: shapes to three dimensions, attributes to
// windows.
#pragma once

#include "kernels/cpu/lib/conv.h"
#include "kernels/cpu/lib/strided.h"
#include "ops/nn/windows.h"

namespace suan::cpu::SUAN_ISA {

struct ConvState {
  ConvPlan plan;
  DType dtype;
  bool biased;           // of conv: input 2 is there
  bool empty;            // the result is all zeros: no images, channels or taps to add up
  int64_t out_bytes;
};

// x, weight, y by their shapes; attributes `attr` and the next three: strides, padding, dilation,
// groups.
inline Prepared prepare_conv(ConvKind kind, const KernelDesc& d, const Shape& x, const Shape& w,
                             const Shape& y, int attr,
                             void (*run)(const void*, const KernelArgs&)) {
  const ops::Windows win = ops::windows(d.op.name, ops::spatial(w), d.attrs.dims(attr),
                                        d.attrs.dims(attr + 1), d.attrs.dims(attr + 2));
  ConvShape s;
  s.groups = d.attrs.integer(attr + 3);
  s.batch = x[0];
  s.in_per_group = w[1];
  s.out_per_group = w[0] / s.groups;
  for (int i = 0; i < win.n; ++i) {
    const size_t at = size_t(3 - win.n + i);
    s.in[at] = x[2 + i];
    s.out[at] = y[2 + i];
    s.kernel[at] = win.kernel[i];
    s.stride[at] = win.strides[i];
    s.dilation[at] = win.dilation[i];
    s.pad_low[at] = win.padding[i];
  }
  s.dtype = d.in[0]->dtype;
  auto state = std::make_shared<ConvState>();
  state->dtype = s.dtype;
  state->biased = kind == ConvKind::forward && d.has(2);
  state->out_bytes = d.out[0]->layout.numel() * item_size(s.dtype);
  state->empty = numel(x) == 0 || numel(w) == 0 || numel(y) == 0;
  if (!state->empty) state->plan = conv_prepare(kind, s);
  const int64_t workspace = int64_t(state->plan.workspace);
  return {run, std::move(state), workspace};
}

}  // namespace suan::cpu::SUAN_ISA
