// The device "cuda-emulated": host memory that is accessible only while a kernel or a copy runs, as a card's
// memory is to the host. So nothing but this backend's kernels can have computed what is in it.
#include <sys/mman.h>

#include <atomic>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/backend.h"
#include "kernels/cuda/emulation/internal.h"
#include "kernels/cuda/emulation/launch.h"
#include "kernels/cuda/lib/device.h"
#include "kernels/cuda/lib/generated.h"
#include "kernels/cuda/lib/product.h"

namespace suan::cuda {

std::vector<std::pair<const char*, Kernel>> kernel_table();   // generated from kernels/cuda/

namespace {

constexpr int64_t capacity = int64_t(16) << 30;   // address space; pages are taken when touched
constexpr int64_t granule = 256;                  // also the gap between two allocations

struct DeviceState {
  std::recursive_mutex mutex;    // one launch or copy at a time
  std::byte* base = nullptr;
  int64_t used = 0;              // of the address space
  int depth = 0;                 // of nested scopes
  std::multimap<int64_t, std::byte*> idle;   // by size
  std::unordered_map<void*, int64_t> sizes;
  MemoryStats stats;
  IndexNote* note = nullptr;
  DeviceState() {
    void* p = mmap(nullptr, size_t(capacity), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
      fail<DeviceError>("cuda-emulated", "no address space: expected {} bytes, got a refusal", capacity);
    base = static_cast<std::byte*>(p);
  }
};
DeviceState& device() {
  static auto* d = new DeviceState;
  return *d;
}

void protect(DeviceState& d, int how) {
  const int64_t page = 4096, bytes = (d.used + page - 1) / page * page;
  if (bytes && mprotect(d.base, size_t(bytes), how) != 0)
    fail<DeviceError>("cuda-emulated", "cannot change the protection of device memory: expected success, got an error");
}

// The device is this thread's, its memory open.
class Open {
 public:
  Open() : d_(device()) {
    d_.mutex.lock();
    if (d_.depth++ == 0) protect(d_, PROT_READ | PROT_WRITE);
  }
  ~Open() {
    if (--d_.depth == 0) protect(d_, PROT_NONE);
    d_.mutex.unlock();
  }
  Open(const Open&) = delete;

