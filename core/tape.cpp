// Tape bookkeeping: gradient edges, histories of views, saved values.
#include "core/tape.h"

#include <atomic>
#include <unordered_set>

#include "core/apply.h"
#include "core/record.h"

namespace suan {

uint64_t next_tape_sequence() {
  static std::atomic<uint64_t> n{1};
  return n.fetch_add(1, std::memory_order_relaxed);
}

AutogradState& autograd_state(TensorImpl& t) {
  if (!t.autograd) t.autograd = new AutogradState;
  return *t.autograd;
}

void TapeNode::destroy(TapeNode* n) {
  static thread_local std::vector<TapeNode*>* pending = nullptr;
  if (pending) {
    pending->push_back(n);
    return;
  }
  std::vector<TapeNode*> list{n};
  pending = &list;
  while (!list.empty()) {
    TapeNode* next = list.back();
    list.pop_back();
    if (next->release) next->release();
    delete next;
  }
  pending = nullptr;
}

Edge gradient_edge(const Tensor& t) {
  TensorImpl* impl = t.impl();
  if (impl->requires_grad) return {.leaf = t.ref()};
  if (!impl->autograd) return {};
  AutogradState& s = *impl->autograd;
  if (s.base.defined()) {
    uint32_t now = autograd_state(*s.base.impl()).history;
    if (s.history != now) {
      s.history = now;
      s.node = nullptr;
      Edge base = gradient_edge(s.base);
      if (base.defined()) {
        Layout rel = t.layout();
        rel.offset -= s.base.offset();
        s.node = Ref<TapeNode>(new TapeNode);
        s.node->op = &op("as_strided");
        s.node->attrs = {rel.shape, rel.strides, rel.offset};
        s.node->edges = {base};
        s.node->in_types = {s.base.type()};
        s.node->out_types = {t.type()};
        s.node->saved_in.resize(1);
        s.node->saved_out.resize(1);
        s.node->source = capture_source();
        s.node->sequence = next_tape_sequence();
        s.port = 0;
      }
    }
  }
  return {.node = s.node, .port = s.port};
}

void rebase_history(const Tensor& out, const Ref<TapeNode>& node) {
  AutogradState& s = autograd_state(*out.impl());
  if (!s.base.defined()) {
    s.node = node;
    s.port = 0;
    ++s.history;
    return;
  }
  Tensor base = s.base;
  Edge before = gradient_edge(base);
  Layout rel = out.layout();
  rel.offset -= base.offset();
  Ref<TapeNode> scatter(new TapeNode);
  scatter->op = &op("as_strided_scatter");
  scatter->attrs = {rel.shape, rel.strides, rel.offset};
  scatter->edges = {before, node ? Edge{.node = node} : Edge{}};
  scatter->in_types = {base.type(), out.type()};
  scatter->out_types = {base.type()};
  scatter->saved_in.resize(2);
  scatter->saved_out.resize(1);
  scatter->source = capture_source();
  scatter->sequence = next_tape_sequence();
  AutogradState& b = autograd_state(*base.impl());
  b.node = before.defined() || node ? scatter : nullptr;
  b.port = 0;
  ++b.history;
}

void attach_custom(std::span<const Tensor> inputs, std::span<const Tensor> outputs,
                   std::function<Tensors(std::span<const Tensor>)> backward,
                   std::function<void()> release) {
  if (Recorder* r = context().recorder) r->note_custom(inputs);
  Ref<TapeNode> node(new TapeNode);
  for (const Tensor& t : inputs) {
    node->edges.push_back(t.defined() ? gradient_edge(t) : Edge{});
    if (t.defined()) node->in_types.push_back(t.type());
    else node->in_types.push_back(std::nullopt);
  }
  for (const Tensor& t : outputs) node->out_types.push_back(t.type());
  node->custom = std::move(backward);
  node->release = std::move(release);
  node->source = capture_source();
  node->sequence = next_tape_sequence();
  for (size_t j = 0; j < outputs.size(); ++j) {
    if (!is_floating(outputs[j].dtype())) continue;
    AutogradState& s = autograd_state(*outputs[j].impl());
    s.node = node;
    s.port = int(j);
  }
}

int64_t saved_bytes(const Tensor& root) {
  std::unordered_set<const TapeNode*> seen;
  std::unordered_set<const Storage*> storages;
  std::vector<Ref<TapeNode>> stack;
  int64_t bytes = 0;
  auto visit = [&](const Ref<TapeNode>& n) {
    if (n && seen.insert(n.get()).second) stack.push_back(n);
  };
  visit(gradient_edge(root).node);
  while (!stack.empty()) {
    Ref<TapeNode> n = stack.back();
    stack.pop_back();
    for (const auto* list : {&n->saved_in, &n->saved_out})
      for (const Saved& s : *list)
        if (s.value.defined() && !s.value.impl()->requires_grad &&
            storages.insert(s.value.storage().get()).second)
          bytes += s.value.storage()->bytes();
    for (const Edge& e : n->edges) visit(e.node);
  }
  return bytes;
}

}  // namespace suan
