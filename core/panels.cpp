// Products of float32 values with a constant weight take it in panels, packed once for all plans. Every bit stays if exact:
// sums are those of the plain product; else large ones may go by Strassen's algorithm. Products of bfloat16 take it in
// pairs, where the processor has them, and are rounded from another order of the same sums.
#include <algorithm>
#include <cstring>

#include "core/apply.h"
#include "core/dispatch.h"
#include "core/panels.h"
#include "core/pass.h"

namespace suan {
namespace {

// [out, in], and, if `exact`, whether the plain product never cuts this k into ranges, whatever x is: its sums would be others.
bool fits(int64_t out, int64_t in, bool exact) {
  constexpr int64_t least = 1024, wide = 448, short_k = 1024;
  return out * in >= least && out >= 16 && (!exact || out > wide || in < short_k);
}

int64_t whole_blocks(int64_t out) { return (out + 15) / 16 * 16; }

// Weight [out, in] as [out / 16, in / 2, 16, 2], zeros where out ends within a block.
Tensor in_pairs(const Tensor& w, ConstantCache& cache, bool product) {
  const int64_t out = w.dim(product ? 1 : 0), in = w.dim(product ? 0 : 1), whole = whole_blocks(out);
  return cache.find(w, fmt::format("pairs {} {}{}", out, in, product ? " of columns" : ""), [=] {
    Tensor rows = product ? apply(op("copy"), {apply(op("transpose"), {w}, {int64_t(0), int64_t(1)})}) : w;
    if (whole != out) rows = apply(op("pad_constant"), {rows}, {std::vector<int64_t>{0, 0, 0, whole - out}});
    const Tensor x = apply(op("reshape"), {rows}, {Shape{whole / 16, 16, in / 2, 2}});
    return apply(op("copy"), {apply(op("permute"), {x}, {Dims{0, 2, 1, 3}})});
  });
}

// Whether n became one of pairs.
bool pair_up(const Graph& g, Rebuild& b, ConstantCache& cache, const Node& n, bool product) {
  static const OpDef& linear_pairs = op("linear_pairs");
  const Tensor& w = g.constants.at(n.in[1]);
  const int64_t out = w.dim(product ? 1 : 0), in = w.dim(product ? 0 : 1);
  const TensorType &x = g.values[size_t(n.in[0])].type, &y = g.values[size_t(n.out[0])].type;
  const bool biased = n.in.size() > 2 && n.in[2] != no_value;
  const int64_t whole = whole_blocks(out);
  if (8 * (whole - out) > out || in % 2 || out * in == 0 || y.dtype != DType::bf16 || x.shape.size() < 2 || !x.device.is_cpu() ||
      (biased && !g.constants.count(n.in[2])))
    return false;
  const TensorType weight{DType::bf16, {whole / 16, in / 2, 16, 2}, x.device};
  TensorType made = y;
  made.shape.back() = whole;
  if (!kernel_takes(linear_pairs, {}, std::vector<TensorType>{x, weight}, {&made, 1})) return false;
  std::vector<ValueId> operands{b[n.in[0]], b.to.add_constant(in_pairs(w, cache, product))};
  if (biased) {
    const Tensor& bias = g.constants.at(n.in[2]);
    operands.push_back(b.to.add_constant(cache.find(bias, fmt::format("f32 of {}", whole), [bias, whole, out] {
      const Tensor wide = apply(op("cast"), {bias}, {DType::f32});
      return whole == out ? wide : apply(op("pad_constant"), {wide}, {std::vector<int64_t>{0, whole - out}});
    })));
  }
  int k = b.to.append(linear_pairs, std::move(operands), {}, n.source);
  if (whole != out)
    k = b.to.append(op("slice"), {b.to.nodes[size_t(k)].out[0]}, {int64_t(y.shape.size() - 1), int64_t(0), out}, n.source);
  b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
  return true;
}

// Weight [out, in] as linear_panels takes it. A large one that lies in a file is read by some rows at a time: it and its
// panels would be twice as much.
Tensor in_panels(const Tensor& w) {
  static const OpDef& panels = op("weight_panels");
  constexpr int64_t large = 4 << 20, some = 1 << 20;
  const int64_t out = w.dim(0), in = w.dim(1), row = bytes_for(w.dtype(), in);
  if (context().dry || w.type().bytes() < large || !w.is_contiguous() || w.storage()->bytes() != w.type().bytes() || !w.storage()->is_absent())
    return apply(panels, {w});
  const int64_t step = std::min(std::max<int64_t>(some / row / panel_width, 1) * panel_width, out), depth = panel_depth(in);
  const Tensor rows = Tensor::empty({w.dtype(), {step, in}, {}});
  if (!w.storage()->read_part(rows.raw(), 0, step * row)) return apply(panels, {w});
  const Tensor made = Tensor::empty({w.dtype(), {panel_columns(out) * in}, {}});
  for (int64_t at = 0; at < out; at += step) {
    const int64_t n = std::min(step, out - at), columns = panel_columns(n);
    if (at > 0) w.storage()->read_part(rows.raw(), at * row, n * row);
    const Tensor part = apply(panels, {n == step ? rows : apply(op("slice"), {rows}, {int64_t(0), int64_t(0), n, int64_t(1)})});
    for (int64_t k = 0; k < in; k += depth) {   // blocks of inputs, of these columns here and of all there
      const int64_t here = std::min(depth, in - k);
      std::memcpy(made.raw() + bytes_for(w.dtype(), k * panel_columns(out) + at * here), part.raw() + bytes_for(w.dtype(), k * columns),
                  size_t(bytes_for(w.dtype(), columns * here)));
    }
  }
  return made;
}

}  // namespace

int panels_pass(Graph& g, ConstantCache& cache, bool exact) {
  static const OpDef &linear = op("linear"), &matmul = op("matmul"), &linear_panels = op("linear_panels");
  Rebuild b(g);
  int n_moved = 0;
  for (const Node& n : g.nodes) {
    const bool product = n.op == &matmul;
    const auto it = product || n.op == &linear ? g.constants.find(n.in[1]) : g.constants.end();
    const bool constant = it != g.constants.end() && it->second.rank() == 2;
    if (constant && it->second.dtype() == DType::bf16 && pair_up(g, b, cache, n, product)) {
      ++n_moved;
      continue;
    }
    if (!constant || it->second.dtype() != DType::f32) {
      b.copy(n);
      continue;
    }
    const Tensor& w = it->second;
    const int64_t out = w.dim(product ? 1 : 0), in = w.dim(product ? 0 : 1);
    const TensorType& x = g.values[size_t(n.in[0])].type;
    if (!fits(out, in, exact) || x.shape.size() < 2 || numel(x.shape) == 0) {
      b.copy(n);
      continue;
    }
    // One storage may be several constants, of other shapes.
    const Tensor packed = cache.find(w, fmt::format("panels {} {}{}", out, in, product ? " of columns" : ""), [w, product] {
      return product ? apply(op("weight_panels"), {apply(op("transpose"), {w}, {int64_t(0), int64_t(1)})}) : in_panels(w);
    });
    std::vector<ValueId> operands = b.mapped(n.in);
    operands[1] = b.to.add_constant(packed);
    const int k = b.to.append(linear_panels, std::move(operands), {out, !exact}, n.source);
    b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
    ++n_moved;
  }
  g = b.finish();
  return n_moved;
}

}  // namespace suan
