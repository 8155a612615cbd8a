// Integers as floats, contiguous.
#include "core/op.h"
#include "core/pool.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t outer, axis, inner;   // scales along `axis`; one in all: 1, 1, n
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const T *x = static_cast<const T*>(a.in[0]), *zero = static_cast<const T*>(a.in[2]);
  const float* scale = static_cast<const float*>(a.in[1]);
  float* out = static_cast<float*>(a.out[0]);
  if (s.inner == 1 && s.axis > 1) {   // one to each column
    constexpr int64_t piece = 1 << 14;
    const int64_t rows = std::max<int64_t>(1, piece / s.axis);
    parallel_for((s.outer + rows - 1) / rows, [&](int64_t t) {
      for (int64_t r = t * rows; r < std::min(s.outer, (t + 1) * rows); ++r)
        for (int64_t i = 0; i < s.axis; ++i)
          out[r * s.axis + i] = (float(x[r * s.axis + i]) - (zero ? float(zero[i]) : 0.f)) * scale[i];
    });
    return;
  }
  constexpr int64_t piece = 1 << 15;
  const int64_t pieces = (s.inner + piece - 1) / piece;
  parallel_for(s.outer * s.axis * pieces, [&](int64_t t) {
    const int64_t row = t / pieces, first = row * s.inner + t % pieces * piece, last = std::min(first + piece, (row + 1) * s.inner);
    const float z = zero ? float(zero[row % s.axis]) : 0.f, by = scale[row % s.axis];
    for (int64_t i = first; i < last; ++i) out[i] = (float(x[i]) - z) * by;
  });
}

}  // namespace

Kernel kernel_dequantize() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape& x = d.in[0]->layout.shape;
    auto s = std::make_shared<State>(State{1, 1, d.in[0]->layout.numel()});
    if (d.in[1]->layout.rank() == 1) {
      const int64_t given = d.attrs.integer(0);
      const int axis = int(given < 0 ? given + x.size() : given);
      *s = {1, x[axis], 1};
      for (int i = 0; i < axis; ++i) s->outer *= x[i];
      for (int i = axis + 1; i < x.size(); ++i) s->inner *= x[i];
    }
    const DType t = d.in[0]->dtype;
    return Prepared{t == DType::u8 ? run<uint8_t> : t == DType::i8 ? run<int8_t> : run<int32_t>, s};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
