// scatter_reduce along one axis, in the order of the index tensor.
#include "kernels/cpu/lib/scatter.h"

namespace suan::cpu::SUAN_ISA {
namespace {

enum class Reduce { prod, amax, amin };

template <class T>
T reduced(Reduce how, T a, T b) {
  if (how == Reduce::prod) return T(a * b);
  if (a != a || b != b) return a != a ? a : b;
  return how == Reduce::amax ? (a < b ? b : a) : (b < a ? b : a);
}

template <class T>
void run(const ScatterState& s, Reduce how, const KernelArgs& a) {
  const int64_t* index = static_cast<const int64_t*>(a.in[1]);
  check_positions("scatter_reduce", index, s.n, 0, s.size, s.axis);
  if (s.n_out > 0) std::memcpy(a.out[0], a.in[0], size_t(s.n_out * s.item));
  Odometer<1> o = s.at;
  o.seek(0);
  for (int64_t i = 0; i < s.n; ++i, o.next()) {
    const int64_t to = o.offset[0] + index[i] * s.along;
    T old, next;
    load_tile(s.dtype, a.out[0], to, 1, &old);
    load_tile(s.dtype, a.in[2], i, 1, &next);
    old = reduced(how, old, next);
    store_tile(s.dtype, a.out[0], to, 1, &old);
  }
}

struct State {
  std::shared_ptr<ScatterState> at;
  Reduce how;
};

}  // namespace

Kernel kernel_scatter_reduce() {
  return {[](const KernelDesc& d) {
    const std::string& how = d.attrs.string(1);
    auto state = std::make_shared<State>(
        State{scatter_state(d), how == "prod" ? Reduce::prod : how == "amax" ? Reduce::amax : Reduce::amin});
    return with_compute(d.in[0]->dtype, [&](auto t) {
      return Prepared{[](const void* p, const KernelArgs& a) {
        const State& s = *static_cast<const State*>(p);
        run<decltype(t)>(*s.at, s.how, a);
      }, state};
    });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
