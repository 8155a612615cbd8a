// Autograd for Python: backward, grad, modes, hooks and custom functions.
#include <atomic>

#include "core/backward_plan.h"
#include "core/tape.h"
#include "python/bindings/callback.h"

namespace suan::py {
namespace {

// Python's exception crosses the engine as a C++ one and is restored at the other side.
[[noreturn]] void throw_python() { throw nb::python_error(); }

Tensor result_tensor(PyObject* o, const char* what) {
  if (o == Py_None) return {};
  if (!is_tensor(o)) fail<TypeError>(what, "wrong result: expected Tensor or None, got {}", type_name(o));
  return unwrap(o);
}

int next_handle() {
  static std::atomic<int> n{1};
  return n++;
}

Tensors tensors_of(nb::handle list, bool optional) {
  Owned items(check(PySequence_Tuple(list.ptr())));
  Tensors out;
  for (Py_ssize_t i = 0; i < PyTuple_Size(items.get()); ++i) {
    PyObject* o = PyTuple_GetItem(items.get(), i);
    if (optional && o == Py_None) out.emplace_back();
    else if (is_tensor(o)) out.push_back(unwrap(o));
    else fail<TypeError>("autograd", "wrong type: expected Tensor, got {}", type_name(o));
  }
  return out;
}

Owned called_with(const Callback& call, const Tensor& t) {
  Owned arg(wrap(t));
  Owned out(PyObject_CallFunctionObjArgs(call.get(), arg.get(), nullptr));
  if (!out) throw_python();
  return out;
}

}  // namespace

Tensor GradientHook::operator()(const Tensor& g) const {
  HoldGil hold;
  return result_tensor(called_with(*call, g).get(), "hook");
}

void LeafHook::operator()(const Tensor& leaf) const {
  HoldGil hold;
  called_with(*call, leaf);
}

Tensors CustomFunction::operator()(std::span<const Tensor> grads) const {
  HoldGil hold;
  Owned args(wrap_many(grads));
  Owned out(PyObject_CallObject(call->get(), args.get()));
  if (!out) throw_python();
  Tensors result;
  for (Py_ssize_t i = 0; i < PyTuple_Size(out.get()); ++i)
    result.push_back(result_tensor(PyTuple_GetItem(out.get(), i), "backward"));
  return result;
}

void bind_autograd(nb::module_& m) {
  m.def("backward", [](nb::handle roots, nb::handle grads, bool retain, bool create) {
    Tensors r = tensors_of(roots, false), g = tensors_of(grads, true);
    ReleaseGil free;
    backward(r, g, {.retain_graph = retain, .create_graph = create});
  }, "Adds the gradients of roots to the leaves they were made from.");
  m.def("grad", [](nb::handle roots, nb::handle inputs, nb::handle grads, bool retain, bool create, bool unused) {
    Tensors r = tensors_of(roots, false), x = tensors_of(inputs, false), g = tensors_of(grads, true), out;
    {
      ReleaseGil free;
      out = grad(r, x, g, {.retain_graph = retain, .create_graph = create}, unused);
    }
    return nb::steal(wrap_many(out));
  }, "Gradients of roots with respect to inputs, as a tuple.");

  m.def("backward_plans", [] {
    const BackwardPlanCounters& c = backward_plan_counters();
    nb::dict d;
    d["plans"] = c.plans;
    d["replays"] = c.replays;
    d["kept"] = c.kept;
    return d;
  }, "Plans of backward passes that this thread made, replayed and keeps.");

  m.def("is_grad_enabled", [] { return context().grad_enabled && !context().inference; },
        "True if ops are recorded for backward on this thread.");
  m.def("grad_mode", [] { return nb::make_tuple(context().grad_enabled, context().inference); },
        "(grad enabled, inference) of this thread.");
  m.def("set_grad_mode", [](bool grad, bool inference) {
    context().grad_enabled = grad;
    context().inference = inference;
  }, "Sets what grad_mode returns.");

  m.def("add_hook", [](const Tensor& t, nb::handle f) {
    if (!t.requires_grad())
      fail<StateError>("register_hook", "no gradient here: expected a tensor that requires one, got {}",
                       to_string(t.type()));
    int id = next_handle();
    GradientHook hook{std::make_shared<Callback>(f.ptr())};
    Edge e = gradient_edge(t);
    if (e.node) e.node->hooks.push_back({e.port, {id, hook}});
    else autograd_state(*t.impl()).hooks.push_back({id, hook});
    return id;
  }, "Calls f(grad) when the tensor's gradient is known; a returned tensor replaces it.");
  m.def("add_after_accumulate", [](const Tensor& t, nb::handle f) {
    if (!t.requires_grad() || !t.is_leaf())
      fail<StateError>("register_post_accumulate_grad_hook",
                       "not a leaf: expected a leaf that requires a gradient, got {}", to_string(t.type()));
    int id = next_handle();
    autograd_state(*t.impl()).after_accumulate.push_back({id, LeafHook{std::make_shared<Callback>(f.ptr())}});
    return id;
  }, "Calls f(tensor) after a gradient was added to the leaf's .grad.");
  m.def("remove_hook", [](const Tensor& t, int id) {
    auto drop = [&](auto& list) { std::erase_if(list, [&](auto& h) { return h.first == id; }); };
    if (AutogradState* s = t.impl()->autograd) {
      drop(s->hooks);
      drop(s->after_accumulate);
      if (s->node) std::erase_if(s->node->hooks, [&](auto& h) { return h.second.first == id; });
    }
  }, "Removes a hook by its number.");
  m.def("retain_grad", [](const Tensor& t) {
    if (!t.requires_grad())
      fail<StateError>("retain_grad", "no gradient here: expected a tensor that requires one, got {}",
                       to_string(t.type()));
    if (t.is_leaf() || autograd_state(*t.impl()).retain_grad) return;
    Edge e = gradient_edge(t);
    autograd_state(*t.impl()).retain_grad = true;
    e.node->retained.push_back({e.port, t.ref()});
  }, "Keeps the gradient of a tensor that is not a leaf.");

  // Attaches a Python backward to outputs. Returns the node's identity, for rejoin() during its backward.
  m.def("attach_custom", [](nb::handle inputs, nb::handle outputs, nb::handle f) -> uintptr_t {
    Tensors in = tensors_of(inputs, true), out = tensors_of(outputs, false);
    CustomFunction call{std::make_shared<Callback>(f.ptr())};
    attach_custom(in, out, call, nullptr);
    for (const Tensor& t : out)
      if (t.impl()->autograd && t.impl()->autograd->node)
        return reinterpret_cast<uintptr_t>(t.impl()->autograd->node.get());
    return 0;
  }, "Makes outputs' gradients flow through a Python function.");
  m.def("rejoin", [](const Tensor& value, uintptr_t node, int port) {
    Tensor t = value.detach();
    AutogradState& s = autograd_state(*t.impl());
    s.node = Ref<TapeNode>(reinterpret_cast<TapeNode*>(node));
    s.port = port;
    return t;
  }, "A saved output with its history again; only while its node's backward runs.");
}

}  // namespace suan::py
