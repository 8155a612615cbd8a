// fft_r2c: the Fourier transform of real numbers, the frequencies from 0 to n / 2.
#include "ops/signal/spectrum.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  Shape s = c.shape(0);
  if (s.empty()) c.fail<ShapeError>("a number is no signal: expected [..., n], got {}", to_string(c[0]));
  check_length(c, s.back());
  s.back() = s.back() / 2 + 1;
  s.push_back(2);
  return {{c.dtype(0), s, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const int64_t n = c[0].dim(-1);
  const Waves w = waves(n / 2 + 1, n, c[0].dtype(), c[0].device());
  const Tensor x = unsqueeze(c[0], -1);
  return {apply(SUAN_OP("cat"), {matmul(w.cosine, x), neg(matmul(w.sine, x))}, {int64_t(-1)})};
}

void vjp(VjpContext& c) {
  using namespace ops;
  if (!c.needs(0)) return;
  const int64_t n = c.shape(0).back();
  const Tensor g = c.grad();
  c.set(0, apply(SUAN_OP("fft_c2r"), {g * one_sided_weights(n, 0.5, g.dtype(), g.device())}, {n}));
}

std::vector<Sample> samples() {
  std::vector<Sample> out;
  for (int64_t n : {1, 9, 16, 37}) out.push_back({{{{3, n}}}});
  out.push_back({{{{18, 20}}}, {}, "more rows than lanes"});
  out.push_back({{{{0, 4}}}, {}, "no rows"});
  out.push_back({.in = {{{3, 0}}}, .error = "length out of range"});
  return out;
}

}  // namespace

OpDef op_def_fft_r2c() {
  return {.name = "fft_r2c",
          .doc = "X[k] = sum of x[t] exp(-2 pi i k t / n) for k from 0 to n / 2 along the last dimension: [..., n] -> "
                 "[..., n / 2 + 1, 2] (real, imaginary). Unnormalised; any n from 1, O(n log n).",
          .inputs = {{"x", floating_types}},
          .infer = infer,
          .compose = compose,
          .vjp = vjp,
          .samples = samples};
}

}  // namespace suan
