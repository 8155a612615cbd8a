// Attributes and methods of suan.Tensor that are not plain ops.
#include "core/backend.h"
#include "core/convert.h"
#include "core/exports.h"
#include "core/tape.h"
#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {

void check_outside_recording(const Tensor& t, const char* op);  // interop.cpp

PyObject* size_class;
PyObject* device_cpu;

namespace {

PyObject* tuple_of(const Dims& d) {
  PyObject* t = check(PyTuple_New(d.size()));
  for (int i = 0; i < d.size(); ++i) PyTuple_SetItem(t, i, PyLong_FromLongLong(d[i]));
  return t;
}

PyObject* size_of(const Tensor& t) {
  Owned plain(tuple_of(t.shape()));
  if (!size_class) return plain.release();
  return check(PyObject_CallFunctionObjArgs(size_class, plain.get(), nullptr));
}

// ---- attributes ------------------------------------------------------------------------------------

PyObject* get_shape(PyObject* o, void*) { return guarded([&] { return size_of(unwrap(o)); }); }
PyObject* get_dtype(PyObject* o, void*) { return dtype_object(unwrap(o).dtype()); }
PyObject* get_device(PyObject* o, void*) {
  return guarded([&]() -> PyObject* {
    const Device where = unwrap(o).device();
    PyObject* d = device_cpu ? device_cpu : Py_None;
    if (where.is_cpu() || !device_cpu) {
      Py_INCREF(d);
      return d;
    }
    return check(PyObject_CallFunction(reinterpret_cast<PyObject*>(Py_TYPE(d)), "s", to_string(where).c_str()));
  });
}
PyObject* get_ndim(PyObject* o, void*) { return PyLong_FromLong(unwrap(o).rank()); }
PyObject* get_requires_grad(PyObject* o, void*) { return PyBool_FromLong(unwrap(o).requires_grad()); }
int set_requires_grad(PyObject* o, PyObject* value, void*) {
  return guarded([&]() -> PyObject* {
           if (!value || !PyBool_Check(value))
             fail<TypeError>("requires_grad", "wrong type: expected bool, got {}", value ? type_name(value) : "del");
           unwrap(o).set_requires_grad(value == Py_True);
           return Py_None;
         })
             ? 0 : -1;
}
PyObject* get_is_leaf(PyObject* o, void*) { return PyBool_FromLong(unwrap(o).is_leaf()); }
PyObject* get_grad(PyObject* o, void*) { return guarded([&] { return wrap(unwrap(o).grad()); }); }
int set_grad(PyObject* o, PyObject* value, void*) {
  return guarded([&]() -> PyObject* {
           if (value && value != Py_None && !is_tensor(value))
             fail<TypeError>("grad", "wrong type: expected Tensor or None, got {}", type_name(value));
           unwrap(o).set_grad(value && value != Py_None ? unwrap(value) : Tensor());
           return Py_None;
         })
             ? 0 : -1;
}
PyObject* get_data(PyObject* o, void*) { return guarded([&] { return wrap(unwrap(o).detach()); }); }
// t.data = u: the tensor now sees u's storage; history and gradient stay.
int set_data(PyObject* o, PyObject* value, void*) {
  return guarded([&]() -> PyObject* {
           if (!value || !is_tensor(value))
             fail<TypeError>("data", "wrong type: expected Tensor, got {}", value ? type_name(value) : "del");
           TensorImpl* t = unwrap(o).impl();
           const Tensor& from = unwrap(value);
           if (t->autograd && t->autograd->grad.defined() &&
               (from.shape() != t->layout.shape || from.dtype() != t->dtype))
             t->autograd->grad = Tensor();
           t->storage = from.storage();
           t->layout = from.layout();
           t->dtype = from.dtype();
           return Py_None;
         })
             ? 0 : -1;
}
PyObject* get_transpose(PyObject* o, void*) {
  return guarded([&] {
    const Tensor& t = unwrap(o);
    Dims axes;
    for (int i = t.rank(); i-- > 0;) axes.push_back(i);
    return wrap(ops::permute(t, axes));
  });
}
PyObject* get_matrix_transpose(PyObject* o, void*) {
  return guarded([&] {
    const Tensor& t = unwrap(o);
    if (t.rank() < 2) fail<ShapeError>("mT", "too few dimensions: expected 2 or more, got {}", t.rank());
    return wrap(ops::transpose(t, -2, -1));
  });
}
PyObject* get_grad_fn(PyObject* o, void*) {
  return guarded([&]() -> PyObject* {
    Edge e = gradient_edge(unwrap(o));
    if (!e.node) Py_RETURN_NONE;
    std::string name = e.node->op ? e.node->op->name : "custom";
    if (e.node->source) name += " at " + to_string(e.node->source);
    return PyUnicode_FromFormat("<%s>", name.c_str());
  });
}
PyObject* get_version(PyObject* o, void*) { return PyLong_FromUnsignedLong(unwrap(o).storage()->version()); }
PyObject* get_retains_grad(PyObject* o, void*) {
  const TensorImpl* t = unwrap(o).impl();
  return PyBool_FromLong(t->autograd && t->autograd->retain_grad);
}
PyObject* get_itemsize(PyObject* o, void*) { return PyLong_FromLongLong(item_size(unwrap(o).dtype())); }
PyObject* get_nbytes(PyObject* o, void*) {
  return PyLong_FromLongLong(unwrap(o).numel() * item_size(unwrap(o).dtype()));
}
PyObject* get_base(PyObject* o, void*) {
  const TensorImpl* t = unwrap(o).impl();
  return guarded([&] { return wrap(t->autograd ? t->autograd->base : Tensor()); });
}

// ---- methods -----------------------------------------------------------------------------------------

#define SUAN_METHOD(f) PyObject* f(PyObject* self, [[maybe_unused]] PyObject* const* args, \
                                   [[maybe_unused]] Py_ssize_t n)

