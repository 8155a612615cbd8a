// Reductions, products, softmax and running sums.
#include <algorithm>
#include <cmath>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

struct Axes {
  Dims dims;
  bool keep = true, none = false;   // none: nothing is reduced
};
// `since`: the version from which axes are an input.
Axes axes_of(Call& c, int since) {
  Axes a;
  a.keep = c.integer("keepdims", 1);
  std::vector<int64_t> axes;
  if (c.version() < since) axes = c.ints("axes", std::vector<int64_t>{});
  else if (c.has(1)) axes = c.host_ints(1);
  a.none = axes.empty() && c.integer("noop_with_empty_axes", 0);
  a.dims = to_dims(c, axes);
  return a;
}

Tensor reduced(const OpDef& op, const Tensor& x, const Axes& a) {
  const Tensor out = apply(op, {x}, {a.dims, a.keep});
  return cast(out, x.dtype());   // integers are summed in int64
}
Shape reduced_shape(Call& c, const Tensor& x, const Axes& a) {
  Shape s;
  unsigned drop = a.dims.empty() ? ~0u : 0;
  for (int64_t d : a.dims) drop |= 1u << normalize_axis(c.node.op, d, x.rank());
  for (int i = 0; i < x.rank(); ++i)
    if (!(drop >> i & 1)) s.push_back(x.dim(i));
    else if (a.keep) s.push_back(1);
  return s;
}

Values build_sum(Call& c) {
  const Axes a = axes_of(c, 13);
  return {a.none ? c[0] : reduced(SUAN_OP("sum"), c[0], a)};
}
Values build_mean(Call& c) {
  const Axes a = axes_of(c, 18);
  const Tensor& x = c[0];
  if (a.none) return {x};
  if (is_floating(x.dtype())) return {reduced(SUAN_OP("mean"), x, a)};
  const Tensor s = apply(SUAN_OP("sum"), {x}, {a.dims, a.keep});
  const int64_t n = s.numel() ? x.numel() / s.numel() : 1;
  return {cast(apply(SUAN_OP("trunc"), {cast(s, DType::f64) / double(n)}), x.dtype())};
}
Values build_prod(Call& c) {
  const Axes a = axes_of(c, 18);
  return {a.none ? c[0] : reduced(SUAN_OP("prod"), c[0], a)};
}
// Over no elements a maximum is the smallest value of its type.
template <bool largest>
Values build_extreme(Call& c) {
  const Axes a = axes_of(c, 18);
  const Tensor& x = c[0];
  if (a.none) return {x};
  if (x.numel() == 0) {
    const double inf = largest ? -INFINITY : INFINITY;
    const int bits = int(item_size(x.dtype())) * 8;
    Tensor v = is_floating(x.dtype()) ? Tensor::scalar(inf, x.dtype())
               : is_bool(x.dtype())   ? Tensor::scalar_int(!largest, DType::boolean)
               : is_signed_int(x.dtype())
                   ? Tensor::scalar_int(largest ? int64_t(~0ull << (bits - 1)) : int64_t(~(~0ull << (bits - 1))), x.dtype())
                   : Tensor::scalar_int(largest ? 0 : -1, x.dtype());
    return {apply(SUAN_OP("full"), {v}, {reduced_shape(c, x, a)})};
  }
  return {apply(largest ? SUAN_OP("max") : SUAN_OP("min"), {x}, {a.dims, a.keep})};
}
Values build_l1(Call& c) {
  const Axes a = axes_of(c, 18);
  return {a.none ? abs(c[0]) : reduced(SUAN_OP("sum"), abs(c[0]), a)};
}
Values build_sum_square(Call& c) {
  const Axes a = axes_of(c, 18);
  return {a.none ? square(c[0]) : reduced(SUAN_OP("sum"), square(c[0]), a)};
}
Values build_l2(Call& c) {
  const Axes a = axes_of(c, 18);
  const Tensor& x = c[0];
  if (a.none) return {abs(x)};
  const Tensor wide = is_floating(x.dtype()) && x.dtype() != DType::f16 && x.dtype() != DType::bf16 ? x : cast(x, DType::f64);
  return {cast(sqrt(reduced(SUAN_OP("sum"), square(wide), a)), x.dtype())};
}
Values build_log_sum(Call& c) {
  const Axes a = axes_of(c, 18);
  return {log(a.none ? c[0] : reduced(SUAN_OP("sum"), c[0], a))};
}
Values build_log_sum_exp(Call& c) {
  const Axes a = axes_of(c, 18);
  const Tensor& x = c[0];
  if (a.none) return {x};
  if (x.numel() == 0) return {apply(SUAN_OP("full"), {Tensor::scalar(-INFINITY, x.dtype())}, {reduced_shape(c, x, a)})};
  return {reduced(SUAN_OP("logsumexp"), x, a)};
}

