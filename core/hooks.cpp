// Finding the op that made a number no longer finite.
#include "core/hooks.h"

#include <cmath>
#include <cstring>
#include <optional>

#include "core/backend.h"
#include "core/convert.h"

namespace suan {
namespace {

thread_local const SourceMark* result_source = nullptr;

struct Found {
  std::string at;  // "[0, 3]"
  double value;
};

// True when n elements in a row hold an exponent of all ones; written so that the compiler makes vectors of it.
template <class Bits>
bool any_non_finite(const std::byte* p, int64_t n, Bits exponent) {
  Bits bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    Bits b;
    std::memcpy(&b, p + i * int64_t(sizeof b), sizeof b);
    bad |= Bits((b & exponent) == exponent);
  }
  return bad != 0;
}

bool row_is_suspect(const std::byte* p, int64_t n, DType t) {
  if (t == DType::f32) return any_non_finite<uint32_t>(p, n, 0x7f800000u);
  if (t == DType::f64) return any_non_finite<uint64_t>(p, n, 0x7ff0000000000000ull);
  return true;
}

// The first element that `wanted` accepts, in row-major order.
template <class Wanted>
std::optional<Found> find(const Tensor& t, Wanted wanted) {
  if (!t.defined() || !is_floating(t.dtype()) || t.is_dry() || t.numel() == 0) return {};
  if (!t.device().is_cpu()) return find(to_device(t, {}), wanted);
  const Layout& l = t.layout();
  const int64_t size = item_size(t.dtype());
  const int rank = l.rank();
  const bool flat = l.is_contiguous();
  const int64_t inner = flat ? t.numel() : l.shape[rank - 1], step = flat ? 1 : l.strides[rank - 1];
  const int64_t rows = t.numel() / inner;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t at = 0;
    if (!flat)
      for (int64_t rest = r, d = rank - 2; d >= 0; --d) {
        at += rest % l.shape[int(d)] * l.strides[int(d)];
        rest /= l.shape[int(d)];
      }
    const std::byte* row = t.raw() + at * size;
    if (step == 1 && !row_is_suspect(row, inner, t.dtype())) continue;
    for (int64_t i = 0; i < inner; ++i) {
      double v = load_as(row + i * step * size, t.dtype());
      if (!wanted(v)) continue;
      std::string at;
      int64_t rest = r * inner + i;
      for (int d = rank; d-- > 0; rest /= l.shape[d])
        at = std::to_string(rest % l.shape[d]) + (at.empty() ? "" : ", ") + at;
      return Found{"[" + at + "]", v};
    }
  }
  return {};
}

}  // namespace

void require_finite(const OpDef& def, std::span<const Tensor> inputs, std::span<const Tensor> outputs) {
  auto overwritten = [&](const Tensor& in) {
    for (const Tensor& out : outputs)
      if (in.storage() == out.storage()) return true;
    return false;
  };
  auto is_nan = [](double v) { return std::isnan(v); };
  auto not_finite = [](double v) { return !std::isfinite(v); };
  for (size_t j = 0; j < outputs.size(); ++j) {
    std::optional<Found> bad = find(outputs[j], not_finite);
    if (!bad) continue;
    // Infinities come from infinities; a NaN comes from a NaN only.
    std::optional<Found> nan = find(outputs[j], is_nan);
    bool given_nan = false, given_any = false;
    for (const Tensor& in : inputs) {
      if (!in.defined() || overwritten(in)) continue;
      given_any |= find(in, not_finite).has_value();
      given_nan |= find(in, is_nan).has_value();
    }
    if (nan ? given_nan : given_any) continue;
    const Found& f = nan ? *nan : *bad;
    std::string from;
    if (result_source && *result_source) from = fmt::format(", for the op at {}", to_string(*result_source));
    fail<StateError>(def.name, "non-finite result: expected finite values in output {} ({}), got {} at {}{}", j,
                     to_string(outputs[j].type()), f.value, f.at, from);
  }
}

ResultSource::ResultSource(const SourceMark& mark) : before_(result_source) { result_source = &mark; }
ResultSource::~ResultSource() { result_source = before_; }
SourceMark executing_source() { return result_source && *result_source ? *result_source : capture_source(); }

}  // namespace suan
