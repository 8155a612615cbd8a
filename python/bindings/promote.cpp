// Torch's type promotion and the conversion of Python numbers to literals.
#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {

DType default_dtype = DType::f32;

namespace {

int category(DType t) {
  switch (info(t).kind) {
    case DTypeKind::boolean: return 0;
    case DTypeKind::unsigned_int:
    case DTypeKind::signed_int: return 1;
    case DTypeKind::floating: return 2;
    case DTypeKind::complex: return 3;
  }
  return 3;
}

DType signed_of_bits(int bits) {
  return bits <= 8 ? DType::i8 : bits <= 16 ? DType::i16 : bits <= 32 ? DType::i32 : DType::i64;
}

}  // namespace

DType promote(DType a, DType b) {
  if (a == b) return a;
  int ca = category(a), cb = category(b);
  if (ca != cb) return ca > cb ? a : b;
  int wa = info(a).bits, wb = info(b).bits;
  if (ca == 2) {
    if (wa != wb) return wa > wb ? a : b;
    return wa < 16 ? DType::bf16 : DType::f32;  // float16 with bfloat16, or two kinds of float8
  }
  if (ca == 3 || is_signed_int(a) == is_signed_int(b)) return wa > wb ? a : b;
  int ws = is_signed_int(a) ? wa : wb, wu = is_signed_int(a) ? wb : wa;
  if (ws > wu) return signed_of_bits(ws);
  if (wu >= 64)
    fail<TypeError>("promote", "no common dtype: expected dtypes with one, got {} and {}", name(a), name(b));
  return signed_of_bits(wu * 2);
}

DType result_type(std::span<const Operand> operands) {
  std::optional<DType> level[3];
  for (const Operand& o : operands) {
    std::optional<DType>& at = level[int(o.level)];
    at = at ? promote(*at, o.dtype) : o.dtype;
  }
  // A lower level counts only if it is of a higher category.
  std::optional<DType> result;
  for (const std::optional<DType>& next : level) {
    if (!next) continue;
    if (!result) result = next;
    else if (category(*next) > category(*result)) result = next;
  }
  return *result;
}

namespace {
bool is_numpy_scalar(PyObject* o) {
  if (!PyObject_HasAttrString(o, "dtype") || !PyObject_HasAttrString(o, "ndim") || is_tensor(o)) return false;
  Owned ndim(PyObject_GetAttrString(o, "ndim"));
  bool zero = ndim && PyLong_Check(ndim.get()) && PyLong_AsLong(ndim.get()) == 0;
  PyErr_Clear();
  return zero;
}
}  // namespace

bool is_number(PyObject* o) {
  return PyFloat_Check(o) || PyLong_Check(o) || (!is_tensor(o) && PyNumber_Check(o) && is_numpy_scalar(o));
}

DType number_dtype(PyObject* o) {
  if (PyFloat_Check(o)) return default_dtype;
  if (PyBool_Check(o)) return DType::boolean;
  if (PyLong_Check(o) || PyIndex_Check(o)) return DType::i64;
  if (is_numpy_scalar(o)) {
    Owned kind(check(PyObject_GetAttrString(o, "dtype")));
    Owned letter(check(PyObject_GetAttrString(kind.get(), "kind")));
    if (text_of(letter.get()) == "b") return DType::boolean;
  }
  return default_dtype;
}

Tensor number_tensor(PyObject* o, DType dtype, Device device) {
  if (PyFloat_Check(o)) return Tensor::scalar(PyFloat_AsDouble(o), dtype, device);
  if (PyLong_Check(o) || PyIndex_Check(o)) {
    Owned index(check(PyNumber_Index(o)));
    int overflow = 0;
    long long v = PyLong_AsLongLongAndOverflow(index.get(), &overflow);
    if (v == -1 && PyErr_Occurred()) throw PythonError{};
    if (overflow) {
      if (dtype == DType::u64 && overflow > 0) {
        unsigned long long u = PyLong_AsUnsignedLongLong(index.get());
        if (!PyErr_Occurred()) return Tensor::scalar_int(int64_t(u), dtype, device);
        PyErr_Clear();
      }
      if (is_floating(dtype)) {
        double d = PyLong_AsDouble(index.get());
        if (d == -1 && PyErr_Occurred()) throw PythonError{};
        return Tensor::scalar(d, dtype, device);
      }
      fail<ValueError>("number", "integer too large: expected 64 bits, got more");
    }
    if (is_floating(dtype)) return Tensor::scalar(double(v), dtype, device);
    return Tensor::scalar_int(v, dtype, device);
  }
  double v = PyFloat_AsDouble(o);
  if (v == -1 && PyErr_Occurred()) throw PythonError{};
  return Tensor::scalar(v, dtype, device);
}

Tensor cast(const Tensor& t, DType to) { return ops::cast(t, to); }

}  // namespace suan::py
