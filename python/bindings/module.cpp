// The module suan._c: the engine for Python. Everything public is re-exported by the package suan.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/allocator.h"
#include "core/hooks.h"
#include "core/interrupt.h"
#include "core/pool.h"
#include "python/bindings/binding.h"

namespace suan::py {

void set_source_roots(std::vector<std::string> library, std::vector<std::string> user);
void bind_compile(nb::module_& m);  // compile.cpp
void bind_samples(nb::module_& m);  // samples.cpp
void bind_onnx(nb::module_& m);     // onnx.cpp

namespace {

// Python runs signal handlers on its main thread, when that asks for them.
void poll_signals() {
  if (syscall(SYS_gettid) != getpid() || !Py_IsInitialized()) return;
  HoldGil hold;
  if (!PyErr_Occurred() && PyErr_CheckSignals() < 0) throw nb::python_error();
}

bool nan_guarded() { return result_hook() == require_finite; }

bool set_nan_guard(bool on) {
  if (context().recorder)
    fail<StateError>("nan_guard", "inside a compiled function: expected it around the call, got a recording");
  bool before = nan_guarded();
  set_result_hook(on ? require_finite : nullptr);
  return before;
}

}  // namespace

void bind_misc(nb::module_& m) {
  m.def("set_source_roots", set_source_roots, nb::arg("library"), nb::arg("user"),
        "Frames of files whose longest root is a library's are not a user's line.");
  m.def("set_python_types", [](nb::handle size, nb::handle cpu) {
    size_class = size.inc_ref().ptr();
    device_cpu = cpu.inc_ref().ptr();
  }, "Tells the module about suan.Size and suan.device('cpu').");
  m.def("check_device", [](const std::string& text) { return to_string(parse_device(text)); },
        "The canonical name of a device, or a DeviceError.");
  m.def("num_threads", num_threads, "Threads that share the work of an op.");
  m.def("set_num_threads", [](int n, bool pin) {
    if (n < 1 || n > 1024)
      fail<ValueError>("set_num_threads", "bad count: expected 1 to 1024, got {}", n);
    set_num_threads(n, pin);
  }, nb::arg("n"), nb::arg("pin_to_cpus") = false, "Sets how many threads share the work of an op.");
  m.def("available_cpus", available_cpus, "CPUs that this process may use.");
  m.def("memory_stats", [] {
    MemoryStats s = memory_stats();
    nb::dict d;
    d["in_use"] = s.in_use;
    d["peak"] = s.peak;
    d["cached"] = s.cached;
    return d;
  }, "Bytes of tensor memory in use, at its peak, and kept for reuse.");
  m.def("reset_peak_memory", reset_peak_memory, "Makes the peak the memory in use now.");
  m.def("trim_memory", trim_memory, "Gives cached memory back to the system.");
  m.def("set_memory_limit", set_memory_limit, "Bytes of tensor memory allowed; 0 for no limit.");
  m.def("fail_nth_allocation", fail_nth_allocation, "Test hook: the n-th allocation from now fails; 0: off.");
  m.def("literal", [](nb::handle number, nb::handle dtype) {
    return number_tensor(number.ptr(), dtype_of(dtype.ptr()), {});
  }, "A 0-d tensor that a recording keeps as a constant.");
  m.def("nan_guarded", nan_guarded, "True if this thread's results are checked (see suan.debug.nan_guard).");
  m.def("set_nan_guard", set_nan_guard, "Switches the check on or off; returns what it was.");
  m.def("user_line", [] { return to_string(capture_source()); }, "The caller's file and line.");
}

}  // namespace suan::py

NB_MODULE(_c, m) {
  using namespace suan::py;
  m.doc() = "Suan's engine.";
  install_source_hooks();
  suan::set_interrupt_poll(poll_signals);
  make_errors(m);
  make_dtypes(m);
  make_tensor_type(m);
  bind_ops(m);
  bind_interop(m);
  bind_autograd(m);
  bind_misc(m);
  bind_compile(m);
  bind_samples(m);
  bind_onnx(m);
}
