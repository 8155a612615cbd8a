// conv(x, w, b) * s + t, with constants for each output channel, is conv(x, w * s, b * s + t): batch norm as
// inference sees it. A numeric option: the products round elsewhere.
#include "core/pass.h"

namespace suan {
namespace {

// w with its channels scaled; if `defer`, made when it is read, and it can be dropped: most weights are packed next, and then
// nobody reads this one again.
Tensor scaled(const Tensor& w, const Tensor& scale, bool defer) {
  constexpr int64_t least_deferred = 16 << 10;
  static const OpDef& mul = op("mul");
  const TensorType type = w.type();
  if (!defer || type.bytes() < least_deferred) return apply(mul, {w, scale});
  return written_when_read(type, [w, scale](const Tensor& into) { apply_into(mul, {w, scale}, {}, into); });
}

class Scales {
 public:
  Scales(const Graph& g, ConstantCache& cache) : g_(g), b_(g), cache_(cache), uses_(g.use_counts()) {}

  int run(Graph& out) {
    int n = 0;
    for (const Node& node : g_.nodes) {
      if (fold(node)) ++n;
      else b_.copy(node);
    }
    out = b_.finish();
    return n;
  }

 private:
  const Tensor* constant(ValueId v) const {
    auto it = v == no_value ? b_.to.constants.end() : b_.to.constants.find(v);
    return it == b_.to.constants.end() ? nullptr : &it->second;
  }

  bool fold(const Node& n) {
    static const OpDef &conv = op("conv"), &mul = op("mul"), &add = op("add"), &sub = op("sub");
    if (n.op != &mul && n.op != &add && n.op != &sub) return false;
    for (const size_t at : {size_t{0}, size_t{1}}) {
      if (n.op == &sub && at == 1) continue;   // t - x
      const ValueId x = b_[n.in[at]];
      const int p = b_.to.values[size_t(x)].producer;
      if (p < 0 || b_.to.nodes[size_t(p)].op != &conv || uses_[size_t(n.in[at])] != 1) continue;
      const Node made = b_.to.nodes[size_t(p)];
      const Tensor *w = constant(made.in[1]), *t = constant(b_[n.in[1 - at]]);
      const ValueId bias = made.in.size() > 2 ? made.in[2] : no_value;
      if (!w || !t || (bias != no_value && !constant(bias)) || t->dtype() != w->dtype() || !t->is_contiguous()) continue;
      const TensorType& y = g_.values[size_t(n.out[0])].type;
      if (!(y == g_.values[size_t(n.in[at])].type) || !is_floating(y.dtype)) continue;
      // One number in all, or [..., channels, 1, ...].
      const int64_t channels = w->dim(0);
      const int axis = t->rank() - (y.shape.size() - 1);
      if (t->numel() != 1 && (axis < 0 || t->dim(axis) != channels || t->numel() != channels)) continue;
      // By content: folding makes the numbers anew for every shape.
      const std::string numbers(reinterpret_cast<const char*>(t->raw()), size_t(t->type().bytes()));
      const auto key = [&](const std::string& what) { return what + " " + numbers; };
      const auto over = [t = *t, channels](int rank) {   // t along the first of so many dimensions
        if (t.numel() == 1) return apply(op("reshape"), {t}, {Shape{}});
        Shape s = Dims::filled(rank, 1);
        s[0] = channels;
        return apply(op("reshape"), {t}, {s});
      };
      const OpDef* const by = n.op;
      ValueId weight = made.in[1], shift = bias;
      if (n.op == &mul) {
        weight = b_.to.add_constant(cache_.find(*w, key("scaled by"), [w = *w, over, defer = bool(cache_.packed)] { return scaled(w, over(w.rank()), defer); }));
        if (bias != no_value)
          shift = b_.to.add_constant(cache_.find(*constant(bias), key("scaled by"), [b = *constant(bias), over] { return apply(mul, {b, over(1)}); }));
      } else if (bias != no_value) {
        shift = b_.to.add_constant(cache_.find(*constant(bias), key(n.op->name), [b = *constant(bias), over, by] { return apply(*by, {b, over(1)}); }));
      } else {
        shift = b_.to.add_constant(cache_.find(*w, key("shifted by " + n.op->name), [type = w->dtype(), channels, over, by] {
          const Tensor zeros = apply(op("full"), {Tensor::scalar(0, type)}, {Shape{channels}});
          return apply(*by, {zeros, over(1)});
        }));
      }
      const int k = b_.to.append(conv, {made.in[0], weight, shift}, made.attrs, made.source);
      b_.replace(n.out[0], b_.to.nodes[size_t(k)].out[0]);
      return true;
    }
    return false;
  }

  const Graph& g_;
  Rebuild b_;
  ConstantCache& cache_;
  std::vector<int> uses_;
};

}  // namespace

int fold_scales_pass(Graph& g, ConstantCache& cache) {
  Scales s(g, cache);
  Graph out;
  const int n = s.run(out);
  g = std::move(out);
  return n > 0 ? n + dce_pass(g) : 0;
}

}  // namespace suan
