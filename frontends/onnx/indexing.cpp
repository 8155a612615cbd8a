// Operators that pick, place and order elements.
#include <algorithm>
#include <cstring>
#include <map>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

// Negative indices count from the end.
Tensor wrapped(const Tensor& index, int64_t size) {
  const Tensor i = cast(index, DType::i64);
  return where(lt(i, number(0, i)), i + double(size), i);
}

Values build_gather(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(0, x.rank());
  const Tensor index = cast(c[1], DType::i64);
  // Rows of a table: one op that needs no bounds of its own when the indices are not negative.
  const Tensor flat = index.rank() == 1 ? index : reshape(index, {index.numel()});
  Tensor out = apply(SUAN_OP("index"), {x, flat}, {Dims{axis}});
  Shape s;
  for (int i = 0; i < axis; ++i) s.push_back(x.dim(i));
  for (int64_t d : index.shape()) s.push_back(d);
  for (int i = axis + 1; i < x.rank(); ++i) s.push_back(x.dim(i));
  return {reshape(out, s)};
}

Values build_gather_elements(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(0, x.rank());
  return {apply(SUAN_OP("gather"), {x, wrapped(c[1], x.dim(axis))}, {int64_t(axis)})};
}

// index [..., k] as k tensors, behind `batch` positions of the leading axes.
Tensors split_index(const Tensor& x, const Tensor& index, int batch) {
  Tensors out;
  const int rank = index.rank();
  for (int b = 0; b < batch; ++b) {
    Shape s = Dims::filled(rank - 1, 1);
    s[b] = x.dim(b);
    out.push_back(reshape(apply(SUAN_OP("arange"), {}, {0.0, double(x.dim(b)), 1.0, DType::i64}), s));
  }
  for (int64_t k = 0; k < index.dim(-1); ++k) {
    Shape s = index.shape();
    s.erase(rank - 1);
    out.push_back(reshape(slice(index, rank - 1, k, k + 1), s));
  }
  return out;
}

Values build_gather_nd(Call& c) {
  const Tensor& x = c[0];
  const Tensor index = cast(c[1], DType::i64);
  const int batch = int(std::clamp<int64_t>(c.integer("batch_dims", 0), -1, max_rank));
  if (index.rank() < 1 || batch < 0 || batch >= std::min(index.rank(), x.rank()) || batch + index.dim(-1) > x.rank())
    c.fail<ShapeError>("indices do not fit: expected at most {} per row, got {}", x.rank() - batch, to_string(index.type()));
  Tensors in{x};
  for (Tensor& t : split_index(x, index, batch)) in.push_back(t);
  Dims dims;
  for (int i = 0; i + 1 < int(in.size()); ++i) dims.push_back(i);
  return {apply(SUAN_OP("index"), in, {dims})};
}

const char* reduction_of(Call& c) {
  static const char* const known[] = {"none", "add", "mul", "max", "min"};
  const std::string r = c.string("reduction", "none");
  for (const char* k : known)
    if (r == k) return k;
  c.fail<ValueError>("unknown reduction: expected none, add, mul, max or min, got '{}'", r);
}

// ONNX's names of what scatter_reduce does.
std::string reduce_of(const std::string& how) { return how == "mul" ? "prod" : "a" + how; }

Values build_scatter_elements(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(0, x.rank());
  const Tensor index = wrapped(c[1], x.dim(axis));
  const std::string how = reduction_of(c);
  if (how == "none") return {apply(SUAN_OP("scatter"), {x, index, c[2]}, {int64_t(axis)})};
  if (how == "add") return {apply(SUAN_OP("scatter_add"), {x, index, c[2]}, {int64_t(axis)})};
  return {apply(SUAN_OP("scatter_reduce"), {x, index, c[2]}, {int64_t(axis), reduce_of(how)})};
}

