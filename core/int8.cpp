// Products of 8-bit integers before they are planned: sums that are cast to float, scaled and added to a bias are
// finished so where they are made, and constant weights are packed once a model. Keeps every bit.
#include "core/pass.h"

namespace suan {
namespace {

class Int8 {
 public:
  Int8(const Graph& g, ConstantCache& cache) : g_(g), b_(g), cache_(cache), uses_(g.use_counts()) {}

  int run(Graph& out) {
    int n = 0;
    for (const Node& node : g_.nodes) {
      if (scaled(node) || biased(node) || packed(node)) ++n;
      else b_.copy(node);
    }
    out = b_.finish();
    return n;
  }

 private:
  const Node* producer(ValueId v) const {
    const int p = v == no_value ? -1 : g_.values[size_t(v)].producer;
    return p >= 0 ? &g_.nodes[size_t(p)] : nullptr;
  }

  // cast(int8_matmul(...), f32) * scale. The sums' node stays behind, for dce.
  bool scaled(const Node& n) {
    static const OpDef &mul = op("mul"), &cast = op("cast"), &matmul = op("int8_matmul");
    if (n.op != &mul) return false;
    for (const size_t at : {size_t{0}, size_t{1}}) {
      const Node* c = producer(n.in[at]);
      if (!c || c->op != &cast || uses_[size_t(n.in[at])] != 1 || !(g_.values[size_t(n.in[at])].type.dtype == DType::f32)) continue;
      const Node* m = producer(c->in[0]);
      if (!m || m->op != &matmul || m->attrs.dtype(0) != DType::i32 || uses_[size_t(c->in[0])] != 1) continue;
      const TensorType &y = g_.values[size_t(n.out[0])].type, &s = g_.values[size_t(n.in[1 - at])].type;
      if (!(y.shape == g_.values[size_t(n.in[at])].type.shape)) continue;
      if (numel(s.shape) != 1 && s.shape != Shape{y.shape.back()}) continue;
      ValueId scale = b_[n.in[1 - at]];
      if (numel(s.shape) == 1 && !s.shape.empty())
        scale = b_.to.nodes[size_t(b_.to.append(op("reshape"), {scale}, {Shape{}}))].out[0];
      Node made = *m;
      made.in.resize(7, no_value);
      std::vector<ValueId> in = b_.mapped(made.in);
      in[5] = scale;
      std::vector<Attr> attrs = m->attrs.values();
      attrs[0] = DType::f32;
      append(in, Attrs(std::move(attrs)), n, m->in[1]);
      return true;
    }
    return false;
  }

  // int8_matmul(..., f32) + a vector of floats.
  bool biased(const Node& n) {
    static const OpDef &add = op("add"), &matmul = op("int8_matmul");
    if (n.op != &add) return false;
    for (const size_t at : {size_t{0}, size_t{1}}) {
      // By now the product is one of the new graph.
      const ValueId y = b_[n.in[at]], bias = n.in[1 - at];
      const int p = y == no_value ? -1 : b_.to.values[size_t(y)].producer;
      if (p < 0 || uses_[size_t(n.in[at])] != 1) continue;
      const Node m = b_.to.nodes[size_t(p)];
      const TensorType &type = g_.values[size_t(n.out[0])].type, &vector = g_.values[size_t(bias)].type;
      if (m.op != &matmul || m.attrs.dtype(0) != DType::f32 || (m.in.size() > 4 && m.in[4] != no_value)) continue;
      if (!(type == g_.values[size_t(n.in[at])].type) || vector.dtype != DType::f32 || vector.shape != Shape{type.shape.back()}) continue;
      std::vector<ValueId> in = m.in;
      in.resize(7, no_value);
      in[4] = b_[bias];
      const int k = b_.to.append(matmul, std::move(in), m.attrs, n.source);
      b_.replace(n.out[0], b_.to.nodes[size_t(k)].out[0]);
      return true;
    }
    return false;
  }

  bool packed(const Node& n) {
    static const OpDef& matmul = op("int8_matmul");
    if (n.op != &matmul || n.attrs.integer(1) != 0) return false;
    return append(b_.mapped(n.in), n.attrs, n, n.in[1]);
  }

  // int8_matmul with its weight packed, if that is a constant matrix. False: nothing was appended, or it was as it is.
  bool append(std::vector<ValueId> in, Attrs attrs, const Node& stands_for, ValueId weight) {
    static const OpDef& matmul = op("int8_matmul");
    bool changed = false;
    const auto w = g_.constants.find(weight);
    const auto zero = in.size() > 3 ? b_.to.constants.find(in[3]) : b_.to.constants.end();
    const bool fixed_zero = in.size() <= 3 || in[3] == no_value || zero != b_.to.constants.end();
    if (attrs.integer(1) == 0 && w != g_.constants.end() && w->second.rank() == 2 && w->second.dim(1) > 0 && fixed_zero) {
      const Tensor plain = w->second;
      in.resize(std::max<size_t>(in.size(), 4), no_value);
      in[1] = b_.to.add_constant(cache_.find(plain, "panels of int8", [plain] { return apply(op("int8_pack"), {plain}); }));
      if (plain.dtype() == DType::u8) {   // packed as i8, 128 lower, and so is its zero point
        ContextScope scope;
        context() = Context{.grad_enabled = false};
        const Tensor z = zero != b_.to.constants.end() ? zero->second : Tensor::scalar_int(0, DType::u8);
        const Tensor lower = apply(op("sub"), {apply(op("cast"), {z}, {DType::i32}), Tensor::scalar_int(128, DType::i32)});
        in[3] = b_.to.add_constant(apply(op("cast"), {lower}, {DType::i8}));
      }
      std::vector<Attr> values = attrs.values();
      values[1] = plain.dim(1);
      attrs = Attrs(std::move(values));
      changed = true;
    }
    if (!changed && stands_for.op == &matmul) return false;
    const int k = b_.to.append(matmul, std::move(in), attrs, stands_for.source);
    b_.replace(stands_for.out[0], b_.to.nodes[size_t(k)].out[0]);
    return true;
  }

  const Graph& g_;
  Rebuild b_;
  ConstantCache& cache_;
  std::vector<int> uses_;
};

}  // namespace

int int8_pass(Graph& g, ConstantCache& cache) {
  Int8 p(g, cache);
  Graph out;
  const int n = p.run(out);
  g = std::move(out);
  return n > 0 ? n + dce_pass(g) : 0;
}

}  // namespace suan
