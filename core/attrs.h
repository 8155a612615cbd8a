// Attributes shape or select an op; they are never data. Stored in the order of the op's schema.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace suan {

struct Graph;
using GraphPtr = std::shared_ptr<const Graph>;

// Integer lists use Dims up to 8 entries (axes, sizes) and vector beyond (index lists).
using Attr = std::variant<std::monostate, bool, int64_t, double, std::string, Dims, DType,
                          std::vector<int64_t>, GraphPtr>;

enum class AttrKind : uint8_t { boolean, integer, real, string, dims, dtype, ints, graph };

class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<Attr> v) : Attrs(std::vector<Attr>(v)) {}
  explicit Attrs(std::vector<Attr> v) {
    if (!v.empty()) v_ = std::make_shared<const std::vector<Attr>>(std::move(v));
  }

  int size() const { return v_ ? int(v_->size()) : 0; }
  bool has(int i) const { return i < size() && (*this)[i].index() != 0; }
  const Attr& operator[](int i) const { return (*v_)[size_t(i)]; }
  bool boolean(int i) const { return std::get<bool>((*this)[i]); }
  int64_t integer(int i) const { return std::get<int64_t>((*this)[i]); }
  double real(int i) const { return std::get<double>((*this)[i]); }
  const std::string& string(int i) const { return std::get<std::string>((*this)[i]); }
  const Dims& dims(int i) const { return std::get<Dims>((*this)[i]); }
  DType dtype(int i) const { return std::get<DType>((*this)[i]); }
  const std::vector<int64_t>& ints(int i) const { return std::get<std::vector<int64_t>>((*this)[i]); }
  const GraphPtr& graph(int i) const { return std::get<GraphPtr>((*this)[i]); }

  uint64_t hash() const;
  bool operator==(const Attrs& o) const;  // graphs compare by structure
  const std::vector<Attr>& values() const;

 private:
  std::shared_ptr<const std::vector<Attr>> v_;   // shared by copies; null: none
};

std::string to_string(const Attr& a);

}  // namespace suan