Values build_scatter_nd(Call& c) {
  const Tensor& x = c[0];
  const Tensor index = cast(c[1], DType::i64);
  const std::string how = reduction_of(c);
  if (index.rank() < 1 || index.dim(-1) > x.rank())
    c.fail<ShapeError>("indices do not fit: expected at most {} per row, got {}", x.rank(), to_string(index.type()));
  if (how == "none" || how == "add") {
    Tensors in{x, c[2]};
    Dims dims;
    for (Tensor& t : split_index(x, index, 0)) {
      dims.push_back(int64_t(in.size()) - 2);
      in.push_back(t);
    }
    return {apply(SUAN_OP("index_put"), in, {dims, how == "add"})};
  }
  // As rows of blocks; an index out of range on any axis becomes one that scatter_reduce refuses.
  const int k = int(index.dim(-1));
  int64_t rows = 1, block = 1;
  for (int d = 0; d < x.rank(); ++d) (d < k ? rows : block) *= x.dim(d);
  Shape leading = index.shape();
  leading.erase(index.rank() - 1);
  Tensor at = ops::full({numel(leading)}, 0, DType::i64), good = ops::full({numel(leading)}, 1, DType::boolean);
  const Tensor zero = Tensor::scalar_int(0, DType::i64);
  const Tensors parts = split_index(x, index, 0);
  for (int d = 0; d < k; ++d) {
    const Tensor size = Tensor::scalar_int(x.dim(d), DType::i64);
    const Tensor p = wrapped(reshape(parts[size_t(d)], at.shape()), x.dim(d));
    good = logical_and(good, logical_and(ge(p, zero), lt(p, size)));
    at = at * size + p;
  }
  at = where(good, at, Tensor::scalar_int(rows, DType::i64));
  const Shape blocks{numel(leading), block};
  if (c[2].numel() != numel(blocks)) c.fail<ShapeError>("updates do not fit: expected {} elements, got {}", numel(blocks), c[2].numel());
  const Tensor out = apply(SUAN_OP("scatter_reduce"), {reshape(x, {rows, block}), expand(unsqueeze(at, 1), blocks), reshape(c[2], blocks)},
                           {int64_t(0), reduce_of(how)});
  return {reshape(out, x.shape())};
}

Values build_one_hot(Call& c) {
  const Tensor index = cast(c[0], DType::i64), &values = c[2];
  const double given = c.host_real(1);
  if (!(given >= 0 && given <= 1e15)) c.fail<ValueError>("depth out of range: expected 0 to 1e15, got {}", given);
  const int64_t depth = int64_t(given);
  const int axis = c.axis_attr(-1, index.rank() + 1);
  const Tensor classes = apply(SUAN_OP("arange"), {}, {0.0, double(depth), 1.0, DType::i64});
  Shape s = Dims::filled(index.rank() + 1 - axis, 1);
  s[0] = depth;
  const Tensor hit = eq(unsqueeze(wrapped(index, depth), axis), reshape(classes, s));
  return {select(hit, reshape(slice(values, 0, 1, 2), {}), reshape(slice(values, 0, 0, 1), {}))};
}

Values build_nonzero(Call& c) {
  const Tensor& x = c.concrete(0);
  if (x.rank() == 0) {  // one column when it is not zero, and no rows but one
    Tensor rows = apply(SUAN_OP("nonzero"), {reshape(x, {1})});
    return {permute(rows, {1, 0})};
  }
  return {permute(apply(SUAN_OP("nonzero"), {x}), {1, 0})};
}

Values build_compress(Call& c) {
  const Tensor& x = c[0];
  std::vector<int64_t> keep = c.host_ints(1), at;
  const bool flat = !c.has_attr("axis");
  const Tensor from = flat ? reshape(x, {x.numel()}) : x;
  const int axis = flat ? 0 : c.axis_attr(0, x.rank());
  for (size_t i = 0; i < keep.size(); ++i)
    if (keep[i]) {
      if (int64_t(i) >= from.dim(axis)) c.fail<IndexError>("condition too long: expected at most {} values, got {}", from.dim(axis), keep.size());
      at.push_back(int64_t(i));
    }
  return {apply(SUAN_OP("index"), {from, make_ints(at)}, {Dims{axis}})};
}

Values build_topk(Call& c) {
  const Tensor& x = c[0];
  const int64_t k = c.version() < 10 ? c.integer("k") : c.host_int(1);
  const int axis = c.axis_attr(-1, x.rank());
  Tensors out = apply_all(SUAN_OP("topk"), {x}, {k, int64_t(axis), bool(c.integer("largest", 1)), true});
  return {out[0], out[1]};
}

Values build_reverse_sequence(Call& c) {
  const Tensor& x = c[0];
  const int time = c.axis(c.integer("time_axis", 0), x.rank()), batch = c.axis(c.integer("batch_axis", 1), x.rank());
  const Tensor n = cast(c[1], DType::i64);
  // Position t of a row of length n comes from n - 1 - t while t < n.
  Shape along_time = Dims::filled(x.rank(), 1), along_batch = along_time;
  along_time[time] = x.dim(time);
  along_batch[batch] = x.dim(batch);
  const Tensor t = reshape(apply(SUAN_OP("arange"), {}, {0.0, double(x.dim(time)), 1.0, DType::i64}), along_time);
  const Tensor length = reshape(n, along_batch);
  const Tensor from = where(lt(t, length), length - t - 1.0, t);
  return {apply(SUAN_OP("gather"), {x, expand(from, x.shape())}, {int64_t(time)})};
}

