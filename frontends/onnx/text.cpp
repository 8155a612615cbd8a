// Strings.
#include <cwctype>
#include <locale.h>
#include <regex>
#include <wctype.h>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

Values build_string_concat(Call& c) {
  const Strings &a = c.strings(0), &b = c.strings(1);
  const Shape s = broadcast("StringConcat", a.shape, b.shape);
  auto at = [&](const Strings& v, int64_t i) -> const std::string& {
    int64_t offset = 0, stride = 1, rest = i;
    for (int d = s.size() - 1, e = v.shape.size() - 1; d >= 0; --d, --e) {
      const int64_t p = rest % s[d];
      rest /= s[d];
      if (e < 0) continue;
      if (v.shape[e] != 1) offset += p * stride;
      stride *= v.shape[e];
    }
    return v.data[size_t(offset)];
  };
  Strings out{s, {}};
  StringRoom room;
  for (int64_t i = 0; i < numel(s); ++i) {
    room.add(at(a, i).size() + at(b, i).size());
    out.data.push_back(at(a, i) + at(b, i));
  }
  return {std::move(out)};
}

Values build_string_split(Call& c) {
  const Strings& x = c.strings(0);
  const std::string delimiter = c.string("delimiter", "");
  const int64_t most = c.integer("maxsplit", INT64_MAX);
  std::vector<std::vector<std::string>> parts;
  std::vector<int64_t> counts;
  size_t widest = 0;
  StringRoom room;
  for (const std::string& s : x.data) {
    std::vector<std::string> p;
    auto push = [&](std::string part) {
      room.add(part.size());
      p.push_back(std::move(part));
    };
    if (delimiter.empty()) {  // runs of white space
      const char* blank = " \t\n\r\f\v";
      size_t at = s.find_first_not_of(blank);
      while (at != std::string::npos) {
        size_t end = int64_t(p.size()) >= most ? std::string::npos : s.find_first_of(blank, at);
        if (end == std::string::npos) {
          push(s.substr(at));
          break;
        }
        push(s.substr(at, end - at));
        at = s.find_first_not_of(blank, end);
      }
    } else {
      size_t at = 0;
      while (int64_t(p.size()) < most) {
        size_t end = s.find(delimiter, at);
        if (end == std::string::npos) break;
        push(s.substr(at, end - at));
        at = end + delimiter.size();
      }
      push(s.substr(at));
    }
    counts.push_back(int64_t(p.size()));
    widest = std::max(widest, p.size());
    parts.push_back(std::move(p));
  }
  Strings out{x.shape, {}};
  out.shape.push_back(int64_t(widest));
  require_memory(numel(out.shape) * string_bytes(0));
  for (auto& p : parts) {
    p.resize(widest);
    out.data.insert(out.data.end(), p.begin(), p.end());
  }
  return {std::move(out), make_ints(counts, x.shape)};
}

// Each character alone, as the system's table of Unicode has it; what is no UTF-8 stays.
std::string changed(const std::string& s, bool upper) {
  static const locale_t table = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{});
  std::string out;
  for (size_t i = 0; i < s.size();) {
    const unsigned char c = static_cast<unsigned char>(s[i]);
    if (c < 128) {
      const bool other = upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z';
      out += char(other ? c ^ 32 : c);
      ++i;
      continue;
    }
    if (!table) fail<TypeError>("StringNormalizer", "case of other letters than ASCII's is unknown: expected a system with the locale C.UTF-8");
    const size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    uint32_t code = c & (0x7fu >> n);
    bool whole = c >= 0xc2 && c < 0xf5 && i + n <= s.size();
    for (size_t k = 1; whole && k < n; ++k) {
      const unsigned char next = static_cast<unsigned char>(s[i + k]);
      whole = next >> 6 == 2;
      code = code << 6 | (next & 0x3f);
    }
    if (!whole) {
      out += s[i++];
      continue;
    }
    const uint32_t to = uint32_t(upper ? ::towupper_l(wint_t(code), table) : ::towlower_l(wint_t(code), table));
    if (to == code) out.append(s, i, n);
    else if (to < 0x80) out += char(to);
    else if (to < 0x800) (out += char(0xc0 | to >> 6)) += char(0x80 | (to & 0x3f));
    else if (to < 0x10000) ((out += char(0xe0 | to >> 12)) += char(0x80 | (to >> 6 & 0x3f))) += char(0x80 | (to & 0x3f));
    else (((out += char(0xf0 | to >> 18)) += char(0x80 | (to >> 12 & 0x3f))) += char(0x80 | (to >> 6 & 0x3f))) += char(0x80 | (to & 0x3f));
    i += n;
  }
  return out;
}

Values build_string_normalizer(Call& c) {
  const Strings& x = c.strings(0);
  const std::string change = c.string("case_change_action", "NONE");
  const bool sensitive = c.integer("is_case_sensitive", 0);
  std::vector<std::string> stop = c.texts("stopwords", std::vector<std::string>{});
  std::vector<std::string> kept;
  StringRoom room;
  for (const std::string& s : x.data) {
    room.add(s.size());
    bool drop = false;
    for (const std::string& w : stop) drop |= sensitive ? s == w : changed(s, false) == changed(w, false);
    if (!drop) kept.push_back(change == "NONE" ? s : changed(s, change == "UPPER"));
  }
  if (kept.empty()) kept.push_back("");
  Shape s = x.shape;
  if (s.empty() || s.size() > 2 || (s.size() == 2 && s[0] != 1)) c.fail<ShapeError>("expected [n] or [1, n], got {}", to_string(s));
  s[s.size() - 1] = int64_t(kept.size());
  return {Strings{s, std::move(kept)}};
}

Values build_regex_full_match(Call& c) {
  const Strings& x = c.strings(0);
  std::regex pattern;
  try {
    auto flags = std::regex::ECMAScript;
#ifdef __GLIBCXX__
    flags |= std::regex_constants::__polynomial;  // no backtracking: a pattern cannot take exponential time
#endif
    pattern.assign(c.string("pattern"), flags);
  } catch (const std::regex_error&) {
    c.fail<ValueError>("pattern not understood: expected an ECMAScript regular expression without back-references, got '{}'", c.string("pattern"));
  }
  Tensor out = Tensor::empty({DType::boolean, x.shape, {}});
  for (size_t i = 0; i < x.data.size(); ++i) {
    if (x.data[i].size() > 4096) c.fail<ValueError>("string too long to match: expected at most 4096 bytes, got {}", x.data[i].size());
    out.data<bool>()[i] = std::regex_match(x.data[i], pattern);
  }
  return {std::move(out)};
}

}  // namespace

std::vector<Mapping> text_ops() {
  return {
      {"RegexFullMatch", 20, build_regex_full_match},
      {"StringConcat", 20, build_string_concat},
      {"StringNormalizer", 10, build_string_normalizer},
      {"StringSplit", 20, build_string_split},
  };
}

}  // namespace suan::onnx
