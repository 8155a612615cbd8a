// adaptive_avg_pool: means over near-equal regions of a plane, however large it is.
#include "ops/nn/common.h"

namespace suan {
namespace {

// [out, in] with 1 / size over region i = [floor(i in / out), ceil((i + 1) in / out)).
Tensor regions(int64_t in, int64_t out, const Tensor& like) {
  std::vector<double> m(size_t(in * out), 0.0);
  for (int64_t i = 0; i < out; ++i) {
    const int64_t from = i * in / out, to = ((i + 1) * in + out - 1) / out;
    for (int64_t j = from; j < to; ++j) m[size_t(i * in + j)] = 1.0 / double(to - from);
  }
  return ops::cast(Tensor::from<double>(m, {out, in}), like.dtype());
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
