// int8_conv_pack: the weight of int8_conv as its kernel reads it.
#include "ops/quant/int8_windows.h"

namespace suan {
namespace {

using namespace ops;

Tensors compose(const ComposeContext& c) {
  const Shape& w = c[0].shape();
  const int64_t groups = c.attrs.integer(1);
  if (w.size() != 4 || groups < 1 || w[0] % groups)
    fail<ShapeError>("int8_conv_pack", "wrong weight: expected [out, in / groups, height, width] with out in {} groups, got {}", groups,
                     to_string(c[0].type()));
  return {Int8Packing({w[2], w[3]}, c.attrs.dims(0), w[1] * groups, w[0], groups).packed(c[0])};
}

std::vector<Sample> samples() {
  const DType i = DType::i8;
  return {{{int8_sample({40, 3, 3, 3}, i)}, {Dims{}, int64_t(1)}},
          {{int8_sample({6, 5, 3, 2}, DType::u8)}, {Dims{2, 1}, int64_t(2)}, "groups"},
          {{int8_sample({70, 1, 5, 3}, i)}, {Dims{}, int64_t(70)}, "depthwise"},
          {.in = {int8_sample({6, 5}, i)}, .attrs = {Dims{}, int64_t(1)}, .error = "wrong weight"}};
}

}  // namespace

OpDef op_def_int8_conv_pack() {
  return {.name = "int8_conv_pack",
          .doc = "A weight [out, in / groups, height, width] of int8_conv with that dilation, packed: by panels of 32 outputs, or, one input "
                 "and output to a group, by blocks of 64 channels. u8 is lowered by 128.",
          .inputs = {{"weight", bytes_types}},
          .attrs = {{"dilation", AttrKind::dims, Dims{}}, {"groups", AttrKind::integer, int64_t(1)}},
          .compose = compose,
          .no_grad = "its input is integers",
          .samples = samples};
}

}  // namespace suan
