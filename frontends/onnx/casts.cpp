// Casts: between numbers of all widths, and between numbers and strings.
#include <charconv>
#include <cmath>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

double largest(DType t) {
  switch (t) {
    case DType::f8e4m3: return 448;
    case DType::f8e4m3fnuz: return 240;
    case DType::f8e8m0: return 0x1p127;
    case DType::f4e2m1: return 6;
    default: return 57344;   // f8e5m2 and f8e5m2fnuz
  }
}

// To the power of two above, below or next to a value. The engine's cast takes the nearest one.
Tensor to_power_of_two(Call& c, const Tensor& x, bool saturate, const std::string& mode) {
  Tensor w = cast(x, DType::f32);
  if (saturate) w = minimum(w, number(largest(DType::f8e8m0), w));
  if (mode != "nearest") {
    const Tensor near = cast(cast(w, DType::f8e8m0), DType::f32);
    if (mode == "up") w = where(lt(near, w), near * 2.0, near);
    else if (mode == "down") w = where(gt(near, w), near * 0.5, near);
    else c.fail<ValueError>("unknown round_mode: expected up, down or nearest, got '{}'", mode);
  }
  return cast(w, DType::f8e8m0);
}

// ---- strings -------------------------------------------------------------------------------------------

// The fewest digits that give the value back.
template <class T>
std::string text_of(T v) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(v)) return "NaN";
    if (std::isinf(v)) return v < 0 ? "-INF" : "INF";
  }
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, v);
  return std::string(buffer, end);
}

Strings to_strings(const Tensor& x) {
  Strings out{x.shape(), {}};
  require_memory(x.numel() * string_bytes(0));
  out.data.reserve(size_t(x.numel()));
  if (x.dtype() == DType::u64) {
    Eval::eagerly([&] {
      const Tensor whole = contiguous(x);
      for (int64_t i = 0; i < whole.numel(); ++i) out.data.push_back(text_of(whole.data<uint64_t>()[i]));
      return 0;
    });
  } else if (!is_floating(x.dtype())) {
    for (int64_t v : read_ints(x)) out.data.push_back(text_of(v));
  } else {
    for (double v : read_reals(x)) out.data.push_back(x.dtype() == DType::f64 ? text_of(v) : text_of(float(v)));
  }
  return out;
}

std::string_view trimmed(std::string_view s) {
  const char* blank = " \t\n\r\f\v";
  const size_t from = s.find_first_not_of(blank);
  if (from == std::string_view::npos) return {};
  s = s.substr(from, s.find_last_not_of(blank) - from + 1);
  return s.size() > 1 && s[0] == '+' && s[1] != '-' ? s.substr(1) : s;
}
template <class T>
bool parse(std::string_view s, T& v) {
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  return !s.empty() && error == std::errc{} && end == s.data() + s.size();
}

// Also "inf", "-INF" and "NaN"; what is too large for a double is infinite, a fraction loses itself in an integer.
Tensor from_strings(Call& c, const Strings& x, DType to) {
  auto real = [&](const std::string& text) {
    const std::string_view s = trimmed(text);
    double v = 0;
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
    if (s.empty() || end != s.data() + s.size() || error == std::errc::invalid_argument)
      c.fail<ValueError>("string is no number: expected one such as '2.5', got '{}'", text.substr(0, 40));
    return error == std::errc::result_out_of_range ? std::strtod(std::string(s).c_str(), nullptr) : v;
  };
  if (is_integer(to) && to != DType::u64) {
    std::vector<int64_t> v;
    for (const std::string& s : x.data) {
      int64_t whole = 0;
      v.push_back(parse(trimmed(s), whole) ? whole : read_ints(Tensor::scalar(real(s), DType::f64))[0]);
    }
    return Eval::eagerly([&] { return cast(make_ints(v, x.shape), to); });
  }
  if (to == DType::u64) {
    Tensor out = Tensor::empty({to, x.shape, {}});
    for (size_t i = 0; i < x.data.size(); ++i)
      if (!parse(trimmed(x.data[i]), out.data<uint64_t>()[i])) out.data<uint64_t>()[i] = uint64_t(real(x.data[i]));
    return out;
  }
  std::vector<double> v;
  for (const std::string& s : x.data) v.push_back(real(s));
  return make_reals(v, x.shape, to);
}

Values build_cast(Call& c) { return {cast_value(c, c.value(0), int(c.integer("to")))}; }
Values build_named_cast(Call& c) { return {cast_value(c, c.value(0), onnx_type_named(c.string("to")))}; }
Values build_cast_like(Call& c) {
  return {cast_value(c, c.value(0), c.value(1).is_strings() ? onnx_type_named("STRING") : onnx_of_dtype(c[1].dtype()))};
}

Values build_bit_cast(Call& c) {
  const DType to = dtype_of_onnx(int(c.integer("to")));
  const Tensor& x = c.concrete(0);
  if (info(to).bits != info(x.dtype()).bits)
    c.fail<TypeError>("sizes differ: expected a type of {} bits, got {}", info(x.dtype()).bits, name(to));
  return {Eval::eagerly([&] {
    Tensor whole = copy(x), out = Tensor::empty({to, x.shape(), {}});
    if (whole.numel()) std::copy_n(whole.raw(), whole.type().bytes(), out.raw());
    return out;
  })};
}

}  // namespace

Value cast_value(Call& c, const Value& v, int code) {
  if (is_string_type(code) && v.is_strings()) return v;
  if (!v.is_strings() && !v.is_tensor()) c.fail<TypeError>("no numbers or strings: expected some, got {}", describe(v));
  if (is_string_type(code)) {
    if (v.tensor().is_dry()) throw NeedsData{c.node.name};
    return to_strings(v.tensor());
  }
  const DType to = dtype_of_onnx(code);
  if (v.is_strings()) return from_strings(c, v.strings(), to);
  if (to == DType::f8e8m0) return to_power_of_two(c, v.tensor(), c.integer("saturate", 1), c.string("round_mode", "up"));
  return cast_narrow(v.tensor(), to, c.integer("saturate", 1));
}

// f4e2m1 has no infinity to avoid.
Tensor cast_narrow(const Tensor& x, DType to, bool saturate) {
  if (!saturate || !contains(narrow_floats, to) || to == DType::f4e2m1 || x.dtype() == to) return cast(x, to);
  const Tensor w = x.dtype() == DType::f64 ? x : cast(x, DType::f32);
  return cast(minimum(maximum(w, number(-largest(to), w)), number(largest(to), w)), to);
}

std::vector<Mapping> cast_ops() {
  return {
      {"BitCast", 26, build_bit_cast}, {"Cast", 1, build_named_cast}, {"Cast", 6, build_cast}, {"CastLike", 15, build_cast_like},
  };
}

}  // namespace suan::onnx