SUAN_METHOD(size) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = unwrap(self);
    if (n == 0 || args[0] == Py_None) return size_of(t);
    return PyLong_FromLongLong(t.dim(normalize_axis("size", to_int(args[0], "size", "dim"), t.rank())));
  });
}
SUAN_METHOD(stride) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = unwrap(self);
    if (n == 0) return tuple_of(t.strides());
    return PyLong_FromLongLong(t.strides()[normalize_axis("stride", to_int(args[0], "stride", "dim"), t.rank())]);
  });
}
PyObject* dim(PyObject* o, PyObject*) { return PyLong_FromLong(unwrap(o).rank()); }
PyObject* count(PyObject* o, PyObject*) { return PyLong_FromLongLong(unwrap(o).numel()); }
PyObject* storage_offset(PyObject* o, PyObject*) { return PyLong_FromLongLong(unwrap(o).offset()); }
PyObject* data_ptr(PyObject* o, PyObject*) {
  return guarded([&] {
    const Tensor& t = unwrap(o);
    export_for_good(*t.storage());   // who has the address may write there
    return PyLong_FromVoidPtr(t.raw());
  });
}
PyObject* is_contiguous(PyObject* o, PyObject*) { return PyBool_FromLong(unwrap(o).is_contiguous()); }
PyObject* contiguous(PyObject* o, PyObject*) { return guarded([&] { return wrap(ops::contiguous(unwrap(o))); }); }
PyObject* detach(PyObject* o, PyObject*) { return guarded([&] { return wrap(unwrap(o).detach()); }); }
PyObject* is_floating_point(PyObject* o, PyObject*) { return PyBool_FromLong(is_floating(unwrap(o).dtype())); }

// One element as the Python number it stands for.
PyObject* number_at(const std::byte* p, DType t) {
  if (is_bool(t)) return PyBool_FromLong(load_as_int(p, t) != 0);
  if (is_complex(t)) {
    const DType part = t == DType::c64 ? DType::f32 : DType::f64;
    return PyComplex_FromDoubles(load_as(p, part), load_as(p + item_size(part), part));
  }
  if (t == DType::u64) return PyLong_FromUnsignedLongLong(uint64_t(load_as_int(p, t)));
  if (is_integer(t)) return PyLong_FromLongLong(load_as_int(p, t));
  return PyFloat_FromDouble(load_as(p, t));
}
PyObject* item(PyObject* o, PyObject*) {
  return guarded([&] {
    const Tensor& t = unwrap(o);
    // Checks the size and that the value may be read here.
    if (is_complex(t.dtype())) {
      if (t.numel() != 1) fail<ValueError>("item", "wrong number of elements: expected 1, got {}", to_string(t.type()));
      check_outside_recording(t, "item");
    } else if (is_floating(t.dtype())) {
      t.item();
    } else {
      t.item_int();
    }
    if (!t.device().is_cpu()) return number_at(to_device(t, {}).raw(), t.dtype());
    return number_at(t.raw(), t.dtype());
  });
}
PyObject* nested(const Tensor& t, const std::byte* p, int axis) {
  if (axis == t.rank()) return check(number_at(p, t.dtype()));
  Owned list(check(PyList_New(t.dim(axis))));
  int64_t step = t.strides()[axis] * item_size(t.dtype());
  for (int64_t i = 0; i < t.dim(axis); ++i) PyList_SetItem(list.get(), i, nested(t, p + i * step, axis + 1));
  return list.release();
}
PyObject* tolist(PyObject* o, PyObject*) {
  return guarded([&] {
    check_outside_recording(unwrap(o), "tolist");
    const Tensor& given = unwrap(o);
    const Tensor t = given.device().is_cpu() ? given : to_device(given, {});
    return nested(t, t.raw(), 0);
  });
}

