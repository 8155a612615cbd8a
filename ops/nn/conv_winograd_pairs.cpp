// conv_winograd_pairs: conv_winograd of bf16 with weights in pairs, made by the layout pass.
#include "ops/nn/windows.h"

namespace suan {
namespace {

constexpr int64_t block = 16;
constexpr DTypeSet bf16_only = dtype_bit(DType::bf16), f32_only = dtype_bit(DType::f32);

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  if (x.size() != 5 || x[4] != block || w.size() != 5 || (w[0] != 36 && w[0] != 16) || w[3] != block || w[4] != 2 ||
      (2 * w[2] + block - 1) / block != x[1])
    c.fail<ShapeError>("wrong shapes: expected x [batch, blocks, height, width, 16] and weight [36 or 16, out blocks, "
                       "pairs of x's channels, 16, 2], got {} and {}", to_string(c[0]), to_string(c[1]));
  if (c.has(2) && c.shape(2) != Shape{w[1], block})
    c.fail<ShapeError>("bias does not fit: expected [{}, 16], got {}", w[1], to_string(c[2]));
  const ops::Windows win = ops::windows(c.op.name, Dims{3, 3}, {}, c.attrs.dims(0), {});
  const Shape size = ops::window_positions(c.op.name, win, {x[0], x[1], x[2], x[3]});
  return {{c.dtype(0), {x[0], w[1], size[0], size[1], block}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& w = c[1];
  const Tensor weight = reshape(permute(w, {0, 1, 2, 4, 3}), {w.dim(0), w.dim(1), 2 * w.dim(2), block});
  const Tensor y = apply(SUAN_OP("conv_winograd"), {cast(c[0], DType::f32), cast(weight, DType::f32), c.has(2) ? c[2] : Tensor()},
                         {c.attrs.dims(0)});
  return {cast(y, DType::bf16)};
}

// That of the convolution it stands for.
Cost cost(const InferContext& c) {
  return {2.0 * 9 * double(numel(c.op.infer(c)[0].shape)) * double(2 * c.shape(1)[2]), 0};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const auto bias = [](int64_t blocks) { return SampleInput{.shape = {blocks, 16}, .dtype = DType::f32}; };
  // As small as a window's weights become.
  const auto weight = [](const Shape& s) { return SampleInput{.shape = s, .fill = Fill::uniform, .lo = -0.1, .hi = 0.1}; };
  const Dims same{1, 1, 1, 1};
  return {{{{{2, 2, 5, 7, 16}}, weight({36, 3, 10, 16, 2}), bias(3)}, {same}, "20 channels in"},
          {{{{2, 2, 5, 8, 16}}, weight({16, 2, 10, 16, 2}), bias(2)}, {same}, "tiles of 2×2"},
          {{{{1, 1, 30, 29, 16}}, weight({36, 1, 8, 16, 2}), none}, {Dims{0, 1, 2, 1}}, "many tiles, uneven padding"},
          {{{{1, 1, 3, 3, 16}}, weight({36, 5, 5, 16, 2}), none}, {Dims{}}, "one position"},
          {{{{0, 1, 4, 4, 16}}, weight({36, 1, 8, 16, 2}), none}, {same}, "no images"},
          {.in = {{{1, 2, 4, 4, 16}}, weight({36, 1, 24, 16, 2}), none}, .error = "wrong shapes"}};
}

}  // namespace

OpDef op_def_conv_winograd_pairs() {
  return {.name = "conv_winograd_pairs",
          .doc = "conv_winograd of bfloat16: x [batch, blocks, height, width, 16], weight [36 or 16, out blocks, pairs of channels in, "
                 "16, 2], bias float32 [out blocks, 16], result [batch, out blocks, height, width, 16]. The tiles' numbers are "
                 "rounded to bfloat16 before they are multiplied; sums are float32. The layout pass makes it, where bits may "
                 "change and the processor multiplies pairs fast.",
          .inputs = {{"x", bf16_only}, {"weight", bf16_only}, {"bias", f32_only, Arity::optional, 2}},
          .attrs = {{"padding", AttrKind::dims, Dims{}}},
          .infer = infer,
          .compose = compose,
          .no_grad = "the passes make it, for inference",
          .cost = cost,
          .samples = samples};
}

}  // namespace suan
