// What Python's cyclic collector must know: a tensor owns autograd state, tape nodes and other tensors that no
// Python object stands for, and these may own Python callables (hooks, custom functions) that own the tensor.
//
// Each reference to a callable may be reported once, and only by an owner whose death would drop it. So the walk
// enters an object only when every reference to it was found on the way: then nothing else can hold it, another
// thread included.
#include <unordered_map>
#include <vector>

#include "python/bindings/callback.h"

namespace suan::py {
namespace {

class Walk {
 public:
  Walk(visitproc visit, void* arg) : visit_(visit), arg_(arg) {}

  int run(const TensorImpl& root) {
    if (int stop = state(root)) return stop;
    while (!nodes_.empty() || !tensors_.empty()) {
      int stop = 0;
      if (!nodes_.empty()) {
        const TapeNode* n = nodes_.back();
        nodes_.pop_back();
        stop = node(*n);
      } else {
        const TensorImpl* t = tensors_.back();
        tensors_.pop_back();
        stop = state(*t);
      }
      if (stop) return stop;
    }
    return 0;
  }

 private:
  template <class T>
  void found(const T* p, std::vector<const T*>& list) {
    if (!p) return;
    const int64_t owners = p->use_count();
    if (owners == 1 || ++seen_[p] == owners) list.push_back(p);
  }
  void tensor(const Tensor& t) { found<TensorImpl>(t.impl(), tensors_); }

  int state(const TensorImpl& t) {
    const AutogradState* s = t.autograd;
    if (!s) return 0;
    for (const auto& [id, hook] : s->hooks)
      if (int stop = callback(hook.target<GradientHook>())) return stop;
    for (const auto& [id, hook] : s->after_accumulate)
      if (int stop = callback(hook.target<LeafHook>())) return stop;
    found<TapeNode>(s->node.get(), nodes_);
    tensor(s->grad);
    tensor(s->base);
    return 0;
  }

  int node(const TapeNode& n) {
    for (const auto& [port, hook] : n.hooks)
      if (int stop = callback(hook.second.target<GradientHook>())) return stop;
    if (int stop = callback(n.custom.target<CustomFunction>())) return stop;
    for (const Edge& e : n.edges) {
      found<TapeNode>(e.node.get(), nodes_);
      found<TensorImpl>(e.leaf.get(), tensors_);
    }
    for (const auto* list : {&n.saved_in, &n.saved_out})
      for (const Saved& s : *list) tensor(s.value);
    return 0;
  }

  template <class F>
  int callback(const F* f) {
    if (!f || f->call.use_count() != 1) return 0;
    return visit_(f->call->get(), arg_);
  }

  visitproc visit_;
  void* arg_;
  std::vector<const TapeNode*> nodes_;
  std::vector<const TensorImpl*> tensors_;
  std::unordered_map<const void*, int64_t> seen_;
};

}  // namespace

int visit_callbacks(const Tensor& t, visitproc visit, void* arg) {
  if (!Callback::any() || !t.defined() || !t.impl()->autograd || t.impl()->use_count() != 1) return 0;
  return Walk(visit, arg).run(*t.impl());
}

void forget_retained(const Tensor& t) {
  const AutogradState* s = t.impl()->autograd;
  if (!s || !s->retain_grad || !s->node) return;
  std::erase_if(s->node->retained, [&](const auto& r) { return r.second == t.ref(); });
}

}  // namespace suan::py
