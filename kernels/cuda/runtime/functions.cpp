// What code compiled by nvcc calls when the library is loaded: each file hands over its machine code and the names
// of its kernels. They are kept here instead of in NVIDIA's runtime library, which is therefore not linked; the
// driver sees a file's code when one of its kernels is first launched.
#include <mutex>
#include <unordered_map>

#include "core/error.h"
#include "kernels/cuda/lib/device.h"
#include "kernels/cuda/runtime/driver.h"

namespace suan::cuda {
namespace {

struct Image {
  const void* code;         // for several architectures: the driver takes the one that fits
  void* module = nullptr;
};
struct Function {
  Image* image;
  const char* symbol;
  void* handle = nullptr;
};
struct Table {
  std::mutex mutex;
  std::unordered_map<const void*, Function> functions;
};
Table& table() {
  static auto* t = new Table;
  return *t;
}

void* function_of(const void* kernel, const char* name) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  auto at = t.functions.find(kernel);
  if (at == t.functions.end()) fail<InternalError>(name, "kernel unknown: expected one of this library, got another");
  Function& f = at->second;
  if (!f.handle) {
    current_stream();   // a context to load into
    if (!f.image->module) check(driver().module_load(&f.image->module, f.image->code), name);
    check(driver().module_function(&f.handle, f.image->module, f.symbol), name);
  }
  return f.handle;
}

}  // namespace

void launch_kernel(const void* kernel, const char* name, const LaunchShape& shape, size_t shared_bytes, void** arguments) {
  launch_function(function_of(kernel, name), name, shape, shared_bytes, arguments);
}

}  // namespace suan::cuda

// The names are nvcc's.
extern "C" {
void** __cudaRegisterFatBinary(void* wrapper) {
  struct Wrapper { int magic, version; const void* data; void* more; };
  auto* image = new suan::cuda::Image{static_cast<const Wrapper*>(wrapper)->data};
  return reinterpret_cast<void**>(image);
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void** image, const char* kernel, char*, const char* symbol, int, void*, void*, void*,
                            void*, int*) {
  suan::cuda::table().functions[kernel] = {reinterpret_cast<suan::cuda::Image*>(image), symbol};
}
char __cudaInitModule(void**) { return 1; }
// What a host call of a kernel would use. All launches go through launch(), so that these are never reached.
int __cudaPopCallConfiguration(void*, void*, size_t*, void*) { return 1; }
int __cudaGetKernel(void**, const void*) { return 1; }
int __cudaLaunchKernel(...) { return 1; }
int cudaLaunchKernel(...) { return 1; }
}
