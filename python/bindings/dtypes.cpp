// suan.dtype objects: one immutable singleton per element type.
#include <limits>

#include "python/bindings/binding.h"

namespace suan::py {
namespace {

struct PyDType {
  PyObject_HEAD
  int index;
};
PyTypeObject* dtype_type;
PyObject* singletons[n_dtypes];

DType of(PyObject* o) { return DType(reinterpret_cast<PyDType*>(o)->index); }

PyObject* text(const std::string& s) { return PyUnicode_FromStringAndSize(s.data(), Py_ssize_t(s.size())); }

PyObject* repr(PyObject* o) { return text("suan." + std::string(name(of(o)))); }
PyObject* reduce(PyObject* o, PyObject*) { return text(std::string(name(of(o)))); }
PyObject* get_name(PyObject* o, void*) { return text(std::string(name(of(o)))); }
PyObject* get_size(PyObject* o, void*) { return PyLong_FromLongLong(item_size(of(o))); }
PyObject* get_floating(PyObject* o, void*) { return PyBool_FromLong(is_floating(of(o))); }
PyObject* get_complex(PyObject* o, void*) { return PyBool_FromLong(is_complex(of(o))); }
PyObject* get_signed(PyObject* o, void*) {
  return PyBool_FromLong(!is_unsigned_int(of(o)) && !is_bool(of(o)));
}
PyObject* get_bits(PyObject* o, void*) { return PyLong_FromLong(info(of(o)).bits); }

PyGetSetDef getset[] = {
    {"name", get_name, nullptr, "Name without the module.", nullptr},
    {"itemsize", get_size, nullptr, "Bytes of one element.", nullptr},
    {"bits", get_bits, nullptr, "Bits of one element.", nullptr},
    {"is_floating_point", get_floating, nullptr, "True for floating types.", nullptr},
    {"is_complex", get_complex, nullptr, "True for complex types.", nullptr},
    {"is_signed", get_signed, nullptr, "True if negative values exist.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, "Pickled by name."},
                         {nullptr, nullptr, 0, nullptr}};
PyType_Slot slots[] = {{Py_tp_repr, reinterpret_cast<void*>(repr)},
                       {Py_tp_getset, getset},
                       {Py_tp_methods, methods},
                       {Py_tp_doc, const_cast<char*>("An element type, such as suan.float32.")},
                       {0, nullptr}};
PyType_Spec spec = {"suan.dtype", sizeof(PyDType), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

struct Limits {
  double eps, tiny, max;
};
Limits limits_of(DType t) {
  switch (t) {
    case DType::f16: return {0x1p-10, 0x1p-14, 65504};
    case DType::bf16: return {0x1p-7, 0x1p-126, 0x1.fep127};
    case DType::f32: return {0x1p-23, 0x1p-126, std::numeric_limits<float>::max()};
    case DType::f64: return {0x1p-52, std::numeric_limits<double>::min(), std::numeric_limits<double>::max()};
    case DType::f8e4m3: return {0x1p-3, 0x1p-6, 448};
    case DType::f8e5m2: return {0x1p-2, 0x1p-14, 57344};
    case DType::f8e4m3fnuz: return {0x1p-3, 0x1p-7, 240};
    case DType::f8e5m2fnuz: return {0x1p-2, 0x1p-15, 57344};
    case DType::f8e8m0: return {1, 0x1p-127, 0x1p127};
    case DType::f4e2m1: return {0x1p-1, 1, 6};
    default: fail<TypeError>("finfo", "not a floating dtype: expected one, got {}", name(t));
  }
}

}  // namespace

bool is_dtype(PyObject* o) { return Py_TYPE(o) == dtype_type; }

DType dtype_of(PyObject* o) {
  if (is_dtype(o)) return of(o);
  if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) return default_dtype;
  if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) return DType::i64;
  if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) return DType::boolean;
  fail<TypeError>("dtype", "wrong type: expected suan.dtype, got {}", type_name(o));
}

PyObject* dtype_object(DType t) {
  PyObject* o = singletons[int(t)];
  Py_INCREF(o);
  return o;
}

void make_dtypes(nb::module_& m) {
  dtype_type = reinterpret_cast<PyTypeObject*>(check(PyType_FromSpec(&spec)));
  check(PyObject_SetAttrString(m.ptr(), "dtype", reinterpret_cast<PyObject*>(dtype_type)));
  for (int i = 0; i < n_dtypes; ++i) {
    singletons[i] = check(PyType_GenericAlloc(dtype_type, 0));
    reinterpret_cast<PyDType*>(singletons[i])->index = i;
    check(PyObject_SetAttrString(m.ptr(), std::string(name(DType(i))).c_str(), singletons[i]));
  }
  m.def("get_default_dtype", [] { return nb::steal(dtype_object(default_dtype)); },
        "The dtype that Python floats become.");
  m.def("set_default_dtype", [](nb::handle d) {
    DType t = dtype_of(d.ptr());
    if (!is_floating(t))
      fail<TypeError>("set_default_dtype", "not a floating dtype: expected one, got {}", name(t));
    default_dtype = t;
  }, "Sets the dtype that Python floats become.");
  m.def("promote_types", [](nb::handle a, nb::handle b) {
    return nb::steal(dtype_object(promote(dtype_of(a.ptr()), dtype_of(b.ptr()))));
  }, "The dtype that two dtypes meet in.");
  m.def("result_type", [](nb::args args) {
    std::vector<Operand> operands;
    for (nb::handle h : args) {
      PyObject* o = h.ptr();
      if (is_tensor(o)) operands.push_back(operand_of(unwrap(o)));
      else if (is_dtype(o)) operands.push_back({of(o), Rank0::tensor});
      else operands.push_back({number_dtype(o), Rank0::number});
    }
    if (operands.empty()) fail<TypeError>("result_type", "no operands: expected at least one, got none");
    return nb::steal(dtype_object(result_type(operands)));
  }, "The dtype that arithmetic on these tensors and numbers gives.");
  m.def("dtype_limits", [](nb::handle d) {
    Limits l = limits_of(dtype_of(d.ptr()));
    return nb::make_tuple(l.eps, l.tiny, l.max);
  }, "eps, smallest normal and largest value of a floating dtype.");
}

}  // namespace suan::py
