// Laying out a program: every value gets a buffer and a layout, every node a prepared kernel, every arena
// buffer an offset by liveness.
#include "core/plan.h"

#include <algorithm>

#include "core/apply.h"
#include "core/backend.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/pass.h"

namespace suan {
namespace {

constexpr int64_t alignment = 64;
int64_t aligned(int64_t n) { return (n + alignment - 1) / alignment * alignment; }

}  // namespace

Plan::Plan(Graph graph, const PlanOptions& options) : graph_(std::move(graph)), options_(options) {
  options_.commits.resize(graph_.outputs.size(), -1);
  find_device();
  place_values();
  find_targets();
  for (int i = 0; i < int(graph_.nodes.size()); ++i) add_node(i);
  finish_outputs();
  place_waits();
  lay_out();
  last_use_ = {};
  target_ = {};
  sink_ = {};
  ++replay_counters().plans;
}

// All of a program is on one device.
void Plan::find_device() {
  for (size_t v = 0; v < graph_.values.size(); ++v) {
    const Device at = graph_.values[v].type.device;
    if (v == 0) device_ = at;
    if (!(at == device_))
      fail<DeviceError>("plan", "values on two devices: expected all on {}, got {} on {}", to_string(device_),
                        to_string(graph_.values[v].type), to_string(at));
  }
}

int Plan::new_buffer(Home home, int index, int64_t bytes, ValueId value) {
  Buffer b{home, index, 0, bytes, int(steps_.size()), int(steps_.size()), value};
  buffers_.push_back(b);
  return int(buffers_.size()) - 1;
}

void Plan::place_values() {
  place_.resize(graph_.values.size());
  last_use_.assign(graph_.values.size(), -1);
  for (size_t i = 0; i < graph_.nodes.size(); ++i)
    for (ValueId v : graph_.nodes[i].in)
      if (v != no_value) last_use_[size_t(v)] = int(i);
  for (ValueId v : graph_.outputs) last_use_[size_t(v)] = int(graph_.nodes.size());
  for (size_t i = 0; i < graph_.inputs.size(); ++i) {
    ValueId v = graph_.inputs[i];
    const TensorType& t = graph_.values[size_t(v)].type;
    place_[size_t(v)] = {new_buffer(Home::input, int(i), t.bytes(), v), Layout(t.shape)};
  }
  for (const auto& [v, t] : graph_.constants) {
    Tensor c = constant_on(t.is_contiguous() ? t : apply(op("copy"), {t}), device_);
    constants_.push_back(c);
    constant_bytes_ += c.type().bytes();
    int b = new_buffer(Home::constant, int(constants_.size()) - 1, c.type().bytes(), v);
    place_[size_t(v)] = {b, Layout(c.shape())};
  }
}

Operand Plan::use(const Place& p, DType t) const {
  return {p.buffer, bytes_for(t, p.layout.offset)};
}

// A contiguous copy of a value, made by a step of its own.
Plan::Place Plan::copied(const Place& p, DType t) {
  TensorType type{t, p.layout.shape, device_};
  Place to{new_buffer(Home::arena, 0, type.bytes(), no_value), Layout(type.shape)};
  static const Attrs none;
  Step s;
  s.prepared = select_kernel(op("copy"), none, device_, {&p.layout, 1}, {&t, 1}, std::vector<bool>{true}, {&type, 1},
                             {&to.layout, 1}).prepared;
  s.in = {use(p, t)};
  s.out = {use(to, t)};
  steps_.push_back(std::move(s));
  return to;
}

void Plan::add_view(const Node& n) {
  ValueId x = n.in[0];
  const TensorType& type = graph_.values[size_t(x)].type;
  const TensorType* ptr = &type;
  InferContext c{*n.op, {&ptr, 1}, n.attrs};
  Place from = place_[size_t(x)];
  static const OpDef& strided = op("as_strided");
  // as_strided counts elements of a contiguous root.
  if (n.op == &strided && !from.layout.is_contiguous()) from = copied(from, type.dtype);
  Layout base = from.layout;
  int64_t shift = 0;
  if (n.op == &strided) shift = std::exchange(base.offset, 0);
  std::optional<Layout> l = n.op->view(c, base);
  if (!l) {
    from = copied(from, type.dtype);
    l = n.op->view(c, from.layout);
  }
  l->offset += shift;
  place_[size_t(n.out[0])] = {from.buffer, *l};
}

bool Plan::commits_to(ValueId v, const Buffer& b) const {
  if (b.home != Home::input) return false;
  for (size_t o = 0; o < graph_.outputs.size(); ++o)
    if (options_.commits[o] == b.index && graph_.outputs[o] == v) return true;
  return false;
}

namespace {

// Where each part of a copy's or cat's result lies in it; empty for other nodes.
std::vector<Layout> part_layouts(const Graph& g, const Node& n) {
  static const OpDef &copy = op("copy"), &cat = op("cat");
  std::vector<Layout> parts;
  if (n.op != &copy && n.op != &cat) return parts;
  const Layout whole(g.values[size_t(n.out[0])].type.shape);
  int64_t at = 0;
  for (ValueId v : n.in) {
    Layout part = whole;
    part.shape = g.values[size_t(v)].type.shape;
    if (n.op == &cat) {
      const int axis = normalize_axis("cat", n.attrs.integer(0), whole.rank());
      part.offset = at * whole.strides[axis];
      at += part.shape[axis];
    }
    parts.push_back(part);
  }
  return parts;
}

bool same_elements(const Layout& a, const Layout& b) {
  if (a.offset != b.offset || !(a.shape == b.shape)) return false;
  for (int d = 0; d < a.rank(); ++d)
    if (a.shape[d] > 1 && a.strides[d] != b.strides[d]) return false;
  return true;
}

}  // namespace

// Views that only reorder axes, and kernels that take any strides.
bool Plan::reads_strided(ValueId v) const {
  static const OpDef& permute = op("permute");
  for (const Node& n : graph_.nodes) {
    if (std::find(n.in.begin(), n.in.end(), v) == n.in.end()) continue;
    if (n.op == &permute) continue;
    const Kernel* k = n.op->view ? nullptr : find_kernel(*n.op, graph_.values[size_t(v)].type.device);
    if (!k || !(k->flags & kernel_strided_in)) return false;
  }
  return true;
}

bool Plan::find_target(const Node& sink, size_t part, const Layout& into) {
  static const OpDef& strided = op("as_strided");
  std::vector<const Node*> views;
  ValueId v = sink.in[part];
  for (int p; (p = graph_.values[size_t(v)].producer) >= 0 && graph_.nodes[size_t(p)].op->view;) {
    const Node& n = graph_.nodes[size_t(p)];
    if (n.op == &strided) return false;
    views.push_back(&n);
    v = n.in[0];
  }
  const Value& root = graph_.values[size_t(v)];
  if (views.empty() || root.producer < 0 || target_.count(v)) return false;
  const Node& maker = graph_.nodes[size_t(root.producer)];
  const Kernel* kernel = find_kernel(*maker.op, root.type.device);
  if (!kernel || !(kernel->flags & kernel_strided_out) || !maker.op->updates.empty()) return false;
  if (last_use_[size_t(v)] == int(graph_.nodes.size()) || numel(root.type.shape) == 0) return false;
  if (!reads_strided(v)) return false;
  // Which axis of the part each axis of the value became, by their strides.
  Layout seen(root.type.shape);
  const Layout own = seen;
  for (size_t k = views.size(); k-- > 0;) {
    const TensorType type{root.type.dtype, seen.shape, root.type.device};
    const TensorType* ptr = &type;
    std::optional<Layout> l = views[k]->op->view({*views[k]->op, {&ptr, 1}, views[k]->attrs}, seen);
    if (!l) return false;
    seen = *l;
  }
  if (seen.offset != 0 || seen.numel() != own.numel()) return false;
  Layout layout = own;
  layout.offset = into.offset;
  for (int d = 0; d < own.rank(); ++d) {
    if (own.shape[d] == 1) continue;
    int axis = -1;
    for (int e = 0; e < seen.rank(); ++e)
      if (seen.shape[e] == own.shape[d] && seen.strides[e] == own.strides[d]) axis = e;
    if (axis < 0) return false;
    layout.strides[d] = into.strides[axis];
  }
  target_[v] = {sink.out[0], layout};
  return true;
}

void Plan::find_targets() {
  sink_.assign(graph_.values.size(), -1);
  for (const Node& n : graph_.nodes) {
    std::vector<Layout> parts = part_layouts(graph_, n);
    for (size_t k = 0; k < parts.size(); ++k) find_target(n, k, parts[k]);
  }
}

// A copy or cat some of whose parts were made in place; the others are copied there. False: none was.
bool Plan::add_sink(const Node& n) {
  const ValueId out = n.out.empty() ? no_value : n.out[0];
  if (out == no_value || sink_[size_t(out)] < 0) return false;
  const int buffer = sink_[size_t(out)];
  const TensorType& type = graph_.values[size_t(out)].type;
  static const OpDef& copy = op("copy");
  static const Attrs none;
  const std::vector<Layout> parts = part_layouts(graph_, n);
  for (size_t k = 0; k < parts.size(); ++k) {
    const Place& from = place_[size_t(n.in[k])];
    if (from.buffer == buffer && same_elements(from.layout, parts[k])) continue;
    if (parts[k].numel() == 0) continue;
    const TensorType part{type.dtype, parts[k].shape, type.device};
    Step s;
    s.prepared = select_kernel(copy, none, device_, {&from.layout, 1}, {&type.dtype, 1}, std::vector<bool>{true},
                               {&part, 1}, {&parts[k], 1}).prepared;
    s.in = {use(from, type.dtype)};
    s.out = {use({buffer, parts[k]}, type.dtype)};
    steps_.push_back(std::move(s));
  }
  place_[size_t(out)] = {buffer, Layout(type.shape)};
  return true;
}

// Whether another value in that buffer is still read at the node or after it.
bool Plan::shared(ValueId v, int buffer, int node) const {
  for (size_t u = 0; u < place_.size(); ++u)
    if (ValueId(u) != v && place_[u].buffer == buffer && last_use_[u] >= node) return true;
  return false;
}

void Plan::add_node(int i) {
  check_interrupt();
  const Node& n = graph_.nodes[size_t(i)];
  if (n.op->view) return add_view(n);
  if (add_sink(n)) return;
  std::vector<Layout> layouts, out_layouts;
  std::vector<DType> dtypes;
  std::vector<bool> present;
  std::vector<TensorType> out_types;
  layouts.reserve(n.in.size());
  dtypes.reserve(n.in.size());
  present.reserve(n.in.size());
  out_types.reserve(n.out.size());
  out_layouts.reserve(n.out.size());
  uint64_t constant_mask = 0;
  for (size_t k = 0; k < n.in.size(); ++k) {
    ValueId v = n.in[k];
    present.push_back(v != no_value);
    layouts.push_back(v == no_value ? Layout{} : place_[size_t(v)].layout);
    dtypes.push_back(v == no_value ? DType::f32 : graph_.values[size_t(v)].type.dtype);
    if (v != no_value && k < 64 && buffers_[size_t(place_[size_t(v)].buffer)].home == Home::constant)
      constant_mask |= uint64_t(1) << k;
  }
  for (ValueId v : n.out) {
    out_types.push_back(graph_.values[size_t(v)].type);
    out_layouts.emplace_back(out_types.back().shape);
  }
  auto select = [&] {
    return select_kernel(*n.op, n.attrs, device_, layouts, dtypes, present, out_types, out_layouts, constant_mask);
  };
  bool aimed = false;
  for (size_t k = 0; k < n.out.size(); ++k)
    if (const auto t = target_.find(n.out[k]); t != target_.end()) {
      out_layouts[k] = t->second.layout;
      aimed = true;
    }
  Selected sel = select();
  if (aimed && !sel.kernel) {
    for (size_t k = 0; k < n.out.size(); ++k) out_layouts[k] = Layout(out_types[k].shape);
    aimed = false;
    sel = select();
  }
  for (size_t k = 0; aimed && k < n.out.size(); ++k) {
    const auto t = target_.find(n.out[k]);
    if (t == target_.end()) continue;
    const ValueId sink = t->second.sink;
    int& buffer = sink_[size_t(sink)];
    if (buffer < 0) buffer = new_buffer(Home::arena, 0, graph_.values[size_t(sink)].type.bytes(), sink);
    place_[size_t(n.out[k])] = {buffer, t->second.layout};
  }
  Step s;
  s.node = i;
  s.host = !sel.kernel;
  if (s.host && !n.op->compose)
    fail<TypeError>(n.op->name, "no kernel: expected one for these dtypes on {}, got none", to_string(device_));
  std::vector<Place> in(n.in.size());
  for (size_t k = 0; k < n.in.size(); ++k) {
    if (n.in[k] == no_value) continue;
    in[k] = place_[size_t(n.in[k])];
    if (sel.needs_copy(int(k))) in[k] = copied(in[k], dtypes[k]);
  }
  // What the node updates in place has to be a buffer that nobody reads afterwards and that we may write.
  for (size_t k = 0; k < n.out.size(); ++k) {
    const int j = updated_input(*n.op, k, n.in.size(), n.out.size());
    if (j < 0 || n.in[size_t(j)] == no_value) continue;
    ValueId v = n.in[size_t(j)];
    const Buffer& b = buffers_[size_t(in[size_t(j)].buffer)];
    bool last_reader = last_use_[size_t(v)] == i && in[size_t(j)].layout.is_contiguous();
    bool whole = b.value == v && std::count(n.in.begin(), n.in.end(), v) == 1 && !shared(v, in[size_t(j)].buffer, i);
    if (!(last_reader && whole && (b.home == Home::arena || commits_to(n.out[k], b))))
      in[size_t(j)] = copied(in[size_t(j)], dtypes[size_t(j)]);
    place_[size_t(n.out[k])] = in[size_t(j)];
    Buffer& target = buffers_[size_t(in[size_t(j)].buffer)];
    target.value = n.out[k];
  }
  int now = int(steps_.size());
  const auto unread = [&](size_t k) {
    return k > 0 && sel.kernel && (sel.kernel->flags & kernel_optional_out) && last_use_[size_t(n.out[k])] < 0;
  };
  for (size_t k = 0; k < n.out.size(); ++k) {
    Place& p = place_[size_t(n.out[k])];
    if (p.buffer >= 0 || unread(k)) continue;
    p.layout = out_layouts[k];
    // A dying input of the same size gives its buffer, when the kernel allows it.
    if (sel.kernel && (sel.kernel->flags & kernel_in_place)) {
      for (size_t j = 0; j < n.in.size(); ++j) {
        ValueId v = n.in[j];
        if (v == no_value || last_use_[size_t(v)] != i) continue;
        Buffer& b = buffers_[size_t(in[j].buffer)];
        bool ours = b.home == Home::arena || (options_.commit_early && commits_to(n.out[k], b));
        if (!ours || b.value != v || !in[j].layout.is_contiguous() || in[j].layout.offset != 0) continue;
        if (b.bytes != out_types[k].bytes() || graph_.values[size_t(v)].type.dtype != out_types[k].dtype ||
            !(in[j].layout.shape == out_layouts[k].shape))
          continue;
        // It may be read by another operand, or through a view.
        if (std::count(n.in.begin(), n.in.end(), v) != 1 || shared(v, in[j].buffer, i)) continue;
        p.buffer = in[j].buffer;
        b.value = n.out[k];
        break;
      }
    }
    if (p.buffer < 0) p.buffer = new_buffer(Home::arena, 0, out_types[k].bytes(), n.out[k]);
  }
  for (size_t k = 0; k < n.in.size(); ++k)
    s.in.push_back(n.in[k] == no_value ? Operand{} : use(in[k], dtypes[k]));
  while (s.in.size() < n.op->inputs.size()) s.in.emplace_back();  // optional inputs left off
  for (size_t k = 0; k < n.out.size(); ++k)
    s.out.push_back(unread(k) ? Operand{} : use(place_[size_t(n.out[k])], out_types[k].dtype));
  if (sel.kernel && sel.prepared.workspace > 0) {
    s.workspace = new_buffer(Home::arena, 0, sel.prepared.workspace, no_value);
    buffers_[size_t(s.workspace)].first = now;
  }
  s.prepared = std::move(sel.prepared);
  n_kernels_ += !s.host;
  steps_.push_back(std::move(s));
}

void Plan::finish_outputs() {
  // Commits last: a copy onto the captured storage, unless the value was made there already.
  for (size_t o = 0; o < graph_.outputs.size(); ++o) {
    ValueId v = graph_.outputs[o];
    const TensorType& t = graph_.values[size_t(v)].type;
    Place p = place_[size_t(v)];
    Buffer& b = buffers_[size_t(p.buffer)];
    if (options_.commits[o] >= 0) continue;
    Result r{int(o)};
    // A returned value that fills an arena buffer of its own moves out of the arena.
    bool whole = b.home == Home::arena && p.layout.is_contiguous() && p.layout.offset == 0 &&
                 b.bytes == t.bytes();
    if (!whole && !(b.home == Home::output && !options_.own_outputs)) {
      p = copied(p, t.dtype);
      buffers_[size_t(p.buffer)].value = v;
    }
    Buffer& own = buffers_[size_t(p.buffer)];
    if (own.home != Home::output) {
      own.home = Home::output;
      own.index = int(output_buffers_.size());
      output_buffers_.push_back(p.buffer);
      output_bytes_ += own.bytes;
    }
    r.buffer = p.buffer;
    r.layout = p.layout;
    results_.push_back(r);
  }
  for (size_t o = 0; o < graph_.outputs.size(); ++o) {
    int target = options_.commits[o];
    if (target < 0) continue;
    ValueId v = graph_.outputs[o];
    const TensorType& t = graph_.values[size_t(v)].type;
    Place p = place_[size_t(v)];
    int home = place_[size_t(graph_.inputs[size_t(target)])].buffer;
    if (p.buffer == home) continue;
    static const Attrs none;
    Layout to(t.shape);
    Step s;
    s.prepared = select_kernel(op("copy"), none, device_, {&p.layout, 1}, {&t.dtype, 1}, std::vector<bool>{true},
                               {&t, 1}, {&to, 1}).prepared;
    s.in = {use(p, t.dtype)};
    s.out = {Operand{home, 0}};
    steps_.push_back(std::move(s));
  }
}

// A collective runs beside the steps after it until one of them touches its result or writes what it reads. Those
// that follow each other need not wait: they run one after the other anyway.
void Plan::place_waits() {
  constexpr int most_at_once = 2;  // their operands have to stay
  static const OpDef& barrier = op("barrier");
  std::vector<const Step*> flying;
  int done = 0;
  for (Step& s : steps_) {
    const Node* n = s.node < 0 ? nullptr : &graph_.nodes[size_t(s.node)];
    const bool collective = n && collective_world(*n) > 1;
    s.beside = collective && !s.host && n->op != &barrier;
    auto touches = [](const std::vector<Operand>& operands, int buffer) {
      return std::any_of(operands.begin(), operands.end(), [&](const Operand& o) { return o.buffer == buffer; });
    };
    auto writes = [&](const Step& by, int buffer) { return touches(by.out, buffer) || by.workspace == buffer; };
    auto conflict = [&](const Step& f) {
      return touches(s.in, f.out[0].buffer) || writes(s, f.out[0].buffer) || writes(s, f.in[0].buffer);
    };
    const bool orders = n && !s.beside && (collective || n->op->flags & op_region);
    if (s.beside) {
      done = std::max(done, int(flying.size()) + 1 - most_at_once);
      flying.push_back(&s);
    } else {
      for (int k = done; k < int(flying.size()); ++k)
        if (orders || conflict(*flying[size_t(k)])) done = k + 1;
    }
    s.waits = done;
  }
}

std::pair<uint64_t, uint64_t> Plan::hash() const {
  auto [a, b] = graph_.hash();
  for (const Step& s : steps_)
    if (s.beside || s.waits) a = mix(a, uint64_t(s.node + 1)), b = mix(b, uint64_t(s.waits) * 2 + s.beside);
  return {a, b};
}

void Plan::lay_out() {
  for (Buffer& b : buffers_) { b.first = int(steps_.size()); b.last = -1; }
  for (int i = 0; i < int(steps_.size()); ++i) {
    auto touch = [&](int buffer) {
      if (buffer < 0) return;
      Buffer& b = buffers_[size_t(buffer)];
      b.first = std::min(b.first, i);
      b.last = std::max(b.last, i);
    };
    for (const Operand& o : steps_[size_t(i)].in) touch(o.buffer);
    for (const Operand& o : steps_[size_t(i)].out) touch(o.buffer);
    touch(steps_[size_t(i)].workspace);
  }
  // What a collective uses stays until it is waited for.
  std::vector<int> flying;
  int done = 0;
  auto stays = [&](int buffer, int until) {
    if (buffer >= 0) buffers_[size_t(buffer)].last = std::max(buffers_[size_t(buffer)].last, until);
  };
  for (int i = 0; i <= int(steps_.size()); ++i) {
    const int waits = i < int(steps_.size()) ? steps_[size_t(i)].waits : int(flying.size());
    for (; done < waits; ++done) {
      const Step& s = steps_[size_t(flying[size_t(done)])];
      const int until = std::max(i - 1, flying[size_t(done)]);
      stays(s.in[0].buffer, until);
      stays(s.out[0].buffer, until);
      stays(s.workspace, until);
    }
    if (i < int(steps_.size()) && steps_[size_t(i)].beside) flying.push_back(i);
  }
  for (const Step& s : steps_) {
    most_in_ = std::max(most_in_, s.in.size());
    most_out_ = std::max(most_out_, s.out.size());
  }
  for (int i = 0; i < int(buffers_.size()); ++i)
    if (buffers_[size_t(i)].home != Home::constant) by_first_.push_back(i);
  by_last_ = by_first_;
  auto sort_by = [&](std::vector<int>& list, int Buffer::*step) {
    std::stable_sort(list.begin(), list.end(), [&](int a, int b) {
      return buffers_[size_t(a)].*step < buffers_[size_t(b)].*step;
    });
  };
  sort_by(by_first_, &Buffer::first);
  sort_by(by_last_, &Buffer::last);
  // Largest first, each at the lowest offset free over its whole life.
  std::vector<int> order;
  for (int i = 0; i < int(buffers_.size()); ++i)
    if (buffers_[size_t(i)].home == Home::arena && buffers_[size_t(i)].last >= 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return buffers_[size_t(a)].bytes > buffers_[size_t(b)].bytes;
  });
  std::vector<int> placed;  // kept sorted by offset
  for (int i : order) {
    Buffer& b = buffers_[size_t(i)];
    int64_t need = std::max<int64_t>(aligned(b.bytes), alignment), at = 0;
    for (int j : placed) {
      const Buffer& o = buffers_[size_t(j)];
      if (o.last < b.first || b.last < o.first) continue;
      if (o.offset >= at + need) break;
      at = std::max(at, o.offset + std::max<int64_t>(aligned(o.bytes), alignment));
    }
    b.offset = at;
    arena_bytes_ = std::max(arena_bytes_, at + need);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int a, int c) { return buffers_[size_t(a)].offset < buffers_[size_t(c)].offset; }),
                  i);
  }
  if (options_.memory_limit && peak_bytes() > options_.memory_limit)
    fail<OutOfMemory>("plan", "does not fit: expected at most {} bytes, got {} ({} missing)",
                      options_.memory_limit, peak_bytes(), peak_bytes() - options_.memory_limit);
}

std::vector<const Buffer*> Plan::peak_holders() const {
  int64_t best = -1;
  int at = 0;
  std::vector<int64_t> delta(steps_.size() + 1, 0);
  for (const Buffer& b : buffers_)
    if (b.home == Home::arena && b.last >= 0) {
      delta[size_t(b.first)] += b.bytes;
      delta[size_t(b.last) + 1] -= b.bytes;
    }
  int64_t now = 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    now += delta[i];
    if (now > best) { best = now; at = int(i); }
  }
  std::vector<const Buffer*> out;
  for (const Buffer& b : buffers_)
    if (b.home == Home::arena && b.first <= at && at <= b.last) out.push_back(&b);
  std::stable_sort(out.begin(), out.end(), [](auto* a, auto* b) { return a->bytes > b->bytes; });
  return out;
}

}  // namespace suan
