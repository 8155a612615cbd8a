// Tensors from and to Python data: nested lists, NumPy's array interface and DLPack.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstring>

#include "core/backend.h"
#include "core/convert.h"
#include "core/exports.h"
#include "core/record.h"
#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {

Tensor tensor_from_data(PyObject* data, std::optional<DType> dtype);
void check_outside_recording(const Tensor& t, const char* op);
void bind_dlpack(nb::module_& m);

namespace {

struct TypeCode {
  DType dtype;
  const char* code;
};
constexpr TypeCode type_codes[] = {
    {DType::boolean, "|b1"}, {DType::u8, "|u1"},  {DType::u16, "<u2"}, {DType::u32, "<u4"},
    {DType::u64, "<u8"},     {DType::i8, "|i1"},  {DType::i16, "<i2"}, {DType::i32, "<i4"},
    {DType::i64, "<i8"},     {DType::f16, "<f2"}, {DType::f32, "<f4"}, {DType::f64, "<f8"},
    {DType::c64, "<c8"},     {DType::c128, "<c16"}};

DType dtype_from_code(const std::string& code, PyObject* array) {
  for (const TypeCode& t : type_codes)
    if (code == t.code) return t.dtype;
  if (code == "<V2" || code == "<V1" || code == "<f1") {  // ml_dtypes' types have no letters of their own
    Owned kind(PyObject_GetAttrString(array, "dtype"));
    Owned label(kind ? PyObject_GetAttrString(kind.get(), "name") : nullptr);
    PyErr_Clear();
    const std::string own = label ? text_of(label.get()) : "";
    for (int t = 0; t < n_dtypes; ++t)
      if (contains(narrow_types | dtype_bit(DType::bf16), DType(t)) && own == name(DType(t))) return DType(t);
  }
  fail<TypeError>("from_numpy", "dtype not supported: expected a little-endian number or bool, got '{}'", code);
}

bool has_interface(PyObject* o) {
  return !is_tensor(o) && PyObject_HasAttrString(o, "__array_interface__");
}

// Shares the array's memory and keeps the array alive; `at` is its first element.
Tensor share(PyObject* array, std::byte* at, DType dtype, const Dims& shape, const Dims& strides) {
  const int64_t size = item_size(dtype);
  Layout layout(shape, strides, 0);
  auto [low, high] = layout.extent();
  layout.offset = -low;
  Py_INCREF(array);
  static std::byte nothing[1];
  Ref<Storage> storage = Storage::external({}, layout.numel() ? at + low * size : nothing, (high - low) * size, [array] {
    if (!Py_IsInitialized()) return;
    HoldGil hold;
    Py_DECREF(array);
  });
  return Tensor::over(std::move(storage), layout, dtype);
}

// NumPy's `__array_struct__`: what the array interface says, with nothing made in Python.
struct ArrayStruct {
  int two, nd;
  char typekind;
  int itemsize, flags;
  Py_ssize_t *shape, *strides;
  void* data;
  PyObject* descr;
};
constexpr int array_aligned = 0x100, array_native = 0x200, array_writable = 0x400;

// A tensor over an array of plain numbers; none where the array interface must say more, or why not.
std::optional<Tensor> from_struct(PyObject* array, bool allow_read_only) {
  static PyObject* const attribute = PyUnicode_InternFromString("__array_struct__");
  Owned capsule(PyObject_GetAttr(array, attribute));
  if (!capsule) {
    PyErr_Clear();
    return std::nullopt;
  }
  if (!PyCapsule_IsValid(capsule.get(), nullptr)) return std::nullopt;
  const auto& a = *static_cast<const ArrayStruct*>(PyCapsule_GetPointer(capsule.get(), nullptr));
  if (a.two != 2 || !(a.flags & array_native) || !(allow_read_only || a.flags & array_writable) || a.nd > max_rank) return std::nullopt;
  for (const TypeCode& t : type_codes) {
    const int64_t size = item_size(t.dtype);
    if (t.code[1] != a.typekind || size != a.itemsize) continue;
    Dims shape, strides;
    for (int i = 0; i < a.nd; ++i) {
      if (a.strides[i] % size) return std::nullopt;
      shape.push_back(a.shape[i]);
      strides.push_back(a.strides[i] / size);
    }
    return share(array, static_cast<std::byte*>(a.data), t.dtype, shape, strides);
  }
  return std::nullopt;
}

Tensor from_interface(PyObject* array, bool allow_read_only) {
  Owned info(check(PyObject_GetAttrString(array, "__array_interface__")));
  auto field = [&](const char* key) { return PyDict_GetItemString(info.get(), key); };
  PyObject *code = field("typestr"), *shape_field = field("shape"), *data = field("data");
  if (!code || !shape_field || !data || !PyTuple_Check(data))
    fail<TypeError>("from_numpy", "not an array: expected typestr, shape and data, got an incomplete interface");
  DType dtype = dtype_from_code(text_of(code), array);
  Dims shape = to_dims(shape_field, "from_numpy", "shape");
  int64_t size = item_size(dtype);
  Dims strides = contiguous_strides(shape);
  if (PyObject* given = field("strides"); given && given != Py_None) {
    Dims bytes = to_dims(given, "from_numpy", "strides");
    for (int i = 0; i < bytes.size(); ++i) {
      if (bytes[i] % size)
        fail<ValueError>("from_numpy", "strides do not fit the dtype: expected a multiple of {}, got {}", size, bytes[i]);
      strides[i] = bytes[i] / size;
    }
  }
  if (!allow_read_only && PyObject_IsTrue(PyTuple_GetItem(data, 1)) == 1)
    fail<ValueError>("from_numpy", "array is read-only: expected a writable one, got one that forbids writes; "
                                   "use suan.tensor(array) for a copy");
  return share(array, static_cast<std::byte*>(PyLong_AsVoidPtr(PyTuple_GetItem(data, 0))), dtype, shape, strides);
}

// ---- nested sequences --------------------------------------------------------------------------------

class Nested {
 public:
  Tensor build(PyObject* data, std::optional<DType> dtype) {
    measure(data, 0);
    if (dtype_ < 0) dtype_ = 2;
    DType found = dtype_ == 0 ? DType::boolean : dtype_ == 1 ? DType::i64 : default_dtype;
    for (const std::optional<DType>& t : {leaf_dtype_})
      if (t && !plain_leaf_) found = *t;
    DType to = dtype.value_or(found);
    Tensor out = Tensor::empty({to, shape_, {}});
    std::byte* p = out.storage()->data();
    int64_t size = item_size(to);
    for (PyObject* leaf : leaves_) {
      store(p, leaf, to);
      p += size;
    }
    if (Recorder* r = context().recorder; r && only_numbers_) r->note_numbers(out);
    return out;
  }

