// tensordot: a contraction over chosen axes, as one matrix product.
#include <algorithm>

#include "ops/api.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  const Tensor &a = c[0], &b = c[1];
  const Dims &da = c.attrs.dims(0), &db = c.attrs.dims(1);
  if (da.size() != db.size())
    fail<ShapeError>("tensordot", "axes do not pair: expected {} axes of b, got {}", da.size(),
                     db.size());
  Dims in_a, in_b;
  int64_t inner = 1;
  for (int i = 0; i < da.size(); ++i) {
    in_a.push_back(normalize_axis("tensordot", da[i], a.rank()));
    in_b.push_back(normalize_axis("tensordot", db[i], b.rank()));
    const int64_t n = a.dim(int(in_a[i])), m = b.dim(int(in_b[i]));
    if (n != m) fail<ShapeError>("tensordot", "contracted sizes differ: expected {}, got {}", n, m);
    inner *= n;
  }
  auto contains = [](const Dims& d, int x) { return std::find(d.begin(), d.end(), x) != d.end(); };
  Dims order_a, order_b = in_b;
  Shape out;
  int64_t rows = 1, cols = 1;
  for (int i = 0; i < a.rank(); ++i)
    if (!contains(in_a, i)) order_a.push_back(i), out.push_back(a.dim(i)), rows *= a.dim(i);
  for (int64_t i : in_a) order_a.push_back(i);
  for (int i = 0; i < b.rank(); ++i)
    if (!contains(in_b, i)) order_b.push_back(i), out.push_back(b.dim(i)), cols *= b.dim(i);
  const Tensor left = ops::reshape(ops::permute(a, order_a), {rows, inner});
  const Tensor right = ops::reshape(ops::permute(b, order_b), {inner, cols});
  return {ops::reshape(ops::matmul(left, right), out)};
}

std::vector<Sample> samples() {
  return {{{{{3, 4, 5}}, {{4, 5, 6}}}, {Dims{1, 2}, Dims{0, 1}}},
          {{{{3, 4}}, {{5, 3, 2}}}, {Dims{0}, Dims{-2}}},
          {{{{3}}, {{2}}}, {Dims{}, Dims{}}, "outer product"},
          {.in = {{{3, 4}}, {{5, 3}}},
           .attrs = {Dims{0}, Dims{0}},
           .error = "contracted sizes differ"}};
}

}  // namespace

OpDef op_def_tensordot() {
  return {
      .name = "tensordot",
      .doc = "Sums products over paired axes: axis dims_a[i] of a runs with axis dims_b[i] of b. "
             "The result has a's other axes, then b's.",
      .inputs = {{"a", arithmetic_types}, {"b", arithmetic_types}},
      .attrs = {{"dims_a", AttrKind::dims}, {"dims_b", AttrKind::dims}},
      .compose = compose,
      .samples = samples};
}

}  // namespace suan
