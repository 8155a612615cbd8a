// Shape: at most 8 int64 dims, inline. Layout: strides in elements (zero and negative allowed) and an
// offset; contiguity is derived, never cached.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace suan {

inline constexpr int max_rank = 8;

// A short inline list of int64: dims, strides, axes.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> v) : Dims(std::span<const int64_t>(v.begin(), v.size())) {}
  explicit Dims(std::span<const int64_t> v);
  static Dims filled(int n, int64_t value);

  int size() const { return n_; }
  bool empty() const { return n_ == 0; }
  int64_t operator[](int i) const { return v_[i]; }
  int64_t& operator[](int i) { return v_[i]; }
  const int64_t* begin() const { return v_.data(); }
  const int64_t* end() const { return v_.data() + n_; }
  int64_t* begin() { return v_.data(); }
  int64_t* end() { return v_.data() + n_; }
  int64_t back() const { return v_[n_ - 1]; }
  int64_t& back() { return v_[n_ - 1]; }
  void push_back(int64_t x);  // ShapeError past max_rank
  void insert(int at, int64_t x);
  void erase(int at);
  operator std::span<const int64_t>() const { return {v_.data(), size_t(n_)}; }
  bool operator==(const Dims& o) const {
    if (n_ != o.n_) return false;
    for (int i = 0; i < n_; ++i) if (v_[i] != o.v_[i]) return false;
    return true;
  }

 private:
  std::array<int64_t, max_rank> v_;
  int32_t n_ = 0;
};

using Shape = Dims;

int64_t numel(const Shape& s);                        // ShapeError on overflow
Dims contiguous_strides(const Shape& s);
std::string to_string(const Shape& s);                // "8x512", "scalar" for rank 0
Shape broadcast(std::string_view op, const Shape& a, const Shape& b);  // ShapeError names both
int normalize_axis(std::string_view op, int64_t axis, int rank);       // IndexError; negative counts from the end

struct Layout {
  Shape shape;
  Dims strides;
  int64_t offset = 0;

  Layout() = default;
  explicit Layout(const Shape& s) : shape(s), strides(contiguous_strides(s)) {}
  Layout(const Shape& s, const Dims& st, int64_t off) : shape(s), strides(st), offset(off) {}

  int rank() const { return shape.size(); }
  int64_t numel() const { return suan::numel(shape); }
  bool is_contiguous() const;     // row-major order, whatever the offset
  bool overlaps_itself() const;   // some element may be reached by two indices
  // Lowest and one-past-highest element touched, relative to the storage; {0,0} when empty.
  std::pair<int64_t, int64_t> extent() const;
  bool operator==(const Layout& o) const {
    return shape == o.shape && strides == o.strides && offset == o.offset;
  }
};

}  // namespace suan
