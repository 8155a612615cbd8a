// What the binding's files share: the Python object of a tensor, conversions, and the error bridge.
// Arithmetic goes through raw type slots and vectorcall functions (cheaper than overload resolution);
// everything off the hot path is bound with nanobind.
#pragma once

#include <nanobind/nanobind.h>

#include <cstring>
#include <optional>
#include <span>

#include "core/apply.h"
#include "core/tensor.h"

namespace suan::py {

namespace nb = nanobind;

// One of these per TensorImpl while it is alive in Python; TensorImpl::python points back at it.
struct PyTensor {
  PyObject_HEAD
  Tensor tensor;
  PyObject* dict;
  PyObject* weak;
};

extern PyTypeObject* tensor_type;

inline bool is_tensor(PyObject* o) {
  return Py_TYPE(o) == tensor_type || PyType_IsSubtype(Py_TYPE(o), tensor_type);
}
inline const Tensor& unwrap(PyObject* o) { return reinterpret_cast<PyTensor*>(o)->tensor; }
// New reference; None for an undefined tensor. A tensor that Python already knows keeps its object.
PyObject* wrap(Tensor t);
PyObject* wrap_many(std::span<const Tensor> ts);  // tuple

// Two operands side by side without touching their counts (four locked instructions, a tenth of a small
// call): the caller's objects keep them alive.
class BorrowedPair {
 public:
  BorrowedPair(const Tensor& a, const Tensor& b) {
    static_assert(sizeof(Tensor) == sizeof(void*));
    std::memcpy(raw_, static_cast<const void*>(&a), sizeof(Tensor));
    std::memcpy(raw_ + sizeof(Tensor), static_cast<const void*>(&b), sizeof(Tensor));
  }
  std::span<const Tensor> span() const { return {reinterpret_cast<const Tensor*>(raw_), 2}; }

 private:
  alignas(Tensor) std::byte raw_[2 * sizeof(Tensor)];
};

// ---- errors --------------------------------------------------------------------------------------

// A Python exception is already set.
struct PythonError {};
inline PyObject* check(PyObject* o) {
  if (!o) throw PythonError{};
  return o;
}
inline void check(int status) {
  if (status < 0) throw PythonError{};
}
void set_python_error() noexcept;  // inside a catch block: the current exception becomes Python's

// Converts what a bound function throws into Python's exception of the same meaning.
template <class F>
auto bridged(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const nb::python_error&) {
    throw;
  } catch (...) {
    set_python_error();
    throw nb::python_error();
  }
}

