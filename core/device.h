// Where a tensor lives.
#pragma once

#include <cstdint>
#include <string>

namespace suan {

enum class DeviceType : uint8_t { cpu, cuda, cuda_emulated };
inline constexpr int n_device_types = 3;

struct Device {
  DeviceType type = DeviceType::cpu;
  int8_t index = 0;
  bool operator==(const Device&) const = default;
};

Device parse_device(const std::string& text);  // "cpu", "cuda:1"; DeviceError on anything else
std::string to_string(Device d);

}  // namespace suan
