// max_pool: the largest value of each window, and where it is.
#include "ops/nn/windows.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& x = c.shape(0);
  const Dims& kernel = c.attrs.dims(0);
  if (kernel.empty() || kernel.size() > 3 || x.size() != kernel.size() + 2)
    c.fail<ShapeError>("wrong rank: expected x [batch, channels, size...] with {} sizes, got {}",
                       kernel.size(), to_string(c[0]));
  const ops::Windows w =
      ops::windows(c.op.name, kernel, c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3), true);
  for (int d = 0; d < w.n; ++d)
    if (std::max(w.padding[d], w.padding[w.n + d]) * 2 > w.kernel[d])
      c.fail<ValueError>("too much padding: expected at most half the kernel's {}, got {}",
                         w.kernel[d], std::max(w.padding[d], w.padding[w.n + d]));
  const Shape out =
      ops::joined({x[0], x[1]}, ops::window_positions(c.op.name, w, x, c.attrs.boolean(4)));
  return {{c.dtype(0), out, c[0].device}, {DType::i64, out, c[0].device}};
}

void vjp(VjpContext& c) {
  c.set(0, apply(op("max_pool_grad"), {c.grad(), c.out(1)}, {ops::spatial(c.shape(0))}));
}

std::vector<Sample> samples() {
  const SampleInput x{.shape = {2, 3, 8, 6}, .fill = Fill::distinct};
  return {
      {.in = {x}, .attrs = {Dims{2, 2}, Dims{}, Dims{}, Dims{}, false}},
      {.in = {x},
       .attrs = {Dims{3, 3}, Dims{2, 2}, Dims{1, 1, 1, 1}, Dims{}, false},
       .note = "overlapping"},
      {.in = {x},
       .attrs = {Dims{3, 2}, Dims{2, 2}, Dims{}, Dims{1, 2}, true},
       .note = "ceil, dilation"},
      {.in = {{.shape = {2, 3, 9}, .fill = Fill::distinct}},
       .attrs = {Dims{4}, Dims{2}, Dims{2, 1}, Dims{}, false},
       .note = "1-D"},
      {.in = {{.shape = {1, 2, 4, 5, 4}, .fill = Fill::distinct}},
       .attrs = {Dims{2, 2, 2}, Dims{}, Dims{}, Dims{}, false},
       .note = "3-D"},
      {.in = {{.shape = {1, 2, 5, 39}, .fill = Fill::distinct}},
       .attrs = {Dims{2, 2}, Dims{}, Dims{}, Dims{}, false},
       .note = "wide"},
      {.in = {{.shape = {0, 3, 8, 6}}}, .attrs = {Dims{2, 2}}, .note = "no images"},
      {.in = {x}, .attrs = {Dims{9, 2}}, .error = "window larger than the padded input"},
      {.in = {x}, .attrs = {Dims{2, 2}, Dims{}, Dims{2, 2, 2, 2}}, .error = "too much padding"}};
}

}  // namespace

OpDef op_def_max_pool() {
  return {
      .name = "max_pool",
      .doc = "Largest value of each window over x [batch, channels, size...], as torch: padding "
             "never wins, NaN does, the first of equals is taken. indices count within the "
             "channel's plane. strides default to the kernel; padding lists the low sides, then "
             "the high ones.",
      .inputs = {{"x", floating_types}},
      .attrs = {{"kernel", AttrKind::dims},
                {"strides", AttrKind::dims, Dims{}},
                {"padding", AttrKind::dims, Dims{}},
                {"dilation", AttrKind::dims, Dims{}},
                {"ceil_mode", AttrKind::boolean, false}},
      .outputs = {"values", "indices"},
      .infer = infer,
      .vjp = vjp,
      .samples = samples,
      .onnx_name = "MaxPool",
      .onnx_since = 12};
}

}  // namespace suan
