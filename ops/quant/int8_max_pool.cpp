// int8_max_pool: the largest 8-bit integer of each window, channels last.
#include "ops/quant/int8_windows.h"

namespace suan {
namespace {

using namespace ops;

std::vector<TensorType> infer(const InferContext& c) {
  if (c.shape(0).size() == 4 && c.attrs.dims(0).size() == 2) {
    const Windows w = windows(c.op.name, c.attrs.dims(0), c.attrs.dims(1), c.attrs.dims(2), c.attrs.dims(3), true);
    for (int d = 0; d < 2; ++d)
      if (std::max(w.padding[d], w.padding[2 + d]) * 2 > w.kernel[d])
        c.fail<ValueError>("too much padding: expected at most half the kernel's {}, got {}", w.kernel[d], std::max(w.padding[d], w.padding[2 + d]));
    const Shape& x = c.shape(0);
    const Shape at = window_positions(c.op.name, w, {x[0], x[3], x[1], x[2]}, c.attrs.boolean(4));
    return {{c.dtype(0), {x[0], at[0], at[1], x[3]}, c[0].device}};
  }
  c.fail<ShapeError>("wrong rank: expected x [batch, height, width, channels] and 2 sizes of a window, got {}", to_string(c[0]));
}

Tensors compose(const ComposeContext& c) {
  const Tensor x = cast(contiguous(permute(c[0], {0, 3, 1, 2})), DType::f32);
  const Tensor y = apply_all(SUAN_OP("max_pool"), {x}, {c.attrs[0], c.attrs[1], c.attrs[2], c.attrs[3], c.attrs[4]})[0];
  return {contiguous(permute(cast(y, c[0].dtype()), {0, 2, 3, 1}))};
}

std::vector<Sample> samples() {
  const DType u = DType::u8, i = DType::i8;
  return {{{int8_sample({2, 8, 6, 70}, u)}, {Dims{3, 3}, Dims{2, 2}, Dims{1, 1, 1, 1}, Dims{}, false}},
          {{int8_sample({1, 7, 6, 5}, i)}, {Dims{3, 2}, Dims{2, 2}, Dims{}, Dims{1, 2}, true}, "signed, ceil, dilation"},
          {.in = {int8_sample({2, 6, 4}, u)}, .attrs = {Dims{2, 2}, Dims{}, Dims{}, Dims{}, false}, .error = "wrong rank"}};
}

}  // namespace

OpDef op_def_int8_max_pool() {
  return {.name = "int8_max_pool",
          .doc = "Largest value of each window over x [batch, height, width, channels] of 8-bit integers. Attributes as max_pool's.",
          .inputs = {{"x", bytes_types}},
          .attrs = {{"kernel", AttrKind::dims},
                    {"strides", AttrKind::dims, Dims{}},
                    {"padding", AttrKind::dims, Dims{}},
                    {"dilation", AttrKind::dims, Dims{}},
                    {"ceil_mode", AttrKind::boolean, false}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its input is integers",
          .samples = samples};
}

}  // namespace suan
