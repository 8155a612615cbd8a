// The prelude's functions over arrays, by name, for both instruction sets: what math_test and
// math_bench call, and a reference for one-off use. Not a fast path: a kernel inlines math.h.
#pragma once

#include <cstdint>

namespace suan::cpu {

struct MathEntry {
  const char* name;
  void (*f32)(const float* x, const float* y, float* out, std::int64_t n);
  void (*f64)(const double* x, const double* y, double* out, std::int64_t n);
  bool binary;  // y is read
};

namespace avx2 {
const MathEntry* math_entries(int& count);
}
namespace avx512 {
const MathEntry* math_entries(int& count);
}

}  // namespace suan::cpu
