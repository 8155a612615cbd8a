// Storage-keyed recording of apply() calls.
#include "core/record.h"

#include <algorithm>
#include <cstring>

#include "core/apply.h"
#include "core/dispatch.h"
#include "core/tape.h"

namespace suan {
namespace {

bool covers(const Layout& l, DType t, int64_t bytes) {
  return l.offset == 0 && l.is_contiguous() && bytes_for(t, l.numel()) == bytes;
}

Attrs strided_attrs(const Layout& l) { return {l.shape, l.strides, l.offset}; }

}  // namespace

void Recorder::know(const Tensor& t, ValueId value) {
  Known& k = known_[t.storage()->id()];
  if (k.root == no_value) {
    k.root = value;
    k.root_layout = t.layout();
    k.dtype = t.dtype();
  }
  k.views.push_back({t.layout(), value, k.version});
}

std::unique_ptr<Recorder> Recorder::within() {
  auto r = std::make_unique<Recorder>();
  r->within_ = true;
  r->began_ = next_tape_sequence();
  return r;
}

bool Recorder::gradient_leaves(const Tensor& t) const {
  return t.defined() && t.requires_grad() &&
         std::none_of(leaves_.begin(), leaves_.end(), [&](const Tensor& leaf) { return leaf.same(t); });
}

void Recorder::track(int node, std::span<const Tensor> in) {
  if (!within_) return;
  tracked_.resize(graph_.nodes.size(), ~uint64_t(0));  // nodes between: views of values, as tracked as these
  uint64_t mask = 0;
  if (context().grad_enabled && !context().inference)
    for (size_t i = 0; i < in.size(); ++i)
      if (gradient_leaves(in[i])) mask |= uint64_t(1) << std::min<size_t>(i, 63);
  tracked_[size_t(node)] = mask;
}

void Recorder::note_custom(std::span<const Tensor> inputs) {
  if (!within_) return;
  Custom c{{}, capture_source()};
  for (const Tensor& t : inputs)
    if (gradient_leaves(t)) c.inputs.push_back(value_of(t));
  customs_.push_back(std::move(c));
}

bool Recorder::has_outer_history(const Tensor& t) const {
  if (!within_ || !gradient_leaves(t)) return false;
  auto known = known_.find(t.storage()->id());
  if (known != known_.end() && (known->second.captured < 0 || captured_[size_t(known->second.captured)].argument))
    return false;  // made here, or given
  if (t.impl()->requires_grad) return true;
  const AutogradState& s = *t.impl()->autograd;
  if (s.base.defined() && s.base.impl()->autograd && s.base.impl()->autograd->history != s.history)
    return has_outer_history(s.base);
  return s.node->sequence < began_;
}

void Recorder::refuse_own(const OpDef& def, const Tensor& out) const {
  if (own_storages_.count(out.storage()->id()))
    fail<StateError>(def.name, "tensor from outside that has a gradient changed in place inside vmap: expected a change of "
                               "what was made inside, got one of {}", to_string(out.type()));
}

void Recorder::bind(const Tensor& t, ValueId value) { know(t, value); }

ValueId Recorder::add_argument(const Tensor& t) {
  if (!known_.count(t.storage()->id())) capture(t, true);  // the same storage passed twice: one input
  ++arguments_;
  return value_of(t);
}

Recorder::Known& Recorder::capture(const Tensor& t, bool argument) {
  Known& k = known_[t.storage()->id()];
  k.dtype = t.dtype();
  Tensor root = t.detach();
  if (!covers(t.layout(), t.dtype(), t.storage()->bytes())) {
    int64_t n = t.storage()->bytes() / item_size(t.dtype());
    root = Tensor::over(t.storage(), Layout(Shape{n}), t.dtype());
  }
  k.root_layout = root.layout();
  if (auto made = numbers_.find(t.storage()->id()); made != numbers_.end()) {
    k.root = graph_.add_constant(Tensor::over(made->second.copy.storage(), k.root_layout, k.dtype));
    literals_.push_back({k.root, made->second.line});
    return k;
  }
  k.root = graph_.add_input(root.type());
  k.captured = int(captured_.size());
  captured_.push_back({root, t, k.root, argument, argument ? arguments_ : -1, capture_source()});
  return k;
}

void Recorder::note_numbers(const Tensor& t) {
  Tensor copy = Tensor::empty(t.type());
  std::memcpy(copy.raw(), t.raw(), size_t(t.type().bytes()));
  numbers_[t.storage()->id()] = {copy, capture_source()};
}

void Recorder::note_grad_change(const Tensor& t) {
  for (auto& [tensor, grad] : grads_before_)
    if (tensor.same(t)) return;
  grads_before_.push_back({t, t.grad()});
}

void Recorder::restore_grads() {
  for (auto& [tensor, grad] : grads_before_)
    if (grad.defined() || tensor.impl()->autograd) autograd_state(*tensor.impl()).grad = grad;
  grads_before_.clear();
}

std::vector<Tensor> Recorder::leaves_with_dry_grad() const {
  std::vector<Tensor> out;
  for (const auto& [leaf, before] : grads_before_)
    if (Tensor g = leaf.grad(); g.defined() && g.is_dry()) out.push_back(leaf);
  return out;
}

ValueId Recorder::value_of(const Tensor& t) {
  if (!t.defined()) return no_value;
  if (auto own = own_.find(t.impl()); own != own_.end()) return own->second.value;
  if (has_outer_history(t)) {
    const ValueId v = graph_.add_input(t.type());
    captured_.push_back({t, t, v, false, -1, capture_source()});
    own_[t.impl()] = {t, v};
    own_storages_.insert(t.storage()->id());
    return v;
  }
  auto it = known_.find(t.storage()->id());
  if (it == known_.end()) {
    if (t.storage()->is_literal() && t.rank() == 0) {
      Tensor value = t;
      if (!t.device().is_cpu()) {
        value = Tensor::empty({t.dtype(), {}, {}});
        std::memcpy(value.raw(), t.storage()->literal(), size_t(t.type().bytes()));
        value.storage()->mark_literal(value.raw());
      }
      ValueId c = graph_.add_constant(value, t.device());
      literals_.push_back({c, capture_source()});
      know(t, c);
      return c;
    }
    if (t.is_dry() && !within_)
      fail<StateError>("record", "tensor from another recording: expected one with data, got {}",
                       to_string(t.type()));
    capture(t, false);
    it = known_.find(t.storage()->id());
  }
  Known& k = it->second;
  if (t.dtype() != k.dtype)
    fail<TypeError>("record", "storage seen as two dtypes: expected {}, got {}", name(k.dtype), name(t.dtype()));
  if (t.layout() == k.root_layout) return k.root;
  for (const View& v : k.views)
    if (v.version == k.version && v.layout == t.layout()) return v.value;
  Layout rel = t.layout();
  rel.offset -= k.root_layout.offset;
  TensorType type = t.type();
  int n = graph_.append_typed(op("as_strided"), {k.root}, strided_attrs(rel), {&type, 1}, capture_source());
  ValueId v = graph_.nodes[n].out[0];
  k.views.push_back({t.layout(), v, k.version});
  return v;
}

void Recorder::record(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs,
                      std::span<const Tensor> out) {
  std::vector<ValueId> ins;
  for (const Tensor& t : in) ins.push_back(value_of(t));
  std::vector<TensorType> types;
  for (const Tensor& t : out) types.push_back(t.type());
  int n = graph_.append_typed(def, std::move(ins), attrs, types, capture_source());
  track(n, in);
  for (size_t k = 0; k < out.size(); ++k) {
    ValueId v = graph_.nodes[n].out[k];
    const int j = updated_input(def, k, in.size(), out.size());
    if (j >= 0 && in[size_t(j)].defined()) refuse_own(def, out[k]);
    if (j < 0 || !in[size_t(j)].defined()) {
      if (own_storages_.count(out[k].storage()->id())) own_[out[k].impl()] = {out[k], v};
      else know(out[k], v);
      continue;
    }
    Known& known = known_.at(out[k].storage()->id());
    if (!(out[k].layout() == known.root_layout))
      fail<StateError>(def.name, "updates a view: expected a tensor that owns its storage, got {}",
                       to_string(out[k].type()));
    ++known.version;
    known.root = v;
    if (!known.changed) {
      known.changed = true;
      changed_order_.push_back(out[k].storage()->id());
    }
  }
}

void Recorder::record_into(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs,
                           const Tensor& out) {
  refuse_own(def, out);
  std::vector<ValueId> ins;
  for (const Tensor& t : in) ins.push_back(value_of(t));
  if (!known_.count(out.storage()->id())) value_of(out);
  TensorType type = out.type();
  int n = graph_.append_typed(def, std::move(ins), attrs, {&type, 1}, capture_source());
  track(n, in);
  ValueId v = graph_.nodes[n].out[0], written = v;
  Known& k = known_.at(out.storage()->id());
  if (out.layout().offset == k.root_layout.offset && out.is_contiguous() &&
      out.numel() == k.root_layout.numel()) {
    if (!(out.shape() == k.root_layout.shape)) {
      TensorType root = graph_.values[k.root].type;
      int m = graph_.append_typed(op("reshape"), {v}, {k.root_layout.shape}, {&root, 1});
      v = graph_.nodes[m].out[0];
    }
  } else {
    Layout rel = out.layout();
    rel.offset -= k.root_layout.offset;
    TensorType root = graph_.values[k.root].type;
    int m = graph_.append_typed(op("as_strided_scatter"), {k.root, v}, strided_attrs(rel), {&root, 1});
    v = graph_.nodes[m].out[0];
  }
  k.root = v;
  ++k.version;
  k.views.clear();
  k.views.push_back({out.layout(), written, k.version});
  if (!k.changed) {
    k.changed = true;
    changed_order_.push_back(out.storage()->id());
  }
}

Graph Recorder::finish(std::span<const Tensor> outputs) {
  for (const Tensor& t : outputs) graph_.outputs.push_back(value_of(t));
  if (within_) tracked_.resize(graph_.nodes.size(), ~uint64_t(0));
  for (uint64_t id : changed_order_) {
    const Known& k = known_.at(id);
    if (k.captured < 0) continue;
    updates_.push_back({k.captured, k.root});
    graph_.outputs.push_back(k.root);
  }
  return std::move(graph_);
}

}  // namespace suan
