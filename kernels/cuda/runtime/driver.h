// The CUDA driver's interface, opened when the device is first used: the library loads on machines without a
// driver. The few declarations are our own, so that it builds without a toolkit too; tests/cuda/abi.cu holds them
// against NVIDIA's headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace suan::cuda {

using DevicePointer = unsigned long long;

namespace cu {
inline constexpr int success = 0, out_of_memory = 2, deinitialized = 4, no_device = 100;
inline constexpr int attribute_major = 75, attribute_minor = 76, attribute_memory_pools = 115;
inline constexpr int function_max_dynamic_shared = 8;
inline constexpr unsigned stream_non_blocking = 1, host_portable = 1, host_device_map = 2;
inline constexpr int capture_thread_local = 1, pool_release_threshold = 4;
}  // namespace cu

// name, symbol in the library, parameters
#define SUAN_DRIVER_CALLS(X)                                                                        \
  X(init, "cuInit", (unsigned flags))                                                               \
  X(driver_version, "cuDriverGetVersion", (int* version))                                           \
  X(error_name, "cuGetErrorName", (int error, const char** text))                                   \
  X(error_text, "cuGetErrorString", (int error, const char** text))                                 \
  X(device_count, "cuDeviceGetCount", (int* n))                                                     \
  X(device_get, "cuDeviceGet", (int* device, int index))                                            \
  X(device_name, "cuDeviceGetName", (char* name, int size, int device))                             \
  X(device_attribute, "cuDeviceGetAttribute", (int* value, int attribute, int device))              \
  X(device_memory, "cuDeviceTotalMem_v2", (size_t* bytes, int device))                              \
  X(retain_context, "cuDevicePrimaryCtxRetain", (void** context, int device))                       \
  X(set_context, "cuCtxSetCurrent", (void* context))                                                \
  X(stream_create, "cuStreamCreate", (void** stream, unsigned flags))                               \
  X(stream_wait, "cuStreamSynchronize", (void* stream))                                             \
  X(capture_begin, "cuStreamBeginCapture_v2", (void* stream, int mode))                             \
  X(capture_end, "cuStreamEndCapture", (void* stream, void** graph))                                \
  X(graph_instantiate, "cuGraphInstantiateWithFlags", (void** exec, void* graph, unsigned long long flags)) \
  X(graph_launch, "cuGraphLaunch", (void* exec, void* stream))                                      \
  X(graph_destroy, "cuGraphDestroy", (void* graph))                                                 \
  X(exec_destroy, "cuGraphExecDestroy", (void* exec))                                               \
  X(default_pool, "cuDeviceGetDefaultMemPool", (void** pool, int device))                           \
  X(pool_set, "cuMemPoolSetAttribute", (void* pool, int attribute, void* value))                    \
  X(allocate, "cuMemAllocAsync", (DevicePointer* p, size_t bytes, void* stream))                    \
  X(free, "cuMemFreeAsync", (DevicePointer p, void* stream))                                        \
  X(upload, "cuMemcpyHtoDAsync_v2", (DevicePointer to, const void* from, size_t bytes, void* stream)) \
  X(download, "cuMemcpyDtoHAsync_v2", (void* to, DevicePointer from, size_t bytes, void* stream))   \
  X(copy, "cuMemcpyDtoDAsync_v2", (DevicePointer to, DevicePointer from, size_t bytes, void* stream)) \
  X(fill, "cuMemsetD8Async", (DevicePointer to, unsigned char value, size_t bytes, void* stream))   \
  X(host_allocate, "cuMemHostAlloc", (void** p, size_t bytes, unsigned flags))                      \
  X(host_pointer, "cuMemHostGetDevicePointer_v2", (DevicePointer* p, void* host, unsigned flags))   \
  X(module_load, "cuModuleLoadData", (void** module, const void* image))                            \
  X(module_function, "cuModuleGetFunction", (void** function, void* module, const char* name))      \
  X(function_set, "cuFuncSetAttribute", (void* function, int attribute, int value))                 \
  X(launch, "cuLaunchKernel", (void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, \
                               unsigned bz, unsigned shared_bytes, void* stream, void** arguments, void** extra)) \
  X(event_create, "cuEventCreate", (void** event, unsigned flags))                                  \
  X(event_record, "cuEventRecord", (void* event, void* stream))                                     \
  X(event_wait, "cuEventSynchronize", (void* event))                                                \
  X(event_elapsed, "cuEventElapsedTime_v2", (float* milliseconds, void* from, void* to))               \
  X(event_destroy, "cuEventDestroy_v2", (void* event))

struct Driver {
#define SUAN_DECLARE(name, symbol, parameters) int(*name) parameters = nullptr;
  SUAN_DRIVER_CALLS(SUAN_DECLARE)
#undef SUAN_DECLARE
  int version = 0;                 // 13000 for CUDA 13.0
};

// Opened and initialised once. DeviceError, in one line: no driver, too old, or it does not start.
const Driver& driver();
// DeviceError naming what failed and the driver's own words.
void check(int result, const char* what);

// Makes the device current on this thread; the stream that this thread's work goes to (its own while it captures).
void* current_stream();
bool capturing();
// "90" for compute capability 9.0.
int architecture();

}  // namespace suan::cuda
