// conv: 1-, 2- and 3-D convolution (cross-correlation) with groups.
#include "ops/nn/windows.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  if (x.size() < 3 || x.size() > 5 || w.size() != x.size())
    c.fail<ShapeError>(
        "wrong rank: expected x [batch, in, size...] with 1 to 3 sizes and weight [out, in / "
        "groups, size...], got {} and {}",
        to_string(c[0]), to_string(c[1]));
  const int64_t groups = c.attrs.integer(3);
  if (groups < 1 || x[1] % groups || w[0] % groups)
    c.fail<ValueError>("wrong groups: expected a divisor of {} inputs and {} outputs, got {}", x[1],
                       w[0], groups);
  if (w[1] != x[1] / groups)
    c.fail<ShapeError>("channels differ: expected weight with {} inputs per group, got {}",
                       x[1] / groups, to_string(c[1]));
  if (c.has(2) && c.shape(2) != Shape{w[0]})
    c.fail<ShapeError>("bias does not fit: expected [{}], got {}", w[0], to_string(c[2]));
  const ops::Windows win =
      ops::windows(c.op.name, ops::spatial(w), c.attrs.dims(0), c.attrs.dims(1), c.attrs.dims(2));
  return {{c.dtype(0), ops::joined({x[0], w[0]}, ops::window_positions(c.op.name, win, x)),
           c[0].device}};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const Attr &strides = c.attrs[0], &padding = c.attrs[1], &dilation = c.attrs[2],
             &groups = c.attrs[3];
  if (c.needs(0))
    c.set(0, apply(op("conv_input_grad"), {c.grad(), c.in(1)},
                   {spatial(c.shape(0)), strides, padding, dilation, groups}));
  if (c.needs(1))
    c.set(1, apply(op("conv_weight_grad"), {c.in(0), c.grad()},
                   {spatial(c.shape(1)), strides, padding, dilation, groups}));
  if (c.needs(2)) {
    Dims axes{0};
    for (int i = 2; i < c.shape(0).size(); ++i) axes.push_back(i);
    c.set(2, sum(c.grad(), axes));
  }
}

Cost cost(const InferContext& c) {
  const double out = double(numel(c.op.infer(c)[0].shape));
  return {2.0 * out * double(numel(c.shape(1))) / double(std::max<int64_t>(1, c.shape(1)[0])), 0};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const int64_t one = 1, two = 2;
  return {{{{{2, 3, 7, 6}}, {{4, 3, 3, 3}}, {{4}}}, {Dims{}, Dims{1, 1, 1, 1}, Dims{}, one}},
          {{{{2, 4, 9, 8}}, {{6, 2, 3, 2}}, none},
           {Dims{2, 1}, Dims{1, 0, 0, 1}, Dims{1, 2}, two},
           "groups, strides, dilation, uneven padding"},
          {{{{2, 3, 11}}, {{5, 3, 4}}, {{5}}}, {Dims{3}, Dims{2, 2}, Dims{}, one}, "1-D"},
          {{{{1, 2, 4, 5, 6}}, {{3, 2, 2, 3, 2}}, {{3}}}, {Dims{}, Dims{}, Dims{}, one}, "3-D"},
          {{{{2, 4, 5, 5}}, {{4, 1, 3, 3}}, none},
           {Dims{}, Dims{1, 1, 1, 1}, Dims{}, int64_t(4)},
           "depthwise"},
          {{{{2, 3, 4, 4}}, {{5, 3, 1, 1}}, {{5}}}, {Dims{}, Dims{}, Dims{}, one}, "1×1"},
          {{{{0, 3, 7, 6}}, {{4, 3, 3, 3}}, {{4}}}, {Dims{}, Dims{}, Dims{}, one}, "no images"},
          {.in = {{{2, 3, 2, 6}}, {{4, 3, 3, 3}}, none},
           .error = "window larger than the padded input"},
          {.in = {{{2, 3, 7, 6}}, {{4, 2, 3, 3}}, none}, .error = "channels differ"}};
}

}  // namespace

OpDef op_def_conv() {
  return {.name = "conv",
          .doc = "Convolution as torch's conv1d, conv2d and conv3d: x [batch, in, size...], "
                 "weight [out, in / groups, kernel...], bias [out]. padding lists the low sides, "
                 "then the high ones.",
          .inputs = {{"x", floating_types},
                     {"weight", floating_types},
                     {"bias", floating_types, Arity::optional}},
          .attrs = {{"strides", AttrKind::dims, Dims{}},
                    {"padding", AttrKind::dims, Dims{}},
                    {"dilation", AttrKind::dims, Dims{}},
                    {"groups", AttrKind::integer, int64_t(1)}},
          .infer = infer,
          .vjp = vjp,
          .cost = cost,
          .samples = samples,
          .onnx_name = "Conv",
          .onnx_since = 11};
}

}  // namespace suan
