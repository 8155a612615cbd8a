// Where a tensor lives.
#pragma once

#include <cstdint>
#include <string>

namespace suan {

// Three devices are known by name; a backend loaded from a plug-in takes the next free number (core/backend.h).
enum class DeviceType : uint8_t { cpu, cuda, cuda_emulated, first_plugin };
inline constexpr int max_device_types = 16;

struct Device {
  DeviceType type = DeviceType::cpu;
  int8_t index = 0;
  bool operator==(const Device&) const = default;
  bool is_cpu() const { return type == DeviceType::cpu; }
};

Device parse_device(const std::string& text);  // "cpu", "cuda:1"; DeviceError on anything else
std::string to_string(Device d);

}  // namespace suan
