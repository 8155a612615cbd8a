// Python values to attributes and op inputs.
#include <algorithm>
#include <array>
#include <cstring>

#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {

int64_t to_int(PyObject* o, const char* op, const char* what) {
  Owned index;
  if (!PyLong_Check(o)) {
    index = Owned(PyNumber_Index(o));
    if (!index) {
      PyErr_Clear();
      fail<TypeError>(op, "wrong type for '{}': expected int, got {}", what, type_name(o));
    }
    o = index.get();
  }
  int overflow = 0;
  long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
  if (overflow) fail<ValueError>(op, "'{}' is too large: expected a 64-bit integer, got more", what);
  return v;
}

Dims to_dims(PyObject* o, const char* op, const char* what) {
  if (PyLong_Check(o) || (is_tensor(o) && PyIndex_Check(o))) return Dims{to_int(o, op, what)};
  Owned items;
  if (!PyTuple_Check(o) && !PyList_Check(o)) {
    if (PyIndex_Check(o)) return Dims{to_int(o, op, what)};
    items = Owned(PySequence_Tuple(o));
    if (!items) {
      PyErr_Clear();
      fail<TypeError>(op, "wrong type for '{}': expected int or a sequence of int, got {}", what, type_name(o));
    }
    o = items.get();
  }
  Dims d;
  Py_ssize_t n = PySequence_Size(o);
  for (Py_ssize_t i = 0; i < n; ++i) {
    Owned item(check(PySequence_GetItem(o, i)));
    d.push_back(to_int(item.get(), op, what));
  }
  return d;
}

Attr to_attr(PyObject* o, const AttrSpec& spec, const std::string& op) {
  auto wrong = [&](const char* expected) {
    fail<TypeError>(op, "wrong type for '{}': expected {}, got {}", spec.name, expected, type_name(o));
  };
  if (o == Py_None) {
    if (spec.nullable) return {};
    if (spec.fallback.index() != 0) return spec.fallback;
    if (spec.kind == AttrKind::dims) return Dims{};
    wrong("a value");
  }
  switch (spec.kind) {
    case AttrKind::boolean:
      if (!PyBool_Check(o) && !PyLong_Check(o)) wrong("bool");
      return PyObject_IsTrue(o) == 1;
    case AttrKind::integer: return to_int(o, op.c_str(), spec.name);
    case AttrKind::real: {
      double v = PyFloat_AsDouble(o);
      if (v == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        wrong("float");
      }
      return v;
    }
    case AttrKind::string:
      if (!PyUnicode_Check(o)) wrong("str");
      return text_of(o);
    case AttrKind::dims: return to_dims(o, op.c_str(), spec.name);
    case AttrKind::dtype: return dtype_of(o);
    case AttrKind::ints: {
      Owned items(PySequence_Tuple(o));
      if (!items) {
        PyErr_Clear();
        wrong("a sequence of int");
      }
      std::vector<int64_t> v;
      for (Py_ssize_t i = 0, n = PyTuple_Size(items.get()); i < n; ++i)
        v.push_back(to_int(PyTuple_GetItem(items.get(), i), op.c_str(), spec.name));
      return v;
    }
    case AttrKind::graph: wrong("a graph made by suan.compile");
  }
  return {};
}

namespace {

// Ops whose tensors of different dtypes meet in a common one, as in torch; all others are strict.
bool promotes(const OpDef& op) {
  if (op.flags & op_elementwise) return true;
  static const char* const names[] = {"lerp", "addcmul", "addcdiv", "cat", "stack", "where", "clamp", "pow",
                                      "isclose"};
  for (const char* n : names)
    if (op.name == n) return true;
  return false;
}

}  // namespace

DType settled(const OpDef& op, const InputSpec& spec, DType common) {
  if (contains(spec.dtypes, common) || is_floating(common) || is_complex(common)) return common;
  bool elementwise = op.flags & op_elementwise || promotes(op);
  if (elementwise && contains(spec.dtypes, default_dtype) && !contains(spec.dtypes, DType::i64))
    return default_dtype;
  return common;
}

std::vector<Tensor> promoted_inputs(const OpDef& op, std::span<PyObject* const> given) {
  size_t n = given.size(), fixed = op.inputs.size();
  std::vector<Tensor> out(n);
  if (n == 0) return out;
  if (fixed == 0) fail<TypeError>(op.name, "too many arguments: expected no tensor, got {}", n);
  std::array<std::vector<Operand>, 8> groups;
  bool numbers = false, differ = false;
  std::array<int, 8> first;
  first.fill(-1);
  Device device;
  auto spec_of = [&](size_t i) -> const InputSpec& { return op.inputs[std::min(i, fixed - 1)]; };
  for (size_t i = 0; i < n; ++i) {
    PyObject* o = given[i];
    if (!o || o == Py_None) continue;
    int g = spec_of(i).group;
    if (is_tensor(o)) {
      out[i] = unwrap(o);
      device = out[i].device();
      if (!g) continue;
      if (first[g] < 0) first[g] = int(out[i].dtype());
      else if (first[g] != int(out[i].dtype())) differ = true;
    } else if (is_number(o)) {
      numbers = true;
    } else {
      fail<TypeError>(op.name, "wrong type for '{}': expected Tensor or number, got {}", spec_of(i).name,
                      type_name(o));
    }
  }
  bool may_settle = op.flags & op_elementwise && first[1] >= 0 && !is_floating(DType(first[1]));
  if (!numbers && !may_settle && !(differ && promotes(op))) return out;

  bool keeps_first = op.name == "masked_fill" || op.name == "index_put" || op.name == "scatter" ||
                     op.name == "scatter_add" || op.name == "full" || op.name == "pad";
  for (size_t i = 0; i < n; ++i)
    if (given[i] && given[i] != Py_None) {
      Operand o = out[i].defined() ? operand_of(out[i]) : Operand{number_dtype(given[i]), Rank0::number};
      if (keeps_first && out[0].defined()) o = operand_of(out[0]);
      groups[size_t(spec_of(i).group)].push_back(o);
    }
  for (size_t i = 0; i < n; ++i) {
    if (!given[i] || given[i] == Py_None) continue;
    const InputSpec& spec = spec_of(i);
    DType common;
    if (spec.group) {
      common = settled(op, spec, result_type(groups[size_t(spec.group)]));
    } else if (out[i].defined()) {
      continue;
    } else {
      common = number_dtype(given[i]);
      if (!contains(spec.dtypes, common) && contains(spec.dtypes, default_dtype)) common = default_dtype;
    }
    if (!out[i].defined()) out[i] = number_tensor(given[i], common, device);
    else if (promotes(op)) out[i] = cast(out[i], common);
  }
  return out;
}

}  // namespace suan::py
