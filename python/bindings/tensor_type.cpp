// The type object of suan.Tensor: life cycle and operator slots.
#include <new>

#include "core/allocator.h"
#include "ops/api.h"
#include "python/bindings/binding.h"
#include "python/bindings/callback.h"

#include <structmember.h>

namespace suan::py {

PyTypeObject* tensor_type;

namespace {

PyTensor* as_object(PyObject* o) { return reinterpret_cast<PyTensor*>(o); }

// Objects of the plain type wait here to be used again: a tenth of a small call. Guarded by the GIL.
constexpr int most_spare = 64;
PyObject* spare[most_spare];
int n_spare = 0;

void dealloc(PyObject* self) {
  PyTensor* t = as_object(self);
  PyObject_GC_UnTrack(self);
  if (t->tensor.defined()) {
    t->tensor.impl()->python = nullptr;  // first: nothing may find a dying object
    forget_retained(t->tensor);
  }
  if (t->weak) PyObject_ClearWeakRefs(self);
  Py_CLEAR(t->dict);
  t->tensor.~Tensor();
  PyTypeObject* type = Py_TYPE(self);
  if (type != tensor_type) reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
  else if (n_spare < most_spare) spare[n_spare++] = self;
  else PyObject_GC_Del(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_object(self)->dict);
  return visit_callbacks(as_object(self)->tensor, visit, arg);
}

// Breaks a cycle: the attributes go, and so does all autograd state that only this object owns. What still asks
// for the tensor finds its values without history.
int clear(PyObject* self) {
  PyTensor* t = as_object(self);
  Py_CLEAR(t->dict);
  if (!t->tensor.defined() || !t->tensor.impl()->autograd || t->tensor.impl()->use_count() != 1) return 0;
  guarded([&]() -> PyObject* {
    Tensor plain = t->tensor.detach();
    t->tensor.impl()->python = nullptr;
    plain.impl()->python = self;
    std::swap(t->tensor, plain);
    return nullptr;
  });
  PyErr_Clear();
  return 0;
}

PyObject* allocate(PyTypeObject* type) {
  PyObject* o;
  if (type != tensor_type) o = PyType_GenericAlloc(type, 0);
  else if (n_spare) o = PyObject_Init(spare[--n_spare], type);
  else o = reinterpret_cast<PyObject*>(PyObject_GC_New(PyTensor, type));
  if (!o) return nullptr;
  new (&as_object(o)->tensor) Tensor;
  as_object(o)->dict = nullptr;
  as_object(o)->weak = nullptr;
  if (type == tensor_type) PyObject_GC_Track(o);
  return o;
}

// Tensor.__new__(cls, data): a subclass gets its own object over the same storage.
PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  return guarded([&]() -> PyObject* {
    if (PyTuple_Size(args) != 1 || !is_tensor(PyTuple_GetItem(args, 0)))
      fail<TypeError>("Tensor", "cannot build a tensor: expected one Tensor, got other arguments; use suan.tensor(data)");
    PyObject* o = check(allocate(type));
    Tensor t = unwrap(PyTuple_GetItem(args, 0)).detach();
    t.impl()->python = o;
    as_object(o)->tensor = std::move(t);
    return o;
  });
}
int init(PyObject*, PyObject*, PyObject*) { return 0; }

#define SUAN_SLOT(f, op_name)                                                                       \
  PyObject* f(PyObject* a, PyObject* b) { return binary(SUAN_OP(op_name), a, b); }                  \
  PyObject* i##f(PyObject* a, PyObject* b) { return binary_in_place(SUAN_OP(op_name), a, b); }
SUAN_SLOT(add, "add")
SUAN_SLOT(sub, "sub")
SUAN_SLOT(mul, "mul")
SUAN_SLOT(div, "div")
SUAN_SLOT(floordiv, "floor_divide")
SUAN_SLOT(mod, "remainder")
SUAN_SLOT(band, "bitwise_and")
SUAN_SLOT(bor, "bitwise_or")
SUAN_SLOT(bxor, "bitwise_xor")
SUAN_SLOT(shl, "left_shift")
SUAN_SLOT(shr, "right_shift")
#undef SUAN_SLOT

// x ** 2 is a multiplication; so are the other exponents that need no pow.
const OpDef* cheap_power(PyObject* base, PyObject* exponent) {
  if (!is_tensor(base) || is_tensor(exponent) || !is_number(exponent)) return nullptr;
  bool floating = is_floating(unwrap(base).dtype());
  double e = PyFloat_AsDouble(exponent);
  if (e == 2 && (floating || PyLong_Check(exponent)) && !is_bool(unwrap(base).dtype())) return &SUAN_OP("square");
  if (!floating) return nullptr;
  if (e == 0.5) return &SUAN_OP("sqrt");
  if (e == -1) return &SUAN_OP("reciprocal");
  return nullptr;
}

PyObject* power(PyObject* a, PyObject* b, PyObject*) {
  if (const OpDef* op = cheap_power(a, b))
    return guarded([&] { return wrap(apply(*op, {unwrap(a)})); });
  return binary(SUAN_OP("pow"), a, b);
}
PyObject* ipower(PyObject* a, PyObject* b, PyObject*) { return binary_in_place(SUAN_OP("pow"), a, b); }

PyObject* matmul(PyObject* a, PyObject* b) {
  if (!is_tensor(a) || !is_tensor(b)) Py_RETURN_NOTIMPLEMENTED;
  return guarded([&]() -> PyObject* {
    if (autocast_active()) {
      Tensor in[2] = {unwrap(a), unwrap(b)};
      autocast_inputs(SUAN_OP("matmul"), in);
      std::optional<ReleaseGil> free(std::in_place);
      Tensor out = apply(SUAN_OP("matmul"), in);
      free.reset();
      return wrap(std::move(out));
    }
    BorrowedPair two(unwrap(a), unwrap(b));
    if (two.span()[0].numel() + two.span()[1].numel() < release_gil_elements)
      return wrap(apply(SUAN_OP("matmul"), two.span()));
    Tensor owned[2] = {unwrap(a), unwrap(b)};  // the collector must see that another thread may use them
    std::optional<ReleaseGil> free(std::in_place);
    Tensor out = apply(SUAN_OP("matmul"), owned);
    free.reset();
    return wrap(std::move(out));
  });
}

PyObject* negative(PyObject* a) { return guarded([&] { return wrap(ops::neg(unwrap(a))); }); }
PyObject* absolute(PyObject* a) { return guarded([&] { return wrap(ops::abs(unwrap(a))); }); }
PyObject* positive(PyObject* a) {
  Py_INCREF(a);
  return a;
}
PyObject* invert(PyObject* a) {
  return guarded([&] { return wrap(apply(SUAN_OP("bitwise_not"), {unwrap(a)})); });
}

// One element, read on the host; in a recording this is data-dependent control flow and refused.
void require_readable(const Tensor& t, const char* what) {
  if (t.numel() != 1)
    fail<ValueError>(what, "wrong number of elements: expected 1, got {}", to_string(t.type()));
}
int truth(PyObject* a) {
  int result = -1;
  guarded([&]() -> PyObject* {
    require_readable(unwrap(a), "bool");
    result = unwrap(a).item() != 0;
    return nullptr;
  });
  return result;
}
PyObject* to_long(PyObject* a) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = unwrap(a);
    require_readable(t, "int");
    if (is_floating(t.dtype())) return PyLong_FromDouble(t.item());
    if (t.dtype() == DType::u64) return PyLong_FromUnsignedLongLong(uint64_t(t.item_int()));
    return PyLong_FromLongLong(t.item_int());
  });
}
PyObject* to_index(PyObject* a) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = unwrap(a);
    if (is_floating(t.dtype()) || t.numel() != 1)
      fail<TypeError>("index", "not an index: expected one integer, got {}", to_string(t.type()));
    return PyLong_FromLongLong(t.item_int());
  });
}
PyObject* to_double(PyObject* a) {
  return guarded([&]() -> PyObject* {
    require_readable(unwrap(a), "float");
    return PyFloat_FromDouble(unwrap(a).item());
  });
}

