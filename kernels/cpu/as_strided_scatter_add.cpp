// A copy of the base with src added into a strided region that may overlap itself: each sum in src's order.
#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  Move base;
  Odometer<1> region;
  int64_t n, at;
  DType dtype;
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  run_move(s.base, a.out[0], a.in[0]);
  Odometer<1> o = s.region;
  o.seek(0);
  for (int64_t i = 0; i < s.n; ++i, o.next()) {
    const int64_t to = s.at + o.offset[0];
    if (s.dtype == dtype_of<T>) {
      static_cast<T*>(a.out[0])[to] += static_cast<const T*>(a.in[1])[i];
    } else {
      T x, y;
      load_tile(s.dtype, a.out[0], to, 1, &x);
      load_tile(s.dtype, a.in[1], i, 1, &y);
      x += y;
      store_tile(s.dtype, a.out[0], to, 1, &x);
    }
  }
}

}  // namespace

Kernel kernel_as_strided_scatter_add() {
  return {[](const KernelDesc& d) {
    State s;
    const Layout& base = d.in[0]->layout;
    s.dtype = d.in[0]->dtype;
    s.base = plan_contiguous_move(base.shape, base.strides, int(item_size(s.dtype)));
    s.n = d.in[1]->layout.numel();
    s.at = d.attrs.integer(2);
    const Shape& shape = d.attrs.dims(0);
    s.region.rank = shape.size();
    for (int i = 0; i < shape.size(); ++i) {
      s.region.size[i] = shape[i];
      s.region.stride[0][i] = d.attrs.dims(1)[i];
    }
    auto state = std::make_shared<State>(s);
    return with_compute(s.dtype, [&](auto t) { return Prepared{run<decltype(t)>, state}; });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
