// Every op of the table as a Python function, and as a Tensor method: one trampoline per table slot, so
// that a call reaches apply() with no lookup and no overload resolution.
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/backend.h"
#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

constexpr size_t max_ops = 320;

// dim, dims, axis and axes are one name to a caller; so are the first inputs under torch's names.
bool is_axis_name(std::string_view s) { return s == "dim" || s == "dims" || s == "axis" || s == "axes"; }

int attr_by_name(const OpDef& op, std::string_view name) {
  int at = op.find_attr(name);
  if (at >= 0 || !is_axis_name(name)) return at;
  for (size_t i = 0; i < op.attrs.size(); ++i)
    if (is_axis_name(op.attrs[i].name)) return int(i);
  return -1;
}

int input_by_name(const OpDef& op, std::string_view name) {
  for (size_t i = 0; i < op.inputs.size(); ++i)
    if (name == op.inputs[i].name) return int(i);
  if (name == "input" && !op.inputs.empty()) return 0;
  if (name == "other" && op.inputs.size() > 1) return 1;
  return -1;
}

// x.reshape(2, 3): trailing integers are one list.
bool takes_spread_dims(const OpDef& op) {
  static const char* const names[] = {"reshape", "view", "permute", "expand", "flip", "repeat", "tile"};
  for (const char* n : names)
    if (op.name == n) return true;
  return false;
}

bool returns_list(const OpDef& op) {
  return op.name == "split" || op.name == "chunk" || op.name == "unbind" || op.name == "adamw_steps";
}

struct Call {
  std::vector<Tensor> inputs;
  Attrs attrs;
};

// Attributes of a call that names none, made once; an op with a required one has none to give.
const Attrs& default_attrs(const OpDef& op) {
  static auto* all = [] {
    auto* v = new std::vector<Attrs>;
    for (const OpDef* o : all_ops()) {
      std::vector<Attr> a;
      for (const AttrSpec& s : o->attrs) a.push_back(s.fallback);
      v->emplace_back(std::move(a));
    }
    return v;
  }();
  return (*all)[size_t(op.id)];
}

Call parse(const OpDef& op, PyObject* self, PyObject* const* args, Py_ssize_t n_args, PyObject* names) {
  std::vector<PyObject*> given;
  given.reserve(4);
  std::vector<Owned> held;
  std::vector<Attr> attrs;
  auto attr_slot = [&](int i) -> Attr& {
    if (attrs.empty())
      for (const AttrSpec& s : op.attrs) attrs.push_back(s.fallback);
    return attrs[size_t(i)];
  };
  bool variadic = !op.inputs.empty() && op.inputs.back().arity == Arity::variadic;
  size_t fixed = op.inputs.size() - (variadic ? 1 : 0);
  Py_ssize_t at = 0;
  if (self) given.push_back(self);
  while (given.size() < fixed && at < n_args) given.push_back(args[at++]);
  if (variadic) {
    if (at < n_args && (PyTuple_Check(args[at]) || PyList_Check(args[at]))) {
      PyObject* list = args[at++];
      for (Py_ssize_t i = 0, n = PySequence_Size(list); i < n; ++i) {
        held.emplace_back(check(PySequence_GetItem(list, i)));
        given.push_back(held.back().get());
      }
    } else {
      while (at < n_args && (is_tensor(args[at]) || (args[at] == Py_None && op.attrs.empty())))
        given.push_back(args[at++]);
    }
  }
  size_t next = 0;
  if (at < n_args && takes_spread_dims(op) && PyLong_Check(args[at])) {
    Dims d;
    for (; at < n_args && PyLong_Check(args[at]); ++at) d.push_back(to_int(args[at], op.name.c_str(), "dims"));
    attr_slot(0) = d;
    next = 1;
  }
  for (; at < n_args; ++at, ++next) {
    if (next >= op.attrs.size())
      fail<TypeError>(op.name, "too many arguments: expected at most {}, got {}",
                      op.inputs.size() + op.attrs.size(), size_t(n_args) + (self ? 1 : 0));
    attr_slot(int(next)) = to_attr(args[at], op.attrs[next], op.name);
  }
  std::optional<DType> cast_first;
  Py_ssize_t n_names = names ? PyTuple_Size(names) : 0;
  for (Py_ssize_t k = 0; k < n_names; ++k) {
    std::string key = text_of(PyTuple_GetItem(names, k));
    PyObject* value = args[n_args + k];
    if (int a = attr_by_name(op, key); a >= 0) {
      attr_slot(a) = to_attr(value, op.attrs[size_t(a)], op.name);
      if (size_t(a) < next)
        fail<TypeError>(op.name, "argument given twice: expected one value for '{}', got two", key);
    } else if (int i = input_by_name(op, key); i >= 0) {
      if (variadic && size_t(i) == fixed)
        fail<TypeError>(op.name, "'{}' is positional: expected tensors or a list, got a keyword", key);
      if (given.size() <= size_t(i)) given.resize(size_t(i) + 1, Py_None);
      if (given[size_t(i)] != Py_None)
        fail<TypeError>(op.name, "argument given twice: expected one value for '{}', got two", key);
      given[size_t(i)] = value;
    } else if (key == "dtype") {
      if (value != Py_None) cast_first = dtype_of(value);
    } else {
      std::string known;
      for (const AttrSpec& s : op.attrs) known += (known.empty() ? "" : ", ") + std::string(s.name);
      fail<TypeError>(op.name, "unknown argument: expected one of [{}], got '{}'", known, key);
    }
  }
  Call call{promoted_inputs(op, given), {}};
  if (cast_first && !call.inputs.empty() && call.inputs[0].defined())
    call.inputs[0] = cast(call.inputs[0], *cast_first);
  if (autocast_active()) autocast_inputs(op, call.inputs);
  call.attrs = attrs.empty() ? default_attrs(op) : Attrs(std::move(attrs));
  return call;
}

