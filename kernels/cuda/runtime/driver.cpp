// Opening the driver, and its errors.
#include "kernels/cuda/runtime/driver.h"

#include <dlfcn.h>

#include "core/error.h"

#ifndef SUAN_CUDA_VERSION
#define SUAN_CUDA_VERSION 13000   // of the compiler that made the kernels, which a driver must know
#endif

namespace suan::cuda {
namespace {

std::string version_text(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

std::string words(const Driver& d, int result) {
  const char *name = nullptr, *text = nullptr;
  d.error_name(result, &name);
  d.error_text(result, &text);
  return fmt::format("{} ({})", name ? name : std::to_string(result), text ? text : "no description");
}

Driver open() {
  Driver d;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) fail<DeviceError>("cuda", "no NVIDIA driver: expected libcuda.so.1, got {}", dlerror());
  d.driver_version = reinterpret_cast<decltype(d.driver_version)>(dlsym(library, "cuDriverGetVersion"));
  if (d.driver_version) d.driver_version(&d.version);
  const int least = SUAN_CUDA_VERSION / 1000 * 1000;
  if (d.version < least)
    fail<DeviceError>("cuda", "driver too old: expected one for CUDA {} or newer, got {}", version_text(least),
                      version_text(d.version));
#define SUAN_FIND(name, symbol, parameters)                                        \
  d.name = reinterpret_cast<decltype(d.name)>(dlsym(library, symbol));             \
  if (!d.name) fail<DeviceError>("cuda", "driver too old: expected {} in it, got none", symbol);
  SUAN_DRIVER_CALLS(SUAN_FIND)
#undef SUAN_FIND
  int devices = 0;
  const int started = d.init(0);
  if (started == cu::success) d.device_count(&devices);
  if (started == cu::no_device || (started == cu::success && devices == 0))
    fail<DeviceError>("cuda", "no device: expected an NVIDIA GPU, got none");
  if (started != cu::success)
    fail<DeviceError>("cuda", "driver does not start: expected success, got {}", words(d, started));
  return d;
}

}  // namespace

const Driver& driver() {
  static const Driver d = open();
  return d;
}

void check(int result, const char* what) {
  if (result == cu::success) return;
  fail<DeviceError>("cuda", "{} failed: expected success, got {}", what, words(driver(), result));
}

}  // namespace suan::cuda