 private:
  void measure(PyObject* o, int depth) {
    if (PyFloat_Check(o) || PyLong_Check(o)) return leaf(o, depth, PyFloat_Check(o) ? 2 : PyBool_Check(o) ? 0 : 1);
    if (is_tensor(o) && unwrap(o).rank() == 0) {
      DType t = unwrap(o).dtype();
      leaf_dtype_ = leaf_dtype_ ? promote(*leaf_dtype_, t) : t;
      only_numbers_ = false;
      return leaf(o, depth, is_bool(t) ? 0 : is_integer(t) ? 1 : 2, false);
    }
    if (is_number(o)) {
      DType t = number_dtype(o);
      return leaf(o, depth, is_bool(t) ? 0 : is_integer(t) ? 1 : 2);
    }
    PyObject* items = o;
    if (!PyList_Check(o) && !PyTuple_Check(o)) {
      bool array = PyObject_HasAttrString(o, "tolist");
      only_numbers_ &= !array;
      if (!array && (!PySequence_Check(o) || PyUnicode_Check(o) || PyBytes_Check(o)))
        fail<TypeError>("tensor", "cannot read data: expected numbers or nested sequences of them, got {}", type_name(o));
      held_.emplace_back(check(array ? PyObject_CallMethod(o, "tolist", nullptr) : PySequence_Tuple(o)));
      items = held_.back().get();
    }
    int64_t n = PySequence_Size(items);
    if (depth == shape_.size() && !bottom_) shape_.push_back(n);
    else if (depth >= shape_.size() || shape_[depth] != n)
      fail<ShapeError>("tensor", "ragged data: expected {} items at depth {}, got {}",
                       depth < shape_.size() ? std::to_string(shape_[depth]) : "a number instead of", depth, n);
    bool list = PyList_Check(items);
    for (int64_t i = 0; i < n; ++i) measure(list ? PyList_GetItem(items, i) : PyTuple_GetItem(items, i), depth + 1);
    if (n == 0) bottom_ = true;
  }