int64_t work_of(std::span<const Tensor> in) {
  int64_t n = 0;
  for (const Tensor& t : in)
    if (t.defined()) n += t.numel();
  return n;
}

PyObject* run(const OpDef& op, const Call& call) {
  bool one = op.outputs.size() == 1 && !returns_list(op);
  std::optional<ReleaseGil> free;
  if (work_of(call.inputs) >= release_gil_elements) free.emplace();
  if (one) {
    Tensor out = apply(op, call.inputs, call.attrs);
    free.reset();
    return wrap(std::move(out));
  }
  Tensors out = apply_all(op, call.inputs, call.attrs);
  free.reset();
  return wrap_many(out);
}

PyObject* call_op(const OpDef& op, PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return guarded([&]() -> PyObject* {
    if (self && n == 0 && !names && op.inputs.size() == 1) {  // x.exp(): the commonest method call
      const Tensor& x = unwrap(self);
      if (op.outputs.size() == 1 && is_floating(x.dtype()) && !returns_list(op) &&
          x.numel() < release_gil_elements && !autocast_active())
        return wrap(apply(op, {&x, 1}, default_attrs(op)));
    }
    return run(op, parse(op, self, args, n, names));
  });
}

// x.op_(…): the result replaces x's values. Its dtype must be one that x's can hold, as in torch.
PyObject* call_in_place(const OpDef& op, PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return guarded([&]() -> PyObject* {
    Call call = parse(op, self, args, n, names);
    const Tensor& x = unwrap(self);
    std::optional<ReleaseGil> free;
    if (x.numel() >= release_gil_elements) free.emplace();
    if (call.inputs[0].same(x)) apply_into(op, call.inputs, call.attrs, x);
    else copy_into(x, apply(op, call.inputs, call.attrs));
    free.reset();
    Py_INCREF(self);
    return self;
  });
}

template <size_t I>
PyObject* function(PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return call_op(*all_ops()[I], nullptr, args, n, names);
}
template <size_t I>
PyObject* method(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return call_op(*all_ops()[I], self, args, n, names);
}
template <size_t I>
PyObject* method_in_place(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return call_in_place(*all_ops()[I], self, args, n, names);
}

using Trampoline = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);
struct Trampolines {
  Trampoline function, method, in_place;
};
template <size_t... I>
constexpr std::array<Trampolines, sizeof...(I)> make_trampolines(std::index_sequence<I...>) {
  return {{{function<I>, method<I>, method_in_place<I>}...}};
}
constexpr auto trampolines = make_trampolines(std::make_index_sequence<max_ops>());

std::string signature(const OpDef& op) {
  std::string s = op.name + "(";
  bool first = true;
  auto add = [&](const std::string& part) {
    s += (first ? "" : ", ") + part;
    first = false;
  };
  for (const InputSpec& i : op.inputs)
    add(i.arity == Arity::variadic ? std::string("*") + i.name
                                   : std::string(i.name) + (i.arity == Arity::optional ? "=None" : ""));
  for (const AttrSpec& a : op.attrs) {
    std::string part = a.name;
    if (a.nullable && a.fallback.index() == 0) part += "=None";
    else if (a.fallback.index() != 0) part += "=" + to_string(a.fallback);
    add(part);
  }
  return s + ")";
}