PyObject* compare(PyObject* a, PyObject* b, int kind) {
  switch (kind) {
    case Py_EQ: return binary(SUAN_OP("eq"), a, b);
    case Py_NE: return binary(SUAN_OP("ne"), a, b);
    case Py_LT: return binary(SUAN_OP("lt"), a, b);
    case Py_LE: return binary(SUAN_OP("le"), a, b);
    case Py_GT: return binary(SUAN_OP("gt"), a, b);
    default: return binary(SUAN_OP("ge"), a, b);
  }
}
Py_hash_t hash(PyObject* a) { return Py_hash_t(reinterpret_cast<uintptr_t>(a) >> 4); }

Py_ssize_t length(PyObject* a) {
  const Tensor& t = unwrap(a);
  if (t.rank() == 0) {
    PyErr_SetString(PyExc_TypeError, "[len] 0-d tensor has no length: expected rank 1 or more, got 0");
    return -1;
  }
  return Py_ssize_t(t.dim(0));
}

// Repr and iteration live in Python; the type looks them up by name.
PyObject* repr(PyObject* a) { return PyObject_CallMethod(a, "_repr", nullptr); }
PyObject* iterate(PyObject* a) { return PyObject_CallMethod(a, "_iterate", nullptr); }

PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(PyTensor, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTensor, weak), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

