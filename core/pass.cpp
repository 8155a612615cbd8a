// Fold, common subexpressions, dead code, and the pipeline that runs every pass.
#include "core/pass.h"

#include <algorithm>
#include <unordered_map>

#include "core/apply.h"
#include "core/backend.h"
#include "core/hash.h"

namespace suan {

Rebuild::Rebuild(const Graph& from) : from_(from), map_(from.values.size(), no_value) {
  for (ValueId v : from.inputs) map_[size_t(v)] = to.add_input(from.values[size_t(v)].type);
  for (const auto& [v, t] : from.constants)
    map_[size_t(v)] = to.add_constant(t, from.values[size_t(v)].type.device);
}

std::vector<ValueId> Rebuild::mapped(const std::vector<ValueId>& v) const {
  std::vector<ValueId> out;
  for (ValueId x : v) out.push_back((*this)[x]);
  return out;
}

void Rebuild::copy(const Node& n) {
  std::vector<TensorType> types;
  for (ValueId v : n.out) types.push_back(from_.values[size_t(v)].type);
  int i = to.append_typed(*n.op, mapped(n.in), n.attrs, types, n.source);
  for (size_t k = 0; k < n.out.size(); ++k) replace(n.out[k], to.nodes[size_t(i)].out[k]);
}

Graph Rebuild::finish() {
  to.outputs = mapped(from_.outputs);
  return std::move(to);
}

bool mergeable(const OpDef& def) {
  return !(def.flags & (op_random | op_effect | op_opaque)) && def.updates.empty();
}

namespace {

constexpr int64_t fold_limit = 1 << 16;  // bytes of a folded constant: larger ones cost more than they save

bool fold_constant(Rebuild& b, const Graph& g, const Node& n) {
  static const OpDef& dequantize = op("dequantize");   // weights: quantized_pass wants to see them
  if (!mergeable(*n.op) || n.out.size() != 1 || n.op == &dequantize) return false;
  if (g.values[size_t(n.out[0])].type.bytes() > fold_limit) return false;
  const Device device = g.values[size_t(n.out[0])].type.device;
  Tensors in;
  for (ValueId v : n.in) {
    if (v == no_value) { in.emplace_back(); continue; }
    auto it = b.to.constants.find(b[v]);
    if (it == b.to.constants.end()) return false;
    in.push_back(constant_on(it->second, device));
  }
  if (in.empty()) return false;
  ContextScope scope;
  context() = Context{.grad_enabled = false};
  Tensor value = apply(*n.op, in, n.attrs);
  if (!value.is_contiguous() || n.op->view) value = apply(op("copy"), {value});
  if (!device.is_cpu()) value = to_device(value, {});
  b.replace(n.out[0], b.to.add_constant(value, device));
  return true;
}

// The node that made a value, when it is of the given op.
const Node* producer(const Graph& g, ValueId v, const OpDef& def) {
  int p = g.values[size_t(v)].producer;
  return p >= 0 && g.nodes[size_t(p)].op == &def ? &g.nodes[size_t(p)] : nullptr;
}

// permute(reshape(permute(x))), where the reshape only adds and removes dimensions of 1, is permute(reshape(x)), or
// reshape(x).
bool fold_permutes(Rebuild& b, const Node& n, const TensorType& to) {
  static const OpDef &reshape = op("reshape"), &permute = op("permute");
  const Node* r = producer(b.to, b[n.in[0]], reshape);
  const Node* q = r ? producer(b.to, r->in[0], permute) : nullptr;
  if (!q) return false;
  const ValueId x = q->in[0];
  const Shape &inner = b.to.values[size_t(x)].type.shape, &mid = b.to.values[size_t(r->out[0])].type.shape;
  const Dims &first = q->attrs.dims(0), &last = n.attrs.dims(0);
  const auto axis = [](const Dims& p, int i) { return int(p[i] < 0 ? p[i] + p.size() : p[i]); };
  // Dimensions of x that are not 1, in the order in which the first permute puts them; then where they lie in mid.
  Shape kept;
  Dims of_x(Dims::filled(inner.size(), -1));
  for (int i = 0; i < inner.size(); ++i)
    if (inner[i] != 1) of_x[i] = kept.size(), kept.push_back(inner[i]);
  std::vector<int64_t> order;
  for (int i = 0; i < first.size(); ++i)
    if (inner[axis(first, i)] != 1) order.push_back(of_x[axis(first, i)]);
  Dims of_mid(Dims::filled(mid.size(), -1));
  size_t at = 0;
  for (int i = 0; i < mid.size(); ++i) {
    if (mid[i] == 1) continue;
    if (at == order.size() || mid[i] != kept[int(order[at])]) return false;
    of_mid[i] = order[at++];
  }
  if (at != order.size()) return false;
  const int whole = kept.size();
  Dims both;
  bool sorted = true;
  int64_t before = -1, ones = whole;
  for (int i = 0; i < last.size(); ++i) {
    const int64_t d = of_mid[axis(last, i)];
    if (d >= 0) sorted &= d > before, before = d;
    both.push_back(d >= 0 ? d : ones++);
  }
  const SourceMark source = n.source;
  while (kept.size() < last.size()) kept.push_back(1);
  int k = b.to.append(reshape, {x}, {sorted ? to.shape : kept}, source);
  if (!sorted) k = b.to.append(permute, {b.to.nodes[size_t(k)].out[0]}, {both}, source);
  b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
  return true;
}

// index by one constant place is a slice, which is a view: a step of an unrolled net, the last state of a sequence.
bool fold_index(Rebuild& b, const Node& n, const Shape& from) {
  static const OpDef &index = op("index"), &slice = op("slice");
  if (n.op != &index || n.in.size() != 2 || n.attrs.dims(0).size() != 1) return false;
  const auto c = b.to.constants.find(b[n.in[1]]);
  if (c == b.to.constants.end() || c->second.dtype() != DType::i64 || c->second.rank() != 1 || c->second.numel() != 1) return false;
  const int axis = normalize_axis("index", n.attrs.dims(0)[0], from.size());
  const int64_t given = *c->second.data<int64_t>(), at = given < 0 ? given + from[axis] : given;
  if (at < 0 || at >= from[axis]) return false;   // the kernel's error
  const int k = b.to.append(slice, {b[n.in[0]]}, {int64_t(axis), at, at + 1, int64_t(1)}, n.source);
  b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
  return true;
}

bool fold_view(Rebuild& b, const Graph& g, const Node& n) {
  static const OpDef &reshape = op("reshape"), &permute = op("permute"), &expand = op("expand"),
                     &cast = op("cast");
  const OpDef& def = *n.op;
  if (n.in.empty() || n.in[0] == no_value || n.out.size() != 1) return false;
  const TensorType &from = g.values[size_t(n.in[0])].type, &to = g.values[size_t(n.out[0])].type;
  if (fold_index(b, n, from.shape)) return true;
  auto forward = [&] { b.replace(n.out[0], b[n.in[0]]); return true; };
  if ((&def == &reshape || &def == &expand || &def == &cast) && from == to) return forward();
  if (&def == &permute) {
    const Dims& p = n.attrs.dims(0);
    const auto is_identity = [](const Dims& dims) {
      for (int i = 0; i < dims.size(); ++i)
        if ((dims[i] < 0 ? dims[i] + dims.size() : dims[i]) != i) return false;
      return true;
    };
    if (is_identity(p)) return forward();
    if (const Node* q = producer(b.to, b[n.in[0]], permute)) {
      Dims both;
      int rank = p.size();
      for (int i = 0; i < rank; ++i) {
        int64_t axis = q->attrs.dims(0)[int(p[i] < 0 ? p[i] + rank : p[i])];
        both.push_back(axis < 0 ? axis + rank : axis);
      }
      if (is_identity(both)) {
        b.replace(n.out[0], q->in[0]);
        return true;
      }
      int k = b.to.append_typed(permute, {q->in[0]}, {both}, {&to, 1}, n.source);
      b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
      return true;
    }
    return fold_permutes(b, n, to);
  }
  if (&def == &reshape)
    if (const Node* q = producer(b.to, b[n.in[0]], reshape)) {
      int k = b.to.append_typed(reshape, {q->in[0]}, {to.shape}, {&to, 1}, n.source);
      b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
      return true;
    }
  return false;
}

}  // namespace

namespace {
// What an open size may have made: the sizes of other samples would give another constant.
bool makes_sizes(const OpDef& def) {
  static const OpDef* const makers[] = {&op("slice"), &op("expand"), &op("full"), &op("as_strided")};
  return std::find(std::begin(makers), std::end(makers), &def) != std::end(makers);
}

int fold(Graph& g, bool open_sizes) {
  Rebuild b(g);
  int n = 0;
  for (const Node& node : g.nodes) {
    const bool constant = !(open_sizes && makes_sizes(*node.op)) && fold_constant(b, g, node);
    if (constant || fold_view(b, g, node)) ++n;
    else b.copy(node);
  }
  g = b.finish();
  return n;
}
}  // namespace

int fold_pass(Graph& g) { return fold(g, false); }
int fold_open_pass(Graph& g) { return fold(g, true); }

int cse_pass(Graph& g) {
  Rebuild b(g);
  int n = 0;
  // Equal constants first: their readers can then be equal too.
  std::unordered_multimap<uint64_t, ValueId> constants;
  for (const auto& [v, t] : g.constants) {
    if (t.type().bytes() > 64) continue;
    uint64_t h = mix(uint64_t(t.dtype()), uint64_t(t.numel()));
    for (int64_t i = 0; i < t.type().bytes(); ++i) h = mix(h, uint64_t(t.raw()[i]));
    bool merged = false;
    auto [lo, hi] = constants.equal_range(h);
    for (auto it = lo; it != hi && !merged; ++it) {
      const Tensor& u = g.constants.at(it->second);
      if (u.type() == t.type() && g.values[size_t(v)].type == g.values[size_t(it->second)].type &&
          std::equal(u.raw(), u.raw() + t.type().bytes(), t.raw())) {
        b.replace(v, b[it->second]);
        merged = true;
        ++n;
      }
    }
    if (!merged) constants.emplace(h, v);
  }
  std::unordered_multimap<uint64_t, size_t> seen;  // hash -> node of the new graph
  for (const Node& node : g.nodes) {
    std::vector<ValueId> in = b.mapped(node.in);
    bool merged = false;
    uint64_t h = mix(uint64_t(node.op->id), node.attrs.hash());
    for (ValueId v : in) h = mix(h, uint64_t(v));
    if (mergeable(*node.op)) {
      auto [lo, hi] = seen.equal_range(h);
      for (auto it = lo; it != hi && !merged; ++it) {
        const Node& old = b.to.nodes[it->second];
        if (old.op != node.op || old.in != in || !(old.attrs == node.attrs)) continue;
        for (size_t k = 0; k < node.out.size(); ++k) b.replace(node.out[k], old.out[k]);
        merged = true;
        ++n;
      }
    }
    if (merged) continue;
    b.copy(node);
    if (mergeable(*node.op)) seen.emplace(h, b.to.nodes.size() - 1);
  }
  g = b.finish();
  return n;
}

int dce_pass(Graph& g) {
  std::vector<char> live(g.values.size(), 0), keep(g.nodes.size(), 0);
  for (ValueId v : g.outputs) live[size_t(v)] = 1;
  int n = 0;
  for (size_t i = g.nodes.size(); i-- > 0;) {
    const Node& node = g.nodes[i];
    bool needed = node.op->flags & op_effect;
    for (ValueId v : node.out) needed |= bool(live[size_t(v)]);
    keep[i] = needed;
    if (!needed) { ++n; continue; }
    for (ValueId v : node.in)
      if (v != no_value) live[size_t(v)] = 1;
  }
  for (auto it = g.constants.begin(); it != g.constants.end();)
    if (live[size_t(it->first)]) ++it;
    else { it = g.constants.erase(it); ++n; }
  Rebuild b(g);
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (keep[i]) b.copy(g.nodes[i]);
  g = b.finish();
  return n;
}

const std::vector<PassInfo>& optimization_passes() {
  static const std::vector<PassInfo> passes = {
      {"fold", fold_pass}, {"cse", cse_pass}, {"rewrite", rewrite_pass}, {"dce", dce_pass},
      {"accumulate", accumulate_pass}, {"fuse", fuse_pass}, {"epilogue", epilogue_pass}};
  return passes;
}

int64_t collective_world(const Node& n) {
  const int world = n.op->flags & op_effect ? n.op->find_attr("world") : -1;
  return world < 0 ? 0 : n.attrs.integer(world);
}

namespace {
// Collectives and other effects in the order in which they run: other ranks wait for just that one.
std::vector<const OpDef*> effects(const Graph& g) {
  std::vector<const OpDef*> all;
  for (const Node& n : g.nodes)
    if (n.op->flags & op_effect) all.push_back(n.op);
  return all;
}
}  // namespace

PassCounts optimize(Graph& g, const OptimizeOptions& options) {
  g.verify("recording");
  const std::vector<const OpDef*> in_order = effects(g);
  PassCounts counts;
  const auto ran = [&](const char* name, int n) {
    g.verify(name);
    if (effects(g) != in_order)
      fail<InternalError>("graph", "effects moved in {}: expected {} in the recorded order, got another", name,
                          in_order.size());
    counts.rewrites.push_back({name, n});
  };
  for (const PassInfo& p : optimization_passes()) {
    ran(p.name, options.open_sizes && p.run == fold_pass ? fold_open_pass(g) : p.run(g));
    if (p.run != cse_pass || !options.constants) continue;
    if (!options.exact) {
      ran("patterns", patterns_pass(g, counts.patterns, options.open_sizes));
      ran("fold_scales", fold_scales_pass(g, *options.constants));
    }
    ran("quantized", quantized_pass(g, *options.constants, options.exact));
    ran("int8", int8_pass(g, *options.constants));
    if (!options.exact) {
      const int made = products_pass(g, *options.constants);
      if (made) {
        options.open_sizes ? fold_open_pass(g) : fold_pass(g);   // views that meet
        cse_pass(g);
      }
      ran("products", made);
    }
    ran("layout", layout_pass(g, *options.constants, {options.exact, options.pairs, options.compared}));
    ran("panels", panels_pass(g, *options.constants, options.exact));
  }
  return counts;
}

Tensor written_when_read(const TensorType& type, std::function<void(const Tensor& into)> write) {
  const Layout layout(type.shape);
  if (context().dry) return Tensor::over(Storage::dry({}, type.bytes()), layout, type.dtype);
  return Tensor::over(Storage::deferred(type.bytes(), [write = std::move(write), type, layout](std::byte* to) {
    ContextScope scope;
    context() = Context{.grad_enabled = false};
    write(Tensor::over(Storage::external({}, to, type.bytes(), {}), layout, type.dtype));
  }), layout, type.dtype);
}

}  // namespace suan
