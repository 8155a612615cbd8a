// conv_weight_grad: convolution's gradient for its weight.
#include "ops/nn/windows.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &g = c.shape(1);
  const Dims& size = c.attrs.dims(0);
  const int64_t groups = c.attrs.integer(4);
  if (x.size() < 3 || x.size() > 5 || g.size() != x.size() || size.size() + 2 != x.size())
    c.fail<ShapeError>(
        "wrong rank: expected x and grad of one rank (3 to 5) and the kernel's sizes, got {}, "
        "{} and {} sizes",
        to_string(c[0]), to_string(c[1]), size.size());
  if (groups < 1 || x[1] % groups || g[1] % groups)
    c.fail<ValueError>("wrong groups: expected a divisor of {} inputs and {} outputs, got {}", x[1],
                       g[1], groups);
  const ops::Windows win =
      ops::windows(c.op.name, size, c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3));
  const Shape out = ops::joined({x[0], g[1]}, ops::window_positions(c.op.name, win, x));
  if (out != g)
    c.fail<ShapeError>("sizes do not fit: expected grad {}, got {}", to_string(out),
                       to_string(c[1]));
  return {{c.dtype(0), ops::joined({g[1], x[1] / groups}, size), c[0].device}};
}

// Linear in x and in grad.
void vjp(VjpContext& c) {
  const Attr &strides = c.attrs[1], &padding = c.attrs[2], &dilation = c.attrs[3],
             &groups = c.attrs[4];
  if (c.needs(0))
    c.set(0, apply(op("conv_input_grad"), {c.in(1), c.grad()},
                   {ops::spatial(c.shape(0)), strides, padding, dilation, groups}));
  if (c.needs(1))
    c.set(1,
          apply(op("conv"), {c.in(0), c.grad(), Tensor()}, {strides, padding, dilation, groups}));
}

Cost cost(const InferContext& c) {
  double taps = double(c.shape(0)[1]) / double(std::max<int64_t>(1, c.attrs.integer(4)));
  for (int64_t k : c.attrs.dims(0)) taps *= double(k);
  return {2.0 * double(numel(c.shape(1))) * taps, 0};
}

std::vector<Sample> samples() {
  const int64_t one = 1;
  return {{{{{2, 3, 7, 6}}, {{2, 4, 7, 6}}}, {Dims{3, 3}, Dims{}, Dims{1, 1, 1, 1}, Dims{}, one}},
          {{{{2, 4, 9, 8}}, {{2, 6, 4, 7}}},
           {Dims{3, 2}, Dims{2, 1}, Dims{1, 0, 0, 1}, Dims{1, 2}, int64_t(2)},
           "groups, strides, dilation"},
          {{{{2, 3, 11}}, {{2, 5, 4}}}, {Dims{4}, Dims{3}, Dims{2, 2}, Dims{}, one}, "1-D"},
          {{{{0, 3, 7, 6}}, {{0, 4, 7, 6}}},
           {Dims{3, 3}, Dims{}, Dims{1, 1, 1, 1}, Dims{}, one},
           "no images"},
          {.in = {{{2, 3, 7, 6}}, {{2, 4, 6, 6}}},
           .attrs = {Dims{3, 3}, Dims{}, Dims{1, 1, 1, 1}, Dims{}, one},
           .error = "sizes do not fit"}};
}

}  // namespace

OpDef op_def_conv_weight_grad() {
  return {.name = "conv_weight_grad",
          .doc = "Gradient of conv for the weight, whose spatial sizes are kernel_size. Linear in "
                 "both inputs.",
          .inputs = {{"x", floating_types}, {"grad", floating_types}},
          .attrs = {{"kernel_size", AttrKind::dims},
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
