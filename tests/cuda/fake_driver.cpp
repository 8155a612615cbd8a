// See fake_driver.h. The environment says what kind of machine it is:
//   FAKE_CUDA_VERSION (13000), FAKE_CUDA_DEVICES (1), FAKE_CUDA_CAPABILITY (90), FAKE_CUDA_MEMORY (bytes),
//   FAKE_CUDA_FAIL (an entry point that fails), FAKE_CUDA_FAULT (the kernel, by part of its name, that faults).
#include "tests/cuda/fake_driver.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/launch.h"

namespace {

using suan::cuda::EmulatedKernel;


using Pointer = unsigned long long;
constexpr int success = 0, invalid = 1, out_of_memory = 2, no_device = 100, bad_handle = 400, illegal_address = 700,
              capture_unsupported = 900, capture_wrong = 901;

struct Work {
  std::string what;
  std::function<void()> run;
};
struct Graph { std::vector<Work> work; };
struct Stream {
  std::vector<Work> waiting;
  std::unique_ptr<Graph> capture;
};
struct Event {
  Stream* stream = nullptr;
  double at = 0;
};
struct Module { std::map<std::string, std::unique_ptr<EmulatedKernel>> functions; std::vector<std::string> names; };

long number(const char* name, long otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atol(text) : otherwise;
}
bool named(const char* variable, const char* name) {
  const char* text = std::getenv(variable);
  return text && *text && std::strstr(name, text);
}

struct Machine {
  std::recursive_mutex mutex;
  std::string log;
  int sticky = success;                 // an error that ends the context
  char* base = nullptr;
  size_t size = size_t(2) << 30, used = 0, in_use = 0, limit;
  std::map<Pointer, size_t> blocks;
  std::multimap<size_t, Pointer> idle;
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<std::unique_ptr<Module>> modules;
  double clock = 0;
  Machine() : limit(size_t(number("FAKE_CUDA_MEMORY", long(1) << 30))) {
    base = static_cast<char*>(mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
};
Machine& machine() {
  static auto* m = new Machine;
  return *m;
}

thread_local void* current_context = nullptr;
thread_local int captures = 0;          // begun on this thread

// Device memory is the host's only while work runs.
struct Open {
  Machine& m = machine();
  Open() { mprotect(m.base, m.used, PROT_READ | PROT_WRITE); }
  ~Open() { mprotect(m.base, m.used, PROT_NONE); }
};

void note(const std::string& line) { machine().log += line + "\n"; }

int finish(Stream& s) {
  Machine& m = machine();
  std::vector<Work> waiting;
  waiting.swap(s.waiting);
  Open open;
  for (Work& w : waiting) {
    if (m.sticky) break;
    m.clock += 1;
    note("run " + w.what);
    w.run();
    if (named("FAKE_CUDA_FAULT", w.what.c_str())) m.sticky = illegal_address;
  }
  return m.sticky;
}

Stream* known(void* stream) {
  for (auto& s : machine().streams)
    if (s.get() == stream) return s.get();
  return nullptr;
}

// What each call has to check first.
#define FAKE_BEGIN(name)                                             \
  std::lock_guard lock(machine().mutex);                             \
  if (named("FAKE_CUDA_FAIL", name)) return 999;                     \
  if (!current_context) return 201;                                  \
  if (machine().sticky) return machine().sticky;

}  // namespace

int fake_enqueue(void* stream, const char* what, std::function<void()> work) {
  std::lock_guard lock(machine().mutex);
  Stream* s = known(stream);
  if (!s) return bad_handle;
  (s->capture ? s->capture->work : s->waiting).push_back({what, std::move(work)});
  return success;
}

extern "C" {
// NVRTC asks a driver for its private tables, and calls what it finds without looking: there are none.
int cuGetExportTable(const void** table, const void*) {
  *table = nullptr;
  return invalid;
}
// For tests: what was asked for and run, since the last call.
__attribute__((visibility("default"))) const char* fake_take_log() {
  static std::string taken;
  std::lock_guard lock(machine().mutex);
  taken.swap(machine().log);
  machine().log.clear();
  return taken.c_str();
}
__attribute__((visibility("default"))) unsigned long fake_bytes_in_use() { return machine().in_use; }

int cuInit(unsigned) {
  if (named("FAKE_CUDA_FAIL", "cuInit")) return 999;
  return number("FAKE_CUDA_DEVICES", 1) > 0 ? success : no_device;
}
int cuDriverGetVersion(int* v) { *v = int(number("FAKE_CUDA_VERSION", 13000)); return success; }
int cuGetErrorName(int e, const char** text) {
  *text = e == out_of_memory ? "CUDA_ERROR_OUT_OF_MEMORY" : e == illegal_address ? "CUDA_ERROR_ILLEGAL_ADDRESS"
        : e == capture_unsupported ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" : e == 999 ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR";
  return success;
}
int cuGetErrorString(int, const char** text) { *text = "the fake driver says so"; return success; }
int cuDeviceGetCount(int* n) { *n = int(number("FAKE_CUDA_DEVICES", 1)); return success; }
int cuDeviceGet(int* d, int i) { *d = i; return i == 0 ? success : 101; }
int cuDeviceGetName(char* name, int size, int) { std::strncpy(name, "Fake GPU", size_t(size)); return success; }
int cuDeviceGetAttribute(int* v, int which, int) {
  const int capability = int(number("FAKE_CUDA_CAPABILITY", 90));
  *v = which == 75 ? capability / 10 : which == 76 ? capability % 10 : 1;
  return success;
}
int cuDeviceTotalMem_v2(size_t* n, int) { *n = machine().limit; return success; }
int cuDevicePrimaryCtxRetain(void** c, int) { *c = &machine(); return success; }
int cuCtxSetCurrent(void* c) { current_context = c; return success; }
int cuStreamCreate(void** s, unsigned) {
  FAKE_BEGIN("cuStreamCreate")
  machine().streams.push_back(std::make_unique<Stream>());
  *s = machine().streams.back().get();
  return success;
}
int cuStreamSynchronize(void* stream) {
  FAKE_BEGIN("cuStreamSynchronize")
  Stream* s = known(stream);
  if (!s) return bad_handle;
  if (s->capture) return capture_unsupported;
  return finish(*s);
}
int cuStreamBeginCapture_v2(void* stream, int mode) {
  FAKE_BEGIN("cuStreamBeginCapture_v2")
  Stream* s = known(stream);
  if (!s || mode != 1) return invalid;
  if (s->capture || !s->waiting.empty()) return capture_wrong;
  s->capture = std::make_unique<Graph>();
  ++captures;
  note("capture begin");
  return success;
}
int cuStreamEndCapture(void* stream, void** graph) {
  FAKE_BEGIN("cuStreamEndCapture")
  Stream* s = known(stream);
  if (!s || !s->capture) return capture_wrong;
  note("capture end " + std::to_string(s->capture->work.size()));
  *graph = s->capture.release();
  --captures;
  return success;
}
int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long) {
  FAKE_BEGIN("cuGraphInstantiateWithFlags")
  *exec = new Graph(*static_cast<Graph*>(graph));
  return success;
}
int cuGraphLaunch(void* exec, void* stream) {
  FAKE_BEGIN("cuGraphLaunch")
  Stream* s = known(stream);
  if (!s || s->capture) return invalid;
  note("replay");
  for (const Work& w : static_cast<Graph*>(exec)->work) s->waiting.push_back(w);
  return success;
}
int cuGraphDestroy(void* graph) { delete static_cast<Graph*>(graph); return success; }
int cuGraphExecDestroy(void* exec) { delete static_cast<Graph*>(exec); return success; }
int cuDeviceGetDefaultMemPool(void** pool, int) { *pool = &machine(); return success; }
int cuMemPoolSetAttribute(void*, int which, void* value) {
  return which == 4 && *static_cast<unsigned long long*>(value) == ~0ull ? success : invalid;
}
int cuMemAllocAsync(Pointer* p, size_t bytes, void* stream) {
  FAKE_BEGIN("cuMemAllocAsync")
  Machine& m = machine();
  Stream* s = known(stream);
  if (!s) return bad_handle;
  if (s->capture || captures) return capture_unsupported;
  const size_t size = (bytes + 255) / 256 * 256;
  if (m.in_use + size > m.limit) return out_of_memory;
  if (auto at = m.idle.find(size); at != m.idle.end()) {
    *p = at->second;
    m.idle.erase(at);
  } else {
    if (m.used + size + 4096 > m.size) return out_of_memory;
    *p = reinterpret_cast<Pointer>(m.base + m.used);
    m.used += (size + 4095) / 4096 * 4096;
    Open open;   // NaN: what is read before it is written shows
    std::memset(reinterpret_cast<void*>(*p), 0xff, size);
  }
  m.blocks[*p] = size;
  m.in_use += size;
  return success;
}
int cuMemFreeAsync(Pointer p, void* stream) {
  FAKE_BEGIN("cuMemFreeAsync")
  Machine& m = machine();
  auto at = m.blocks.find(p);
  if (at == m.blocks.end()) return invalid;
  const size_t size = at->second;
  m.blocks.erase(at);
  m.in_use -= size;
  m.idle.emplace(size, p);   // to be had at once, for work that is queued after this
  return fake_enqueue(stream, "free", [p, size] { std::memset(reinterpret_cast<void*>(p), 0xff, size); });
}
int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream) {
  FAKE_BEGIN("cuMemcpyHtoDAsync_v2")
  if (captures) return capture_unsupported;
  auto copy = std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
  return fake_enqueue(stream, "upload", [to, copy] { std::memcpy(reinterpret_cast<void*>(to), copy->data(), copy->size()); });
}
int cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream) {
  FAKE_BEGIN("cuMemcpyDtoHAsync_v2")
  if (captures) return capture_unsupported;
  return fake_enqueue(stream, "download", [=] { std::memcpy(to, reinterpret_cast<const void*>(from), bytes); });
}
int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* stream) {
  FAKE_BEGIN("cuMemcpyDtoDAsync_v2")
  return fake_enqueue(stream, "copy", [=] {
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  });
}
int cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void* stream) {
  FAKE_BEGIN("cuMemsetD8Async")
  return fake_enqueue(stream, "fill", [=] { std::memset(reinterpret_cast<void*>(to), value, bytes); });
}
int cuMemHostAlloc(void** p, size_t bytes, unsigned) {
  *p = std::calloc(1, bytes);
  return success;
}
int cuMemHostGetDevicePointer_v2(Pointer* p, void* host, unsigned) {
  *p = reinterpret_cast<Pointer>(host);
  return success;
}
int cuModuleLoadData(void** module, const void* image) {
  FAKE_BEGIN("cuModuleLoadData")
  if (captures) return capture_unsupported;
  // A fat binary, or a single one (ELF).
  uint32_t magic;
  std::memcpy(&magic, image, sizeof magic);
  if (magic != 0xba55ed50u && magic != 0x464c457fu) return 200;
  machine().modules.push_back(std::make_unique<Module>());
  *module = machine().modules.back().get();
  note("load");
  return success;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  FAKE_BEGIN("cuModuleGetFunction")
  auto& m = *static_cast<Module*>(module);
  auto& f = m.functions[name];
  if (!f) {
    f = std::make_unique<EmulatedKernel>(EmulatedKernel{m.functions.find(name)->first.c_str(), nullptr, nullptr, 0, nullptr});
  }
  *function = f.get();
  return success;
}
int cuFuncSetAttribute(void*, int which, int bytes) { return which == 8 && bytes <= 227 * 1024 ? success : invalid; }
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** arguments, void**) {
  FAKE_BEGIN("cuLaunchKernel")
  const auto& f = *static_cast<EmulatedKernel*>(function);
  if (!gx || !gy || !gz || !bx || bx * by * bz > 1024 || gy > 65535 || gz > 65535) return invalid;
  note(std::string("launch ") + f.name);
  // The arguments are the caller's only until it returns.
  auto held = std::make_shared<std::vector<std::vector<std::max_align_t>>>();
  for (int i = 0; i < f.n; ++i) {
    held->emplace_back((f.sizes[i] + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
    std::memcpy(held->back().data(), arguments[i], f.sizes[i]);
  }
  return fake_enqueue(stream, f.name, [&f, held, shape = suan::cuda::LaunchShape{{gx, gy, gz}, {bx, by, bz}}, shared] {
    if (!f.run) return;
    std::vector<void*> pointers;
    for (auto& a : *held) pointers.push_back(a.data());
    f.run(f, shape, shared, pointers.data());
  });
}
int cuEventCreate(void** e, unsigned) { *e = new Event; return success; }
int cuEventRecord(void* event, void* stream) {
  FAKE_BEGIN("cuEventRecord")
  auto* e = static_cast<Event*>(event);
  e->stream = known(stream);
  return fake_enqueue(stream, "event", [e] { e->at = machine().clock; });
}
int cuEventSynchronize(void* event) {
  FAKE_BEGIN("cuEventSynchronize")
  return finish(*static_cast<Event*>(event)->stream);
}
int cuEventElapsedTime_v2(float* ms, void* from, void* to) {   // a tick per piece of work
  *ms = float(static_cast<Event*>(to)->at - static_cast<Event*>(from)->at);
  return success;
}
int cuEventDestroy_v2(void* event) { delete static_cast<Event*>(event); return success; }
}