SUAN_METHOD(requires_grad_) {
  return guarded([&]() -> PyObject* {
    unwrap(self).set_requires_grad(n == 0 || PyObject_IsTrue(args[0]) == 1);
    Py_INCREF(self);
    return self;
  });
}
PyObject* fill_(PyObject* self, PyObject* value) {
  return guarded([&]() -> PyObject* {
    fill(unwrap(self), value);
    Py_INCREF(self);
    return self;
  });
}
PyObject* zero_(PyObject* self, PyObject*) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = unwrap(self);
    apply_into(SUAN_OP("full"), {Tensor::scalar(0, t.dtype(), t.device())}, {t.shape()}, t);
    Py_INCREF(self);
    return self;
  });
}
SUAN_METHOD(copy_) {
  return guarded([&]() -> PyObject* {
    if (n < 1) fail<TypeError>("copy_", "missing argument: expected a source, got none");
    if (is_tensor(args[0])) copy_into(unwrap(self), unwrap(args[0]));
    else fill(unwrap(self), args[0]);
    Py_INCREF(self);
    return self;
  });
}
// view(*shape), or view(dtype) of the same size. A contiguous tensor needs no check that no copy was made.
SUAN_METHOD(view) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = unwrap(self);
    if (n == 1 && is_dtype(args[0])) {
      DType to = dtype_of(args[0]);
      if (item_size(to) != item_size(t.dtype()) || is_sub_byte(to) || is_sub_byte(t.dtype()))
        fail<TypeError>("view", "dtype does not fit: expected {} bytes, got {}", item_size(t.dtype()), name(to));
      return wrap(Tensor::over(t.storage(), t.layout(), to));
    }
    Dims shape;
    if (n == 1) shape = to_dims(args[0], "view", "size");
    else
      for (Py_ssize_t i = 0; i < n; ++i) shape.push_back(to_int(args[i], "view", "size"));
    return wrap(t.is_contiguous() ? ops::reshape(t, shape) : apply(SUAN_OP("view"), {t}, {shape}));
  });
}
PyObject* clone(PyObject* o, PyObject*) { return guarded([&] { return wrap(ops::clone(unwrap(o))); }); }

template <DType T>
PyObject* convert(PyObject* o, PyObject*) {
  return guarded([&] { return wrap(cast(unwrap(o), T)); });
}

}  // namespace

Tensor shape_copy(const Tensor& t, const Shape& shape) {
  return t.shape() == shape ? t : ops::expand(t, shape);
}

void copy_into(const Tensor& to, Tensor from) {
  if (!(from.device() == to.device())) from = to_device(from, to.device());
  from = cast(from, to.dtype());
  if (from.rank() > to.rank()) {  // leading axes of size 1 may be dropped
    Shape s = from.shape();
    while (s.size() > to.rank() && s[0] == 1) s.erase(0);
    from = ops::reshape(from, s);
  }
  std::optional<ReleaseGil> free;
  if (to.numel() >= release_gil_elements) free.emplace();
  apply_into(SUAN_OP("copy"), {shape_copy(from, to.shape())}, {}, to);
}

