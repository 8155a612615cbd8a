// The module suan._c: the engine for Python. Everything public is re-exported by the package suan.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <map>

#include "core/allocator.h"
#include "core/apply.h"
#include "core/backend.h"
#include "core/hooks.h"
#include "core/interrupt.h"
#include "core/pool.h"
#include "core/profile.h"
#include "python/bindings/binding.h"

namespace suan::py {

void set_source_roots(std::vector<std::string> library, std::vector<std::string> user);
void bind_batch(nb::module_& m);    // batch.cpp
void bind_data(nb::module_& m);     // data.cpp
void bind_compile(nb::module_& m);  // compile.cpp
void bind_distributed(nb::module_& m);  // distributed.cpp
void bind_samples(nb::module_& m);  // samples.cpp
void bind_onnx(nb::module_& m);     // onnx.cpp
void bind_graph(nb::module_& m);    // graph.cpp

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

const DeviceEvents& events_of(Device d) {
  const DeviceEvents* events = d.is_cpu() ? nullptr : backend(d.type).events();
  if (!events) fail<DeviceError>("event", "no events on this device: expected one that has them, got {}", to_string(d));
  return *events;
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
  m.def("to_device", [](const Tensor& t, const std::string& device) { return to_device(t, parse_device(device)); },
        "A contiguous copy of a tensor's values on a device, without history.");
  m.def("load_backend", [](const std::string& path) { return to_string(Device{load_backend(path), 0}); },
        "Loads a backend plug-in; returns the name of its first device.");
  m.def("why_unavailable", [](const std::string& kind) {
    return why_unavailable(kind == "cuda" ? DeviceType::cuda : DeviceType::cuda_emulated);
  }, "Why 'cuda' or 'cuda-emulated' cannot be used, in one line; empty when it can.");
  m.def("synchronize", [](const std::string& device) {
    const Device d = parse_device(device);
    if (!d.is_cpu()) backend(d.type).memory().synchronize(d.index);
  }, "Waits for a device's work.");
  m.def("kernel_counts", [] {
    nb::dict d;
    for (int i = 0; i < max_device_types; ++i)
      if (uint64_t n = apply_counters().kernels_on[i])
        d[nb::str(i == 0 ? "cpu" : backend(DeviceType(i)).name())] = n;
    return d;
  }, "How many kernels this thread has run, eagerly and as steps of plans, by kind of device.");
  m.def("describe_device", [](const std::string& device) {
    const Device d = parse_device(device);
    return d.is_cpu() ? std::string("cpu") : backend(d.type).describe(d.index);
  }, "A device in one line: the card, its driver and the libraries found.");
  m.def("event_record", [](const std::string& device) {
    const Device d = parse_device(device);
    return reinterpret_cast<uintptr_t>(events_of(d).record(d.index));
  }, "A point in a device's work. DeviceError where a device has no events.");
  m.def("event_milliseconds", [](const std::string& device, uintptr_t from, uintptr_t to) {
    const Device d = parse_device(device);
    return events_of(d).milliseconds(d.index, reinterpret_cast<void*>(from), reinterpret_cast<void*>(to));
  }, "Time between two points, once the device has passed both.");
  m.def("event_release", [](const std::string& device, uintptr_t event) {
    const Device d = parse_device(device);
    events_of(d).release(d.index, reinterpret_cast<void*>(event));
  }, "Gives a point back.");
  m.def("device_kernels", [](const std::string& device) {
    const Device d = parse_device(device);
    std::vector<std::string> names;
    for (const OpDef* op : all_ops())
      if (find_kernel(*op, d)) names.push_back(op->name);
    return names;
  }, "The ops that have a kernel on a device.");
  m.def("device_memory_stats", [](const std::string& device) {
    const Device at = parse_device(device);
    const MemoryStats s = at.is_cpu() ? memory_stats() : backend(at.type).memory().stats(at.index);
    nb::dict d;
    d["in_use"] = s.in_use;
    d["peak"] = s.peak;
    d["cached"] = s.cached;
    return d;
  }, "Bytes of tensor memory of a device in use, at its peak, and kept for reuse.");
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
  m.def("start_profile", start_profile, nb::arg("most_calls"), nb::arg("memory"),
        "Begins to note what runs when, in the whole process; with memory, also what blocks are taken and given back.");
  m.def("stop_profile", [] {
    const Profile profile = stop_profile();
    nb::list calls, memory;
    std::map<std::pair<const void*, int32_t>, nb::str> lines;
    const auto line = [&](const SourceMark& source) {
      auto [at, fresh] = lines.try_emplace({source.code, source.position});
      if (fresh) {
        const std::string text = source ? to_string(source) : "";
        at->second = nb::str(text.c_str(), text.size());
      }
      return at->second;
    };
    for (const ProfiledCall& c : profile.calls)
      calls.append(nb::make_tuple(c.op ? c.op->name.c_str() : "copy", line(c.source), c.begin, c.end, c.thread, c.planned));
    for (const MemoryEvent& e : profile.memory)
      memory.append(nb::make_tuple(uintptr_t(e.block), e.bytes, e.in_use, e.at, line(e.source)));
    return nb::make_tuple(calls, profile.nanoseconds, profile.dropped, memory);
  }, "(op, line, begin, end, thread, planned) of every kernel since start_profile, the nanoseconds since then, how many\n"
     "were dropped, and (block, bytes, bytes in use, when, line) of large blocks.");
  m.def("literal", [](nb::handle number, nb::handle dtype) {
    return number_tensor(number.ptr(), dtype_of(dtype.ptr()), {});
  }, "A 0-d tensor that a recording keeps as a constant.");
  m.def("large_zeros", [](const std::vector<int64_t>& sizes, nb::handle dtype) -> std::optional<Tensor> {
    if (context().recorder || sizes.size() > max_rank) return {};
    const TensorType type{dtype_of(dtype.ptr()), Shape(std::span(sizes)), {}};
    if (type.bytes() < map_limit) return {};
    Tensor t = Tensor::empty(type);
    cpu_zero_mapped(t.raw(), type.bytes());
    return t;
  }, "Zeros that take memory when they are written; None for small ones and in a recording.");
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
  bind_autocast(m);
  bind_autograd(m);
  bind_misc(m);
  bind_batch(m);
  bind_data(m);
  bind_compile(m);
  bind_distributed(m);
  bind_samples(m);
  bind_onnx(m);
  bind_graph(m);
}