Values arg(Call& c, const OpDef& op) {
  Tensor x = c[0];
  const int axis = c.axis_attr(0, x.rank());
  const bool last = c.integer("select_last_index", 0), keep = c.integer("keepdims", 1);
  if (last) x = apply(SUAN_OP("flip"), {x}, {Dims{axis}});
  Tensor at = apply(op, {x}, {int64_t(axis), keep});
  if (last) at = double(x.dim(axis) - 1) - at;
  return {at};
}

// Before version 13 softmax ran over the axes from `axis` on, flattened.
Values soft(Call& c, const OpDef& op) {
  const Tensor& x = c[0];
  if (c.version() >= 13) return {apply(op, {x}, {c.integer("axis", -1)})};   // also of one number
  const int axis = c.axis_attr(1, x.rank());
  int64_t rows = 1, cols = 1;
  for (int i = 0; i < x.rank(); ++i) (i < axis ? rows : cols) *= x.dim(i);
  return {reshape(apply(op, {reshape(x, {rows, cols})}, {int64_t(1)}), x.shape())};
}
Values build_hardmax(Call& c) {
  Tensor x = c[0];
  const Shape shape = x.shape();
  int axis = c.axis_attr(c.version() < 13 ? 1 : -1, x.rank());
  if (c.version() < 13) {
    int64_t rows = 1, cols = 1;
    for (int i = 0; i < x.rank(); ++i) (i < axis ? rows : cols) *= x.dim(i);
    x = reshape(x, {rows, cols});
    axis = 1;
  }
  const Tensor top = apply(SUAN_OP("argmax"), {x}, {int64_t(axis), true});
  Shape s = Dims::filled(x.rank() - axis, 1);
  s[0] = x.dim(axis);
  const Tensor at = reshape(apply(SUAN_OP("arange"), {}, {0.0, double(x.dim(axis)), 1.0, DType::i64}), s);
  return {reshape(cast(eq(top, at), x.dtype()), shape)};
}

Values build_cumsum(Call& c) {
  Tensor x = c[0];
  const int axis = c.axis(c.host_int(1), x.rank());
  const bool reverse = c.integer("reverse", 0), exclusive = c.integer("exclusive", 0);
  if (reverse) x = apply(SUAN_OP("flip"), {x}, {Dims{axis}});
  Tensor out = cast(apply(SUAN_OP("cumsum"), {x}, {int64_t(axis)}), x.dtype());
  if (exclusive) out = out - x;
  if (reverse) out = apply(SUAN_OP("flip"), {out}, {Dims{axis}});
  return {out};
}

// Doubling: after k rounds every element holds the product of the 2^k elements up to it.
Values build_cumprod(Call& c) {
  Tensor x = c[0];
  const int axis = c.axis(c.host_int(1), x.rank());
  const int64_t n = x.dim(axis);
  const bool reverse = c.integer("reverse", 0), exclusive = c.integer("exclusive", 0);
  if (reverse) x = apply(SUAN_OP("flip"), {x}, {Dims{axis}});
  auto shifted = [&](const Tensor& t, int64_t by) {  // ones come in at the front
    std::vector<int64_t> widths(2 * size_t(t.rank() - axis), 0);
    widths[widths.size() - 2] = by;
    widths[widths.size() - 1] = -by;
    return apply(SUAN_OP("pad_constant"), {t, scalar_like(1, t)}, {widths});
  };
  if (exclusive && n > 0) x = shifted(x, 1);
  for (int64_t by = 1; by < n; by *= 2) x = x * shifted(x, by);
  if (reverse) x = apply(SUAN_OP("flip"), {x}, {Dims{axis}});
  return {x};
}

Values build_matmul(Call& c) { return {matmul(c[0], c[1])}; }

