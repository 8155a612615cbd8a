// conv_pairs: convolution of bf16 whose channels lie in blocks of 16, made by the layout pass.
#include "ops/nn/windows.h"

namespace suan {
namespace {

constexpr int64_t block = 16;
constexpr DTypeSet bf16_only = dtype_bit(DType::bf16), f32_only = dtype_bit(DType::f32);

struct Sizes {
  int64_t taps, per, groups;   // per: inputs of a group, made even
  bool depthwise, blocked;
};

Sizes sizes(const Shape& x, const Shape& w, const Attrs& attrs) {
  Sizes s;
  s.taps = attrs.dims(0)[0] * attrs.dims(0)[1];
  s.groups = attrs.integer(4);
  s.blocked = x.size() == 5;
  s.depthwise = w[3] == 1;
  s.per = s.depthwise ? 1 : 2 * (w[1] / std::max<int64_t>(s.taps, 1));
  return s;
}

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  const Dims& kernel = c.attrs.dims(0);
  const bool blocked = x.size() == 5;
  if ((!blocked && x.size() != 4) || (blocked && x[4] != block) || w.size() != 4 || w[2] != block ||
      (w[3] != 1 && w[3] != 2) || kernel.size() != 2)
    c.fail<ShapeError>(
        "wrong shapes: expected x [batch, blocks, height, width, 16] or [batch, channels, height, width], weight "
        "[blocks, k, 16, 2] (depthwise: [blocks, k, 16, 1]) and two kernel sizes, got {}, {} and {}",
        to_string(c[0]), to_string(c[1]), to_string(kernel));
  const ops::Windows win = ops::windows(c.op.name, kernel, c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3));
  const Sizes s = sizes(x, w, c.attrs);
  const int64_t here = blocked ? x[1] * block : x[1];
  bool fits = s.groups >= 1 && s.per >= 1 && w[1] % s.taps == 0;
  if (s.depthwise) fits = fits && blocked && w[1] == s.taps && s.groups == here && w[0] == x[1];
  else if (s.groups == 1) fits = fits && (blocked ? (s.per + block - 1) / block == x[1] : (here + 1) / 2 * 2 == s.per);
  else fits = fits && blocked && s.per % block == 0 && s.groups * s.per == here && w[0] % s.groups == 0;
  if (!fits)
    c.fail<ShapeError>("weight does not fit: expected k = pairs of inputs per group × {} taps, groups 1, every channel or "
                       "whole blocks, got {}, {} and groups {}",
                       s.taps, to_string(c[0]), to_string(c[1]), s.groups);
  if (c.has(2) && c.shape(2) != Shape{w[0], block})
    c.fail<ShapeError>("bias does not fit: expected [{}, 16], got {}", w[0], to_string(c[2]));
  const Shape size = ops::window_positions(c.op.name, win, {x[0], x[1], x[2], x[3]});
  return {{c.dtype(0), {x[0], w[0], size[0], size[1], block}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &x = c[0], &w = c[1];
  const Sizes s = sizes(x.shape(), w.shape(), c.attrs);
  const Dims& kernel = c.attrs.dims(0);
  Tensor plain = cast(x, DType::f32);
  if (s.blocked)
    plain = reshape(permute(plain, {0, 1, 4, 2, 3}), {x.dim(0), x.dim(1) * block, x.dim(2), x.dim(3)});
  Tensor weight = reshape(cast(w, DType::f32), {w.dim(0), w.dim(1) / s.taps, s.taps, block, w.dim(3)});
  weight = reshape(permute(weight, {0, 3, 1, 4, 2}), {w.dim(0) * block, s.per, kernel[0], kernel[1]});
  // What is there of the last pair, or of the last block.
  const int64_t per = s.groups > 1 ? s.per : std::min(s.per, plain.dim(1));
  if (per != s.per) weight = slice(weight, 1, 0, per);
  if (plain.dim(1) != per * s.groups) plain = slice(plain, 1, 0, per * s.groups);
  const Tensor bias = c.has(2) ? reshape(c[2], {w.dim(0) * block}) : Tensor();
  const Tensor y = apply(SUAN_OP("conv"), {contiguous(plain), contiguous(weight), bias},
                         {c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3), s.groups});
  return {cast(copy(permute(reshape(y, {y.dim(0), w.dim(0), block, y.dim(2), y.dim(3)}), {0, 1, 3, 4, 2})), DType::bf16)};
}

Cost cost(const InferContext& c) {
  return {2.0 * double(numel(c.op.infer(c)[0].shape)) * double(c.shape(1)[1] * c.shape(1)[3]), 0};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const int64_t one = 1;
  const Dims same{1, 1, 1, 1};
  const auto bias = [](int64_t blocks) { return SampleInput{.shape = {blocks, 16}, .dtype = DType::f32}; };
  return {{{{{2, 2, 5, 7, 16}}, {{3, 10 * 9, 16, 2}}, bias(3)}, {Dims{3, 3}, Dims{}, same, Dims{}, one}, "20 channels in"},
          {{{{1, 3, 6, 15, 16}}, {{2, 24, 16, 2}}, none}, {Dims{1, 1}, Dims{}, Dims{}, Dims{}, one}, "1×1"},
          {{{{1, 2, 20, 23, 16}}, {{5, 16, 16, 2}}, bias(5)}, {Dims{1, 1}, Dims{}, Dims{}, Dims{}, one}, "1×1, many positions"},
          {{{{1, 3, 6, 15, 16}}, {{1, 24, 16, 2}}, bias(1)}, {Dims{1, 1}, Dims{2, 2}, Dims{}, Dims{}, one}, "1×1, stride 2"},
          {{{{2, 3, 11, 10}}, {{1, 2 * 9, 16, 2}}, bias(1)}, {Dims{3, 3}, Dims{2, 2}, same, Dims{}, one}, "plain x"},
          {{{{1, 1, 9, 40}}, {{2, 25, 16, 2}}, none}, {Dims{5, 5}, Dims{}, Dims{}, Dims{}, one}, "plain x of one channel"},
          {{{{1, 2, 4, 7, 16}}, {{3, 16 * 9, 16, 2}}, none}, {Dims{3, 3}, Dims{}, same, Dims{}, one}, "lines in pairs"},
          {{{{2, 2, 6, 9, 16}}, {{2, 9, 16, 1}}, bias(2)}, {Dims{3, 3}, Dims{2, 1}, same, Dims{}, int64_t(32)}, "depthwise"},
          {{{{1, 2, 7, 15, 16}}, {{2, 9, 16, 1}}, bias(2)}, {Dims{3, 3}, Dims{2, 2}, same, Dims{}, int64_t(32)}, "depthwise, stride 2"},
          {{{{1, 1, 8, 9, 16}}, {{1, 25, 16, 1}}, none}, {Dims{5, 5}, Dims{}, Dims{2, 2, 2, 2}, Dims{}, int64_t(16)}, "depthwise, 5×5"},
          {{{{1, 4, 9, 8, 16}}, {{2, 16 * 6, 16, 2}}, none},
           {Dims{3, 2}, Dims{3, 1}, Dims{1, 0, 2, 1}, Dims{2, 1}, int64_t(2)},
           "groups, dilation, uneven padding"},
          {{{{0, 1, 4, 4, 16}}, {{1, 8, 16, 2}}, none}, {Dims{1, 1}, Dims{}, Dims{}, Dims{}, one}, "no images"},
          {.in = {{{1, 2, 4, 4, 16}}, {{1, 24, 16, 2}}, none}, .attrs = {Dims{1, 1}}, .error = "weight does not fit"},
          {.in = {{{1, 2, 4, 4, 8}}, {{1, 8, 16, 2}}, none}, .attrs = {Dims{1, 1}}, .error = "wrong shapes"}};
}

}  // namespace

