// NVIDIA's run-time compiler.
#pragma once

#include <string>
#include <vector>

namespace suan::cuda {

std::vector<std::string> nvrtc_options(int arch);   // for compute capability `arch` (80, 90)
// Machine code. DeviceError with the compiler's message.
std::string nvrtc_compile(const std::string& text, const std::vector<std::string>& options);
std::string why_no_nvrtc();    // empty when it can be opened
std::string nvrtc_version();   // "NVRTC 13.0", or why there is none

}  // namespace suan::cuda
