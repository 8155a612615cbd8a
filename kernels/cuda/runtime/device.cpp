// The device "cuda": one card, one stream. Memory comes from the driver's stream-ordered pool, so that a block is
// free for later work as soon as it is given back; nothing waits but downloads and synchronize().
#include <atomic>
#include <mutex>

#include "core/backend.h"
#include "kernels/cuda/lib/device.h"
#include "kernels/cuda/lib/generated.h"
#include "kernels/cuda/lib/product.h"
#include "kernels/cuda/runtime/driver.h"

#ifndef SUAN_CUDA_NAME
#define SUAN_CUDA_NAME "cuda"
#endif

namespace suan::cuda {

std::vector<std::pair<const char*, Kernel>> kernel_table();   // generated from kernels/cuda/

namespace {

// Where kernels note indices out of range: host memory that the card writes to, looked at when the card is waited
// for. Eager launches take notes in turn; one that a captured unit holds is its own for good.
constexpr int eager_notes = 1024, all_notes = 4096;
struct NoteOwner {
  const char* op = nullptr;
  int64_t lowest = 0, size = 0;
};

struct DeviceState {
  int device = 0, arch = 0;
  size_t bytes = 0;
  std::string name;
  void *context = nullptr, *stream = nullptr;
  IndexNote *notes = nullptr, *notes_on_device = nullptr;
  NoteOwner owners[all_notes];
  std::atomic<unsigned> next_note{0}, next_captured{eager_notes};
  std::mutex mutex;
  std::atomic<int64_t> in_use{0}, peak{0};

