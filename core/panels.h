// How weight_panels lays out a weight: the order in which the product reads it.
#pragma once

#include <algorithm>
#include <cstdint>

namespace suan {

inline constexpr int64_t panel_width = 32;   // columns of the product side by side
inline constexpr int64_t panel_unit = 16;    // the last panel is as wide as so many columns ask for

// Values of k that a block of panels holds: the product's partial sums (kernels/cpu/lib/gemm.h).
inline int64_t panel_depth(int64_t k) {
  constexpr int64_t most = 256;
  const int64_t blocks = std::max<int64_t>((k + most - 1) / most, 1), each = (k + blocks - 1) / blocks;
  return (each + 7) / 8 * 8;
}

inline int64_t panel_columns(int64_t n) { return (n + panel_unit - 1) / panel_unit * panel_unit; }

}  // namespace suan
