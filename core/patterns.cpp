// Chains of plain operators become the ops that they spell out: attention, norms, softmax, activations. Values are
// rounded elsewhere, so this is a numeric option. Each rule is a formula and what to put in its place.
#include <algorithm>
#include <cmath>

#include "core/apply.h"
#include "core/match.h"
#include "core/pass.h"

namespace suan {
namespace {

// Where a form was found: its names, and the new graph.
struct Site {
  const Match& m;
  Rebuild& b;
  const Node& node;       // whose first result the form is

  const TensorType& type() const { return m.type(node.out[0]); }
  ValueId operator[](const char* name) const { return b[m.value(name)]; }
  ValueId add(const OpDef& def, std::vector<ValueId> in, const Attrs& attrs = {}) const {
    const int k = b.to.append(def, std::move(in), attrs, node.source);
    return b.to.nodes[size_t(k)].out[0];
  }
  const TensorType& new_type(ValueId v) const { return b.to.values[size_t(v)].type; }
  ValueId shaped(ValueId v, const Shape& s) const { return new_type(v).shape == s ? v : add(op("reshape"), {v}, {s}); }
};

struct Rule {
  const char* name;                  // of the op that it makes
  std::vector<Form> forms;
  ValueId (*build)(const Site&);     // no_value: not here after all
};

std::vector<Form> forms(std::initializer_list<const char*> texts) { return {texts.begin(), texts.end()}; }

// ---- element-wise --------------------------------------------------------------------------------------------------

ValueId gelu_of(const Site& s) { return s.add(op("gelu"), {s["x"]}); }
ValueId gelu_tanh_of(const Site& s) { return s.add(op("gelu_tanh"), {s["x"]}); }
ValueId silu_of(const Site& s) { return s.add(op("silu"), {s["x"]}); }

// ---- norms ---------------------------------------------------------------------------------------------------------

// How many last dimensions of `of` a reduction takes away, kept as 1; 0 when it takes others.
int64_t last_dims(const Site& s, const char* reduced, const char* of) {
  const Node& n = *s.m.producer(s.m.value(reduced));
  const int rank = s.m.type(of).shape.size();
  std::vector<bool> gone(size_t(rank), n.attrs.dims(0).empty());
  for (int64_t d : n.attrs.dims(0)) gone[size_t(d < 0 ? d + rank : d)] = true;
  int64_t count = 0;
  while (count < rank && gone[size_t(rank - 1 - count)]) ++count;
  return n.attrs.boolean(1) && count == std::count(gone.begin(), gone.end(), true) ? count : 0;
}

ValueId layer_norm_of(const Site& s) {
  const int64_t n = last_dims(s, "u", "x");
  if (n == 0 || last_dims(s, "v", "d") != n || s.m.type("x") != s.m.type("d")) return no_value;
  return s.add(op("layer_norm"), {s["x"]}, {n, s.m.number("E")});
}
ValueId rms_norm_of(const Site& s) {
  const int64_t n = last_dims(s, "v", "x");
  return n == 0 ? no_value : s.add(op("rms_norm"), {s["x"]}, {n, s.m.number("E")});
}

// A weight or bias that has the normalised dimensions' shape, in the new graph.
ValueId per_element(const Site& s, const char* name, int64_t n_dims) {
  const Shape &have = s.m.type(name).shape, &all = s.type().shape;
  Shape want;
  for (int i = all.size() - int(n_dims); i < all.size(); ++i) want.push_back(all[i]);
  Shape tail = have;
  while (tail.size() > want.size() && tail[0] == 1) tail.erase(0);
  return tail == want ? s.shaped(s[name], want) : no_value;
}
ValueId whole_layer_norm(const Site& s) {
  const int64_t n = last_dims(s, "u", "x");
  if (n == 0 || last_dims(s, "v", "d") != n || s.m.type("x") != s.type()) return no_value;
  const ValueId w = per_element(s, "w", n), b = per_element(s, "b", n);
  return w == no_value || b == no_value ? no_value : s.add(op("layer_norm"), {s["x"], w, b}, {n, s.m.number("E")});
}
// The norm's node, when nothing else reads what it makes.
const Node* own_norm(const Site& s) {
  const Node* n = s.m.producer(s.m.value("n"));
  for (size_t i = 0; i < n->out.size(); ++i)
    if (s.m.uses(n->out[i]) != (i == 0)) return nullptr;
  return n;
}
ValueId with_weight(const Site& s) {
  const Node* n = own_norm(s);
  const ValueId w = n ? per_element(s, "w", n->attrs.integer(0)) : no_value;
  return w == no_value ? no_value : s.add(*n->op, {s["x"], w}, n->attrs);
}
ValueId with_bias(const Site& s) {
  const Node* n = own_norm(s);
  const ValueId b = n ? per_element(s, "b", n->attrs.integer(0)) : no_value;
  return b == no_value ? no_value : s.add(*n->op, {s["x"], s.m.has("w") ? s["w"] : no_value, b}, n->attrs);
}

// ---- softmax and attention -----------------------------------------------------------------------------------------

ValueId softmax_of(const Site& s) {
  const Node &sum = *s.m.producer(s.m.value("t")), *max = s.m.has("h") ? s.m.producer(s.m.value("h")) : &sum;
  const auto dim = [&](const Node& n) {
    const int rank = s.type().shape.size();
    return n.attrs.dims(0).size() == 1 && n.attrs.boolean(1) ? (n.attrs.dims(0)[0] + rank) % rank : -1;
  };
  return dim(sum) < 0 || dim(sum) != dim(*max) ? no_value : s.add(op("softmax"), {s["x"]}, {dim(sum)});
}

// An operand of attention as [batch, heads, length, width].
ValueId four_dims(const Site& s, ValueId v) {
  Shape shape = s.new_type(v).shape;
  while (shape.size() < 4) shape.insert(0, 1);
  return s.shaped(v, shape);
}

// v without the numbers that multiply it, beneath the views and copies that lead to them; `scale` takes them.
ValueId unscaled(const Site& s, ValueId v, double& scale) {
  const Node* n = s.m.producer(v);
  if (!n || s.m.uses(v) != 1) return s.b[v];
  static const OpDef &permute = op("permute"), &reshape = op("reshape");
  if (n->op == &permute || n->op == &reshape) {
    const double before = scale;
    const ValueId inner = unscaled(s, n->in[0], scale);
    return scale == before ? s.b[v] : s.add(*n->op, {inner}, n->attrs);
  }
  const Match::Product p = s.m.product(v, false);
  if (p.factors.size() != 1 || p.factors[0].v == v || p.factors[0].power != 1 || s.m.type(p.factors[0].v) != s.m.type(v)) return s.b[v];
  scale *= p.number;
  return unscaled(s, p.factors[0].v, scale);
}

ValueId attention_of(const Site& s) {
  const Match& m = s.m;
  const Shape &q = m.type("q").shape, &k = m.type("k").shape, &v = m.type("v").shape;
  const int rank = q.size();
  if (rank < 3 || rank > 4 || k.size() != rank || v.size() != rank) return no_value;
  for (int i = 0; i < rank - 2; ++i)
    if (q[i] != k[i] || q[i] != v[i]) return no_value;
  // Nothing else may read the scores or weights, which are not made any more.
  const int64_t dim = m.producer(m.value("w"))->attrs.integer(0);
  const bool guarded = s.node.in[0] != m.value("w");   // where(isnan(w), 0, w)
  if ((dim != -1 && dim != rank - 1) || m.uses(m.value("w")) != 1 + guarded || m.uses(s.node.in[0]) != 1 ||
      m.uses(m.value("s")) != 1 || m.uses(m.value("p")) != 1 || m.type("s") != m.type("p"))
    return no_value;
  ValueId mask = no_value;
  if (m.has("a")) {
    mask = s["a"];
  } else if (m.has("see") || m.has("hide")) {
    // A row without a key: all weights equal below -1e30, none below -inf, where the chain has NaN.
    const double low = m.number("N");
    if (low > -1e30) return no_value;
    const bool hides = m.has("hide");
    mask = s[hides ? "hide" : "see"];
    if (std::isinf(low)) {
      if (hides) mask = s.add(op("logical_not"), {mask});
    } else {
      const auto number = [&](double x) { return s.b.to.add_constant(Tensor::scalar(x, s.type().dtype), s.type().device); };
      const ValueId zero = number(0), never = number(low);
      mask = s.add(op("where"), hides ? std::vector{mask, never, zero} : std::vector{mask, zero, never});
    }
  }
  if (mask != no_value) mask = four_dims(s, mask);
  double scale = m.number("S");
  const ValueId queries = unscaled(s, m.value("q"), scale);
  Dims turned;
  for (int i = 0; i < rank - 2; ++i) turned.push_back(i);
  turned.push_back(rank - 1);
  turned.push_back(rank - 2);
  const ValueId keys = s.add(op("permute"), {unscaled(s, m.value("k"), scale)}, {turned});
  const ValueId out = s.add(op("attention"), {four_dims(s, queries), four_dims(s, keys), four_dims(s, s["v"]), mask}, {false, scale});
  return s.shaped(out, s.type().shape);
}

// Heads of keys and values that were written out for the queries that share them: [b, h, l, w] -> [b, h, 1, l, w] ->
// expand -> reshape.
ValueId fewer_heads(const Site& s) {
  std::vector<ValueId> in = s.b.mapped(s.node.in);
  for (const int i : {1, 2}) {
    const Node* joined = s.m.producer(s.node.in[size_t(i)]);
    const Node* spread = joined && joined->op == &op("reshape") ? s.m.producer(joined->in[0]) : nullptr;
    if (!spread || spread->op != &op("expand")) return no_value;
    const Shape &from = s.m.type(spread->in[0]).shape, &to = s.m.type(spread->out[0]).shape, &all = s.m.type(joined->out[0]).shape;
    if (from.size() != 5 || to.size() != 5 || all.size() != 4 || from[2] != 1) return no_value;
    for (const int d : {0, 1, 3, 4})
      if (from[d] != to[d] || all[d > 1 ? d - 1 : 0] != to[d > 1 ? d : 0]) return no_value;
    in[size_t(i)] = s.add(op("reshape"), {s.b[spread->in[0]]}, {Shape{from[0], from[1], from[3], from[4]}});
  }
  return s.add(*s.node.op, in, s.node.attrs);
}

// Every way to weigh by every way to score.
std::vector<Form> attention_forms() {
  std::vector<Form> all;
  for (const char* out : {"matmul(w, v)", "matmul(where(isnan(w), 0, w), v)"})
    for (const char* score : {"S * p", "S * p + a", "where(see, S * p, N)", "where(hide, N, S * p)"})
      all.emplace_back(fmt::format("{}; w = softmax(s); s = {}; p = matmul(q, k)", out, score));
  return all;
}

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = {
      {"gelu", forms({"0.5 * x * (1 + erf(0.70710678118654752 * x))", "x * (0.5 + 0.5 * erf(0.70710678118654752 * x))"}), gelu_of},
      {"gelu_tanh",
       forms({"0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x^3)))",
              "0.5 * x * (1 + tanh(0.79788456080286536 * x * (1 + 0.044715 * x^2)))",
              "x * sigmoid(1.5957691216057308 * (x + 0.044715 * x^3))", "x * sigmoid(1.5957691216057308 * x * (1 + 0.044715 * x^2))"}),
       gelu_tanh_of},
      {"silu", forms({"x * sigmoid(x)", "x / (1 + exp(-1 * x))"}), silu_of},
      {"layer_norm", forms({"d / (v + E)^0.5; v = mean(d^2); d = x - u; u = mean(x)"}), layer_norm_of},
      {"layer_norm", forms({"x * i + b - u * i; i = w / (v + E)^0.5; v = mean(d^2); d = x - u; u = mean(x)"}), whole_layer_norm},
      {"rms_norm", forms({"x / (v + E)^0.5; v = mean(x^2)"}), rms_norm_of},
      {"weight", forms({"n * w; n = layer_norm(x)", "n * w; n = rms_norm(x)"}), with_weight},
      {"bias", forms({"n + b; n = layer_norm(x, w)", "n + b; n = layer_norm(x)"}), with_bias},
      {"softmax", forms({"e / t; t = sum(e); e = exp(y); y = x - h; h = max(x)", "e / t; t = sum(e); e = exp(x)"}), softmax_of},
      {"attention", attention_forms(), attention_of},
      {"shared heads", forms({"attention(q, k, v)", "attention(q, k, v, a)"}), fewer_heads},
  };
  return all;
}

bool rewrite(Rebuild& b, Match& m, const Node& n, std::map<const char*, int>& found) {
  if (n.out.empty() || !is_floating(m.type(n.out[0]).dtype)) return false;
  for (const Rule& r : rules())
    for (const Form& f : r.forms) {
      if (!m.fits(f, n.out[0])) continue;
      const Site site{m, b, n};
      const ValueId made = r.build(site);
      if (made == no_value || !(site.new_type(made) == site.type())) continue;
      b.replace(n.out[0], made);
      ++found[r.name];
      return true;
    }
  return false;
}

}  // namespace

int patterns_pass(Graph& g, std::map<const char*, int>& found, bool open_sizes) {
  constexpr int most_rounds = 6;   // norm, weight, bias: what a round made is seen by the next
  int n = 0;
  for (int round = 0; round < most_rounds; ++round) {
    dce_pass(g);   // what nobody reads would count as a reader
    const std::vector<int> uses = g.use_counts();
    Match m(g, uses);
    Rebuild b(g);
    int now = 0;
    for (const Node& node : g.nodes) {
      if (rewrite(b, m, node, found)) ++now;
      else b.copy(node);
    }
    if (now == 0) break;
    g = b.finish();
    n += now;
    open_sizes ? fold_open_pass(g) : fold_pass(g);
    cse_pass(g);
  }
  return n;
}

}  // namespace suan
