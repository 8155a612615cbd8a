// avg_pool: the mean of each window.
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
      ops::windows(c.op.name, kernel, c.attrs.dims(1), c.attrs.dims(2), {}, true);
  for (int d = 0; d < w.n; ++d)
    if (std::max(w.padding[d], w.padding[w.n + d]) * 2 > w.kernel[d])
      c.fail<ValueError>("too much padding: expected at most half the kernel's {}, got {}",
                         w.kernel[d], std::max(w.padding[d], w.padding[w.n + d]));
  return {{c.dtype(0),
           ops::joined({x[0], x[1]}, ops::window_positions(c.op.name, w, x, c.attrs.boolean(3))),
           c[0].device}};
}

void vjp(VjpContext& c) {
  c.set(0, apply(op("avg_pool_grad"), {c.grad()},
                 {ops::spatial(c.shape(0)), c.attrs[0], c.attrs[1], c.attrs[2], c.attrs[3],
                  c.attrs[4]}));
}

std::vector<Sample> samples() {
  return {
      {.in = {{{2, 3, 8, 6}}}, .attrs = {Dims{2, 2}, Dims{}, Dims{}, false, true}},
      {.in = {{{2, 3, 8, 6}}},
       .attrs = {Dims{3, 3}, Dims{2, 2}, Dims{1, 1, 1, 1}, false, true},
       .note = "padding counted"},
      {.in = {{{2, 3, 8, 6}}},
       .attrs = {Dims{3, 3}, Dims{2, 2}, Dims{1, 1, 1, 1}, true, false},
       .note = "padding not counted"},
      {.in = {{{2, 3, 9}}}, .attrs = {Dims{4}, Dims{3}, Dims{}, true, true}, .note = "1-D, ceil"},
      {.in = {{{0, 3, 8, 6}}}, .attrs = {Dims{2, 2}}, .note = "no images"},
      {.in = {{{2, 3, 8, 6}}},
       .attrs = {Dims{9, 2}},
       .error = "window larger than the padded input"}};
}

}  // namespace

OpDef op_def_avg_pool() {
  return {.name = "avg_pool",
          .doc = "Mean of each window over x [batch, channels, size...], as torch: with "
                 "count_include_pad the divisor counts padding (not what ceil_mode hangs over), "
                 "else only elements. strides default to the kernel; padding lists the low sides, "
                 "then the high ones.",
          .inputs = {{"x", floating_types}},
          .attrs = {{"kernel", AttrKind::dims},
                    {"strides", AttrKind::dims, Dims{}},
                    {"padding", AttrKind::dims, Dims{}},
                    {"ceil_mode", AttrKind::boolean, false},
                    {"count_include_pad", AttrKind::boolean, true}},
          .infer = infer,
          .vjp = vjp,
          .samples = samples,
          .onnx_name = "AveragePool",
          .onnx_since = 19};
}

}  // namespace suan
