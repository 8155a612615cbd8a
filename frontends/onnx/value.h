// What flows between ONNX nodes: a tensor, strings, a sequence, a map, or nothing (an absent optional).
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/allocator.h"
#include "core/tensor.h"

namespace suan::onnx {

struct Strings {
  Shape shape;
  std::vector<std::string> data;  // row-major
};
// What such a string takes.
inline int64_t string_bytes(size_t length) { return int64_t(sizeof(std::string) + length); }
// Counts a list of strings while it grows: OutOfMemory before it outgrows the call's budget.
class StringRoom {
 public:
  void add(size_t length) { require_memory(bytes_ += string_bytes(length)); }

 private:
  int64_t bytes_ = 0;
};
// Strings that flow, counted into the memory of the call.
struct HeldStrings : Strings {
  explicit HeldStrings(Strings s) : Strings(std::move(s)), charge(bytes_of(*this)) {}
  static int64_t bytes_of(const Strings& s) {
    int64_t n = 0;
    for (const std::string& text : s.data) n += string_bytes(text.size());
    return n;
  }
  MemoryCharge charge;
};

struct Value;
using Sequence = std::vector<Value>;
struct Map;

struct Value {
  std::variant<std::monostate, Tensor, std::shared_ptr<const Strings>, std::shared_ptr<const Sequence>, std::shared_ptr<const Map>>
      data;

  Value() = default;
  Value(Tensor t) {
    if (t.defined()) data = std::move(t);
  }
  Value(Strings s) : data(std::make_shared<const HeldStrings>(std::move(s))) {}
  Value(Sequence s) : data(std::make_shared<const Sequence>(std::move(s))) {}
  Value(Map m);

  bool absent() const { return data.index() == 0; }
  bool is_tensor() const { return data.index() == 1; }
  bool is_strings() const { return data.index() == 2; }
  bool is_sequence() const { return data.index() == 3; }
  bool is_map() const { return data.index() == 4; }
  const Tensor& tensor() const { return std::get<1>(data); }
  const Strings& strings() const { return *std::get<2>(data); }
  const Sequence& sequence() const { return *std::get<3>(data); }
  const Map& map() const { return *std::get<4>(data); }
};
// As many keys as values; both tensors [n] in the host's memory, or strings.
struct Map {
  Value keys, values;
};
inline Value::Value(Map m) : data(std::make_shared<const Map>(std::move(m))) {}
using Values = std::vector<Value>;

// No part of it waits for a plan to run.
inline bool is_concrete(const Value& v) {
  if (v.is_tensor()) return !v.tensor().is_dry();
  if (v.is_sequence())
    for (const Value& item : v.sequence())
      if (!is_concrete(item)) return false;
  return true;
}
inline std::string describe(const Value& v) {
  if (v.is_tensor()) return to_string(v.tensor().type());
  return v.is_strings() ? to_string(v.strings().shape) + " strings" : v.is_sequence() ? "a sequence" : v.is_map() ? "a map" : "nothing";
}

}  // namespace suan::onnx