  DeviceState() {
    const Driver& d = driver();
    check(d.device_get(&device, 0), "opening the device");
    char text[256] = {};
    d.device_name(text, int(sizeof text) - 1, device);
    name = text;
    int major = 0, minor = 0, pools = 0;
    d.device_attribute(&major, cu::attribute_major, device);
    d.device_attribute(&minor, cu::attribute_minor, device);
    d.device_attribute(&pools, cu::attribute_memory_pools, device);
    arch = major * 10 + minor;
    if (major != 8 && arch != 90)
      fail<DeviceError>("cuda", "no kernels for this card: expected compute capability 8.0 to 8.9 or 9.0, got {}.{} ({})",
                        major, minor, name);
    if (!pools) fail<DeviceError>("cuda", "no memory pools: expected a card and driver with them, got {}", name);
    d.device_memory(&bytes, device);
    check(d.retain_context(&context, device), "making a context");
    check(d.set_context(context), "entering the context");
    check(d.stream_create(&stream, cu::stream_non_blocking), "making a stream");
    void* pool = nullptr;
    unsigned long long keep = ~0ull;   // the pool's memory stays ours between steps
    check(d.default_pool(&pool, device), "finding the memory pool");
    check(d.pool_set(pool, cu::pool_release_threshold, &keep), "setting up the memory pool");
    void* host = nullptr;
    DevicePointer seen = 0;
    check(d.host_allocate(&host, sizeof(IndexNote) * all_notes, cu::host_portable | cu::host_device_map),
          "allocating host memory");
    check(d.host_pointer(&seen, host, 0), "mapping host memory");
    notes = static_cast<IndexNote*>(host);
    for (int i = 0; i < all_notes; ++i) notes[i] = {};
    notes_on_device = reinterpret_cast<IndexNote*>(seen);
  }
};
DeviceState& device() {
  static auto* d = new DeviceState;
  return *d;
}

struct ThreadState {
  bool current = false;
  void* capture_stream = nullptr;   // made once a thread
  bool capturing = false;
  unsigned note = 0;                // the last one given out
};
ThreadState& thread() {
  static thread_local ThreadState t;
  return t;
}

DevicePointer address(const void* p) { return reinterpret_cast<DevicePointer>(p); }

// An index out of range is found here, after the kernel that met it.
void look_at_notes() {
  DeviceState& d = device();
  for (int i = 0; i < all_notes; ++i) {
    volatile IndexNote& note = d.notes[i];
    if (!note.set) continue;
    const long long value = note.value;
    note.set = 0;
    NoteOwner owner;
    {
      std::lock_guard lock(d.mutex);
      owner = d.owners[i];
    }
    if (owner.op)
      fail<IndexError>(owner.op, "index out of range: expected {} to {}, got {}", owner.lowest, owner.size - 1, value);
    fail<IndexError>("cuda", "index out of range: expected one within its table, got {}", value);
  }
}

void wait(const char* what) {
  check(driver().stream_wait(current_stream()), what);
  look_at_notes();
}

void* allocate(int, int64_t bytes) {
  DeviceState& d = device();
  if (capturing())
    fail<InternalError>("cuda", "allocation while work is captured: expected none, got {} bytes", bytes);
  const size_t size = size_t(std::max<int64_t>(bytes, 1));
  DevicePointer p = 0;
  int result = driver().allocate(&p, size, current_stream());
  if (result == cu::out_of_memory) {   // what was freed in order may be waiting for its work
    driver().stream_wait(d.stream);
    result = driver().allocate(&p, size, d.stream);
  }
  if (result == cu::out_of_memory)
    fail<OutOfMemory>("cuda", "out of memory: expected {} bytes free, got less ({} in use of {})", bytes,
                      d.in_use.load(), d.bytes);
  check(result, "allocation");
  const int64_t now = d.in_use.fetch_add(bytes) + bytes;
  for (int64_t seen = d.peak; seen < now && !d.peak.compare_exchange_weak(seen, now);) {}
  return reinterpret_cast<void*>(p);
}

void release(int, void* p, int64_t bytes) {
  DeviceState& d = device();
  current_stream();
  driver().free(address(p), d.stream);   // when the process ends the driver may be gone already: nothing to report
  d.in_use -= bytes;
}

void upload(int, void* to, const void* from, int64_t bytes) {
  if (bytes) check(driver().upload(address(to), from, size_t(bytes), current_stream()), "upload");
}
void download(int, void* to, const void* from, int64_t bytes) {
  if (bytes) check(driver().download(to, address(from), size_t(bytes), current_stream()), "download");
  wait("work before a download");
}
void copy(int, void* to, const void* from, int64_t bytes) { copy_within(to, from, bytes); }

// ---- capture ---------------------------------------------------------------------------------------------

void capture_begin(int) {
  ThreadState& t = thread();
  current_stream();
  if (!t.capture_stream) check(driver().stream_create(&t.capture_stream, cu::stream_non_blocking), "making a stream");
  check(driver().capture_begin(t.capture_stream, cu::capture_thread_local), "beginning a capture");
  t.capturing = true;
}

void* capture_end(int) {
  ThreadState& t = thread();
  t.capturing = false;
  void *graph = nullptr, *exec = nullptr;
  check(driver().capture_end(t.capture_stream, &graph), "ending a capture");
  const int result = driver().graph_instantiate(&exec, graph, 0);
  driver().graph_destroy(graph);
  check(result, "making a captured unit");
  return exec;
}

void capture_cancel(int) {
  ThreadState& t = thread();
  t.capturing = false;
  void* graph = nullptr;
  if (driver().capture_end(t.capture_stream, &graph) == cu::success && graph) driver().graph_destroy(graph);
}

// ---- events ----------------------------------------------------------------------------------------------

void* event_record(int) {
  void *event = nullptr, *stream = current_stream();
  check(driver().event_create(&event, 0), "making an event");
  check(driver().event_record(event, stream), "recording an event");
  return event;
}
double event_milliseconds(int, void* from, void* to) {
  float ms = 0;
  current_stream();
  check(driver().event_wait(to), "work before an event");
  check(driver().event_elapsed(&ms, from, to), "reading events");
  return ms;
}

std::string describe(int) {
  const DeviceState& d = device();
  return fmt::format("{}, sm_{}, {:.1f} GiB, driver for CUDA {}.{}; products: {}; fused kernels: {}", d.name, d.arch,
                     double(d.bytes) / double(1 << 30), driver().version / 1000, driver().version % 1000 / 10,
                     product_library(), generator_library());
}

}  // namespace

void* current_stream() {
  ThreadState& t = thread();
  DeviceState& d = device();
  if (!t.current) {
    check(driver().set_context(d.context), "entering the context");
    t.current = true;
  }
  return t.capturing ? t.capture_stream : d.stream;
}
bool capturing() { return thread().capturing; }
int architecture() { return device().arch; }

LaunchScope::LaunchScope(const char* kernel) : kernel_(kernel) {}
LaunchScope::~LaunchScope() noexcept(false) {}

void launch_function(void* function, const char* name, const LaunchShape& s, size_t shared_bytes, void** arguments) {
  void* stream = current_stream();
  if (shared_bytes > 48 * 1024)
    check(driver().function_set(function, cu::function_max_dynamic_shared, int(shared_bytes)), name);
  check(driver().launch(function, s.grid[0], s.grid[1], s.grid[2], s.block[0], s.block[1], s.block[2],
                        unsigned(shared_bytes), stream, arguments, nullptr),
        name);
}

IndexNote* index_note() {
  DeviceState& d = device();
  ThreadState& t = thread();
  if (t.capturing) t.note = std::min<unsigned>(d.next_captured++, all_notes - 1);
  else t.note = d.next_note++ % eager_notes;
  return d.notes_on_device + t.note;
}
// The op whose kernel has the note just given out.
void check_index_note(const char* op, int64_t lowest, int64_t size) {
  DeviceState& d = device();
  const unsigned at = thread().note;
  std::lock_guard lock(d.mutex);
  d.owners[at] = at == all_notes - 1 ? NoteOwner{} : NoteOwner{op, lowest, size};
}

void copy_within(void* to, const void* from, int64_t bytes) {
  if (bytes) check(driver().copy(address(to), address(from), size_t(bytes), current_stream()), "copy");
}
void set_zero(void* p, int64_t bytes) {
  if (bytes) check(driver().fill(address(p), 0, size_t(bytes), current_stream()), "fill");
}

}  // namespace suan::cuda

extern "C" __attribute__((visibility("default"))) const suan::BackendTable& suan_backend() {
  using namespace suan;
  static const BackendTable table = [] {
    cuda::device();   // says why there is none
    BackendTable t;
    t.name = SUAN_CUDA_NAME;
    t.memory.allocate = cuda::allocate;
    t.memory.free = cuda::release;
    t.memory.upload = cuda::upload;
    t.memory.download = cuda::download;
    t.memory.copy = cuda::copy;
    t.memory.synchronize = [](int) { cuda::wait("work on the device"); };
    t.memory.stats = [](int) {
      return MemoryStats{cuda::device().in_use, cuda::device().peak, 0};
    };
    t.capture = {cuda::capture_begin, cuda::capture_end, cuda::capture_cancel,
                 [](int, void* unit) { cuda::check(cuda::driver().graph_launch(unit, cuda::current_stream()), "replay"); },
                 [](int, void* unit) { cuda::driver().exec_destroy(unit); }};
    t.events = {cuda::event_record, cuda::event_milliseconds,
                [](int, void* event) { cuda::driver().event_destroy(event); }};
    t.describe = cuda::describe;
    t.kernels = cuda::kernel_table();
    return t;
  }();
  return table;
}
