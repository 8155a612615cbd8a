// conv_input_grad: convolution's gradient for its input; also the transposed convolution.
#include "ops/nn/windows.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &g = c.shape(0), &w = c.shape(1);
  const Dims& size = c.attrs.dims(0);
  const int64_t groups = c.attrs.integer(4);
  if (g.size() < 3 || g.size() > 5 || w.size() != g.size() || size.size() + 2 != g.size())
    c.fail<ShapeError>(
        "wrong rank: expected grad and weight of one rank (3 to 5) and its sizes, got {}, {} "
        "and {} sizes",
        to_string(c[0]), to_string(c[1]), size.size());
  if (groups < 1 || w[0] % groups || g[1] != w[0])
    c.fail<ShapeError>(
        "channels differ: expected grad with the weight's {} outputs in {} groups, got {}", w[0],
        groups, to_string(c[0]));
  const Shape x = ops::joined({g[0], w[1] * groups}, size);
  const ops::Windows win =
      ops::windows(c.op.name, ops::spatial(w), c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3));
  const Shape out = ops::window_positions(c.op.name, win, x);
  if (out != ops::spatial(g))
    c.fail<ShapeError>("sizes do not fit: expected grad with sizes {}, got {}", to_string(out),
                       to_string(c[0]));
  return {{c.dtype(0), x, c[0].device}};
}

// Linear in grad and in weight.
void vjp(VjpContext& c) {
  const Attr &strides = c.attrs[1], &padding = c.attrs[2], &dilation = c.attrs[3],
             &groups = c.attrs[4];
  if (c.needs(0))
    c.set(0,
          apply(op("conv"), {c.grad(), c.in(1), Tensor()}, {strides, padding, dilation, groups}));
  if (c.needs(1))
    c.set(1, apply(op("conv_weight_grad"), {c.grad(), c.in(0)},
                   {ops::spatial(c.shape(1)), strides, padding, dilation, groups}));
}

Cost cost(const InferContext& c) {
  return {2.0 * double(numel(c.shape(0))) * double(numel(c.shape(1))) /
              double(std::max<int64_t>(1, c.shape(1)[0])), 0};
}

std::vector<Sample> samples() {
  const int64_t one = 1;
  return {{{{{2, 4, 7, 6}}, {{4, 3, 3, 3}}}, {Dims{7, 6}, Dims{}, Dims{1, 1, 1, 1}, Dims{}, one}},
          {{{{2, 6, 4, 7}}, {{6, 2, 3, 2}}},
           {Dims{9, 8}, Dims{2, 1}, Dims{1, 0, 0, 1}, Dims{1, 2}, int64_t(2)},
           "groups, strides, dilation"},
          {{{{2, 5, 4}}, {{5, 3, 4}}}, {Dims{11}, Dims{3}, Dims{2, 2}, Dims{}, one}, "1-D"},
          {{{{2, 4, 3, 1}}, {{4, 3, 3, 2}}}, {Dims{13, 6}, Dims{5, 9}, Dims{}, Dims{}, one}, "strides longer than the window"},
          {.in = {{{2, 4, 7, 6}}, {{4, 3, 3, 3}}},
           .attrs = {Dims{7, 6}, Dims{}, Dims{}, Dims{}, one},
           .error = "sizes do not fit"}};
}

}  // namespace

OpDef op_def_conv_input_grad() {
  return {
      .name = "conv_input_grad",
      .doc = "Gradient of conv for x, whose spatial sizes are input_size. Linear in both inputs.",
      .inputs = {{"grad", floating_types}, {"weight", floating_types}},
      .attrs = {{"input_size", AttrKind::dims},
                {"strides", AttrKind::dims, Dims{}},
                {"padding", AttrKind::dims, Dims{}},
                {"dilation", AttrKind::dims, Dims{}},
                {"groups", AttrKind::integer, int64_t(1)}},
      .infer = infer,
      .vjp = vjp,
      .cost = cost,
      .samples = samples};
}

}  // namespace suan