bool has_in_place(const OpDef& op) {
  if (op.inputs.empty() || op.outputs.size() != 1 || op.view || returns_list(op)) return false;
  if (op.flags & op_elementwise) return true;
  static const char* const names[] = {"lerp", "addcmul", "addcdiv", "masked_fill", "clamp", "softplus",
                                      "leaky_relu", "elu", "tril", "triu", "scatter", "scatter_add",
                                      "index_put", "where"};
  for (const char* n : names)
    if (op.name == n) return true;
  return false;
}

// Ops that only gradient rules, optimizers and the engine call are functions of the table, not methods.
bool is_method(const OpDef& op) {
  if (op.inputs.empty() || op.inputs[0].arity != Arity::required) return false;
  for (const char* tail : {"_grad", "_step", "_update", "_forward", "_train", "_scatter_add"})
    if (op.name.ends_with(tail)) return op.name == "scatter_add";
  return op.name != "fused_elementwise" && op.name != "fused_epilogue";
}

PyMethodDef* definition(const std::string& name, Trampoline f, const std::string& doc) {
  auto* keep = new std::pair<std::string, std::string>(name, doc);  // CPython keeps the pointers
  return new PyMethodDef{keep->first.c_str(), reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(f)),
                         METH_FASTCALL | METH_KEYWORDS, keep->second.c_str()};
}

nb::dict describe_op(const OpDef& op) {
  nb::dict d;
  d["name"] = op.name;
  d["doc"] = op.doc;
  nb::list inputs, attrs, outputs;
  for (const InputSpec& i : op.inputs) {
    nb::dict one;
    one["name"] = i.name;
    nb::list dtypes;
    for (int t = 0; t < n_dtypes; ++t)
      if (contains(i.dtypes, DType(t))) dtypes.append(std::string(name(DType(t))));
    one["dtypes"] = dtypes;
    one["arity"] = i.arity == Arity::required ? "required" : i.arity == Arity::optional ? "optional" : "variadic";
    one["group"] = i.group;
    inputs.append(one);
  }
  static const char* const kinds[] = {"bool", "int", "float", "str", "dims", "dtype", "ints", "graph"};
  for (const AttrSpec& a : op.attrs) {
    nb::dict one;
    one["name"] = a.name;
    one["kind"] = kinds[int(a.kind)];
    one["default"] = a.fallback.index() ? nb::object(nb::str(to_string(a.fallback).c_str())) : nb::none();
    one["nullable"] = a.nullable;
    attrs.append(one);
  }
  for (const char* o : op.outputs) outputs.append(o);
  d["inputs"] = inputs;
  d["attrs"] = attrs;
  d["outputs"] = outputs;
  d["elementwise"] = bool(op.flags & op_elementwise);
  d["random"] = bool(op.flags & op_random);
  d["view"] = op.view != nullptr;
  d["kernel"] = find_kernel(op, {}) != nullptr;
  d["composite"] = op.compose != nullptr;
  d["differentiable"] = !op.no_grad && (op.vjp || op.compose || op.view);
  d["no_grad"] = op.no_grad ? nb::object(nb::str(op.no_grad)) : nb::none();
  d["samples"] = op.samples ? int(op.samples().size()) : 0;
  d["onnx"] = op.onnx_name ? nb::object(nb::str(op.onnx_name)) : nb::none();
  d["onnx_since"] = op.onnx_since;
  return d;
}

PyObject* add_or_or(const char* logical, const OpDef& op, const Tensor& a, const Tensor& b) {
  const OpDef& chosen = is_bool(a.dtype()) && is_bool(b.dtype()) ? suan::op(logical) : op;
  return wrap(apply(chosen, {a, b}));
}

// Both tensors, dtypes already settled.
PyObject* finish_binary(const OpDef& op, const Tensor& a, const Tensor& b) {
  if (is_bool(a.dtype()) && !contains(op.inputs[0].dtypes, DType::boolean)) {
    if (&op == &SUAN_OP("add")) return add_or_or("logical_or", op, a, b);
    if (&op == &SUAN_OP("mul")) return add_or_or("logical_and", op, a, b);
  }
  BorrowedPair two(a, b);
  if (a.numel() + b.numel() < release_gil_elements) return wrap(apply(op, two.span()));
  Tensor owned[2] = {a, b};  // the collector must see that another thread may use them
  std::optional<ReleaseGil> free(std::in_place);
  Tensor out = apply(op, owned);
  free.reset();
  return wrap(std::move(out));
}

