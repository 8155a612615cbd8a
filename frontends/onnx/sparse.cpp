// Sparse tensors of a model file, made dense when they are read.
#include <cstring>

#include "core/apply.h"
#include "core/error.h"
#include "frontends/onnx/build.h"
#include "frontends/onnx/reader.h"
#include "onnx-ml.pb.h"

namespace suan::onnx {

// Indices are [n], positions in row-major order, or [n, rank]; they ascend, so no value is there twice.
Value TensorReader::read_sparse(const ::onnx::SparseTensorProto& t) {
  const std::string& name = t.values().name();
  const auto bad = [&]<class E = ValueError, class... A>(fmt::format_string<A...> text, A&&... a) {
    fail<E>("onnx", "sparse tensor '{}': {}", name, fmt::format(text, std::forward<A>(a)...));
  };
  if (!t.has_values() || !t.has_indices()) bad("expected values and indices, got none");
  if (t.dims_size() > max_rank) bad("expected at most {} dimensions, got {}", max_rank, t.dims_size());
  Shape shape;
  for (int64_t d : t.dims()) {
    if (d < 0) bad("expected dimensions of 0 or more, got {}", d);
    shape.push_back(d);
  }
  const Value values = read(t.values()), indices = read(t.indices());
  if (!values.is_tensor()) bad("expected numbers as values, got strings");
  if (!indices.is_tensor() || indices.tensor().dtype() != DType::i64) bad("expected int64 indices, got {}", onnx::describe(indices));
  const Tensor &v = values.tensor(), &at = indices.tensor();
  const int64_t n = v.numel(), rank = shape.size();
  const bool flat = at.rank() == 1;
  if (v.rank() != 1 || at.rank() < 1 || at.rank() > 2 || at.dim(0) != n || (!flat && at.dim(1) != rank))
    bad("expected n values and [n] or [n, {}] indices, got {} and {}", rank, to_string(v.type()), to_string(at.type()));
  const int64_t all = numel(shape), size = item_size(v.dtype());
  const Tensor out = Tensor::empty({v.dtype(), shape, {}});
  if (all) std::memset(out.raw(), 0, size_t(out.type().bytes()));
  const std::vector<int64_t> index = read_ints(at);
  for (int64_t i = 0, before = -1; i < n; ++i) {
    int64_t to = flat ? index[size_t(i)] : 0;
    for (int64_t d = 0; d < rank && !flat; ++d) {
      const int64_t one = index[size_t(i * rank + d)];
      if (one < 0 || one >= shape[int(d)]) bad("index {} out of range: expected 0 to {}, got {}", i, shape[int(d)] - 1, one);
      to = to * shape[int(d)] + one;
    }
    if (to < 0 || to >= all) bad("index {} out of range: expected 0 to {}, got {}", i, all - 1, to);
    if (to <= before) bad("indices do not ascend: expected more than {} at {}, got {}", before, i, to);
    std::memcpy(out.raw() + to * size, v.raw() + i * size, size_t(size));
    before = to;
  }
  return out;
}

}  // namespace suan::onnx
