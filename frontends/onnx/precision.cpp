// precision="bf16": what multiplies reads bfloat16 and adds up in float32; all else stays as the model says, and so do
// convolutions, whose float32 kernels (blocks of channels, Winograd's tiles) are the faster ones.
#include <algorithm>
#include <unordered_map>

#include "core/pass.h"
#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

class Narrow {
 public:
  Narrow(suan::Graph& g, ConstantCache& cache) : g_(g), cache_(cache), b_(g) {}

  void run() {
    static const OpDef* const products[] = {&op("matmul"), &op("bmm"), &op("linear"), &op("attention")};
    for (const suan::Node& n : g_.nodes) {
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

  void product(const suan::Node& n) {
    std::vector<ValueId> in;
    for (ValueId v : n.in) in.push_back(v == no_value || !f32(v) ? b_[v] : narrowed(v));
    const suan::Node made = b_.to.nodes[size_t(b_.to.append(*n.op, in, n.attrs, n.source))];
    for (size_t k = 0; k < n.out.size(); ++k) b_.replace(n.out[k], cast(made.out[k], DType::f32, n.source));
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
      made = b_.to.add_constant(cache_.find(c->second, "bf16", [&] { return ops::cast(c->second, DType::bf16); }),
                                value.type.device);
    } else if (value.producer >= 0 && from_constant(v)) {
      const suan::Node& view = g_.nodes[size_t(value.producer)];
      std::vector<ValueId> in = b_.mapped(view.in);
      in[0] = narrowed(view.in[0]);
      made = b_.to.nodes[size_t(b_.to.append(*view.op, in, view.attrs, view.source))].out[0];
    } else {
      made = cast(b_[v], DType::bf16, {});
    }
    return done_[v] = made;
  }

  bool from_constant(ValueId v) const {
    for (int p; !g_.constants.count(v); v = g_.nodes[size_t(p)].in[0]) {
      p = g_.values[size_t(v)].producer;
      if (p < 0 || !g_.nodes[size_t(p)].op->view) return false;
    }
    return true;
  }

  suan::Graph& g_;
  ConstantCache& cache_;
  Rebuild b_;
  std::unordered_map<ValueId, ValueId> done_;
};

}  // namespace

void narrow_products(suan::Graph& g, ConstantCache& cache) { Narrow(g, cache).run(); }

}  // namespace suan::onnx
