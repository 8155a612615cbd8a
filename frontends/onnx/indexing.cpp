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

// One element after another, for the reductions without an op of their own.
template <class Each>
void fold_into(Tensor& out, const Tensor& updates, const std::string& how, Each each) {
  auto run = [&](auto zero) {
    using T = decltype(zero);
    T* to = out.numel() ? out.data<T>() : nullptr;
    const T* from = updates.numel() ? updates.data<T>() : nullptr;
    each([&](int64_t i, int64_t j) {
      T& a = to[i];
      const T b = from[j];
      a = how == "mul" ? T(a * b) : how == "max" ? std::max(a, b) : how == "min" ? std::min(a, b) : how == "add" ? T(a + b) : b;
    });
  };
  if (is_floating(out.dtype())) run(double());
  else if (out.dtype() == DType::u64) run(uint64_t());
  else run(int64_t());
}
DType wide(DType t) { return is_floating(t) ? DType::f64 : t == DType::u64 ? DType::u64 : DType::i64; }

Values build_scatter_elements(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(0, x.rank());
  const Tensor index = wrapped(c[1], x.dim(axis));
  const std::string how = reduction_of(c);
  if (how == "none") return {apply(SUAN_OP("scatter"), {x, index, c[2]}, {int64_t(axis)})};
  if (how == "add") return {apply(SUAN_OP("scatter_add"), {x, index, c[2]}, {int64_t(axis)})};
  const Tensor known[] = {c.concrete(0), c.concrete(1), c.concrete(2)};
  const Shape want = known[1].shape();
  if (want.size() != x.rank()) c.fail<ShapeError>("indices do not fit: expected {} dimensions, got {}", x.rank(), to_string(want));
  if (!(known[2].shape() == want)) c.fail<ShapeError>("updates and indices differ: expected {}, got {}", to_string(want), to_string(known[2].shape()));
  return {Eval::eagerly([&] {
    Tensor out = copy(cast(known[0], wide(x.dtype()))), updates = copy(cast(known[2], wide(x.dtype())));
    std::vector<int64_t> at = read_ints(wrapped(known[1], x.dim(axis)));
    const Dims strides = contiguous_strides(x.shape()), walk = contiguous_strides(want);
    fold_into(out, updates, how, [&](auto put) {
      for (int64_t j = 0; j < int64_t(at.size()); ++j) {
        int64_t to = 0, rest = j;
        for (int d = 0; d < x.rank(); ++d) {
          const int64_t i = walk[d] ? rest / walk[d] : 0;
          rest -= i * walk[d];
          const int64_t p = d == axis ? at[size_t(j)] : i;
          if (p < 0 || p >= x.dim(d)) c.fail<IndexError>("index out of range: expected 0 to {}, got {}", x.dim(d) - 1, p);
          to += p * strides[d];
        }
        put(to, j);
      }
    });
    return cast(out, x.dtype());
  })};
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
  const Tensor known[] = {c.concrete(0), c.concrete(1), c.concrete(2)};
  return {Eval::eagerly([&] {
    Tensor out = copy(cast(known[0], wide(x.dtype()))), updates = copy(cast(known[2], wide(x.dtype())));
    const std::vector<int64_t> at = read_ints(known[1]);
    const int64_t k = known[1].dim(-1), rows = k ? int64_t(at.size()) / k : 1;
    const Dims strides = contiguous_strides(x.shape());
    int64_t block = 1;
    for (int d = int(k); d < x.rank(); ++d) block *= x.dim(d);
    if (updates.numel() != rows * block) c.fail<ShapeError>("updates do not fit: expected {} elements, got {}", rows * block, updates.numel());
    fold_into(out, updates, how, [&](auto put) {
      for (int64_t r = 0; r < rows; ++r) {
        int64_t to = 0;
        for (int64_t d = 0; d < k; ++d) {
          int64_t p = at[size_t(r * k + d)];
          if (p < 0) p += x.dim(int(d));
          if (p < 0 || p >= x.dim(int(d))) c.fail<IndexError>("index out of range: expected 0 to {}, got {}", x.dim(int(d)) - 1, p);
          to += p * strides[int(d)];
        }
        for (int64_t i = 0; i < block; ++i) put(to + i, r * block + i);
      }
    });
    return cast(out, x.dtype());
  })};
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
  return {where(hit, reshape(slice(values, 0, 1, 2), {}), reshape(slice(values, 0, 0, 1), {}))};
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
    const int64_t width = numel(rest);
    const std::vector<double> rows = read_reals(reshape(permute(x, order), {n, width}));
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