void fill(const Tensor& t, PyObject* number) {
  Tensor value;
  if (is_tensor(number)) {
    value = unwrap(number);
    if (value.numel() != 1)
      fail<ShapeError>("fill_", "value does not fit: expected one element, got {}", to_string(value.type()));
    return copy_into(t, value);
  }
  if (!is_number(number))
    fail<TypeError>("fill_", "wrong type: expected a number, got {}", type_name(number));
  value = number_tensor(number, t.dtype(), t.device());
  apply_into(SUAN_OP("full"), {value}, {t.shape()}, t);
}

#define SUAN_FAST(f) reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(f)), METH_FASTCALL
PyMethodDef tensor_methods[] = {
    {"size", SUAN_FAST(size), "size(dim=None): the shape, or one of its dimensions."},
    {"stride", SUAN_FAST(stride), "stride(dim=None): strides in elements."},
    {"dim", dim, METH_NOARGS, "Number of dimensions."},
    {"ndimension", dim, METH_NOARGS, "Number of dimensions."},
    {"numel", count, METH_NOARGS, "Number of elements."},
    {"nelement", count, METH_NOARGS, "Number of elements."},
    {"storage_offset", storage_offset, METH_NOARGS, "First element's place in the storage."},
    {"data_ptr", data_ptr, METH_NOARGS, "Address of the first element."},
    {"is_contiguous", is_contiguous, METH_NOARGS, "True if elements lie in row-major order without gaps."},
    {"is_floating_point", is_floating_point, METH_NOARGS, "True for floating dtypes."},
    {"contiguous", contiguous, METH_NOARGS, "Itself, or a contiguous copy."},
    {"detach", detach, METH_NOARGS, "The same values without gradient history; shares memory."},
    {"item", item, METH_NOARGS, "The only element, as a Python number."},
    {"tolist", tolist, METH_NOARGS, "Nested lists of Python numbers."},
    {"requires_grad_", SUAN_FAST(requires_grad_), "requires_grad_(on=True): asks for a gradient; returns self."},
    {"fill_", fill_, METH_O, "Sets every element to a number."},
    {"zero_", zero_, METH_NOARGS, "Sets every element to zero."},
    {"copy_", SUAN_FAST(copy_), "copy_(src): copies src in, cast and broadcast as needed."},
    {"view", SUAN_FAST(view), "view(*shape) or view(dtype): the same memory seen another way."},
    {"clone", clone, METH_NOARGS, "A copy that gradients flow through."},
    {"float", convert<DType::f32>, METH_NOARGS, "Cast to float32."},
    {"double", convert<DType::f64>, METH_NOARGS, "Cast to float64."},
    {"half", convert<DType::f16>, METH_NOARGS, "Cast to float16."},
    {"bfloat16", convert<DType::bf16>, METH_NOARGS, "Cast to bfloat16."},
    {"long", convert<DType::i64>, METH_NOARGS, "Cast to int64."},
    {"int", convert<DType::i32>, METH_NOARGS, "Cast to int32."},
    {"short", convert<DType::i16>, METH_NOARGS, "Cast to int16."},
    {"char", convert<DType::i8>, METH_NOARGS, "Cast to int8."},
    {"byte", convert<DType::u8>, METH_NOARGS, "Cast to uint8."},
    {"bool", convert<DType::boolean>, METH_NOARGS, "Cast to bool."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef tensor_getset[] = {
    {"shape", get_shape, nullptr, "Sizes of the dimensions.", nullptr},
    {"dtype", get_dtype, nullptr, "Element type.", nullptr},
    {"device", get_device, nullptr, "Where the tensor lives.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of dimensions.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad, "True if gradients flow here.", nullptr},
    {"is_leaf", get_is_leaf, nullptr, "True if no op made this tensor under autograd.", nullptr},
    {"grad", get_grad, set_grad, "The gradient gathered by backward, or None.", nullptr},
    {"data", get_data, set_data, "The same values without history; assignable.", nullptr},
    {"T", get_transpose, nullptr, "All dimensions reversed.", nullptr},
    {"mT", get_matrix_transpose, nullptr, "The last two dimensions swapped.", nullptr},
    {"grad_fn", get_grad_fn, nullptr, "Name of the op that made this tensor, or None for leaves.", nullptr},
    {"_version", get_version, nullptr, "Counts in-place writes to the storage.", nullptr},
    {"_base", get_base, nullptr, "What this tensor is a view of, or None.", nullptr},
    {"retains_grad", get_retains_grad, nullptr, "True after retain_grad() on a non-leaf.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes of one element.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements.", nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

}  // namespace suan::py
