// Rules of vmap, by family. Inputs carry the batch as their first axis, or do not depend on it; attributes speak of
// one example. What has no rule runs by its definition, or once per example.
#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "ops/api.h"
#include "ops/batch.h"

namespace suan {
namespace {

using namespace ops;

Shape with_batch(int64_t size, const Shape& s) {
  Shape out{size};
  for (int64_t d : s) out.push_back(d);
  return out;
}
Tensor shaped(const Tensor& t, std::initializer_list<std::span<const int64_t>> parts) {
  Shape s;
  for (auto part : parts)
    for (int64_t d : part) s.push_back(d);
  return reshape(t, s);
}
Attrs with(const Attrs& attrs, int i, Attr value) {
  std::vector<Attr> v = attrs.values();
  v[size_t(i)] = std::move(value);
  return Attrs(std::move(v));
}
Tensors values(const BatchCall& c) {
  Tensors in;
  for (const Batched& b : c.in) in.push_back(b.value);
  return in;
}
Tensors wholes(const BatchCall& c) {
  Tensors in;
  for (size_t i = 0; i < c.in.size(); ++i) in.push_back(c.whole(int(i)));
  return in;
}

// ---- the same op on the whole batch ------------------------------------------------------------------------

Tensors elementwise(const BatchCall& c) {
  int rank = 0;
  for (size_t i = 0; i < c.in.size(); ++i)
    if (c.has(int(i))) rank = std::max(rank, c.rank(int(i)));
  Tensors in;
  for (size_t i = 0; i < c.in.size(); ++i) in.push_back(c.batched(int(i)) ? c.lifted(int(i), rank) : c.in[i].value);
  return apply_all(c.op, in, c.attrs);
}

// Inputs of one rank, and an attribute "dim" that counts their axes from the front or back. A number is a row of one.
Tensors along_axes(const BatchCall& c) {
  const int d = c.op.find_attr("dim");
  const int rank = c.rank(0), physical = std::max(rank, 1);
  Tensors in = wholes(c);
  for (Tensor& t : in)
    if (rank == 0) t = reshape(t, {c.size, 1});
  auto shifted = [&](int64_t axis) { return int64_t(normalize_axis(c.op.name, axis, physical)) + 1; };
  Attrs attrs;
  if (c.op.attrs[size_t(d)].kind == AttrKind::dims) {
    Dims axes;
    for (int64_t a : c.attrs.dims(d)) axes.push_back(shifted(a));
    if (axes.empty())
      for (int k = 0; k < physical; ++k) axes.push_back(k + 1);
    attrs = with(c.attrs, d, axes);
  } else if (c.attrs.has(d)) {
    attrs = with(c.attrs, d, shifted(c.attrs.integer(d)));
  } else {  // over all elements in order
    in[0] = reshape(in[0], {c.size, numel(c.in_types[0].shape)});
    attrs = with(c.attrs, d, int64_t(1));
  }
  return apply_all(c.op, in, attrs);
}

bool shifts_axes(const BatchCall& c) {
  static constexpr std::string_view several[] = {"softmax_grad", "log_softmax_grad", "gather", "scatter", "scatter_add", "scatter_reduce", "cat"};
  const int d = c.op.find_attr("dim");
  if (d < 0) return false;
  if (c.in.size() != 1 && std::find(std::begin(several), std::end(several), c.op.name) == std::end(several)) return false;
  for (size_t i = 0; i < c.op.attrs.size(); ++i)
    if (int(i) != d && (c.op.attrs[i].kind == AttrKind::dims || c.op.attrs[i].kind == AttrKind::ints)) return false;
  return c.op.attrs[size_t(d)].kind == AttrKind::dims || c.op.attrs[size_t(d)].kind == AttrKind::integer;
}

Tensors unchanged(const BatchCall& c) { return apply_all(c.op, {c.whole(0)}, c.attrs); }

// ---- views --------------------------------------------------------------------------------------------------

Tensors to_shape(const BatchCall& c) { return {reshape(c.value(0), with_batch(c.size, c.out_types[0].shape))}; }

Tensors expanded(const BatchCall& c) {
  const Shape& out = c.out_types[0].shape;
  return {expand(c.lifted(0, out.size()), with_batch(c.size, out))};
}

Tensors permuted(const BatchCall& c) {
  Dims axes{0};
  for (int64_t a : c.attrs.dims(0)) axes.push_back(normalize_axis("permute", a, c.rank(0)) + 1);
  return {permute(c.value(0), axes)};
}

Tensors diagonal(const BatchCall& c) {
  auto axis = [&](int i) { return int64_t(normalize_axis("diagonal", c.attrs.integer(i), c.rank(0))) + 1; };
  return {apply(c.op, {c.value(0)}, {c.attrs.integer(0), axis(1), axis(2)})};
}

// Regions are of the whole example, taken as contiguous.
Tensors region(const BatchCall& c) {
  Dims size{c.size}, stride{numel(c.in_types[0].shape)};
  for (int64_t d : c.attrs.dims(0)) size.push_back(d);
  for (int64_t d : c.attrs.dims(1)) stride.push_back(d);
  const bool view = &c.op == &SUAN_OP("as_strided");
  return apply_all(view ? SUAN_OP("as_strided_copy") : c.op, wholes(c), {size, stride, c.attrs[2]});
}

Tensors full_like(const BatchCall& c) {
  Tensor t = c.value(0);
  Shape ones{c.size};
  for (int k = 0; k < c.out_types[0].shape.size(); ++k) ones.push_back(1);
  return {copy(expand(reshape(t, ones), with_batch(c.size, c.out_types[0].shape)))};
}

// Widths count from the last axis, so the batch has none.
Tensors padded(const BatchCall& c) {
  if (!c.batched(1)) return apply_all(c.op, values(c), c.attrs);
  const Tensor outside = apply(c.op, {zeros(c.in_types[0]), number(1, c.value(0))}, c.attrs);
  return {where(ne(outside, number(0, outside)), c.lifted(1, outside.rank()), apply(c.op, {c.value(0)}, c.attrs))};
}

Tensors asserted(const BatchCall& c) { return {expand(apply(c.op, {c.value(0)}, c.attrs), {c.size})}; }

// ---- products -----------------------------------------------------------------------------------------------

Tensors product(const BatchCall& c) {
  const int ra = c.rank(0), rb = c.rank(1);
  if (!c.batched(1) && ra == 1 && rb <= 2) return {matmul(c.value(0), c.value(1))};
  if (!c.batched(0) && rb == 1 && ra == 2) return {matmul(c.value(1), transpose(c.value(0), 0, 1))};
  const int rank = std::max({ra, rb, 2});
  auto side = [&](int i, bool row) {
    Shape s = c.in_types[size_t(i)].shape;
    if (s.size() == 1) s.insert(row ? 0 : 1, 1);
    if (!c.batched(i)) return reshape(c.value(i), s);
    while (s.size() < rank) s.insert(0, 1);
    return reshape(c.value(i), with_batch(c.size, s));
  };
  return {matmul(side(0, true), side(1, false))};
}

Tensors linear(const BatchCall& c) {
  if (!c.batched(1) && !c.batched(2)) return apply_all(c.op, values(c), c.attrs);
  const Shape &x = c.in_types[0].shape, &w = c.in_types[1].shape;
  const int64_t rows = numel(x) / std::max<int64_t>(1, x.back());
  if (x.back() == 0) return {};
  const Tensor left = c.batched(0) ? reshape(c.value(0), {c.size, rows, w[1]}) : reshape(c.value(0), {rows, w[1]});
  Tensor y = matmul(left, transpose(c.value(1), -1, -2));
  if (y.rank() == 2) y = reshape(y, {1, rows, w[0]});
  if (c.has(2)) y = y + (c.batched(2) ? reshape(c.value(2), {c.size, 1, w[0]}) : c.value(2));
  return {y};
}

// The batch among the first axis, of images or sequences.
Tensor folded(const Tensor& t) {
  Shape s = t.shape();
  s[1] *= s[0];
  s.erase(0);
  return reshape(t, s);
}
Tensors first_axis(const BatchCall& c) {
  Tensors in = wholes(c);
  for (Tensor& t : in)
    if (t.defined()) t = folded(t);
  return apply_all(c.op, in, c.attrs);
}

// [B, N, C, ...] as [N, B C, ...], and back.
Tensor into_channels(const Tensor& t) {
  Dims axes{1, 0};
  for (int k = 2; k < t.rank(); ++k) axes.push_back(k);
  Shape s{t.dim(1), t.dim(0) * t.dim(2)};
  for (int k = 3; k < t.rank(); ++k) s.push_back(t.dim(k));
  return reshape(permute(t, axes), s);
}
Tensor from_channels(const Tensor& t, int64_t size, const Shape& one) {
  Dims axes{1, 0};
  for (int k = 2; k <= one.size(); ++k) axes.push_back(k);
  const int64_t n[] = {one[0], size};
  return permute(shaped(t, {n, std::span<const int64_t>(one).subspan(1)}), axes);
}

// A weight per example is a group per example.
Tensors convolution(const BatchCall& c) {
  if (!c.batched(1)) {
    const Tensor bias = c.batched(2) ? Tensor() : c.has(2) ? c.value(2) : Tensor();
    Tensor y = apply(c.op, {folded(c.whole(0)), c.value(1), bias}, c.attrs);
    y = reshape(y, with_batch(c.size, c.out_types[0].shape));
    if (!c.batched(2)) return {y};
    Shape s{c.size, 1, c.in_types[2].shape[0]};
    while (s.size() < y.rank()) s.push_back(1);
    return {y + reshape(c.value(2), s)};
  }
  const Tensor bias = c.has(2) ? folded(c.whole(2)) : Tensor();
  const Attrs attrs = with(c.attrs, 3, c.attrs.integer(3) * c.size);
  const Tensor y = apply(c.op, {into_channels(c.whole(0)), folded(c.value(1)), bias}, attrs);
  return {from_channels(y, c.size, c.out_types[0].shape)};
}
Tensors convolution_input(const BatchCall& c) {
  if (!c.batched(1)) return {apply(c.op, {folded(c.value(0)), c.value(1)}, c.attrs)};
  const Attrs attrs = with(c.attrs, 4, c.attrs.integer(4) * c.size);
  const Tensor x = apply(c.op, {into_channels(c.whole(0)), folded(c.value(1))}, attrs);
  return {from_channels(x, c.size, c.out_types[0].shape)};
}
Tensors convolution_weight(const BatchCall& c) {
  const Attrs attrs = with(c.attrs, 4, c.attrs.integer(4) * c.size);
  return {apply(c.op, {into_channels(c.whole(0)), into_channels(c.whole(1))}, attrs)};
}

Tensors attention(const BatchCall& c) {
  const int mask = &c.op == &SUAN_OP("attention") ? 3 : 4;
  Tensors in;
  for (int i = 0; i < int(c.in.size()); ++i) {
    if (i != mask || !c.has(i)) {
      in.push_back(c.has(i) ? folded(c.whole(i)) : Tensor());
      continue;
    }
    if (!c.batched(i) && (c.rank(i) < 4 || c.in_types[size_t(i)].shape[0] == 1)) {
      in.push_back(c.value(i));
      continue;
    }
    const Tensor m = c.lifted(i, 4);
    Shape s = m.shape();
    s[1] = c.in_types[0].shape[0];
    in.push_back(folded(expand(m, s)));
  }
  return apply_all(c.op, in, c.attrs);
}

// ---- norms --------------------------------------------------------------------------------------------------

// Over the last axes: more rows, as long as the parameters are shared.
Tensors norm(const BatchCall& c) {
  if (c.batched(1) || c.batched(2)) return {};
  return apply_all(c.op, values(c), c.attrs);
}
// A parameter's gradient is a sum over the rows of one example, so only x's is one call.
Tensors norm_grad(const BatchCall& c) {
  if (c.batched(2) || c.attrs.boolean(2) || (c.op.outputs.size() == 3 && c.attrs.boolean(3))) return {};
  Tensors in = wholes(c);
  if (c.has(2)) in[2] = c.value(2);
  Tensors out = apply_all(c.op, in, c.attrs);
  for (size_t k = 1; k < out.size(); ++k) out[k] = reshape(out[k], {c.size, 0});
  return out;
}

Tensors batch_norm(const BatchCall& c) {
  const Tensor weight = c.has(1) ? folded(c.whole(1)) : Tensor(), bias = c.has(2) ? folded(c.whole(2)) : Tensor();
  Tensors out = apply_all(c.op, {into_channels(c.whole(0)), weight, bias}, c.attrs);
  out[0] = from_channels(out[0], c.size, c.out_types[0].shape);
  return out;
}

// ---- positions ----------------------------------------------------------------------------------------------

Tensor examples(const BatchCall& c, int rank) {
  Shape s{c.size};
  for (int k = 0; k < rank; ++k) s.push_back(1);
  const Tensor t = apply(SUAN_OP("arange"), {}, {0.0, double(c.size), 1.0, DType::i64});
  return reshape(t, s);
}

// How the results of advanced indexing lie: the points' axes begin at `at`.
struct Points {
  Dims dims;       // of one example, counted from the front
  int rank = 0;    // of the points
  int at = 0;      // where they begin in one example's result
};
Points points(const BatchCall& c, int first) {
  Points p;
  const Dims& dims = c.attrs.dims(0);
  int lowest = max_rank, highest = -1;
  for (int k = 0; k < dims.size(); ++k) {
    p.dims.push_back(normalize_axis(c.op.name, dims[k], c.rank(0)));
    lowest = std::min(lowest, int(p.dims[k]));
    highest = std::max(highest, int(p.dims[k]));
    p.rank = std::max(p.rank, c.rank(first + k));
  }
  p.at = highest - lowest + 1 == dims.size() ? lowest : 0;
  return p;
}
// The example's own number is one more index; with it the points come first, unless they follow it anyhow.
Tensors with_examples(const BatchCall& c, const Points& p, int first, Tensors in, Dims& dims) {
  in.push_back(examples(c, p.rank));
  dims = {0};
  for (int64_t d : p.dims) dims.push_back(d + 1);
  for (int k = 0; k < p.dims.size(); ++k)
    in.push_back(c.batched(first + k) ? c.lifted(first + k, p.rank) : c.value(first + k));
  return in;
}
// Axes [from, from + n) moved to `to`.
Tensor moved(const Tensor& t, int from, int n, int to) {
  if (from == to) return t;
  Dims rest, axes;
  for (int k = 0; k < t.rank(); ++k)
    if (k < from || k >= from + n) rest.push_back(k);
  for (int k = 0; k <= rest.size(); ++k) {
    if (k == to)
      for (int j = 0; j < n; ++j) axes.push_back(from + j);
    if (k < rest.size()) axes.push_back(rest[k]);
  }
  return permute(t, axes);
}

Tensors index(const BatchCall& c) {
  const Points p = points(c, 1);
  if (!c.batched(0)) {
    Tensors in{c.value(0)};
    for (int k = 0; k < p.dims.size(); ++k)
      in.push_back(c.batched(1 + k) ? c.lifted(1 + k, p.rank) : c.value(1 + k));
    return {moved(apply(c.op, in, {p.dims}), p.at, 1, 0)};
  }
  Dims dims;
  const Tensors in = with_examples(c, p, 1, {c.value(0)}, dims);
  return {moved(apply(c.op, in, {dims}), 1, p.rank, p.at + 1)};
}

Tensors index_put(const BatchCall& c) {
  const Points p = points(c, 2);
  Shape at = c.in_types[2].shape, result;  // of one example
  for (size_t k = 3; k < c.in_types.size(); ++k) at = broadcast(c.op.name, at, c.in_types[k].shape);
  for (int k = 0; k < c.rank(0); ++k)
    if (std::find(p.dims.begin(), p.dims.end(), k) == p.dims.end()) result.push_back(c.in_types[0].shape[k]);
  for (int k = 0; k < at.size(); ++k) result.insert(p.at + k, at[k]);
  const Tensor values = expand(c.lifted(1, result.size()), with_batch(c.size, result));
  Dims dims;
  const Tensors in = with_examples(c, p, 2, {c.whole(0), moved(values, p.at + 1, p.rank, 1)}, dims);
  return {apply(c.op, in, {dims, c.attrs[1]})};
}

Tensors embedding(const BatchCall& c) {
  if (!c.batched(0)) return {apply(c.op, {c.value(0), c.value(1)})};
  const Tensor rows = c.batched(1) ? c.value(1) : reshape(c.value(1), with_batch(1, c.in_types[1].shape));
  return {apply(SUAN_OP("index"), {c.value(0), examples(c, c.rank(1)), rows}, {Dims{0, 1}})};
}
Tensors embedding_grad(const BatchCall& c) {
  const TensorType table{c.out_types[0].dtype, with_batch(c.size, c.out_types[0].shape), c.value(0).device()};
  const Tensor rows = c.batched(1) ? c.value(1) : reshape(c.value(1), with_batch(1, c.in_types[1].shape));
  return {apply(SUAN_OP("index_put"), {zeros(table), c.whole(0), examples(c, c.rank(1)), rows}, {Dims{0, 1}, true})};
}

}  // namespace

BatchRule find_batch_rule(const BatchCall& c) {
  static const std::unordered_map<std::string_view, BatchRule> by_name{
      {"copy", unchanged}, {"clone", unchanged}, {"assert_finite", asserted},
      {"reshape", to_shape}, {"expand", expanded}, {"permute", permuted}, {"diagonal", diagonal},
      {"as_strided", region}, {"as_strided_copy", region}, {"as_strided_scatter", region}, {"as_strided_scatter_add", region},
      {"full", full_like}, {"pad_constant", padded},
      {"matmul", product}, {"linear", linear}, {"conv", convolution}, {"conv_input_grad", convolution_input},
      {"conv_weight_grad", convolution_weight}, {"attention", attention}, {"attention_grad", attention},
      {"max_pool", first_axis}, {"max_pool_grad", first_axis}, {"avg_pool", first_axis}, {"avg_pool_grad", first_axis},
      {"layer_norm", norm}, {"rms_norm", norm}, {"layer_norm_grad", norm_grad}, {"rms_norm_grad", norm_grad},
      {"batch_norm_train", batch_norm}, {"index", index}, {"index_put", index_put}, {"embedding", embedding},
      {"embedding_grad", embedding_grad}};
  if (c.op.flags & op_elementwise) return elementwise;
  if (auto found = by_name.find(c.op.name); found != by_name.end()) return found->second;
  return shifts_axes(c) ? along_axes : nullptr;
}

}  // namespace suan
