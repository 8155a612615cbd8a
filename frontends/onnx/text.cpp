// Strings.
#include <regex>

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
  for (int64_t i = 0; i < numel(s); ++i) out.data.push_back(at(a, i) + at(b, i));
  return {out};
}

Values build_string_split(Call& c) {
  const Strings& x = c.strings(0);
  const std::string delimiter = c.string("delimiter", "");
  const int64_t most = c.integer("maxsplit", INT64_MAX);
  std::vector<std::vector<std::string>> parts;
  std::vector<int64_t> counts;
  size_t widest = 0;
  for (const std::string& s : x.data) {
    std::vector<std::string> p;
    if (delimiter.empty()) {  // runs of white space
      const char* blank = " \t\n\r\f\v";
      size_t at = s.find_first_not_of(blank);
      while (at != std::string::npos) {
        size_t end = int64_t(p.size()) >= most ? std::string::npos : s.find_first_of(blank, at);
        if (end == std::string::npos) {
          p.push_back(s.substr(at));
          break;
        }
        p.push_back(s.substr(at, end - at));
        at = s.find_first_not_of(blank, end);
      }
    } else {
      size_t at = 0;
      while (int64_t(p.size()) < most) {
        size_t end = s.find(delimiter, at);
        if (end == std::string::npos) break;
        p.push_back(s.substr(at, end - at));
        at = end + delimiter.size();
      }
      p.push_back(s.substr(at));
    }
    counts.push_back(int64_t(p.size()));
    widest = std::max(widest, p.size());
    parts.push_back(std::move(p));
  }
  Strings out{x.shape, {}};
  out.shape.push_back(int64_t(widest));
  for (auto& p : parts) {
    p.resize(widest);
    out.data.insert(out.data.end(), p.begin(), p.end());
  }
  return {out, make_ints(counts, x.shape)};
}

Values build_string_normalizer(Call& c) {
  const Strings& x = c.strings(0);
  const std::string change = c.string("case_change_action", "NONE");
  const bool sensitive = c.integer("is_case_sensitive", 0);
  auto changed = [](std::string s, bool upper) {
    for (char& ch : s) {
      if (upper && ch >= 'a' && ch <= 'z') ch = char(ch - 32);
      if (!upper && ch >= 'A' && ch <= 'Z') ch = char(ch + 32);
      if (static_cast<unsigned char>(ch) > 127) return std::string(s);  // only ASCII changes case
    }
    return s;
  };
  std::vector<std::string> stop = c.texts("stopwords", std::vector<std::string>{});
  std::vector<std::string> kept;
  for (const std::string& s : x.data) {
    bool drop = false;
    for (const std::string& w : stop) drop |= sensitive ? s == w : changed(s, false) == changed(w, false);
    if (!drop) kept.push_back(change == "NONE" ? s : changed(s, change == "UPPER"));
  }
  if (kept.empty()) kept.push_back("");
  Shape s = x.shape;
  if (s.empty() || s.size() > 2 || (s.size() == 2 && s[0] != 1)) c.fail<ShapeError>("expected [n] or [1, n], got {}", to_string(s));
  s[s.size() - 1] = int64_t(kept.size());
  return {Strings{s, kept}};
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
  return {out};
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
