// C++ exceptions to Python's, with the user's line; and the source hooks that find that line.
#include <dlfcn.h>

#include <algorithm>
#include <unordered_map>

#include "core/communicator.h"
#include "core/interrupt.h"
#include "core/source.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

PyObject *shape_error, *device_error, *memory_error, *state_error, *internal_error, *cancelled_error;
PyObject *distributed_error, *mismatch_error, *peer_lost_error, *peer_timeout_error;

PyObject* python_type(const std::exception& e) {
  if (dynamic_cast<const ShapeError*>(&e)) return shape_error;
  if (dynamic_cast<const ValueError*>(&e)) return PyExc_ValueError;
  if (dynamic_cast<const TypeError*>(&e)) return PyExc_TypeError;
  if (dynamic_cast<const IndexError*>(&e)) return PyExc_IndexError;
  if (dynamic_cast<const DeviceError*>(&e)) return device_error;
  if (dynamic_cast<const OutOfMemory*>(&e)) return memory_error;
  if (dynamic_cast<const IoError*>(&e)) return PyExc_OSError;
  if (dynamic_cast<const StateError*>(&e)) return state_error;
  if (dynamic_cast<const MismatchError*>(&e)) return mismatch_error;
  if (dynamic_cast<const PeerLostError*>(&e)) return peer_lost_error;
  if (dynamic_cast<const PeerTimeoutError*>(&e)) return peer_timeout_error;
  if (dynamic_cast<const DistributedError*>(&e)) return distributed_error;
  if (dynamic_cast<const TimedOut*>(&e)) return PyExc_TimeoutError;
  if (dynamic_cast<const Cancelled*>(&e)) return cancelled_error;
  if (dynamic_cast<const Interrupted*>(&e)) return PyExc_KeyboardInterrupt;
  if (dynamic_cast<const Error*>(&e)) return internal_error;
  if (dynamic_cast<const std::bad_alloc*>(&e)) return memory_error;
  return internal_error;
}

}  // namespace

void set_python_error() noexcept {
  try {
    throw;
  } catch (const PythonError&) {
    if (!PyErr_Occurred()) PyErr_SetString(internal_error, "[binding] error without a message");
  } catch (nb::python_error& e) {
    e.restore();
  } catch (const std::exception& e) {
    PyObject* type = python_type(e);
    try {
      std::string text = e.what();
      if (SourceMark mark = capture_source()) text += " (at " + to_string(mark) + ")";
      PyErr_SetString(type, text.c_str());
    } catch (...) {
      PyErr_SetString(type, e.what());
    }
  } catch (...) {
    PyErr_SetString(internal_error, "[binding] unknown C++ exception");
  }
}

std::string text_of(PyObject* str) {
  Py_ssize_t n = 0;
  const char* s = PyUnicode_AsUTF8AndSize(str, &n);
  if (!s) throw PythonError{};
  return std::string(s, size_t(n));
}

std::string type_name(PyObject* o) {
  Owned name(check(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(o)), "__name__")));
  return text_of(name.get());
}

void make_errors(nb::module_& m) {
  auto make = [&](const char* name, PyObject* base, const char* doc) {
    std::string full = std::string("suan.") + name;
    PyObject* type = check(PyErr_NewExceptionWithDoc(full.c_str(), doc, base, nullptr));
    check(PyObject_SetAttrString(m.ptr(), name, type));
    return type;
  };
  shape_error = make("ShapeError", PyExc_ValueError, "Shapes that do not fit together.");
  device_error = make("DeviceError", PyExc_RuntimeError, "A device that is missing or does not match.");
  memory_error = make("OutOfMemoryError", PyExc_MemoryError, "Memory is exhausted or past its limit.");
  state_error = make("StateError", PyExc_RuntimeError,
                     "A valid request at the wrong time, such as a second backward.");
  cancelled_error = make("CancelledError", PyExc_RuntimeError, "Work that another thread asked to stop.");
  internal_error = make("InternalError", PyExc_RuntimeError, "A defect of Suan itself: please report it.");
  distributed_error = make("DistributedError", PyExc_RuntimeError, "Ranks of a program that cannot work together.");
  mismatch_error = make("MismatchError", distributed_error, "Ranks that called different things; nothing was moved.");
  peer_lost_error = make("PeerLostError", distributed_error, "A rank that ended or whose connection broke.");
  peer_timeout_error = make("PeerTimeoutError", distributed_error, "A rank that did not arrive in time.");
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const PythonError&) {
      set_python_error();
    } catch (const Error&) {
      set_python_error();
    }
  });
}

// ---- source lines --------------------------------------------------------------------------------

