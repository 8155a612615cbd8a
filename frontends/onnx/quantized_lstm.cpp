// Microsoft's LSTM with 8-bit weights. x is rounded to 8 bits as a whole and the state row by row before each product
// (ONNX Runtime rounds the state of some rows together, as its threads have it).
#include <algorithm>
#include <cstring>

#include "frontends/onnx/int8.h"

namespace suan::onnx {
namespace {

using namespace ops;

constexpr int64_t group = 16;   // units whose gates lie side by side, see int8_lstm

// [..., 4 * hidden] in ONNX's order of gates as [rows, 64 * groups] in the op's; zeros for units that are not there.
Tensor in_op_order(const Tensor& t, int64_t hidden) {
  const int64_t rows = t.numel() / (4 * hidden), groups = (hidden + group - 1) / group;
  Tensor v = reshape(t, {rows, 4, hidden});
  if (groups * group > hidden) v = apply(SUAN_OP("cat"), {v, full(Shape{rows, 4, groups * group - hidden}, 0, t.dtype())}, {int64_t(2)});
  auto gates = [&](int64_t from, int64_t to) { return slice(v, 1, from, to); };
  v = apply(SUAN_OP("cat"), {gates(0, 1), gates(2, 4), gates(1, 2)}, {int64_t(1)});
  return reshape(permute(reshape(v, {rows, 4, groups, group}), {0, 2, 1, 3}), {rows, groups * 4 * group});
}

struct Weights {
  Tensor input, input_scale, input_zero, bias;   // of all directions side by side
  Tensor packed, scale, zero;
};

// A weight [directions, rows, 4 * hidden] packed for products, all directions side by side. A constant goes there by one
// group of columns at a time, and its pages of the file leave memory.
Tensor packed_in_order(const Tensor& w, int64_t hidden) {
  static const OpDef &pack = SUAN_OP("int8_pack"), &cat = SUAN_OP("cat");
  const int64_t directions = w.dim(0), rows = w.dim(1), groups = (hidden + group - 1) / group, columns = 4 * group;
  if (w.is_dry()) {
    const Tensor ordered = reshape(in_op_order(w, hidden), {directions, rows, groups * columns});
    Tensors packed;
    for (int64_t d = 0; d < directions; ++d) packed.push_back(apply(pack, {squeeze(slice(ordered, 0, d, d + 1), 0)}));
    return packed.size() == 1 ? packed[0] : apply(cat, packed, {int64_t(0)});
  }
  const Tensor from = contiguous(w), some = Tensor::empty({w.dtype(), {rows, columns}, {}});
  const std::byte* weight = from.raw();
  Tensor all;
  for (int64_t d = 0; d < directions; ++d)
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t live = std::min(group, hidden - g * group);
      std::byte* to = some.raw();
      if (live < group) std::memset(to, 0, size_t(rows * columns));
      for (int64_t r = 0; r < rows; ++r, to += columns)
        for (int64_t gate = 0; gate < 4; ++gate) {
          constexpr int64_t read[4] = {0, 2, 3, 1};   // ONNX's input, output, forget, cell as input, forget, cell, output
          const std::byte* part = weight + ((d * rows + r) * 4 + read[gate]) * hidden + g * group;
          if (live == group) std::memcpy(to + gate * group, part, size_t(group));   // one load and store
          else std::memcpy(to + gate * group, part, size_t(live));
        }
      const Tensor panels = apply(pack, {some});
      const int64_t n = panels.dim(0), at = (d * groups + g) * n;
      if (!all) all = Tensor::empty({panels.dtype(), {directions * groups * n, panels.dim(1), panels.dim(2), panels.dim(3)}, {}});
      apply_into(SUAN_OP("copy"), {panels}, {}, slice(all, 0, at, at + n));
    }
  w.storage()->let_go();
  return all;
}

Weights weights_of(Call& c) {
  const int64_t directions = c[1].dim(0), hidden = c[2].dim(1);
  auto along = [&](const Tensor& p) {   // [directions] or [directions, 4 * hidden], by column
    return in_op_order(p.rank() == 2 ? p : expand(reshape(p, {directions, 1}), {directions, 4 * hidden}), hidden);
  };
  auto flat = [](const Tensor& t) { return reshape(t, {t.numel()}); };
  Weights w;
  w.input = packed_in_order(c[1], hidden);
  w.input_scale = flat(along(c[8]));
  w.input_zero = flat(along(c[9]));
  if (c.has(3)) w.bias = flat(in_op_order(slice(c[3], 1, 0, 4 * hidden) + slice(c[3], 1, 4 * hidden, 8 * hidden), hidden));
  w.packed = packed_in_order(c[2], hidden);
  w.packed = reshape(w.packed, {directions, w.packed.dim(0) / directions, w.packed.dim(1), w.packed.dim(2), w.packed.dim(3)});
  w.scale = along(c[10]);
  w.zero = along(c[11]);
  for (Tensor* t : {&w.input_zero, &w.zero})
    if (t->dtype() == DType::u8) *t = cast(cast(*t, DType::i32) - Tensor::scalar_int(128, DType::i32), DType::i8);   // as packed
  for (Tensor* t : {&w.input_scale, &w.input_zero, &w.bias, &w.packed, &w.scale, &w.zero})
    if (*t) *t = contiguous(*t);
  return w;
}

// Others have their weights widened, and round nothing else.
Values widened(Call& c, bool constant) {
  auto wide = [&](int i, int scale_at) {
    const Tensor &w = c[i], &scale = c[scale_at], &zero = c[scale_at + 1];
    const Shape across{scale.dim(0), 1, scale.rank() == 2 ? scale.dim(1) : 1};
    return transpose((cast(w, DType::f32) - reshape(cast(zero, DType::f32), across)) * reshape(scale, across), 1, 2);
  };
  std::vector<Value> in(c.in.begin(), c.in.begin() + 8);
  auto both = [&] { return std::pair{wide(1, 8), wide(2, 10)}; };
  std::tie(in[1], in[2]) = constant ? Eval::eagerly(both) : both();
  Node n = c.node;
  n.version = 14;
  Call own(n, std::move(in), c.eval, c.env);
  return find_builder("", "LSTM", 14)(own);
}

bool usual(Call& c) {
  const std::vector<std::string> names = c.texts("activations", std::vector<std::string>{});
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] != (i % 3 ? "Tanh" : "Sigmoid")) return false;
  return c.real("clip", 0.0) <= 0 && !c.has(4) && !c.has(7) && !c.integer("input_forget", 0) && !c.integer("layout", 0);
}

}  // namespace

