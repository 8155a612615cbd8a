// precision="bf16": what multiplies reads bfloat16 and adds up in float32. Between two products with nothing but views
// in between, values stay bfloat16; all else stays as the model says. Convolutions, and what lies between them, are the
// layout pass's (core/layout.cpp): bfloat16 where the processor is fast at it.
#include <algorithm>
#include <unordered_map>

#include "core/dispatch.h"
#include "core/pass.h"
#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

class Narrow {
 public:
  Narrow(suan::Graph& g, ConstantCache& cache) : g_(g), cache_(cache), b_(g), uses_(g.use_counts()) {}

  void run() {
    static const OpDef* const products[] = {&op("matmul"), &op("bmm"), &op("linear"), &op("attention")};
    for (const suan::Node& n : g_.nodes) {
      if (biased_product(n)) continue;
      if (std::find(std::begin(products), std::end(products), n.op) == std::end(products) || !computes_f32(n)) b_.copy(n);
      else product(n);
    }
    g_ = b_.finish();
  }

 private:
  static const OpDef& op(const char* name) { return suan::op(name); }
  bool f32(ValueId v) const { return g_.values[size_t(v)].type.dtype == DType::f32; }
  bool computes_f32(const suan::Node& n) const {
    return std::all_of(n.out.begin(), n.out.end(), [&](ValueId v) { return f32(v); });
  }

  // matmul(x, w) + b with constants w and b is one linear where pairs are fast: its bias is added before the rounding, and
  // what reads it in bf16 meets no float32 on the way.
  bool biased_product(const suan::Node& n) {
    if (n.op != &op("add") || !computes_f32(n)) return false;
    for (const size_t at : {size_t{0}, size_t{1}}) {
      const ValueId y = n.in[at], shift = n.in[1 - at];
      const int p = g_.values[size_t(y)].producer;
      if (p < 0 || g_.nodes[size_t(p)].op != &op("matmul") || uses_[size_t(y)] != 1) continue;
      const suan::Node& m = g_.nodes[size_t(p)];
      const auto w = g_.constants.find(m.in[1]), bias = g_.constants.find(shift);
      if (w == g_.constants.end() || bias == g_.constants.end() || w->second.rank() != 2) continue;
      const int64_t in = w->second.dim(0), out = w->second.dim(1);
      if (!(bias->second.shape() == Shape{out}) || in % 2 || out % 16 || !f32(m.in[0]) || !f32(m.in[1])) continue;
      TensorType x = g_.values[size_t(m.in[0])].type, result = g_.values[size_t(n.out[0])].type;
      if (!(result == g_.values[size_t(y)].type)) continue;
      x.dtype = result.dtype = DType::bf16;
      const TensorType weight{DType::bf16, {out / 16, in / 2, 16, 2}, x.device};
      if (!kernel_takes(op("linear_pairs"), {}, std::vector<TensorType>{x, weight}, {&result, 1})) continue;
      const Tensor& from = w->second;
      const Tensor rows = cache_.find(from, fmt::format("bf16 rows {} {}", out, in), [from] {
        return written_when_read({DType::bf16, {from.dim(1), from.dim(0)}, {}}, [from](const Tensor& into) {
          apply_into(op("copy"), {ops::transpose(ops::cast(from, DType::bf16), 0, 1)}, {}, into);
        });
      });
      const ValueId linear = b_.to.append(op("linear"), {narrowed(m.in[0]), b_.to.add_constant(rows), narrowed(shift)}, {}, n.source);
      const ValueId made = b_.to.nodes[size_t(linear)].out[0];
      b_.replace(n.out[0], cast(made, DType::f32, n.source));
      done_[n.out[0]] = made;
      return true;
    }
    return false;
  }

  void product(const suan::Node& n) {
    std::vector<ValueId> in;
    for (ValueId v : n.in) in.push_back(v == no_value || !f32(v) ? b_[v] : narrowed(v));
    const suan::Node made = b_.to.nodes[size_t(b_.to.append(*n.op, in, n.attrs, n.source))];
    for (size_t k = 0; k < n.out.size(); ++k) {
      b_.replace(n.out[k], cast(made.out[k], DType::f32, n.source));
      done_[n.out[k]] = made.out[k];
    }
  }

  ValueId cast(ValueId v, DType to, SourceMark source) {
    if (b_.to.values[size_t(v)].type.dtype == to) return v;
    return b_.to.nodes[size_t(b_.to.append(op("cast"), {v}, {to}, source))].out[0];
  }

  // A weight is cast once for all plans, below the views that lead to it.
  ValueId narrowed(ValueId v) {
    if (auto it = done_.find(v); it != done_.end()) return it->second;
    ValueId made = no_value;
    const suan::Value& value = g_.values[size_t(v)];
    if (auto c = g_.constants.find(v); c != g_.constants.end()) {
      made = b_.to.add_constant(cache_.find(c->second, "bf16", [w = c->second] {
        return written_when_read({DType::bf16, w.shape(), {}}, [w](const Tensor& into) { apply_into(op("cast"), {w}, {DType::bf16}, into); });
      }), value.type.device);
    } else if (value.producer >= 0 && narrow_below_views(v)) {
      const suan::Node& view = g_.nodes[size_t(value.producer)];
      std::vector<ValueId> in = b_.mapped(view.in);
      in[0] = narrowed(view.in[0]);
      made = b_.to.nodes[size_t(b_.to.append(*view.op, in, view.attrs, view.source))].out[0];
    } else {
      made = cast(b_[v], DType::bf16, {});
    }
    return done_[v] = made;
  }

  // Whether only views and copies lie between v and a constant, or a value that was bf16 when it was made.
  bool narrow_below_views(ValueId v) const {
    for (int p; !g_.constants.count(v) && !done_.count(v); v = g_.nodes[size_t(p)].in[0]) {
      p = g_.values[size_t(v)].producer;
      if (p < 0) return false;
      const OpDef* moved = g_.nodes[size_t(p)].op;
      if (!moved->view && moved != &op("copy")) return false;
    }
    return true;
  }

  suan::Graph& g_;
  ConstantCache& cache_;
  Rebuild b_;
  std::vector<int> uses_;
  std::unordered_map<ValueId, ValueId> done_;
};

}  // namespace

void narrow_products(suan::Graph& g, ConstantCache& cache) { Narrow(g, cache).run(); }

}  // namespace suan::onnx
