// What the host half of a kernel asks of its device; implemented once for the real one (runtime/device.cpp) and
// once for the emulation (emulation/device.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/error.h"

namespace suan::cuda {

// Held around a launch: in the emulation it takes the device for this thread and makes its memory accessible.
class LaunchScope {
 public:
  explicit LaunchScope(const char* kernel);
  ~LaunchScope() noexcept(false);  // DeviceError with what the launch met
  LaunchScope(const LaunchScope&) = delete;

 private:
  const char* kernel_;
};

// Where a kernel notes an index that is out of range. The emulation looks after the launch, a GPU when it
// is next waited for.
struct IndexNote { int set; long long value; };
IndexNote* index_note();
void check_index_note(const char* op, int64_t lowest, int64_t size);

struct LaunchShape { unsigned grid[3], block[3]; };
// Real devices only: `kernel` is the host's symbol, or a function of the driver's; the arguments are pointers to values.
void launch_kernel(const void* kernel, const char* name, const LaunchShape& shape, size_t shared_bytes, void** arguments);
void launch_function(void* function, const char* name, const LaunchShape& shape, size_t shared_bytes, void** arguments);

void copy_within(void* to, const void* from, int64_t bytes);   // on the device, in order
void set_zero(void* p, int64_t bytes);

}  // namespace suan::cuda
