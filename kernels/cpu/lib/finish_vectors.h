// A Finish on vectors of sums, before they are stored.
#pragma once

#include "kernels/cpu/lib/finish.h"
#include "kernels/cpu/lib/gemm_tile.h"

namespace suan::cpu::SUAN_ISA::gemm_tiles {

// kind(x): the values of a position after the last addition. As the rows relu, maximum and minimum have it: a NaN
// stays one.
struct AsIs {
  Vector<float> operator()(Vector<float> x) const { return x; }
};
struct Relu {
  Vector<float> operator()(Vector<float> x) const {
    const Vector<float> zero{};
    return zero > x ? zero : x;
  }
};
struct Bounded {
  Vector<float> low, high;
  Vector<float> operator()(Vector<float> x) const {
    const Vector<float> above = x > low ? x : low, raised = x != x ? x : above;
    const Vector<float> below = raised < high ? raised : high;
    return raised != raised ? raised : below;
  }
};

struct Gated {
  Bounded bounds;
  Vector<float> scale, shift;
  Vector<float> operator()(Vector<float> x) const { return x * bounds(x * scale + shift); }
};

// f(kind) with what `finish` asks for, f(AsIs) without one.
template <class F>
[[gnu::always_inline]] inline void with_finish(const Finish* finish, F f) {
  if (finish && finish->relu) f(Relu{});
  else if (finish && finish->gated)
    f(Gated{{broadcast(finish->low), broadcast(finish->high)}, broadcast(finish->scale), broadcast(finish->shift)});
  else if (finish && finish->bounded) f(Bounded{broadcast(finish->low), broadcast(finish->high)});
  else f(AsIs{});
}

}  // namespace suan::cpu::SUAN_ISA::gemm_tiles