Values build_unique(Call& c) {
  const Tensor& given = c.concrete(0);
  return Eval::eagerly([&]() -> Values {
    const bool flat = !c.has_attr("axis"), sorted = c.integer("sorted", 1);
    const int axis = flat ? 0 : c.axis_attr(0, given.rank());
    const Tensor x = flat ? reshape(given, {given.numel()}) : given;
    const int64_t n = x.dim(axis);
    Shape rest = x.shape();
    rest.erase(axis);
    Dims order{axis};
    for (int i = 0; i < x.rank(); ++i)
      if (i != axis) order.push_back(i);
    Tensor elements = reshape(permute(x, order), {n, numel(rest)});
    if (is_complex(x.dtype())) {   // compared by their real parts, then by the imaginary ones
      elements = copy(elements);
      elements = Tensor::over(elements.storage(), Layout(Shape{n, 2 * numel(rest)}), x.dtype() == DType::c64 ? DType::f32 : DType::f64);
    }
    const int64_t width = elements.dim(1);
    const std::vector<double> rows = read_reals(elements);
    auto row = [&](int64_t i) { return std::span<const double>(rows).subspan(size_t(i * width), size_t(width)); };
    std::vector<int64_t> first, inverse(static_cast<size_t>(n)), counts;
    std::map<std::vector<double>, int64_t> seen;
    for (int64_t i = 0; i < n; ++i) {
      auto [it, fresh] = seen.try_emplace(std::vector<double>(row(i).begin(), row(i).end()), int64_t(first.size()));
      if (fresh) {
        first.push_back(i);
        counts.push_back(0);
      }
      ++counts[size_t(it->second)];
      inverse[size_t(i)] = it->second;
    }
    if (sorted) {
      std::vector<int64_t> place(first.size()), first_s, counts_s;
      for (auto& [key, id] : seen) {
        place[size_t(id)] = int64_t(first_s.size());
        first_s.push_back(first[size_t(id)]);
        counts_s.push_back(counts[size_t(id)]);
      }
      for (int64_t& i : inverse) i = place[size_t(i)];
      first = first_s;
      counts = counts_s;
    }
    return {apply(SUAN_OP("index"), {x, make_ints(first)}, {Dims{axis}}), make_ints(first), make_ints(inverse), make_ints(counts)};
  });
}

Values build_array_feature_extractor(Call& c) {
  const Tensor& x = c[0];
  const Tensor index = cast(reshape(c[1], {c[1].numel()}), DType::i64);
  Tensor out = apply(SUAN_OP("index"), {x, index}, {Dims{x.rank() - 1}});
  return {x.rank() == 1 ? unsqueeze(out, 0) : out};
}

Values build_tensor_scatter(Call& c) {
  // past [batch, ..., length, ...]; update is written at write_indices[batch] along axis.
  const Tensor &past = c[0], &update = c[1];
  const int axis = c.axis(c.integer("axis", -2), past.rank());
  if (update.rank() != past.rank())
    c.fail<ShapeError>("update does not fit: expected {} dimensions, got {}", past.rank(), to_string(update.type()));
  const int64_t length = past.dim(axis), n = update.dim(axis);
  const bool circular = c.string("mode", "linear") == "circular";
  Shape along = Dims::filled(past.rank(), 1), rows = along;
  along[axis] = n;
  rows[0] = past.dim(0);
  Tensor at = reshape(apply(SUAN_OP("arange"), {}, {0.0, double(n), 1.0, DType::i64}), along);
  if (c.has(2)) at = at + reshape(cast(c[2], DType::i64), rows);
  if (circular) at = apply(SUAN_OP("remainder"), {at, number(double(length), at)});
  return {apply(SUAN_OP("scatter"), {past, expand(at, update.shape()), update}, {int64_t(axis)})};
}

}  // namespace

std::vector<Mapping> index_ops() {
  return {
      {"Compress", 9, build_compress},
      {"Gather", 1, build_gather},
      {"GatherElements", 11, build_gather_elements},
      {"GatherND", 11, build_gather_nd},
      {"NonZero", 9, build_nonzero},
      {"OneHot", 9, build_one_hot},
      {"ReverseSequence", 10, build_reverse_sequence},
      {"Scatter", 9, build_scatter_elements},
      {"ScatterElements", 11, build_scatter_elements},
      {"ScatterND", 11, build_scatter_nd},
      {"TensorScatter", 24, build_tensor_scatter},
      {"TopK", 1, build_topk},
      {"Unique", 11, build_unique},
      {"ai.onnx.ml.ArrayFeatureExtractor", 1, build_array_feature_extractor},
  };
}

}  // namespace suan::onnx
