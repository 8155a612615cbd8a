// What the host half of a kernel asks of its device; implemented once for the real one (lib/device.cu) and
// once for the emulation (emulation/device.cpp).
#pragma once

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

void copy_within(void* to, const void* from, int64_t bytes);   // on the device, in order
void set_zero(void* p, int64_t bytes);

}  // namespace suan::cuda
