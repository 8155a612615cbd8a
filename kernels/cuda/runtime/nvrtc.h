// NVIDIA's run-time compiler.
#pragma once

#include <string>

namespace suan::cuda {

// Machine code for compute capability `arch` (80, 90). DeviceError with the compiler's message.
std::string nvrtc_compile(const std::string& text, int arch);
std::string why_no_nvrtc();    // empty when it can be opened
std::string nvrtc_version();   // "NVRTC 13.0", or why there is none

}  // namespace suan::cuda