Values build_gemm(Call& c) {
  Tensor a = c[0], b = c[1];
  const double alpha = c.real("alpha", 1.0), beta = c.real("beta", 1.0);
  if (a.rank() != 2 || b.rank() != 2)
    c.fail<ShapeError>("no matrices: expected 2 dimensions each, got {} and {}", to_string(a.type()), to_string(b.type()));
  if (c.integer("transA", 0)) a = permute(a, {1, 0});
  const bool trans_b = c.integer("transB", 0), plain = alpha == 1.0 && beta == 1.0;
  if (trans_b && plain && c.has(2) && c[2].rank() == 1 && c[2].dim(0) == b.dim(0))
    return {apply(SUAN_OP("linear"), {a, b, c[2]})};
  Tensor out = trans_b ? apply(SUAN_OP("linear"), {a, b, Tensor()}) : matmul(a, b);
  auto scaled = [](const Tensor& t, double by) {
    return by == 1.0 ? t : is_floating(t.dtype()) ? t * by : cast(cast(t, DType::f64) * by, t.dtype());
  };
  out = scaled(out, alpha);
  if (c.has(2) && beta != 0) out = out + scaled(c[2], beta);
  return {out};
}

Values build_einsum(Call& c) {
  std::string equation;
  for (char ch : c.string("equation"))
    if (ch != ' ') equation.push_back(ch);
  Tensors in;
  for (int i = 0; i < c.n_in(); ++i) in.push_back(c[i]);
  return {apply(SUAN_OP("einsum"), in, {equation})};
}

// Gaussian elimination over the batch, on the host: matrices are small where ONNX models ask for this.
Values build_det(Call& c) {
  const Tensor& x = c.concrete(0);
  if (x.rank() < 2 || x.dim(-1) != x.dim(-2)) c.fail<ShapeError>("no square matrix: expected [..., n, n], got {}", to_string(x.type()));
  const int64_t n = x.dim(-1);
  Shape batch = x.shape();
  batch.erase(x.rank() - 1);
  batch.erase(batch.size() - 1);
  std::vector<double> all = read_reals(x), out;
  for (int64_t b = 0; b < numel(batch); ++b) {
    double* a = all.data() + b * n * n;
    double det = 1;
    for (int64_t k = 0; k < n && det != 0; ++k) {
      int64_t best = k;
      for (int64_t r = k + 1; r < n; ++r)
        if (std::abs(a[r * n + k]) > std::abs(a[best * n + k])) best = r;
      if (best != k) {
        std::swap_ranges(a + k * n, a + (k + 1) * n, a + best * n);
        det = -det;
      }
      det *= a[k * n + k];
      if (a[k * n + k] == 0) break;
      for (int64_t r = k + 1; r < n; ++r) {
        const double f = a[r * n + k] / a[k * n + k];
        for (int64_t j = k; j < n; ++j) a[r * n + j] -= f * a[k * n + j];
      }
    }
    out.push_back(det);
  }
  return {make_reals(out, batch, x.dtype())};
}

}  // namespace

std::vector<Mapping> reduce_ops() {
  return {
      {"ArgMax", 1, [](Call& c) { return arg(c, SUAN_OP("argmax")); }},
      {"ArgMin", 1, [](Call& c) { return arg(c, SUAN_OP("argmin")); }},
      {"CumProd", 26, build_cumprod},
      {"CumSum", 11, build_cumsum},
      {"Det", 11, build_det},
      {"Einsum", 12, build_einsum},
      {"Gemm", 1, build_gemm},
      {"Hardmax", 1, build_hardmax},
      {"LogSoftmax", 1, [](Call& c) { return soft(c, SUAN_OP("log_softmax")); }},
      {"MatMul", 1, build_matmul},
      {"ReduceL1", 1, build_l1},
      {"ReduceL2", 1, build_l2},
      {"ReduceLogSum", 1, build_log_sum},
      {"ReduceLogSumExp", 1, build_log_sum_exp},
      {"ReduceMax", 1, build_extreme<true>},
      {"ReduceMean", 1, build_mean},
      {"ReduceMin", 1, build_extreme<false>},
      {"ReduceProd", 1, build_prod},
      {"ReduceSum", 1, build_sum},
      {"ReduceSumSquare", 1, build_sum_square},
      {"Softmax", 1, [](Call& c) { return soft(c, SUAN_OP("softmax")); }},
  };
}

}  // namespace suan::onnx
