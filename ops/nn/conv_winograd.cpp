// conv_winograd: 3×3 convolution of stride 1 with transformed weights, channels in blocks of 16, made by the layout pass.
#include <cmath>

#include "ops/nn/windows.h"

namespace suan {
namespace {

constexpr int64_t block = 16;
constexpr DTypeSet types = dtype_bit(DType::f32) | dtype_bit(DType::f64);   // fewer digits would be lost on the way

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  if (x.size() != 5 || x[4] != block || w.size() != 4 || (w[0] != 36 && w[0] != 16) || w[3] != block ||
      (w[2] + block - 1) / block != x[1])
    c.fail<ShapeError>("wrong shapes: expected x [batch, blocks, height, width, 16] and weight [36 or 16, out blocks, "
                       "channels of x, 16], got {} and {}", to_string(c[0]), to_string(c[1]));
  if (c.has(2) && c.shape(2) != Shape{w[1], block})
    c.fail<ShapeError>("bias does not fit: expected [{}, 16], got {}", w[1], to_string(c[2]));
  const ops::Windows win = ops::windows(c.op.name, Dims{3, 3}, {}, c.attrs.dims(0), {});
  const Shape size = ops::window_positions(c.op.name, win, {x[0], x[1], x[2], x[3]});
  return {{c.dtype(0), {x[0], w[1], size[0], size[1], block}, c[0].device}};
}

// [rows, columns] of numbers, of x's dtype.
Tensor matrix(const std::vector<std::vector<double>>& rows, const Tensor& like) {
  using namespace ops;
  Tensors all;
  for (const std::vector<double>& row : rows)
    for (double v : row) all.push_back(reshape(number(v, like), {1}));
  return reshape(apply(SUAN_OP("cat"), all, {int64_t(0)}), {int64_t(rows.size()), int64_t(rows[0].size())});
}

// m x mᵀ over the first two dimensions of x [a, a, n].
Tensor both_sides(const Tensor& m, const Tensor& x) {
  using namespace ops;
  const int64_t to = m.dim(0), from = m.dim(1), n = x.dim(2);
  const Tensor rows = reshape(matmul(m, reshape(x, {from, from * n})), {to, from, n});
  const Tensor turned = copy(permute(rows, {1, 0, 2}));
  const Tensor y = reshape(matmul(m, reshape(turned, {from, to * n})), {to, to, n});
  return copy(permute(y, {1, 0, 2}));
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &x = c[0], &w = c[1];
  const Shape size = window_positions(c.op.name, windows(c.op.name, Dims{3, 3}, {}, c.attrs.dims(0), {}),
                                      {x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
  const Shape y{x.dim(0), w.dim(1), size[0], size[1], block};
  const int64_t side = w.dim(0) == 16 ? 4 : 6, tile = side - 2;
  const int64_t batch = x.dim(0), k = w.dim(2), rows = (y[2] + tile - 1) / tile, cols = (y[3] + tile - 1) / tile;
  const int64_t outs = w.dim(1) * block;
  const Dims& p = c.attrs.dims(0);
  const int64_t top = p.empty() ? 0 : p[0], left = p.empty() ? 0 : p[1];
  Tensor image = reshape(copy(permute(x, {0, 1, 4, 2, 3})), {batch, x.dim(1) * block, x.dim(2), x.dim(3)});
  image = contiguous(slice(image, 1, 0, k));
  const int64_t height = rows * tile + 2, width = cols * tile + 2;
  const auto beyond = [](int64_t want, int64_t low, int64_t size) { return std::max<int64_t>(0, want - low - size); };
  image = apply(SUAN_OP("pad_constant"), {image, Tensor()},
                {std::vector<int64_t>{left, beyond(width, left, x.dim(3)), top, beyond(height, top, x.dim(2))}});
  Tensors taps;
  for (int64_t i = 0; i < side; ++i)
    for (int64_t j = 0; j < side; ++j) {
      const Tensor at = slice(slice(image, 2, i, i + (rows - 1) * tile + 1, tile), 3, j, j + (cols - 1) * tile + 1, tile);
      taps.push_back(reshape(contiguous(at), {1, batch * k * rows * cols}));
    }
  const double a = std::sqrt(0.5), b = std::sqrt(2.0);
  const std::vector<std::vector<double>> in6{{1, 0, -2.5, 0, 1, 0}, {0, -2 * a, -2, a, 1, 0}, {0, 2 * a, -2, -a, 1, 0},
                                             {0, -b / 2, -.5, b, 1, 0}, {0, b / 2, -.5, -b, 1, 0}, {0, 1, 0, -2.5, 0, 1}},
      out6{{1, 1, 1, 1, 1, 0}, {0, a, -a, b, -b, 0}, {0, .5, .5, 2, 2, 0}, {0, a / 2, -a / 2, 2 * b, -2 * b, 1}},
      in4{{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}}, out4{{1, 1, 1, 0}, {0, 1, -1, 1}};
  const Tensor in = matrix(side == 4 ? in4 : in6, x), out = matrix(side == 4 ? out4 : out6, x);
  Tensor v = both_sides(in, reshape(apply(SUAN_OP("cat"), taps, {int64_t(0)}), {side, side, batch * k * rows * cols}));
  v = copy(permute(reshape(v, {side * side, batch, k, rows * cols}), {0, 1, 3, 2}));
  v = reshape(v, {side * side, batch * rows * cols, k});
  const Tensor u = reshape(copy(permute(w, {0, 2, 1, 3})), {side * side, k, outs});
  Tensor m = both_sides(out, reshape(matmul(v, u), {side, side, batch * rows * cols * outs}));
  m = reshape(m, {tile, tile, batch, rows, cols, w.dim(1), block});
  m = reshape(copy(permute(m, {2, 5, 3, 0, 4, 1, 6})), {batch, w.dim(1), rows * tile, cols * tile, block});
  m = contiguous(slice(slice(m, 2, 0, y[2]), 3, 0, y[3]));
  return {c.has(2) ? m + reshape(c[2], {1, w.dim(1), 1, 1, block}) : m};
}

// That of the convolution it stands for.
Cost cost(const InferContext& c) {
  return {2.0 * 9 * double(numel(c.op.infer(c)[0].shape)) * double(c.shape(1)[2]), 0};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const Dims same{1, 1, 1, 1};
  return {{{{{2, 2, 5, 7, 16}}, {{36, 3, 20, 16}}, {{3, 16}}}, {same}, "20 channels in"},
          {{{{2, 2, 5, 8, 16}}, {{16, 2, 20, 16}}, {{2, 16}}}, {same}, "tiles of 2×2"},
          {{{{1, 1, 30, 29, 16}}, {{36, 1, 16, 16}}, none}, {Dims{0, 1, 2, 1}}, "many tiles, uneven padding"},
          {{{{1, 1, 3, 3, 16}}, {{36, 5, 9, 16}}, none}, {Dims{}}, "one position"},
          {{{{0, 1, 4, 4, 16}}, {{36, 1, 16, 16}}, none}, {same}, "no images"},
          {.in = {{{1, 2, 4, 4, 16}}, {{36, 1, 48, 16}}, none}, .error = "wrong shapes"}};
}

}  // namespace

OpDef op_def_conv_winograd() {
  return {.name = "conv_winograd",
          .doc = "3×3 convolution of stride 1 over blocks of 16 channels, by Winograd's F(4×4, 3×3) or F(2×2, 3×3): x [batch, blocks, "
                 "height, width, 16], weight [36, out blocks, channels in, 16] (transformed at 0, ±√½, ±√2, infinity) or "
                 "[16, ...] (at 0, ±1, infinity), bias [out "
                 "blocks, 16], result [batch, out blocks, height, width, 16]. A quarter (4/9) of conv's multiplications; other "
                 "roundings. The layout pass makes it, where bits may change.",
          .inputs = {{"x", types}, {"weight", types}, {"bias", types, Arity::optional}},
          .attrs = {{"padding", AttrKind::dims, Dims{}}},
          .infer = infer,
          .compose = compose,
          .cost = cost,
          .samples = samples};
}

}  // namespace suan
