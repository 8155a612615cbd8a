// max_pool_grad: each window's gradient goes to the element that won it.
#include "ops/nn/windows.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& g = c.shape(0);
  if (c.shape(1) != g)
    c.fail<ShapeError>("shapes differ: expected indices of {}, got {}", to_string(g),
                       to_string(c[1]));
  if (g.size() < 3 || c.attrs.dims(0).size() != g.size() - 2)
    c.fail<ShapeError>("wrong rank: expected grad [batch, channels, size...] with {} sizes, got {}",
                       c.attrs.dims(0).size(), to_string(c[0]));
  return {{c.dtype(0), ops::joined({g[0], g[1]}, c.attrs.dims(0)), c[0].device}};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const Shape& g = c.shape(0);
  const int64_t out = product(g, 2, g.size()), in = product(c.out_types[0].shape, 2, g.size());
  const Tensor u = reshape(c.grad(), {g[0], g[1], in});
  c.set(0, reshape(gather(u, 2, reshape(c.in(1), {g[0], g[1], out})), g));
}

std::vector<Sample> samples() {
  const SampleInput where{
      .shape = {2, 3, 4, 3}, .fill = Fill::index, .lo = 0, .hi = 48, .dtype = DType::i64};
  return {{.in = {{{2, 3, 4, 3}}, where}, .attrs = {Dims{8, 6}}},
          {.in = {{{2, 3, 4}}, where}, .attrs = {Dims{8, 6}}, .error = "shapes differ"}};
}

}  // namespace

OpDef op_def_max_pool_grad() {
  return {
      .name = "max_pool_grad",
      .doc = "Adds grad [batch, channels, positions...] into zeros [batch, channels, "
             "input_size...] at indices counted within the plane.",
      .inputs = {{"grad", floating_types}, {"indices", dtype_bit(DType::i64), Arity::required, 2}},
      .attrs = {{"input_size", AttrKind::dims}},
      .infer = infer,
      .vjp = vjp,
      .samples = samples};
}

}  // namespace suan