OpDef op_def_conv_pairs() {
  return {.name = "conv_pairs",
          .doc = "2-D convolution of bfloat16 over blocks of 16 channels, summed in float32 and rounded once: x [batch, blocks, "
                 "height, width, 16] or [batch, channels, height, width], weight [out blocks, pairs of inputs per group × kernel, "
                 "16, 2] (depthwise: [blocks, kernel, 16, 1]), bias float32 [out blocks, 16], result [batch, out blocks, height, "
                 "width, 16]. groups: 1, all 16 × blocks channels, or whole blocks each. Lanes of x beyond the weight's inputs "
                 "are not read. The layout pass makes it for precision bf16, where the processor multiplies pairs fast.",
          .inputs = {{"x", bf16_only}, {"weight", bf16_only}, {"bias", f32_only, Arity::optional, 2}},
          .attrs = {{"kernel", AttrKind::dims},
                    {"strides", AttrKind::dims, Dims{}},
                    {"padding", AttrKind::dims, Dims{}},
                    {"dilation", AttrKind::dims, Dims{}},
                    {"groups", AttrKind::integer, int64_t(1)}},
          .infer = infer,
          .compose = compose,
          .no_grad = "the passes make it, for inference",
          .cost = cost,
          .samples = samples};
}

}  // namespace suan
