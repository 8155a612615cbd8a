// Backends: the CPU's instruction set, loading of plug-ins, device names, copies between devices.
#include "core/backend.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>

#include "core/apply.h"

namespace suan {

std::vector<std::pair<const char*, Kernel>> cpu_kernels(bool avx512);  // generated from kernels/cpu/

const char* cpu_isa() {
  static const char* isa = [] {
    const char* asked = std::getenv("SUAN_ISA");
    bool has512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
      fail<DeviceError>("cpu", "processor too old: expected AVX2 and FMA, got neither or one");
    if (asked && std::strcmp(asked, "avx2") == 0) return "avx2";
    if (asked && std::strcmp(asked, "avx512") == 0) {
      if (!has512) fail<DeviceError>("cpu", "SUAN_ISA: expected avx2 on this processor, got avx512");
      return "avx512";
    }
    if (asked && *asked) fail<ValueError>("cpu", "SUAN_ISA: expected avx2 or avx512, got '{}'", asked);
    return has512 ? "avx512" : "avx2";
  }();
  return isa;
}

namespace {

const BackendTable& cpu_table() {
  static const BackendTable table = [] {
    BackendTable t;
    t.name = "cpu";
    t.kernels = cpu_kernels(std::strcmp(cpu_isa(), "avx512") == 0);
    return t;
  }();
  return table;
}

struct Registry {
  std::atomic<const Backend*> slots[max_device_types] = {};
  std::mutex mutex;   // of what follows, and of loading
  int n = int(DeviceType::first_plugin);
};
Registry& registry() {
  static Registry* r = new Registry;  // outlives every tensor
  return *r;
}

// The folder this library is in: its own plug-ins lie beside it.
std::string own_folder() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<const void*>(&cpu_isa), &info) || !info.dli_fname) return ".";
  std::string path = info.dli_fname;
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

const BackendTable& open_plugin(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) fail<DeviceError>("backend", "cannot load: expected a shared library, got {}", dlerror());
  auto entry = reinterpret_cast<BackendEntry>(dlsym(library, backend_entry_name));
  if (!entry)
    fail<DeviceError>("backend", "not a backend: expected the symbol {}, got none in {}", backend_entry_name, path);
  const BackendTable& table = entry();
  if (table.interface != backend_interface)
    fail<DeviceError>("backend", "built for another interface: expected {}, got {} in {}", backend_interface,
                      table.interface, path);
  const DeviceMemory& m = table.memory;
  const DeviceCapture& c = table.capture;
  const DeviceEvents& e = table.events;
  if ((c.begin && !(c.end && c.cancel && c.replay && c.release)) || (e.record && !(e.milliseconds && e.release)))
    fail<DeviceError>("backend", "incomplete table: expected all calls of capture and of events or none, got some in {}",
                      path);
  if (!table.name || table.n_devices < 1 || !m.allocate || !m.free || !m.upload || !m.download || !m.copy ||
      !m.synchronize || !m.stats)
    fail<DeviceError>("backend", "incomplete table: expected a name, devices and all memory calls, got less in {}",
                      path);
  return table;
}

// The driver is looked for first: it is what a machine without a GPU lacks.
const BackendTable& open_own(DeviceType type) {
  const bool real = type == DeviceType::cuda;
  if (real && !dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL))
    fail<DeviceError>("cuda", "no NVIDIA driver: expected libcuda.so.1, got {}", dlerror());
  const char* asked = real ? nullptr : std::getenv("SUAN_CUDA_EMULATED");
  if (asked && *asked && std::strcmp(asked, "check") != 0)
    fail<ValueError>("backend", "SUAN_CUDA_EMULATED: expected check or nothing, got '{}'", asked);
  const std::string path = own_folder() + (real              ? "/libsuan_cuda.so"
                                           : asked && *asked ? "/libsuan_cuda_emulated_check.so"
                                                             : "/libsuan_cuda_emulated.so");
  if (access(path.c_str(), R_OK) != 0)
    fail<DeviceError>("backend", "device not built: expected {}, got no such file", path);
  return open_plugin(path);
}

}  // namespace

Backend::Backend(const BackendTable& table)
    : name_(table.name), n_devices_(table.n_devices), memory_(table.memory), capture_(table.capture),
      events_(table.events), describe_(table.describe) {
  by_op_.resize(all_ops().size());
  for (auto& [op_name, kernel] : table.kernels) {
    const OpDef* def = find_op(op_name);
    if (!def)
      fail<DeviceError>("backend", "kernel without an op: expected a name in the table, got '{}' in {}", op_name,
                        table.name);
    by_op_[def->id] = kernel;
  }
}

const Backend& backend(DeviceType type) {
  Registry& r = registry();
  std::atomic<const Backend*>& slot = r.slots[int(type)];
  if (const Backend* b = slot.load(std::memory_order_acquire)) return *b;
  std::lock_guard lock(r.mutex);
  if (const Backend* b = slot.load(std::memory_order_acquire)) return *b;
  if (type >= DeviceType::first_plugin)
    fail<DeviceError>("backend", "no such device type: expected a loaded backend, got number {}", int(type));
  slot.store(new Backend(type == DeviceType::cpu ? cpu_table() : open_own(type)), std::memory_order_release);
  return *slot.load();
}