 private:
  DeviceState& d_;
};

void* allocate(int, int64_t bytes) {
  Open open;
  DeviceState& d = device();
  const int64_t size = (std::max<int64_t>(bytes, 1) + granule - 1) / granule * granule;
  std::byte* p = nullptr;
  if (auto at = d.idle.find(size); at != d.idle.end()) {
    p = at->second;
    d.idle.erase(at);
    d.stats.cached -= size;
  } else {
    if (d.used + size + granule > capacity)
      fail<OutOfMemory>("cuda-emulated", "out of memory: expected {} bytes free, got {} of {}", bytes,
                        capacity - d.used, capacity);
    p = d.base + d.used;
    d.used += size + granule;
    protect(d, PROT_READ | PROT_WRITE);
  }
  d.sizes[p] = size;
  d.stats.in_use += size;
  d.stats.peak = std::max(d.stats.peak, d.stats.in_use);
  std::memset(p, 0xff, size_t(size));   // NaN: what is read before it is written shows
  emu::know_memory(p, size_t(bytes));
  return p;
}

void release(int, void* p, int64_t) {
  Open open;
  DeviceState& d = device();
  const int64_t size = d.sizes.at(p);
  emu::forget_memory(p);
  d.sizes.erase(p);
  d.idle.emplace(size, static_cast<std::byte*>(p));
  d.stats.in_use -= size;
  d.stats.cached += size;
}

void move_bytes(int, void* to, const void* from, int64_t bytes) {
  Open open;
  std::memcpy(to, from, size_t(bytes));
  emu::know_written(to, size_t(bytes));
}

}  // namespace

LaunchScope::LaunchScope(const char* kernel) : kernel_(kernel) {
  DeviceState& d = device();
  d.mutex.lock();
  if (d.depth++ == 0) protect(d, PROT_READ | PROT_WRITE);
}
LaunchScope::~LaunchScope() noexcept(false) {
  DeviceState& d = device();
  if (--d.depth == 0) protect(d, PROT_NONE);
  const long n = emu::count_reports();
  const std::vector<std::string> reports = emu::take_reports();
  d.mutex.unlock();
  if (n && !std::uncaught_exceptions())
    fail<DeviceError>(kernel_, "fault of a kernel: expected none, got {} ({} in all)", reports.front(), n);
}

void launch_emulated(const EmulatedKernel& kernel, const LaunchShape& shape, size_t shared_bytes, void** arguments) {
  kernel.run(kernel, shape, shared_bytes, arguments);
}

IndexNote* index_note() {
  DeviceState& d = device();
  std::lock_guard lock(d.mutex);
  if (!d.note) {
    d.note = static_cast<IndexNote*>(allocate(0, sizeof(IndexNote)));
    const IndexNote clear{};
    move_bytes(0, d.note, &clear, sizeof clear);
  }
  return d.note;
}
void check_index_note(const char* op, int64_t lowest, int64_t size) {
  IndexNote found{};
  move_bytes(0, &found, index_note(), sizeof found);
  if (!found.set) return;
  const IndexNote clear{};
  move_bytes(0, device().note, &clear, sizeof clear);
  fail<IndexError>(op, "index out of range: expected {} to {}, got {}", lowest, size - 1, found.value);
}

void copy_within(void* to, const void* from, int64_t bytes) { move_bytes(0, to, from, bytes); }
void set_zero(void* p, int64_t bytes) {
  Open open;
  std::memset(p, 0, size_t(bytes));
  emu::know_written(p, size_t(bytes));
}

// The library's stand-in: the CPU's own kernel, on the device's memory. Counted.
std::atomic<uint64_t> host_calls{0};
namespace {
struct HostCall { Prepared prepared; Shape out; DType dtype; };
}  // namespace

bool supports_product(const KernelDesc& d) {
  const Kernel* k = backend(DeviceType::cpu).kernel(d.op);
  return k && (!k->supports || k->supports(d));
}
Prepared prepare_product(const KernelDesc& d) {
  const Kernel* k = backend(DeviceType::cpu).kernel(d.op);
  auto state = std::make_shared<HostCall>(
      HostCall{k->prepare(d), d.out[0]->layout.shape, d.out[0]->dtype});
  return {[](const void* s, const KernelArgs& a) {
            const auto& call = *static_cast<const HostCall*>(s);
            ++host_calls;
            Open open;
            call.prepared.run(call.prepared.state.get(), a);
            emu::know_written(a.out[0], size_t(bytes_for(call.dtype, numel(call.out))));
          },
          state, state->prepared.workspace};
}
}  // namespace suan::cuda

extern "C" __attribute__((visibility("default"))) const suan::BackendTable& suan_backend() {
  using namespace suan;
  static const BackendTable table = [] {
    BackendTable t;
    t.name = "cuda-emulated";
    t.memory.allocate = cuda::allocate;
    t.memory.free = cuda::release;
    t.memory.upload = t.memory.download = t.memory.copy = cuda::move_bytes;
    t.memory.synchronize = [](int) {};
    t.memory.stats = [](int) {
      std::lock_guard lock(cuda::device().mutex);
      return cuda::device().stats;
    };
    t.describe = [](int) { return "kernels on the CPU; fused kernels: " + cuda::generator_library(); };
    t.kernels = cuda::kernel_table();
    return t;
  }();
  return table;
}
// How many kernels have been launched, and products computed by the host in the library's place.
extern "C" __attribute__((visibility("default"))) uint64_t suan_emulated_launches() {
  return uint64_t(emu::counters().launches);
}
extern "C" __attribute__((visibility("default"))) uint64_t suan_emulated_products() {
  return suan::cuda::host_calls;
}