  void leaf(PyObject* o, int depth, int kind, bool plain = true) {
    bottom_ = true;
    if (depth != shape_.size())
      fail<ShapeError>("tensor", "ragged data: expected {} levels of nesting, got {}", shape_.size(), depth);
    dtype_ = std::max(dtype_, kind);
    plain_leaf_ |= plain;
    leaves_.push_back(o);
  }

  static void store(std::byte* p, PyObject* o, DType to) {
    if (PyFloat_Check(o)) {
      double v = PyFloat_AsDouble(o);
      return is_bool(to) ? store_as_int(p, to, v != 0) : store_as(p, to, v);
    }
    Tensor one = is_tensor(o) ? unwrap(o) : number_tensor(o, number_dtype(o), {});
    if (is_bool(to)) store_as_int(p, to, one.item() != 0);
    else if (is_floating(one.dtype()) || is_floating(to)) store_as(p, to, one.item());
    else store_as_int(p, to, one.item_int());
  }

  Shape shape_;
  bool bottom_ = false, plain_leaf_ = false, only_numbers_ = true;
  int dtype_ = -1;
  std::optional<DType> leaf_dtype_;
  std::vector<PyObject*> leaves_;
  std::vector<Owned> held_;
};

// What NumPy reads to make an array over a tensor's memory; the array keeps it, and so the tensor.
struct ArrayView {
  Tensor tensor;
  ExportLease lease;   // the array may be written to
  Py_ssize_t shape[max_rank], strides[max_rank];
  ArrayStruct facts{};

  explicit ArrayView(const Tensor& t) : tensor(t), lease(t.storage()) {
    check_outside_recording(t, "numpy");
    const bool bits = t.dtype() == DType::bf16 || contains(narrow_types, t.dtype());
    char kind = bits ? 'u' : 0;
    for (const TypeCode& c : type_codes)
      if (c.dtype == t.dtype()) kind = c.code[1];
    if (!kind) fail<TypeError>("numpy", "dtype not supported: expected one that NumPy has, got {}", name(t.dtype()));
    const int64_t size = item_size(t.dtype());
    for (int i = 0; i < t.rank(); ++i) {
      shape[i] = t.shape()[i];
      strides[i] = t.strides()[i] * size;
    }
    facts.two = 2;
    facts.nd = t.rank();
    facts.typekind = kind;
    facts.itemsize = int(size);
    facts.flags = array_aligned | array_native | array_writable;
    facts.data = const_cast<std::byte*>(host_bytes("numpy", t));
  }
  // Where it lies now.
  nb::object capsule() {
    facts.shape = shape;
    facts.strides = strides;
    return nb::steal(check(PyCapsule_New(&facts, nullptr, nullptr)));
  }
};

std::optional<DType> maybe_dtype(nb::handle d) {
  return d.is_none() ? std::nullopt : std::optional<DType>(dtype_of(d.ptr()));
}

}  // namespace

void check_outside_recording(const Tensor& t, const char* op) {
  if (context().recorder && !t.storage()->is_literal())
    fail<StateError>(op, "data-dependent value in a compiled function: expected the tensor to be returned, got a "
                         "read at {}", to_string(capture_source()));
}

Tensor tensor_from_data(PyObject* data, std::optional<DType> dtype) {
  if (is_tensor(data)) {
    NoGrad off;
    const Tensor& t = unwrap(data);
    return !dtype || *dtype == t.dtype() ? ops::copy(t) : cast(t, *dtype);
  }
  if (has_interface(data)) {
    Tensor shared = from_interface(data, true);
    NoGrad off;
    return !dtype || *dtype == shared.dtype() ? ops::copy(shared) : cast(shared, *dtype);
  }
  return Nested().build(data, dtype);
}