DeviceType load_backend(const std::string& path) {
  const BackendTable& table = open_plugin(path);
  auto made = std::make_unique<Backend>(table);
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  const std::string name = made->name();
  for (const char* own : {"cpu", "cuda", "cuda-emulated"})
    if (name == own) fail<DeviceError>("backend", "name taken: expected a new one, got '{}'", name);
  for (int i = int(DeviceType::first_plugin); i < r.n; ++i)
    if (name == r.slots[i].load()->name()) fail<DeviceError>("backend", "name taken: expected a new one, got '{}'", name);
  if (r.n == max_device_types)
    fail<DeviceError>("backend", "too many backends: expected at most {}, got one more", max_device_types);
  r.slots[r.n].store(made.release(), std::memory_order_release);
  return DeviceType(r.n++);
}

std::string why_unavailable(DeviceType type) {
  try {
    backend(type);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

// ---- names -------------------------------------------------------------------------------------------

Device parse_device(const std::string& text) {
  const std::string kind = text.substr(0, text.find(':'));
  Device d;
  if (kind == "cpu") d.type = DeviceType::cpu;
  else if (kind == "cuda") d.type = DeviceType::cuda;
  else if (kind == "cuda-emulated") d.type = DeviceType::cuda_emulated;
  else {
    Registry& r = registry();
    std::lock_guard lock(r.mutex);
    int at = int(DeviceType::first_plugin);
    while (at < r.n && kind != r.slots[at].load()->name()) ++at;
    if (at == r.n)
      fail<DeviceError>("device", "unknown device: expected cpu, cuda, cuda-emulated or a loaded backend, got '{}'",
                        text);
    d.type = DeviceType(at);
  }
  if (auto at = text.find(':'); at != std::string::npos) {
    std::string digits = text.substr(at + 1);
    if (digits.empty() || digits.size() > 2 || digits.find_first_not_of("0123456789") != std::string::npos)
      fail<DeviceError>("device", "bad device index: expected 0 to 99, got '{}'", text);
    d.index = int8_t(std::stoi(digits));
  }
  const int n = d.is_cpu() ? 1 : backend(d.type).n_devices();  // says why it is not there
  if (d.index >= n)
    fail<DeviceError>("device", "no such device: expected {}:0 to {}:{}, got '{}'", kind, kind, n - 1, text);
  return d;
}

std::string to_string(Device d) {
  switch (d.type) {
    case DeviceType::cpu: return "cpu";
    case DeviceType::cuda: return "cuda:" + std::to_string(d.index);
    case DeviceType::cuda_emulated: return "cuda-emulated:" + std::to_string(d.index);
    default: return std::string(backend(d.type).name()) + ":" + std::to_string(d.index);
  }
}

// ---- memory of any device -------------------------------------------------------------------------------

void* allocate_on(Device device, int64_t bytes) {
  return device.is_cpu() ? cpu_allocate(bytes) : backend(device.type).memory().allocate(device.index, bytes);
}
void free_on(Device device, void* p, int64_t bytes) {
  if (device.is_cpu()) cpu_free(p, bytes);
  else backend(device.type).memory().free(device.index, p, bytes);
}
void copy_on(Device device, void* to, const void* from, int64_t bytes) {
  if (device.is_cpu()) std::memcpy(to, from, size_t(bytes));
  else if (bytes) backend(device.type).memory().copy(device.index, to, from, bytes);
}

Tensor constant_on(const Tensor& value, Device device) {
  if (value.device() == device) return value;
  Tensor t = Tensor::empty({value.dtype(), value.shape(), device});
  backend(device.type).memory().upload(device.index, t.raw(), value.raw(), value.type().bytes());
  if (value.storage()->is_literal()) t.storage()->mark_literal(value.raw());
  return t;
}

// ---- between devices -----------------------------------------------------------------------------------

Tensor to_device(const Tensor& given, Device device) {
  ContextScope scope;
  if (context().recorder)
    fail<DeviceError>("to", "moved inside a compiled function: expected the move before the call, got one to {}",
                      to_string(device));
  context() = Context{.grad_enabled = false};
  Tensor t = given.detach();
  if (!t.is_contiguous()) t = apply(op("copy"), {t});
  Tensor out = Tensor::empty({t.dtype(), t.shape(), device});
  const int64_t bytes = t.type().bytes();
  if (bytes == 0) return out;
  const Device from = t.device();
  if (from.is_cpu() && device.is_cpu()) {
    std::memcpy(out.raw(), t.raw(), size_t(bytes));
  } else if (from.is_cpu()) {
    backend(device.type).memory().upload(device.index, out.raw(), t.raw(), bytes);
  } else if (device.is_cpu()) {
    backend(from.type).memory().download(from.index, out.raw(), t.raw(), bytes);
  } else if (from == device) {
    backend(from.type).memory().copy(from.index, out.raw(), t.raw(), bytes);
  } else {
    return to_device(to_device(t, {}), device);
  }
  return out;
}

const std::byte* host_bytes(const char* op, const Tensor& t) {
  if (!t.device().is_cpu())
    fail<DeviceError>(op, "values are on a device: expected a tensor on cpu, got one on {}; move it with to(\"cpu\")",
                      to_string(t.device()));
  return t.raw();
}

}  // namespace suan
