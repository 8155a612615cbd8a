// avg_pool_grad: each window's gradient shared by its elements.
#include "ops/nn/windows.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& g = c.shape(0);
  const Dims& size = c.attrs.dims(0);
  if (g.size() < 3 || size.size() != g.size() - 2 || c.attrs.dims(1).size() != size.size())
    c.fail<ShapeError>("wrong rank: expected grad [batch, channels, size...] with {} sizes, got {}",
                       size.size(), to_string(c[0]));
  const ops::Windows w =
      ops::windows(c.op.name, c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3), {}, true);
  const Shape x = ops::joined({g[0], g[1]}, size);
  const Shape out = ops::window_positions(c.op.name, w, x, c.attrs.boolean(4));
  if (out != ops::spatial(g))
    c.fail<ShapeError>("sizes do not fit: expected grad with sizes {}, got {}", to_string(out),
                       to_string(c[0]));
  return {{c.dtype(0), x, c[0].device}};
}

void vjp(VjpContext& c) {
  c.set(0, apply(op("avg_pool"), {c.grad()},
                 {c.attrs[1], c.attrs[2], c.attrs[3], c.attrs[4], c.attrs[5]}));
}

std::vector<Sample> samples() {
  return {{.in = {{{2, 3, 4, 3}}}, .attrs = {Dims{8, 6}, Dims{2, 2}, Dims{}, Dims{}, false, true}},
          {.in = {{{2, 3, 4, 3}}},
           .attrs = {Dims{8, 6}, Dims{3, 3}, Dims{2, 2}, Dims{1, 1, 1, 1}, false, false},
           .note = "overlapping, padding not counted"},
          {.in = {{{2, 3, 5, 3}}}, .attrs = {Dims{8, 6}, Dims{2, 2}}, .error = "sizes do not fit"}};
}

}  // namespace

OpDef op_def_avg_pool_grad() {
  return {.name = "avg_pool_grad",
          .doc = "Gradient of avg_pool for an x whose spatial sizes are input_size.",
          .inputs = {{"grad", floating_types}},
          .attrs = {{"input_size", AttrKind::dims},
                    {"kernel", AttrKind::dims},
                    {"strides", AttrKind::dims, Dims{}},
                    {"padding", AttrKind::dims, Dims{}},
                    {"ceil_mode", AttrKind::boolean, false},
                    {"count_include_pad", AttrKind::boolean, true}},
          .infer = infer,
          .vjp = vjp,
          .samples = samples};
}

}  // namespace suan
