// fft_c2c: the discrete Fourier transform of complex numbers.
#include "ops/signal/spectrum.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  check_pairs(c);
  check_length(c, c.shape(0)[c.shape(0).size() - 2]);
  return {c[0]};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& x = c[0];
  const int64_t n = x.dim(-2);
  const Waves w = waves(n, n, x.dtype(), x.device());
  const Tensor sine = c.attrs.boolean(0) ? neg(w.sine) : w.sine;
  auto part = [&](int64_t k) { return slice(x, x.rank() - 1, k, k + 1); };
  const Tensor real = matmul(w.cosine, part(0)) + matmul(sine, part(1));
  const Tensor imag = matmul(w.cosine, part(1)) - matmul(sine, part(0));
  return {apply(SUAN_OP("cat"), {real, imag}, {int64_t(-1)})};
}

void vjp(VjpContext& c) {
  if (c.needs(0)) c.set(0, apply(c.op, {c.grad()}, {!c.attrs.boolean(0)}));
}

std::vector<Sample> samples() {
  std::vector<Sample> out;
  for (int64_t n : {1, 12, 37, 49}) out.push_back({{{{3, n, 2}}}, {n == 12}});  // 37 goes through a longer one
  out.push_back({{{{0, 4, 2}}}, {false}, "no rows"});
  out.push_back({.in = {{{4, 3}}}, .attrs = {false}, .error = "no complex numbers"});
  return out;
}

}  // namespace

OpDef op_def_fft_c2c() {
  return {.name = "fft_c2c",
          .doc = "X[k] = sum of x[t] exp(-2 pi i k t / n) along the last but one dimension of [..., n, 2] (real, "
                 "imaginary); + in the exponent with inverse. Unnormalised both ways; any n from 1, O(n log n).",
          .inputs = {{"x", floating_types}},
          .attrs = {{"inverse", AttrKind::boolean, false}},
          .infer = infer,
          .compose = compose,
          .vjp = vjp,
          .samples = samples};
}

}  // namespace suan
