// Microsoft's contributed operators that exporters and ONNX Runtime's optimiser write: activations, products and
// norms with something fused to them. Attention is contrib_attention.cpp.
#include <cmath>
#include <utility>

#include "frontends/onnx/attend.h"

namespace suan::onnx {

using namespace ops;

Values as_onnx(Call& c, const char* op, int version) {
  Node n = c.node;
  n.version = version;
  Call own(n, c.in, c.eval, c.env);
  return find_builder("", op, version)(own);
}

namespace {

// ---- activations --------------------------------------------------------------------------------------

Tensor gelu(const Tensor& x) { return apply(SUAN_OP("gelu"), {x}); }
Tensor quick_gelu(const Tensor& x, double alpha) {
  if (alpha == 1) return apply(SUAN_OP("silu"), {x});
  const Tensor wide = cast(x, compute_type(x.dtype()));
  return cast(wide * sigmoid(wide * alpha), x.dtype());
}
Values build_fast_gelu(Call& c) { return {apply(SUAN_OP("gelu_tanh"), {c.has(1) ? c[0] + c[1] : c[0]})}; }
Values build_bias_split_gelu(Call& c) {
  const Tensor x = c[0] + c[1];
  const int64_t n = x.rank() ? x.dim(-1) : 0;
  if (n % 2) c.fail<ShapeError>("halves differ: expected an even last dimension, got {}", to_string(x.type()));
  return {slice(x, x.rank() - 1, 0, n / 2) * gelu(slice(x, x.rank() - 1, n / 2, n))};
}
// limit 0: no clamp. The gate may carry both halves.
Values build_swiglu(Call& c) {
  Tensor gate = c[0], up = c.optional(1);
  if (!c.has(1)) {
    const int64_t n = gate.rank() ? gate.dim(-1) : 0;
    if (n % 2) c.fail<ShapeError>("halves differ: expected an even last dimension, got {}", to_string(gate.type()));
    up = slice(gate, gate.rank() - 1, n / 2, n);
    gate = slice(gate, gate.rank() - 1, 0, n / 2);
  }
  const DType t = gate.dtype(), wide = compute_type(t);
  const double limit = c.real("limit", 0.0), beta = c.real("activation_beta", 0.0);
  gate = cast(gate, wide);
  up = cast(up, wide);
  if (limit > 0) {
    gate = minimum(gate, number(limit, gate));
    up = maximum(minimum(up, number(limit, up)), number(-limit, up));
  }
  Tensor y = gate * sigmoid(gate * c.real("activation_alpha", 1.0));
  if (c.integer("round_activation", 0)) y = cast(cast(y, t), wide);
  return {cast(y * (beta == 0 ? up : up + beta), t)};
}

// What FusedConv and FusedGemm do last; parameters are in ONNX's order for that activation.
Tensor activated(const Call& c, const Tensor& x, const std::string& name, const std::vector<double>& params) {
  auto param = [&](size_t i, double fallback) { return i < params.size() ? params[i] : fallback; };
  if (name.empty()) return x;
  if (name == "Relu") return relu(x);
  if (name == "Tanh") return tanh(x);
  if (name == "Sigmoid") return sigmoid(x);
  if (name == "LeakyRelu") return where(lt(x, number(0, x)), x * param(0, 0.01), x);
  if (name == "HardSigmoid") return maximum(minimum(x * param(0, 0.2) + param(1, 0.5), number(1, x)), number(0, x));
  if (name == "HardSwish")
    return x * maximum(minimum(x * param(0, 1.0 / 6) + param(1, 0.5), number(1, x)), number(0, x));
  if (name == "Clip")
    return minimum(maximum(x, number(param(0, -INFINITY), x)), number(param(1, INFINITY), x));
  c.fail<ValueError>("unknown activation: expected Relu, Tanh, Sigmoid, LeakyRelu, HardSigmoid, HardSwish or Clip, got '{}'", name);
}

// ---- products -----------------------------------------------------------------------------------------

// With `batch` the rows are the first axis and the batches follow; then the last two may be swapped.
Tensor laid_out(const Tensor& x, bool batch, bool swap) {
  Tensor y = x;
  if (batch && x.rank() > 2) {
    Dims axes;
    for (int i = 1; i + 1 < x.rank(); ++i) axes.push_back(i);
    axes.push_back(0);
    axes.push_back(x.rank() - 1);
    y = permute(x, axes);
  }
  return swap && x.rank() > 1 ? transpose(y, -1, -2) : y;
}
Values build_fused_matmul(Call& c) {
  const Tensor y = matmul(laid_out(c[0], c.integer("transBatchA", 0), c.integer("transA", 0)),
                          laid_out(c[1], c.integer("transBatchB", 0), c.integer("transB", 0)));
  const double alpha = c.real("alpha", 1.0);
  return {alpha == 1 ? y : y * alpha};
}
Values build_fused_gemm(Call& c) {
  std::vector<double> params;
  for (const char* name : {"activation_alpha", "activation_beta"})
    if (c.has_attr(name)) params.push_back(c.real(name));
  return {activated(c, as_onnx(c, "Gemm", 13)[0].tensor(), c.string("activation", ""), params)};
}
Tensor conv_then(Call& c, const Tensor& residual) {
  Tensor y = as_onnx(c, "Conv", 11)[0].tensor();
  if (residual.defined()) y = y + residual;
  return activated(c, y, c.string("activation", ""), c.reals("activation_params", std::vector<double>{}));
}
Values build_fused_conv(Call& c) { return {conv_then(c, c.optional(3))}; }
Tensor channels_first(const Call& c, const Tensor& x) {
  if (x.rank() < 3) c.fail<ShapeError>("wrong rank: expected [batch, size..., channels], got {}", to_string(x.type()));
  return apply(SUAN_OP("movedim"), {x}, {Dims{x.rank() - 1}, Dims{1}});
}
Tensor channels_last(const Tensor& x) { return apply(SUAN_OP("movedim"), {x}, {Dims{1}, Dims{x.rank() - 1}}); }
Values build_nhwc_conv(Call& c) {
  c.in[0] = channels_first(c, c[0]);
  return {channels_last(conv_then(c, c.has(3) ? channels_first(c, c[3]) : Tensor()))};
}

// ---- norms --------------------------------------------------------------------------------------------

// [x normalised, mean, 1 / deviation] over the last axis.
Tensors normed(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  return apply_all(SUAN_OP("layer_norm"), {x, weight, bias}, {int64_t(1), eps});
}
Values with_skip(Call& c, bool rms) {
  const int bias_at = rms ? 3 : 4;
  Tensor sum = c[0] + c[1];
  if (c.has(bias_at)) sum = sum + c[bias_at];
  const double eps = c.real("epsilon", 1e-12);
  if (rms) {
    const Tensors y = apply_all(SUAN_OP("rms_norm"), {sum, c[2]}, {int64_t(1), eps});
    return {y[0], Value(), unsqueeze(y[1], -1), sum};
  }
  const Tensors y = normed(sum, c[2], c.optional(3), eps);
  return {y[0], unsqueeze(y[1], -1), unsqueeze(y[2], -1), sum};
}
Values build_simplified_layer_norm(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(-1, x.rank());
  Shape inner, kept;
  for (int i = 0; i < x.rank(); ++i) {
    if (i >= axis) inner.push_back(x.dim(i));
    kept.push_back(i < axis ? x.dim(i) : 1);
  }
  const Tensor& scale = c[1];
  const bool fits = scale.shape() == inner && scale.dtype() == x.dtype();
  const Tensors y = apply_all(SUAN_OP("rms_norm"), {x, fits ? scale : Tensor()}, {int64_t(x.rank() - axis), c.real("epsilon", 1e-5)});
  return {fits ? y[0] : cast(y[0], scale.dtype()) * scale, reshape(y[1], kept)};
}
// Rows of `scale`'s length, times an activation of the gate.
Values build_gated_rms_norm(Call& c) {
  const Tensor &x = c[0], &scale = c[1];
  const std::string activation = c.string("activation", "silu");
  if (activation != "silu" && activation != "swish" && activation != "sigmoid")
    c.fail<ValueError>("unknown activation: expected silu, swish or sigmoid, got '{}'", activation);
  if (scale.rank() != 1 || scale.dim(0) < 1 || x.rank() < 1 || x.dim(-1) % scale.dim(0))
    c.fail<ShapeError>("scale does not fit: expected a length that divides the last dimension of {}, got {}", to_string(x.type()),
                       to_string(scale.type()));
  const DType wide = compute_type(x.dtype());
  const Tensor rows = reshape(cast(x, wide), {x.numel() / scale.dim(0), scale.dim(0)});
  const Tensor y = apply_all(SUAN_OP("rms_norm"), {rows, cast(scale, wide)}, {int64_t(1), c.real("epsilon", 1e-5)})[0];
  const Tensor gate = cast(c[2], wide);
  return {cast(reshape(y, x.shape()) * (activation == "sigmoid" ? sigmoid(gate) : apply(SUAN_OP("silu"), {gate})), x.dtype())};
}
Values build_embed_layer_norm(Call& c) {
  const Tensor& ids = c[0];
  if (ids.rank() != 2) c.fail<ShapeError>("wrong rank: expected input_ids [batch, length], got {}", to_string(ids.type()));
  const Tensor& places = c[3];
  Tensor x = rows_of(c[2], ids);
  if (!c.has(8) && (places.rank() != 2 || c.less(places.dim(0), ids.dim(1))))
    c.fail<ShapeError>("sequence too long: expected at most {} positions, got {}", places.dim(0), ids.dim(1));
  x = x + (c.has(8) ? rows_of(places, c[8]) : slice(places, 0, 0, ids.dim(1)));
  if (c.has(4)) x = x + (c.has(1) ? rows_of(c[4], c[1]) : slice(c[4], 0, 0, 1));
  // How many words a row has.
  const Tensor words = c.has(7) ? cast(sum(cast(eq(c[7], scalar_like(1, c[7])), DType::i64), {1}), DType::i32)
                                : full({ids.dim(0)}, 0, DType::i32);
  return {normed(x, c[5], c[6], c.real("epsilon", 1e-12))[0], words, x};
}
Values group_norm(Call& c, bool skip) {
  const bool last = c.integer("channels_last", 1);
  auto first = [&](const Tensor& t) { return last ? channels_first(c, t) : t; };
  auto back = [&](const Tensor& t) { return last ? channels_last(t) : t; };
  Tensor x = first(c[0]);
  if (skip) {
    // [batch, channels] lies along the size, as does a bias.
    auto along = [&](const Tensor& t) {
      Shape s = Dims::filled(x.rank(), 1);
      if (t.rank() == 2) s[0] = t.dim(0);
      s[1] = t.dim(-1);
      return reshape(t, s);
    };
    x = x + (c[3].rank() == 2 ? along(c[3]) : first(c[3]));
    if (c.has(4)) x = x + along(c[4]);
  }
  const DType t = x.dtype(), wide = compute_type(t);
  Tensor y = apply(SUAN_OP("group_norm"), {cast(x, wide), cast(c[1], wide), cast(c[2], wide)},
                   {c.integer("groups"), c.real("epsilon", 1e-5)});
  const int64_t activation = c.integer("activation");
  if (activation != 0 && activation != 1) c.fail<ValueError>("unknown activation: expected 0 (none) or 1 (SiLU), got {}", activation);
  if (activation == 1) y = apply(SUAN_OP("silu"), {y});
  return {back(cast(y, t)), back(x)};
}

// ---- others -------------------------------------------------------------------------------------------

Values build_cdist(Call& c) {
  const Tensor &a = c[0], &b = c[1];
  const std::string metric = c.string("metric", "sqeuclidean");
  if (metric != "sqeuclidean" && metric != "euclidean")
    c.fail<ValueError>("unsupported metric: expected sqeuclidean or euclidean, got '{}'", metric);
  if (a.rank() != 2 || b.rank() != 2 || a.dim(1) != b.dim(1))
    c.fail<ShapeError>("rows differ: expected two matrices of equal width, got {} and {}", to_string(a.type()), to_string(b.type()));
  const Tensor d = sum(square(unsqueeze(a, 1) - b), {2});
  return {metric == "euclidean" ? sqrt(d) : d};
}
Values build_expand_dims(Call& c) {
  const int64_t axis = c.host_int(1);
  return {unsqueeze(c[0], c.axis(axis, c[0].rank() + 1))};
}
Values build_range(Call& c) {
  if (!c.has(2)) {
    c.in.resize(3);
    c.in[2] = scalar_like(1, c[0]);
  }
  return as_onnx(c, "Range", 11);
}
// In the order of first appearance; ONNX's own gives one output more.
Values build_unique(Call& c) {
  Node n = c.node;
  n.version = 11;
  n.attrs["sorted"] = {int64_t(0)};
  Call own(n, c.in, c.eval, c.env);
  Values y = find_builder("", "Unique", 11)(own);
  return {y[0], y[2], y[3]};
}
// Gauss and Jordan with pivots, in f64 as Det.
Values build_inverse(Call& c) {
  const Tensor& x = c.concrete(0);
  if (x.rank() < 2 || x.dim(-1) != x.dim(-2))
    c.fail<ShapeError>("no square matrix: expected [..., n, n], got {}", to_string(x.type()));
  const int64_t n = x.dim(-1), size = std::max<int64_t>(n * n, 1);
  std::vector<double> all = read_reals(x), inverse(all.size());
  for (size_t at = 0; at < all.size(); at += size_t(size)) {
    double *a = all.data() + at, *b = inverse.data() + at;
    for (int64_t i = 0; i < n; ++i) b[i * n + i] = 1;
    for (int64_t k = 0; k < n; ++k) {
      int64_t best = k;
      for (int64_t r = k + 1; r < n; ++r)
        if (std::abs(a[r * n + k]) > std::abs(a[best * n + k])) best = r;
      if (a[best * n + k] == 0) c.fail<ValueError>("singular matrix: expected one with an inverse, got no pivot in column {}", k);
      for (int64_t j = 0; j < n && best != k; ++j) {
        std::swap(a[k * n + j], a[best * n + j]);
        std::swap(b[k * n + j], b[best * n + j]);
      }
      const double f = 1 / a[k * n + k];
      for (int64_t j = 0; j < n; ++j) {
        a[k * n + j] *= f;
        b[k * n + j] *= f;
      }
      for (int64_t r = 0; r < n; ++r) {
        const double g = r == k ? 0 : a[r * n + k];
        for (int64_t j = 0; g != 0 && j < n; ++j) {
          a[r * n + j] -= g * a[k * n + j];
          b[r * n + j] -= g * b[k * n + j];
        }
      }
    }
  }
  return {make_reals(inverse, x.shape(), x.dtype())};
}
Values build_pad(Call& c) {
  if (c.n_in() > 1 && c[1].rank() == 2) c.in[1] = reshape(c[1], {c[1].numel()});
  return as_onnx(c, "Pad", 13);
}

}  // namespace

std::vector<Mapping> contrib_ops() {
#define SUAN_MS(name, build) {"com.microsoft." name, 1, build}
  return {
      // ONNX Runtime writes these into ONNX's own domain, at any opset.
      {"LayerNormalization", 1, [](Call& c) { return as_onnx(c, "LayerNormalization", 17); }},
      {"SimplifiedLayerNormalization", 1, build_simplified_layer_norm},
      SUAN_MS("BiasAdd", [](Call& c) -> Values { return {c[0] + c[1] + c[2]}; }),
      SUAN_MS("BiasGelu", [](Call& c) -> Values { return {gelu(c[0] + c[1])}; }),
      SUAN_MS("BiasSplitGelu", build_bias_split_gelu),
      SUAN_MS("CDist", build_cdist),
      SUAN_MS("EmbedLayerNormalization", build_embed_layer_norm),
      SUAN_MS("ExpandDims", build_expand_dims),
      SUAN_MS("FastGelu", build_fast_gelu),
      SUAN_MS("FusedConv", build_fused_conv),
      SUAN_MS("FusedGemm", build_fused_gemm),
      SUAN_MS("FusedMatMul", build_fused_matmul),
      SUAN_MS("GatedRMSNorm", build_gated_rms_norm),
      SUAN_MS("GatherND", [](Call& c) { return as_onnx(c, "GatherND", 13); }),
      SUAN_MS("Gelu", [](Call& c) -> Values { return {gelu(c[0])}; }),
      SUAN_MS("GridSample", [](Call& c) { return as_onnx(c, "GridSample", 16); }),
      SUAN_MS("GroupNorm", [](Call& c) { return group_norm(c, false); }),
      SUAN_MS("Inverse", build_inverse),
      SUAN_MS("NhwcConv", build_nhwc_conv),
      SUAN_MS("NhwcFusedConv", build_nhwc_conv),
      SUAN_MS("Pad", build_pad),
      SUAN_MS("QuickGelu", [](Call& c) -> Values { return {quick_gelu(c[0], c.real("alpha", 1.702))}; }),
      SUAN_MS("Range", build_range),
      SUAN_MS("SkipGroupNorm", [](Call& c) { return group_norm(c, true); }),
      SUAN_MS("SkipLayerNormalization", [](Call& c) { return with_skip(c, false); }),
      SUAN_MS("SkipSimplifiedLayerNormalization", [](Call& c) { return with_skip(c, true); }),
      SUAN_MS("SwiGLU", build_swiglu),
      SUAN_MS("TransposeMatMul", build_fused_matmul),
      SUAN_MS("Trilu", [](Call& c) { return as_onnx(c, "Trilu", 14); }),
      SUAN_MS("Unique", build_unique),
  };
#undef SUAN_MS
}

}  // namespace suan::onnx
