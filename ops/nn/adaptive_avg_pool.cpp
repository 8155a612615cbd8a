// adaptive_avg_pool: means over near-equal regions of a plane, however large it is.
#include "ops/nn/common.h"

namespace suan {
namespace {

// [out, in] with 1 / size over region i = [floor(i in / out), ceil((i + 1) in / out)).
Tensor regions(int64_t in, int64_t out, const Tensor& like) {
  using namespace ops;
  auto range = [](int64_t n) { return apply(SUAN_OP("arange"), {}, {0.0, double(n), 1.0, DType::i64}); };
  auto divided = [](const Tensor& t, int64_t by) {
    return apply(SUAN_OP("floor_divide"), {t, number(double(by), t)});
  };
  // Made of ops, so that a recording holds the rule and not a table.
  const Tensor i = unsqueeze(range(out), 1), j = range(in), n = number(double(in), i);
  const Tensor from = divided(i * n, out);
  const Tensor to = divided((i + number(1, i)) * n + number(double(out - 1), i), out);
  const Tensor inside = logical_and(ge(j, from), lt(j, to));
  return cast(inside, like.dtype()) / cast(to - from, like.dtype());
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& x = c[0];
  const Dims& size = c.attrs.dims(0);
  if (x.rank() != 4 || size.size() != 2 || size[0] < 1 || size[1] < 1)
    fail<ShapeError>(
        "adaptive_avg_pool",
        "wrong shapes: expected x [batch, channels, height, width] and two sizes of at least 1, "
        "got {} and {}",
        to_string(x.type()), to_string(size));
  const int64_t h = x.dim(2), w = x.dim(3);
  if (h % size[0] == 0 && w % size[1] == 0)
    return {mean_over(reshape(x, {x.dim(0), x.dim(1), size[0], h / size[0], size[1], w / size[1]}),
                      {3, 5}, false)};
  return {matmul(matmul(regions(h, size[0], x), x), transpose(regions(w, size[1], x), 0, 1))};
}

std::vector<Sample> samples() {
  return {{{{{2, 3, 6, 8}}}, {Dims{3, 2}}},
          {{{{2, 3, 7, 5}}}, {Dims{3, 2}}, "uneven regions"},
          {{{{2, 3, 7, 5}}}, {Dims{1, 1}}, "global"},
          {.in = {{{3, 7, 5}}}, .attrs = {Dims{1, 1}}, .error = "wrong shapes"}};
}

}  // namespace

OpDef op_def_adaptive_avg_pool() {
  return {.name = "adaptive_avg_pool",
          .doc = "Averages x [batch, channels, height, width] over output_size [rows, columns] "
                 "regions, as torch's adaptive_avg_pool2d.",
          .inputs = {{"x", floating_types}},
          .attrs = {{"output_size", AttrKind::dims}},
          .compose = compose,
          .samples = samples};
}

}  // namespace suan