template <class F>
PyObject* guarded(F&& f) noexcept {
  try {
    return f();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

// A reference that is dropped at the end of the scope.
class Owned {
 public:
  Owned() = default;
  explicit Owned(PyObject* o) : o_(o) {}
  Owned(Owned&& o) noexcept : o_(std::exchange(o.o_, nullptr)) {}
  Owned& operator=(Owned&& o) noexcept { std::swap(o_, o.o_); return *this; }
  ~Owned() { Py_XDECREF(o_); }
  PyObject* get() const { return o_; }
  PyObject* release() { return std::exchange(o_, nullptr); }
  explicit operator bool() const { return o_ != nullptr; }

 private:
  PyObject* o_ = nullptr;
};

std::string type_name(PyObject* o);
std::string text_of(PyObject* str);

// ---- threads and source lines ----------------------------------------------------------------------

// Lets other Python threads run; the user's line is remembered for errors and tape nodes made meanwhile.
class ReleaseGil {
 public:
  ReleaseGil();
  ~ReleaseGil();
  ReleaseGil(const ReleaseGil&) = delete;

 private:
  PyThreadState* state_;
  SourceMark before_;
};
// Work on fewer elements than this is over before another thread could take the lock.
inline constexpr int64_t release_gil_elements = 64 * 1024;

class HoldGil {
 public:
  HoldGil() : state_(PyGILState_Ensure()) {}
  ~HoldGil() { PyGILState_Release(state_); }
  HoldGil(const HoldGil&) = delete;

 private:
  PyGILState_STATE state_;
};

void install_source_hooks();

// ---- dtypes ----------------------------------------------------------------------------------------

bool is_dtype(PyObject* o);
DType dtype_of(PyObject* o);          // also Python's bool, int, float; TypeError on anything else
PyObject* dtype_object(DType t);      // new reference
extern DType default_dtype;

// ---- promotion (torch's rules) ---------------------------------------------------------------------

enum class Rank0 : uint8_t { tensor, scalar_tensor, number };  // falling priority
struct Operand {
  DType dtype;
  Rank0 level;
};
DType promote(DType a, DType b);
DType result_type(std::span<const Operand> operands);
inline Operand operand_of(const Tensor& t) {
  return {t.dtype(), t.rank() ? Rank0::tensor : Rank0::scalar_tensor};
}
bool is_number(PyObject* o);          // int, float, bool, and NumPy's scalars
DType number_dtype(PyObject* o);      // bool, int64 or the default floating dtype
Tensor number_tensor(PyObject* o, DType dtype, Device device);  // a literal
Tensor cast(const Tensor& t, DType to);

// ---- arguments --------------------------------------------------------------------------------------

int64_t to_int(PyObject* o, const char* op, const char* what);
Dims to_dims(PyObject* o, const char* op, const char* what);   // an int or a sequence of ints
Attr to_attr(PyObject* o, const AttrSpec& spec, const std::string& op);

// The inputs of `op` as tensors: numbers become literals of the dtype that torch's rules give, tensors of
// one group are cast to it where the op promotes. `target`: the dtype wanted instead (in-place writes).
std::vector<Tensor> promoted_inputs(const OpDef& op, std::span<PyObject* const> given);
// Inside suan.autocast: casts what the op's kind asks for.
bool autocast_active();
void autocast_inputs(const OpDef& op, std::span<Tensor> in);
DType settled(const OpDef& op, const InputSpec& spec, DType common);  // float32 for sqrt of an int …

// ---- the rest of the module, one function per file ----------------------------------------------------

PyObject* binary(const OpDef& op, PyObject* a, PyObject* b);          // NotImplemented when not ours
PyObject* binary_in_place(const OpDef& op, PyObject* a, PyObject* b);
Tensor shape_copy(const Tensor& t, const Shape& shape);               // expand when it differs
void copy_into(const Tensor& to, Tensor from);                        // casts and broadcasts
void fill(const Tensor& t, PyObject* number);

PyObject* get_item(PyObject* self, PyObject* key);
int set_item(PyObject* self, PyObject* key, PyObject* value);

void make_tensor_type(nb::module_& m);
void make_dtypes(nb::module_& m);
void make_errors(nb::module_& m);
void bind_ops(nb::module_& m);
void bind_autocast(nb::module_& m);
void bind_autograd(nb::module_& m);
void bind_interop(nb::module_& m);
void bind_misc(nb::module_& m);
extern PyMethodDef tensor_methods[];
extern PyGetSetDef tensor_getset[];
extern PyObject* size_class;     // suan.Size, set from Python
extern PyObject* device_cpu;     // suan.device("cpu")

}  // namespace suan::py

namespace nanobind::detail {
template <>
struct type_caster<suan::Tensor> {
  NB_TYPE_CASTER(suan::Tensor, const_name("suan.Tensor"))
  bool from_python(handle src, uint32_t, cleanup_list*) noexcept {
    if (!suan::py::is_tensor(src.ptr())) return false;
    value = suan::py::unwrap(src.ptr());
    return true;
  }
  static handle from_cpp(const suan::Tensor& t, rv_policy, cleanup_list*) noexcept {
    return suan::py::wrap(t);
  }
};
}  // namespace nanobind::detail
