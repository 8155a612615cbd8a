// The user's source line, recorded as two words and turned into text only when an error asks for it.
// The Python binding installs the hooks; without them every mark is empty.
#pragma once

#include <cstdint>
#include <string>

namespace suan {

struct SourceMark {
  const void* code = nullptr;
  int32_t position = 0;
  explicit operator bool() const { return code != nullptr; }
  bool operator==(const SourceMark&) const = default;
};

struct SourceHooks {
  SourceMark (*capture)() = nullptr;
  std::string (*format)(const SourceMark&) = nullptr;
};
extern SourceHooks source_hooks;

inline SourceMark capture_source() {
  return source_hooks.capture ? source_hooks.capture() : SourceMark{};
}
std::string to_string(const SourceMark& mark);  // "train.py:12 in step", or "unknown line"

}  // namespace suan
