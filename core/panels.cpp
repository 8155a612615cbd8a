// Products of float32 values with a constant weight take it in panels, packed once for all plans. Every bit stays: sums
// are those of the plain product.
#include "core/apply.h"
#include "core/pass.h"

namespace suan {
namespace {

// [out, in], and whether the plain product never cuts this k into ranges, whatever x is: its sums would be others.
bool fits(int64_t out, int64_t in) {
  constexpr int64_t least = 1024, wide = 448, short_k = 1024;
  return out * in >= least && out >= 16 && (out > wide || in < short_k);
}

}  // namespace

int panels_pass(Graph& g, ConstantCache& cache) {
  static const OpDef &linear = op("linear"), &matmul = op("matmul"), &linear_panels = op("linear_panels");
  Rebuild b(g);
  int n_moved = 0;
  for (const Node& n : g.nodes) {
    const bool product = n.op == &matmul;
    const auto it = product || n.op == &linear ? g.constants.find(n.in[1]) : g.constants.end();
    if (it == g.constants.end() || it->second.rank() != 2 || it->second.dtype() != DType::f32) {
      b.copy(n);
      continue;
    }
    const Tensor& w = it->second;
    const int64_t out = w.dim(product ? 1 : 0), in = w.dim(product ? 0 : 1);
    const TensorType& x = g.values[size_t(n.in[0])].type;
    if (!fits(out, in) || x.shape.size() < 2 || numel(x.shape) == 0) {
      b.copy(n);
      continue;
    }
    // One storage may be several constants, of other shapes.
    const Tensor packed = cache.find(w, fmt::format("panels {} {}{}", out, in, product ? " of columns" : ""), [&] {
      return apply(op("weight_panels"), {product ? apply(op("transpose"), {w}, {int64_t(0), int64_t(1)}) : w});
    });
    std::vector<ValueId> operands = b.mapped(n.in);
    operands[1] = b.to.add_constant(packed);
    const int k = b.to.append(linear_panels, std::move(operands), {out}, n.source);
    b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
    ++n_moved;
  }
  g = b.finish();
  return n_moved;
}

}  // namespace suan