// The literal of a Python number beside tensor t.
Tensor literal_beside(const OpDef& op, const Tensor& t, PyObject* number, DType& common) {
  common = t.dtype();
  if (!(is_floating(common) && (PyFloat_Check(number) || PyLong_Check(number)))) {
    Operand both[2] = {operand_of(t), {number_dtype(number), Rank0::number}};
    common = settled(op, op.inputs[0], result_type(both));
  }
  return number_tensor(number, common, t.device());
}

}  // namespace

PyObject* binary(const OpDef& op, PyObject* a, PyObject* b) {
  return guarded([&]() -> PyObject* {
    bool ta = is_tensor(a), tb = is_tensor(b);
    if (ta && tb) {
      const Tensor &x = unwrap(a), &y = unwrap(b);
      if (x.dtype() == y.dtype() && is_floating(x.dtype())) return finish_binary(op, x, y);
      Operand both[2] = {operand_of(x), operand_of(y)};
      DType common = settled(op, op.inputs[0], result_type(both));
      return finish_binary(op, cast(x, common), cast(y, common));
    }
    PyObject* number = ta ? b : a;
    if (!is_number(number)) Py_RETURN_NOTIMPLEMENTED;
    const Tensor& t = unwrap(ta ? a : b);
    DType common;
    Tensor literal = literal_beside(op, t, number, common);
    if (t.dtype() == common) return ta ? finish_binary(op, t, literal) : finish_binary(op, literal, t);
    Tensor same = cast(t, common);
    return ta ? finish_binary(op, same, literal) : finish_binary(op, literal, same);
  });
}

PyObject* binary_in_place(const OpDef& op, PyObject* a, PyObject* b) {
  if (!is_tensor(a)) Py_RETURN_NOTIMPLEMENTED;
  return guarded([&]() -> PyObject* {
    const Tensor& x = unwrap(a);
    DType common = x.dtype();
    Tensor y;
    if (is_tensor(b)) {
      y = unwrap(b);
      if (y.dtype() != common || !is_floating(common)) {
        Operand both[2] = {operand_of(x), operand_of(y)};
        common = settled(op, op.inputs[0], result_type(both));
      }
    } else if (is_number(b)) {
      y = literal_beside(op, x, b, common);
    } else {
      Py_RETURN_NOTIMPLEMENTED;
    }
    std::optional<ReleaseGil> free;
    if (x.numel() >= release_gil_elements) free.emplace();
    if (common == x.dtype()) {
      Tensor two[2] = {x, cast(y, common)};
      apply_into(op, two, {}, x);
    } else {
      if (is_floating(common) && !is_floating(x.dtype()))
        fail<TypeError>(op.name, "result does not fit in place: expected {}, got {}", name(x.dtype()), name(common));
      copy_into(x, apply(op, {cast(x, common), cast(y, common)}));
    }
    free.reset();
    Py_INCREF(a);
    return a;
  });
}

void bind_ops(nb::module_& m) {
  nb::module_ table = m.def_submodule("ops", "The op table: one function per op, inputs first, then attributes.");
  const auto& all = all_ops();
  if (all.size() > max_ops)
    fail<InternalError>("binding", "too many ops: expected at most {}, got {}", max_ops, all.size());
  auto* type = reinterpret_cast<PyObject*>(tensor_type);
  for (size_t i = 0; i < all.size(); ++i) {
    const OpDef& op = *all[i];
    std::string doc = signature(op) + "\n\n" + op.doc;
    Owned f(check(PyCFunction_NewEx(definition(op.name, trampolines[i].function, doc), nullptr, table.ptr())));
    check(PyObject_SetAttrString(table.ptr(), op.name.c_str(), f.get()));
    if (!is_method(op)) continue;
    Owned bound(check(PyDescr_NewMethod(tensor_type, definition(op.name, trampolines[i].method, doc))));
    if (!PyObject_HasAttrString(type, op.name.c_str()))
      check(PyObject_SetAttrString(type, op.name.c_str(), bound.get()));
    std::string in_place = op.name + "_";
    if (!has_in_place(op) || PyObject_HasAttrString(type, in_place.c_str())) continue;
    Owned writer(check(PyDescr_NewMethod(
        tensor_type, definition(in_place, trampolines[i].in_place, "In place: " + doc))));
    check(PyObject_SetAttrString(type, in_place.c_str(), writer.get()));
  }
  m.def("op_table", [] {
    nb::list l;
    for (const OpDef* op : all_ops()) l.append(describe_op(*op));
    return l;
  }, "The op table as a list of dictionaries: schema, dtypes, kernels, gradient, ONNX name.");
  m.def("cpu_isa", [] { return std::string(cpu_isa()); }, "Instruction set of the CPU kernels.");
}

}  // namespace suan::py