// A NumPy array's memory, writable or not; a copy where its elements do not lie at multiples of their size.
Tensor tensor_over_array(PyObject* array, bool allow_read_only) {
  std::optional<Tensor> plain = is_tensor(array) ? std::nullopt : from_struct(array, allow_read_only);
  if (!plain && !has_interface(array)) fail<TypeError>("from_numpy", "not an array: expected numpy.ndarray, got {}", type_name(array));
  Tensor shared = plain ? std::move(*plain) : from_interface(array, allow_read_only);
  if (reinterpret_cast<uintptr_t>(shared.numel() ? shared.raw() : nullptr) % uintptr_t(item_size(shared.dtype())) == 0) return shared;
  if (!allow_read_only)
    fail<ValueError>("from_numpy", "array is not aligned: expected elements at multiples of their size, got others");
  NoGrad off;
  return ops::copy(shared);
}

void bind_interop(nb::module_& m) {
  m.def("tensor_from_data", [](nb::handle data, nb::handle dtype) {
    return tensor_from_data(data.ptr(), maybe_dtype(dtype));
  }, nb::arg("data"), nb::arg("dtype").none() = nb::none(), "A new tensor with a copy of the data.");
  m.def("from_array", [](nb::handle array) {
    if (!is_tensor(array.ptr()))
      if (std::optional<Tensor> plain = from_struct(array.ptr(), false)) return *std::move(plain);
    if (!has_interface(array.ptr()))
      fail<TypeError>("from_numpy", "not an array: expected numpy.ndarray, got {}", type_name(array.ptr()));
    return from_interface(array.ptr(), false);
  }, "A tensor over the memory of a NumPy array.");
  nb::class_<ArrayView>(m, "ArrayView", "A tensor's memory for NumPy, which it keeps alive.")
      .def(nb::init<const Tensor&>(), nb::arg("tensor"))
      .def_prop_ro("__array_struct__", &ArrayView::capsule);
  m.def("address", [](const Tensor& t) { return nb::steal(PyLong_FromVoidPtr(t.raw())); },
        "data_ptr() for comparing only: nobody writes there.");
  // Bytes of a contiguous tensor and back, for files and pickles.
  m.def("to_bytes", [](const Tensor& t) {
    Tensor c = t.device().is_cpu() ? ops::contiguous(t.detach()) : to_device(t, {});
    return nb::bytes(reinterpret_cast<const char*>(c.numel() ? c.raw() : nullptr), size_t(c.numel() * item_size(c.dtype())));
  }, "The elements in row-major order, as bytes.");
  m.def("from_bytes", [](nb::bytes data, nb::handle dtype, nb::handle shape) {
    DType t = dtype_of(dtype.ptr());
    Dims s = to_dims(shape.ptr(), "from_bytes", "shape");
    for (int64_t d : s)
      if (d < 0) fail<ShapeError>("from_bytes", "negative size: expected 0 or more, got {}", d);
    int64_t bytes = bytes_for(t, numel(s));
    if (int64_t(data.size()) != bytes)
      fail<ValueError>("from_bytes", "wrong number of bytes: expected {}, got {}", bytes, data.size());
    Tensor out = Tensor::empty({t, s, {}});
    if (bytes) std::memcpy(out.raw(), data.c_str(), size_t(bytes));
    return out;
  }, nb::arg("data"), nb::arg("dtype"), nb::arg("shape"), "A tensor from row-major bytes.");
  m.def("memory_view", [](const Tensor& t) {
    host_bytes("memory_view", t);
    if (!t.is_contiguous()) fail<ValueError>("memory_view", "strided tensor: expected a contiguous one");
    int64_t bytes = t.numel() * item_size(t.dtype());
    static char nothing[1];
    constexpr int writable = 0x200;  // PyBUF_WRITE, which the 3.10 headers hide
    return nb::steal(PyMemoryView_FromMemory(bytes ? reinterpret_cast<char*>(t.raw()) : nothing, bytes, writable));
  }, "Writable bytes of a contiguous tensor; valid while the tensor is alive.");
  bind_dlpack(m);
}

}  // namespace suan::py
