// reshape: the same elements in row-major order under another shape; a view where strides allow
// one.
#include "ops/api.h"

namespace suan {
namespace {

Shape resolve(const InferContext& c) {
  Shape s = c.attrs.dims(0);
  const int64_t n = numel(c.shape(0));
  int hole = -1;
  int64_t known = 1;
  for (int i = 0; i < s.size(); ++i) {
    if (s[i] == -1 && hole < 0) {
      hole = i;
      continue;
    }
    if (s[i] < 0)
      c.fail<ShapeError>("invalid shape: expected sizes and at most one -1, got {}", to_string(s));
    if (__builtin_mul_overflow(known, s[i], &known))
      c.fail<ShapeError>("too many elements: expected {}, got {}", n, to_string(s));
  }
  if (hole >= 0 && known > 0 && n % known == 0) s[hole] = n / known;
  else if (hole >= 0)
    c.fail<ShapeError>("cannot infer -1: expected a divisor of {} elements, got {}", n,
                       to_string(s));
  if (numel(s) != n)
    c.fail<ShapeError>("element counts differ: expected {} ({}), got {}", n, to_string(c.shape(0)),
                       to_string(s));
  return s;
}

std::optional<Layout> view(const InferContext& c, const Layout& in) {
  const Shape s = resolve(c);
  if (in.numel() == 0 || in.is_contiguous()) return Layout(s, contiguous_strides(s), in.offset);
  // Walk both shapes from the end: each run of input axes that is dense in memory must be filled by
  // whole output axes.
  Dims strides = Dims::filled(s.size(), 0);
  int j = s.size() - 1;
  int64_t in_run = 1, out_run = 1, base = 0;
  bool started = false;
  for (int i = in.rank() - 1; i >= 0; --i) {
    if (in.shape[i] == 1) continue;
    if (!started) {
      base = in.strides[i];
      started = true;
      in_run = 1;
      out_run = 1;
    } else if (in.strides[i] != in_run * base) {
      if (in_run != out_run) return std::nullopt;
      base = in.strides[i];
      in_run = out_run = 1;
    }
    in_run *= in.shape[i];
    while (j >= 0 && (out_run < in_run || s[j] == 1)) {
      strides[j] = out_run * base;
      out_run *= s[j--];
    }
    if (out_run > in_run) {
      // The next input axis must go on densely.
      int next = i - 1;
      while (next >= 0 && in.shape[next] == 1) --next;
      if (next < 0 || in.strides[next] != in_run * base) return std::nullopt;
    }
  }
  while (j >= 0) strides[j--] = 1;
  return Layout(s, strides, in.offset);
}

}  // namespace

OpDef op_def_reshape() {
  OpDef d{.name = "reshape",
          .doc =
              "The same elements in row-major order with another shape; one size may be -1. A view "
              "where "
              "the strides allow it, else a copy.",
          .inputs = {{"input"}}};
  d.attrs = {{"shape", AttrKind::dims}};
  d.view = view;
  d.vjp = [](VjpContext& c) {
    if (c.needs(0)) c.set(0, ops::reshape(c.grad(), c.shape(0)));
  };
  d.samples = [] {
    Sample bad{{{{3, 4}}}, {Dims{5, 2}}, "other count"};
    bad.error = "element counts differ";
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{15, 7}}},
                               {{{{3, 5, 7}}}, {Dims{-1, 5}}, "one size left open"},
                               {{{{4, 6}}}, {Dims{2, 2, 3, 2}}, "split"},
                               {{{{}}}, {Dims{1, 1}}, "0-d"},
                               {{{{0, 4}}}, {Dims{2, 0}}, "no elements"},
                               bad};
  };
  d.onnx_name = "Reshape";
  d.onnx_since = 5;
  return d;
}

}  // namespace suan
