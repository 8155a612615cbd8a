// conv_blocked: convolution whose channels lie in blocks of 16, made by the layout pass.
#include "ops/nn/windows.h"

namespace suan {
namespace {

constexpr int64_t block = 16;

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  const Dims& kernel = c.attrs.dims(0);
  const bool blocked = x.size() == 5;
  if ((!blocked && x.size() != 4) || (blocked && x[4] != block) || w.size() != 3 || w[2] != block || kernel.size() != 2)
    c.fail<ShapeError>(
        "wrong shapes: expected x [batch, blocks, height, width, 16] or [batch, channels, height, width], weight "
        "[blocks, k, 16] and two kernel sizes, got {}, {} and {}",
        to_string(c[0]), to_string(c[1]), to_string(kernel));
  const ops::Windows win = ops::windows(c.op.name, kernel, c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3));
  const int64_t taps = kernel[0] * kernel[1], groups = c.attrs.integer(4), per = w[1] / taps;
  const int64_t here = blocked ? x[1] * block : x[1];
  bool fits = groups >= 1 && per >= 1 && w[1] % taps == 0;
  if (groups == 1) fits = fits && (blocked ? (per + block - 1) / block == x[1] : per == here);
  else if (per == 1) fits = fits && blocked && groups == here && w[0] == x[1];
  else fits = fits && blocked && per % block == 0 && groups * per == here && w[0] % groups == 0;
  if (!fits)
    c.fail<ShapeError>("weight does not fit: expected k = inputs per group × {} taps, groups 1, every channel or whole "
                       "blocks, got {}, {} and groups {}",
                       taps, to_string(c[0]), to_string(c[1]), groups);
  if (c.has(2) && c.shape(2) != Shape{w[0], block})
    c.fail<ShapeError>("bias does not fit: expected [{}, 16], got {}", w[0], to_string(c[2]));
  const Shape size = ops::window_positions(c.op.name, win, {x[0], x[1], x[2], x[3]});
  return {{c.dtype(0), {x[0], w[0], size[0], size[1], block}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &x = c[0], &w = c[1];
  const Dims& kernel = c.attrs.dims(0);
  const int64_t taps = kernel[0] * kernel[1], groups = c.attrs.integer(4), per = w.dim(1) / taps;
  Tensor plain = x;
  if (x.rank() == 5)
    plain = reshape(permute(x, {0, 1, 4, 2, 3}), {x.dim(0), x.dim(1) * block, x.dim(2), x.dim(3)});
  if (plain.dim(1) != per * groups) plain = slice(plain, 1, 0, per * groups);
  const Tensor weight = reshape(permute(w, {0, 2, 1}), {w.dim(0) * block, per, kernel[0], kernel[1]});
  const Tensor bias = c.has(2) ? reshape(c[2], {w.dim(0) * block}) : Tensor();
  const Tensor y = apply(SUAN_OP("conv"), {contiguous(plain), contiguous(weight), bias},
                         {c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3), groups});
  return {copy(permute(reshape(y, {y.dim(0), w.dim(0), block, y.dim(2), y.dim(3)}), {0, 1, 3, 4, 2}))};
}

Cost cost(const InferContext& c) {
  return {2.0 * double(numel(c.op.infer(c)[0].shape)) * double(c.shape(1)[1]), 0};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const int64_t one = 1;
  const Dims same{1, 1, 1, 1};
  return {{{{{2, 2, 5, 7, 16}}, {{3, 20 * 9, 16}}, {{3, 16}}}, {Dims{3, 3}, Dims{}, same, Dims{}, one}, "20 channels in"},
          {{{{1, 3, 6, 15, 16}}, {{2, 48, 16}}, none}, {Dims{1, 1}, Dims{}, Dims{}, Dims{}, one}, "1×1"},
          {{{{1, 3, 6, 15, 16}}, {{1, 48, 16}}, {{1, 16}}}, {Dims{1, 1}, Dims{2, 2}, Dims{}, Dims{}, one}, "1×1, stride 2"},
          {{{{2, 3, 11, 10}}, {{1, 27, 16}}, {{1, 16}}}, {Dims{3, 3}, Dims{2, 2}, same, Dims{}, one}, "plain x"},
          {{{{2, 2, 6, 9, 16}}, {{2, 9, 16}}, {{2, 16}}},
           {Dims{3, 3}, Dims{2, 1}, same, Dims{}, int64_t(32)},
           "depthwise"},
          {{{{1, 2, 7, 15, 16}}, {{2, 9, 16}}, {{2, 16}}}, {Dims{3, 3}, Dims{2, 2}, same, Dims{}, int64_t(32)}, "depthwise, stride 2"},
          {{{{1, 1, 8, 9, 16}}, {{1, 25, 16}}, none}, {Dims{5, 5}, Dims{}, Dims{2, 2, 2, 2}, Dims{}, int64_t(16)}, "depthwise, 5×5"},
          {{{{1, 4, 9, 8, 16}}, {{2, 32 * 6, 16}}, none},
           {Dims{3, 2}, Dims{3, 1}, Dims{1, 0, 2, 1}, Dims{2, 1}, int64_t(2)},
           "groups, dilation, uneven padding"},
          {{{{0, 1, 4, 4, 16}}, {{1, 16, 16}}, none}, {Dims{1, 1}, Dims{}, Dims{}, Dims{}, one}, "no images"},
          {.in = {{{1, 2, 4, 4, 16}}, {{1, 48, 16}}, none}, .attrs = {Dims{1, 1}}, .error = "weight does not fit"},
          {.in = {{{1, 2, 4, 4, 8}}, {{1, 16, 16}}, none}, .attrs = {Dims{1, 1}}, .error = "wrong shapes"}};
}

}  // namespace

OpDef op_def_conv_blocked() {
  return {.name = "conv_blocked",
          .doc = "2-D convolution over blocks of 16 channels, with the bits of conv: x [batch, blocks, height, width, 16] or "
                 "[batch, channels, height, width], weight [out blocks, inputs per group × kernel, 16], bias [out blocks, 16], "
                 "result [batch, out blocks, height, width, 16]. groups: 1, all 16 × blocks channels, or whole blocks each. "
                 "Lanes of x beyond the weight's inputs are not read. The layout pass makes it.",
          .inputs = {{"x", floating_types}, {"weight", floating_types}, {"bias", floating_types, Arity::optional}},
          .attrs = {{"kernel", AttrKind::dims},
                    {"strides", AttrKind::dims, Dims{}},
                    {"padding", AttrKind::dims, Dims{}},
                    {"dilation", AttrKind::dims, Dims{}},
                    {"groups", AttrKind::integer, int64_t(1)}},
          .infer = infer,
          .compose = compose,
          .cost = cost,
          .samples = samples};
}

}  // namespace suan
