// fft_c2r: real numbers from the frequencies from 0 to n / 2 of their Fourier transform.
#include "ops/signal/spectrum.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  check_pairs(c);
  const int64_t n = c.attrs.integer(0);
  check_length(c, n);
  Shape s = c.shape(0);
  s.erase(s.size() - 1);
  if (s.back() != n / 2 + 1)
    c.fail<ShapeError>("wrong number of frequencies for n = {}: expected {}, got {}", n, n / 2 + 1, s.back());
  s.back() = n;
  return {{c.dtype(0), s, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& x = c[0];
  const int64_t n = c.attrs.integer(0);
  const Waves w = waves(n / 2 + 1, n, x.dtype(), x.device());
  const Tensor weight = one_sided_weights(n, 2, x.dtype(), x.device());
  auto part = [&](int64_t k) { return slice(x, x.rank() - 1, k, k + 1) * weight; };
  auto turned = [](const Tensor& t) { return transpose(t, 0, 1); };
  return {squeeze(matmul(turned(w.cosine), part(0)) - matmul(turned(w.sine), part(1)), -1)};
}

void vjp(VjpContext& c) {
  using namespace ops;
  if (!c.needs(0)) return;
  const Tensor g = apply(SUAN_OP("fft_r2c"), {c.grad()});
  c.set(0, g * one_sided_weights(c.attrs.integer(0), 2, g.dtype(), g.device()));
}

std::vector<Sample> samples() {
  std::vector<Sample> out;
  for (int64_t n : {1, 9, 16, 37}) out.push_back({{{{3, n / 2 + 1, 2}}}, {n}});
  out.push_back({.in = {{{3, 4, 2}}}, .attrs = {int64_t(9)}, .error = "wrong number of frequencies"});
  return out;
}

}  // namespace

OpDef op_def_fft_c2r() {
  return {.name = "fft_c2r",
          .doc = "x[t] = sum over all k of X[k] exp(2 pi i k t / n), where X[n - k] is the conjugate of X[k]: [..., n / 2 "
                 "+ 1, 2] -> [..., n]. The imaginary parts of X[0] and X[n / 2] are taken as 0. Unnormalised: n times "
                 "what fft_r2c began with.",
          .inputs = {{"x", floating_types}},
          .attrs = {{"n", AttrKind::integer}},
          .infer = infer,
          .compose = compose,
          .vjp = vjp,
          .samples = samples};
}

}  // namespace suan
