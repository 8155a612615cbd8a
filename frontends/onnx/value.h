// What flows between ONNX nodes: a tensor, strings, a sequence, a map, or nothing (an absent optional).
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.h"

namespace suan::onnx {

struct Strings {
  Shape shape;
  std::vector<std::string> data;  // row-major
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
  Value(Strings s) : data(std::make_shared<const Strings>(std::move(s))) {}
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
