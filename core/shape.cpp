// Shape and Layout arithmetic, checked for overflow.
#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace suan {

Dims::Dims(std::span<const int64_t> v) {
  if (v.size() > size_t(max_rank))
    fail<ShapeError>("shape", "too many dimensions: expected at most {}, got {}", max_rank, v.size());
  std::copy(v.begin(), v.end(), v_.begin());
  n_ = int32_t(v.size());
}

Dims Dims::filled(int n, int64_t value) {
  Dims d;
  for (int i = 0; i < n; ++i) d.push_back(value);
  return d;
}

void Dims::push_back(int64_t x) {
  if (n_ == max_rank)
    fail<ShapeError>("shape", "too many dimensions: expected at most {}, got {}", max_rank, n_ + 1);
  v_[n_++] = x;
}

void Dims::insert(int at, int64_t x) {
  if (at < 0 || at > n_) fail<IndexError>("shape", "no such axis: expected at most {}, got {}", n_, at);
  push_back(x);
  std::rotate(begin() + at, end() - 1, end());
}

void Dims::erase(int at) {
  if (at < 0 || at >= n_) fail<IndexError>("shape", "no such axis: expected less than {}, got {}", n_, at);
  std::copy(begin() + at + 1, end(), begin() + at);
  --n_;
}

int64_t numel(const Shape& s) {
  int64_t n = 1;
  bool none = false;
  for (int64_t d : s) {
    none = none || d == 0;
    // Strides step over a size of 0 as over 1, so the others have to fit also where nothing is there.
    if (d != 0 && __builtin_mul_overflow(n, d, &n))
      fail<ShapeError>("shape", "too many elements: expected at most 2^56, got {}", to_string(s));
  }
  if (none) return 0;
  if (n > (int64_t(1) << 56)) fail<ShapeError>("shape", "too many elements: expected at most 2^56, got {}", to_string(s));
  return n;
}

Dims contiguous_strides(const Shape& s) {
  Dims st = Dims::filled(s.size(), 1);
  for (int i = s.size() - 2; i >= 0; --i) st[i] = st[i + 1] * std::max<int64_t>(s[i + 1], 1);
  return st;
}

std::string to_string(const Shape& s) {
  if (s.empty()) return "scalar";
  std::string out;
  for (int i = 0; i < s.size(); ++i) out += (i ? "x" : "") + std::to_string(s[i]);
  return out;
}

Shape broadcast(std::string_view op, const Shape& a, const Shape& b) {
  if (a == b) return a;
  int rank = std::max(a.size(), b.size());
  Shape out = Shape::filled(rank, 1);
  for (int i = 0; i < rank; ++i) {
    int ia = a.size() - rank + i, ib = b.size() - rank + i;
    int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
    if (da != db && da != 1 && db != 1)
      fail<ShapeError>(op, "shapes do not broadcast: expected equal sizes or 1 at dim {}, got {} and {}", i,
                       to_string(a), to_string(b));
    out[i] = da == 1 ? db : da;
  }
  return out;
}

int normalize_axis(std::string_view op, int64_t axis, int rank) {
  int64_t limit = std::max(rank, 1);
  if (axis < -limit || axis >= limit)
    fail<IndexError>(op, "axis out of range: expected {} to {}, got {}", -limit, limit - 1, axis);
  return int(axis < 0 ? axis + limit : axis);
}

bool Layout::is_contiguous() const {
  int64_t expect = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expect) return false;
    expect *= shape[i];
  }
  return true;
}

bool Layout::overlaps_itself() const {
  // Sort the axes by stride: no overlap when each stride clears the extent of the ones below it.
  std::array<std::pair<int64_t, int64_t>, max_rank> axes;
  int n = 0;
  for (int i = 0; i < rank(); ++i) {
    if (shape[i] == 0) return false;
    if (shape[i] > 1) axes[n++] = {std::abs(strides[i]), shape[i]};
  }
  std::sort(axes.begin(), axes.begin() + n);
  int64_t reach = 0;
  for (int i = 0; i < n; ++i) {
    if (axes[i].first <= reach) return true;
    reach += axes[i].first * (axes[i].second - 1);
  }
  return false;
}

std::pair<int64_t, int64_t> Layout::extent() const {
  int64_t lo = offset, hi = offset;
  for (int i = 0; i < rank(); ++i) {
    if (shape[i] == 0) return {0, 0};
    int64_t span = strides[i] * (shape[i] - 1);
    (span < 0 ? lo : hi) += span;
  }
  return {lo, hi + 1};
}

}  // namespace suan
