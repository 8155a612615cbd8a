// Hashing, equality and printing of attributes.
#include "core/attrs.h"

#include <bit>

#include "core/graph.h"
#include "core/hash.h"

namespace suan {

const std::vector<Attr>& Attrs::values() const {
  static const std::vector<Attr> none;
  return v_ ? *v_ : none;
}

uint64_t Attrs::hash() const {
  uint64_t h = 0x9e3779b97f4a7c15ull;
  for (const Attr& a : values()) {
    h = mix(h, a.index());
    std::visit([&](const auto& x) {
      using T = std::decay_t<decltype(x)>;
      if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, int64_t> || std::is_same_v<T, DType>)
        h = mix(h, uint64_t(x));
      else if constexpr (std::is_same_v<T, double>)
        h = mix(h, std::bit_cast<uint64_t>(x));
      else if constexpr (std::is_same_v<T, std::string>)
        h = mix(h, std::hash<std::string>{}(x));
      else if constexpr (std::is_same_v<T, Dims> || std::is_same_v<T, std::vector<int64_t>>)
        for (int64_t i : x) h = mix(h, uint64_t(i));
      else if constexpr (std::is_same_v<T, GraphPtr>)
        h = mix(h, x ? x->hash().first : 0);
    }, a);
  }
  return h;
}

bool Attrs::operator==(const Attrs& o) const {
  if (v_ == o.v_) return true;
  if (size() != o.size()) return false;
  for (int i = 0; i < size(); ++i) {
    const Attr &a = (*this)[i], &b = o[i];
    if (a.index() != b.index()) return false;
    if (auto* g = std::get_if<GraphPtr>(&a)) {
      const GraphPtr& h = std::get<GraphPtr>(b);
      if (*g != h && (!*g || !h || !(**g == *h))) return false;
    } else if (!(a == b)) {
      return false;
    }
  }
  return true;
}

std::string to_string(const Attr& a) {
  auto list = [](const auto& v) {
    std::string s = "[";
    bool first = true;
    for (int64_t i : v) { s += (first ? "" : ",") + std::to_string(i); first = false; }
    return s + "]";
  };
  return std::visit([&](const auto& x) -> std::string {
    using T = std::decay_t<decltype(x)>;
    if constexpr (std::is_same_v<T, std::monostate>) return "none";
    else if constexpr (std::is_same_v<T, bool>) return x ? "true" : "false";
    else if constexpr (std::is_same_v<T, int64_t>) return std::to_string(x);
    else if constexpr (std::is_same_v<T, double>) return fmt::format("{}", x);
    else if constexpr (std::is_same_v<T, std::string>) return "\"" + x + "\"";
    else if constexpr (std::is_same_v<T, DType>) return std::string(brief(x));
    else if constexpr (std::is_same_v<T, GraphPtr>) return x ? "{\n" + x->print() + "}" : "none";
    else return list(x);
  }, a);
}

}  // namespace suan
