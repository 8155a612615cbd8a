// A backend is one table: kernels by op, and the memory calls of its device. The CPU's is in the core
// library; others are plug-ins, shared libraries that are loaded on first use. Nothing else in the engine
// knows a device: an op without a kernel there runs by its definition, and one without either is an error.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "core/op.h"

namespace suan {

// Raised whenever BackendTable, Kernel or a type they use changes: a plug-in built for another one is refused.
inline constexpr int backend_interface = 2;

// Memory of one device, by index. Pointers mean something only to the device: the host reaches the bytes
// through these calls alone. Work and copies of one thread take effect in order.
struct DeviceMemory {
  void* (*allocate)(int index, int64_t bytes) = nullptr;  // 64-byte aligned, never null; OutOfMemory
  void (*free)(int index, void* p, int64_t bytes) = nullptr;   // once the work begun before is done
  void (*upload)(int index, void* to, const void* from, int64_t bytes) = nullptr;    // from host memory
  void (*download)(int index, void* to, const void* from, int64_t bytes) = nullptr;  // waits for the device
  void (*copy)(int index, void* to, const void* from, int64_t bytes) = nullptr;      // within the device
  void (*synchronize)(int index) = nullptr;   // returns when all work is done; throws what it met
  MemoryStats (*stats)(int index) = nullptr;
};

// Work kept as one unit, which a Run of a plan then replays with a single call. All null: the device has none.
// Between begin and end (or cancel) what this thread launches and copies is kept and not run, and nothing is
// allocated; other threads are not concerned.
struct DeviceCapture {
  void (*begin)(int index) = nullptr;
  void* (*end)(int index) = nullptr;
  void (*cancel)(int index) = nullptr;
  void (*replay)(int index, void* work) = nullptr;   // in order with this thread's other work
  void (*release)(int index, void* work) = nullptr;
};

// Points in a device's work, for timing. All null: time the calls.
struct DeviceEvents {
  void* (*record)(int index) = nullptr;
  double (*milliseconds)(int index, void* from, void* to) = nullptr;   // waits for both, and frees neither
  void (*release)(int index, void* event) = nullptr;
};

// What a plug-in's entry returns. It stays valid for the life of the process.
struct BackendTable {
  int interface = backend_interface;
  const char* name = nullptr;        // as users write it: "cuda-emulated"
  int n_devices = 1;
  DeviceMemory memory;
  std::vector<std::pair<const char*, Kernel>> kernels;
  DeviceCapture capture;
  DeviceEvents events;
  std::string (*describe)(int index) = nullptr;   // the device in a line, for people
};
// A plug-in exports this, with C linkage. It throws DeviceError when the device cannot be used.
using BackendEntry = const BackendTable& (*)();
inline constexpr const char* backend_entry_name = "suan_backend";

class Backend {
 public:
  explicit Backend(const BackendTable& table);
  const char* name() const { return name_; }
  int n_devices() const { return n_devices_; }
  const DeviceMemory& memory() const { return memory_; }
  const DeviceCapture* capture() const { return capture_.begin ? &capture_ : nullptr; }
  const DeviceEvents* events() const { return events_.record ? &events_ : nullptr; }
  std::string describe(int index) const { return describe_ ? describe_(index) : name_; }
  const Kernel* kernel(const OpDef& op) const {
    return by_op_[op.id].prepare ? &by_op_[op.id] : nullptr;
  }

 private:
  const char* name_;
  int n_devices_;
  DeviceMemory memory_;
  DeviceCapture capture_;
  DeviceEvents events_;
  std::string (*describe_)(int index);
  std::vector<Kernel> by_op_;
};

const Backend& backend(DeviceType type);   // DeviceError saying why it is not there
// The backend of a shared library, ready for use as Device{type, 0}. DeviceError: not loadable, no entry,
// another interface, or a name that is taken.
DeviceType load_backend(const std::string& path);
// Why "cuda" or "cuda-emulated" cannot be used, in one line; empty when it can.
std::string why_unavailable(DeviceType type);

// Memory of any device, the CPU among them.
void* allocate_on(Device device, int64_t bytes);              // OutOfMemory
void free_on(Device device, void* p, int64_t bytes);
void copy_on(Device device, void* to, const void* from, int64_t bytes);

// The values of a tensor as a contiguous one on another device (or a copy on the same); without history.
Tensor to_device(const Tensor& t, Device device);
// A contiguous host tensor with a constant's values for a device; a literal stays one.
Tensor constant_on(const Tensor& value, Device device);
// A tensor's bytes for the host to read: DeviceError, naming `op`, when they are on another device.
const std::byte* host_bytes(const char* op, const Tensor& t);

// "avx512" or "avx2": what the CPU kernels run as. SUAN_ISA=avx2 in the environment asks for the smaller.
const char* cpu_isa();

}  // namespace suan
