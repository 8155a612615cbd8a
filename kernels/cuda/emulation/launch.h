// A kernel and its arguments without their types, as a driver is given them. The emulation runs it at once; the
// tests' fake driver keeps it until its stream is waited for.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernels/cuda/lib/device.h"

namespace suan::cuda {

struct EmulatedKernel {
  const char* name;
  // Null for one that is only noted.
  void (*run)(const EmulatedKernel& self, const LaunchShape& shape, size_t shared_bytes, void** arguments);
  const void* kernel;
  int n;                         // arguments, whose sizes follow
  const size_t* sizes;
};

void launch_emulated(const EmulatedKernel& kernel, const LaunchShape& shape, size_t shared_bytes, void** arguments);

}  // namespace suan::cuda