Values build_dynamic_quantize_lstm(Call& c) {
  if (c.n_in() < 12) c.fail<ValueError>("wrong number of inputs: expected 12, got {}", c.n_in());
  const Tensor &x = c[0], &w = c[1], &r = c[2];
  if (x.rank() != 3 || w.rank() != 3 || r.rank() != 3)
    c.fail<ShapeError>("expected 3 dimensions for x, w and r, got {}, {} and {}", x.rank(), w.rank(), r.rank());
  const std::string direction = c.string("direction", "forward");
  const int64_t directions = direction == "bidirectional" ? 2 : 1, hidden = r.dim(1), gates = 4 * hidden;
  if (w.shape() != Shape{directions, x.dim(2), gates} || r.shape() != Shape{directions, hidden, gates} || hidden < 1)
    c.fail<ShapeError>("weights do not fit: expected [{}, {}, 4 * hidden] and [{}, hidden, 4 * hidden], got {} and {}", directions, x.dim(2),
                       directions, to_string(w.type()), to_string(r.type()));
  for (int i : {8, 10})
    if ((c[i].shape() != Shape{directions} && c[i].shape() != Shape{directions, gates}) || c[i].shape() != c[i + 1].shape())
      c.fail<ShapeError>("scales and zero points do not fit: expected {} or {}, got {} and {}", to_string(Shape{directions}),
                         to_string(Shape{directions, gates}), to_string(c[i].type()), to_string(c[i + 1].type()));
  const bool constant = std::all_of(c.in.begin() + 8, c.in.end(), is_concrete) && is_concrete(c.in[1]) && is_concrete(c.in[2]) &&
                        (!c.has(3) || is_concrete(c.in[3]));
  if (!usual(c) || x.dim(0) < 1 || x.dtype() != DType::f32 || !is_byte(w.dtype()) || !is_byte(r.dtype()) || c[9].dtype() != w.dtype() ||
      c[11].dtype() != r.dtype())
    return widened(c, constant);
  if (c.has(3) && c[3].shape() != Shape{directions, 2 * gates})
    c.fail<ShapeError>("bias does not fit: expected {}, got {}", to_string(Shape{directions, 2 * gates}), to_string(c[3].type()));
  // Constants are put in order and packed once, for all plans.
  const auto all = constant && c.eval.tracing() ? c.prepared<Weights>([&] { return Eval::eagerly([&] { return weights_of(c); }); })
                                                : std::make_shared<const Weights>(weights_of(c));
  const int64_t steps = x.dim(0), batch = x.dim(1);
  const Tensors q = apply_all(SUAN_OP("dynamic_quantize"), {x});
  const int64_t columns = directions * ((hidden + group - 1) / group) * 4 * group;
  const Tensor from_x = apply(SUAN_OP("int8_matmul"), {q[0], all->input, q[2], all->input_zero, all->bias, all->input_scale * q[1], Tensor()},
                              {DType::f32, columns});
  const Tensor zero = full(Shape{directions, batch, hidden}, 0, DType::f32);
  const Tensors out = apply_all(SUAN_OP("int8_lstm"), {reshape(from_x, {steps, batch, directions, from_x.dim(2) / directions}),
                                                       c.has(5) ? c[5] : zero, c.has(6) ? c[6] : zero, all->packed, all->scale, all->zero},
                                {direction == "reverse"});
  return {out[0], out[1], out[2]};
}

}  // namespace suan::onnx