namespace {

// Not in the limited API, but exported by every CPython they concern; looked up once.
using FrameLasti = int (*)(PyFrameObject*);
using FrameBack = PyFrameObject* (*)(PyFrameObject*);
using GilCheck = int (*)();
FrameLasti frame_lasti;
FrameBack frame_back;
GilCheck gil_check;

// The longest root that a file's name begins with says whether it is library code or the user's own.
struct SourceRoots {
  std::vector<std::string> library, user;
  bool is_library(std::string_view file) const {
    auto longest = [&](const std::vector<std::string>& roots) {
      size_t n = 0;
      for (const std::string& r : roots)
        if (file.starts_with(r)) n = std::max(n, r.size());
      return n;
    };
    return longest(library) > longest(user);
  }
};
SourceRoots* source_roots;
thread_local SourceMark mark_before_release;

// Code objects seen so far: kept alive for ever, since a mark is only their address.
struct KnownCode {
  PyObject* code = nullptr;
  bool internal = false;
};
constexpr size_t code_slots = 4096;
KnownCode code_cache[code_slots];

bool known_internal(PyObject* code) {
  KnownCode& slot = code_cache[(reinterpret_cast<uintptr_t>(code) >> 4) & (code_slots - 1)];
  if (slot.code == code) return slot.internal;
  static auto* all = new std::unordered_map<PyObject*, bool>;
  auto [it, fresh] = all->try_emplace(code, false);
  if (fresh) {
    Py_INCREF(code);
    Owned file(PyObject_GetAttrString(code, "co_filename"));
    Py_ssize_t n = 0;
    const char* s = file ? PyUnicode_AsUTF8AndSize(file.get(), &n) : nullptr;
    if (!s) PyErr_Clear();
    else it->second = source_roots && source_roots->is_library({s, size_t(n)});
  }
  slot = {code, it->second};
  return it->second;
}

int lasti_of(PyFrameObject* f) {
  if (frame_lasti) return frame_lasti(f);
  Owned value(PyObject_GetAttrString(reinterpret_cast<PyObject*>(f), "f_lasti"));
  int at = value ? int(PyLong_AsLong(value.get())) : -1;
  PyErr_Clear();
  return at;
}

// The innermost frame that is the user's own code.
SourceMark capture() {
  if (!gil_check || !gil_check()) return mark_before_release;
  PyFrameObject* f = PyEval_GetFrame();
  if (!f) return {};
  Owned held;
  for (int depth = 0; depth < 32; ++depth) {
    PyObject* code = reinterpret_cast<PyObject*>(PyFrame_GetCode(f));
    bool internal = known_internal(code);
    Py_DECREF(code);  // the cache holds it
    if (!internal || !frame_back) return {code, lasti_of(f)};
    PyFrameObject* back = frame_back(f);
    held = Owned(reinterpret_cast<PyObject*>(back));
    if (!back) return {code, lasti_of(f)};
    f = back;
  }
  return {};
}

std::string format(const SourceMark& mark) {
  HoldGil hold;
  PyObject *kind, *value, *trace;
  PyErr_Fetch(&kind, &value, &trace);
  std::string text = "unknown line";
  auto* code = static_cast<PyObject*>(const_cast<void*>(mark.code));
  Owned file(PyObject_GetAttrString(code, "co_filename")), name(PyObject_GetAttrString(code, "co_name"));
  Owned lines(PyObject_CallMethod(code, "co_lines", nullptr));
  if (file && name && lines) {
    long line = 0;
    while (PyObject* item = PyIter_Next(lines.get())) {
      Owned owned(item);
      PyObject* number = PyTuple_GetItem(item, 2);
      if (PyLong_AsLong(PyTuple_GetItem(item, 0)) <= mark.position &&
          mark.position < PyLong_AsLong(PyTuple_GetItem(item, 1)) && number != Py_None) {
        line = PyLong_AsLong(number);
        break;
      }
    }
    try {
      text = fmt::format("{}:{} in {}", text_of(file.get()), line, text_of(name.get()));
    } catch (const PythonError&) {
    }
  }
  PyErr_Clear();
  PyErr_Restore(kind, value, trace);
  return text;
}

}  // namespace

ReleaseGil::ReleaseGil() : before_(mark_before_release) {
  mark_before_release = capture();
  state_ = PyEval_SaveThread();
}
ReleaseGil::~ReleaseGil() {
  PyEval_RestoreThread(state_);
  mark_before_release = before_;
}

void install_source_hooks() {
  frame_lasti = reinterpret_cast<FrameLasti>(dlsym(RTLD_DEFAULT, "PyFrame_GetLasti"));
  frame_back = reinterpret_cast<FrameBack>(dlsym(RTLD_DEFAULT, "PyFrame_GetBack"));
  gil_check = reinterpret_cast<GilCheck>(dlsym(RTLD_DEFAULT, "PyGILState_Check"));
  source_hooks = {capture, format};
}

void set_source_roots(std::vector<std::string> library, std::vector<std::string> user) {
  delete source_roots;
  source_roots = new SourceRoots{std::move(library), std::move(user)};
}

}  // namespace suan::py