#define SUAN_FN(slot, f) {slot, reinterpret_cast<void*>(f)}
PyType_Slot slots[] = {
    SUAN_FN(Py_tp_dealloc, dealloc), SUAN_FN(Py_tp_traverse, traverse), SUAN_FN(Py_tp_clear, clear),
    SUAN_FN(Py_tp_new, make), SUAN_FN(Py_tp_init, init),
    SUAN_FN(Py_tp_hash, hash), SUAN_FN(Py_tp_richcompare, compare), SUAN_FN(Py_tp_repr, repr),
    SUAN_FN(Py_tp_iter, iterate), {Py_tp_methods, tensor_methods}, {Py_tp_getset, tensor_getset},
    {Py_tp_members, members}, SUAN_FN(Py_mp_length, length), SUAN_FN(Py_mp_subscript, get_item),
    SUAN_FN(Py_mp_ass_subscript, set_item),
    {Py_tp_doc, const_cast<char*>("An n-dimensional array with autograd; make one with suan.tensor(data).")},
    SUAN_FN(Py_nb_add, add), SUAN_FN(Py_nb_subtract, sub), SUAN_FN(Py_nb_multiply, mul),
    SUAN_FN(Py_nb_true_divide, div), SUAN_FN(Py_nb_floor_divide, floordiv), SUAN_FN(Py_nb_remainder, mod),
    SUAN_FN(Py_nb_and, band), SUAN_FN(Py_nb_or, bor), SUAN_FN(Py_nb_xor, bxor),
    SUAN_FN(Py_nb_lshift, shl), SUAN_FN(Py_nb_rshift, shr), SUAN_FN(Py_nb_power, power),
    SUAN_FN(Py_nb_matrix_multiply, matmul), SUAN_FN(Py_nb_negative, negative),
    SUAN_FN(Py_nb_absolute, absolute), SUAN_FN(Py_nb_positive, positive), SUAN_FN(Py_nb_invert, invert),
    SUAN_FN(Py_nb_bool, truth), SUAN_FN(Py_nb_int, to_long), SUAN_FN(Py_nb_index, to_index),
    SUAN_FN(Py_nb_float, to_double),
    SUAN_FN(Py_nb_inplace_add, iadd), SUAN_FN(Py_nb_inplace_subtract, isub),
    SUAN_FN(Py_nb_inplace_multiply, imul), SUAN_FN(Py_nb_inplace_true_divide, idiv),
    SUAN_FN(Py_nb_inplace_floor_divide, ifloordiv), SUAN_FN(Py_nb_inplace_remainder, imod),
    SUAN_FN(Py_nb_inplace_and, iband), SUAN_FN(Py_nb_inplace_or, ibor), SUAN_FN(Py_nb_inplace_xor, ibxor),
    SUAN_FN(Py_nb_inplace_lshift, ishl), SUAN_FN(Py_nb_inplace_rshift, ishr),
    SUAN_FN(Py_nb_inplace_power, ipower), {0, nullptr}};
#undef SUAN_FN

PyType_Spec spec = {"suan.Tensor", sizeof(PyTensor), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                    slots};

}  // namespace

PyObject* wrap(Tensor t) {
  if (!t.defined()) Py_RETURN_NONE;
  if (void* known = t.impl()->python) {
    auto* o = static_cast<PyObject*>(known);
    Py_INCREF(o);
    return o;
  }
  PyObject* o = allocate(tensor_type);
  if (!o) throw PythonError{};
  t.impl()->python = o;
  as_object(o)->tensor = std::move(t);
  return o;
}

PyObject* wrap_many(std::span<const Tensor> ts) {
  Owned tuple(check(PyTuple_New(Py_ssize_t(ts.size()))));
  for (size_t i = 0; i < ts.size(); ++i)
    check(PyTuple_SetItem(tuple.get(), Py_ssize_t(i), wrap(ts[i])));
  return tuple.release();
}

void make_tensor_type(nb::module_& m) {
  tensor_type = reinterpret_cast<PyTypeObject*>(check(PyType_FromSpec(&spec)));
  check(PyObject_SetAttrString(m.ptr(), "Tensor", reinterpret_cast<PyObject*>(tensor_type)));
}

}  // namespace suan::py
