// Typed errors. Every message reads "[op] problem: expected X, got Y"; none of them ends the process.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace suan {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One class per thing a caller may want to catch; the Python binding maps each to its usual type.
class ValueError : public Error { using Error::Error; };
class ShapeError : public ValueError { using ValueError::ValueError; };
class TypeError : public Error { using Error::Error; };
class IndexError : public Error { using Error::Error; };
class DeviceError : public Error { using Error::Error; };
class OutOfMemory : public Error { using Error::Error; };
class IoError : public Error { using Error::Error; };
// The request is valid in itself but not in this state (an overwritten saved tensor, a freed graph).
class StateError : public Error { using Error::Error; };
// A defect of Suan itself: a violated invariant, named so that it can be reported.
class InternalError : public Error { using Error::Error; };
class Interrupted : public Error { using Error::Error; };

template <class E = ValueError, class... Args>
[[noreturn]] void fail(std::string_view op, fmt::format_string<Args...> text, Args&&... args) {
  throw E(fmt::format("[{}] {}", op, fmt::format(text, std::forward<Args>(args)...)));
}

}  // namespace suan
