// A copy of the input with src added into a strided region. A region that overlaps itself would need
// ordered additions: it has no kernel here.
#include "kernels/cuda/lib/nest.cuh"
#include "kernels/cuda/lib/prepare.h"

namespace suan::cuda {
namespace {

template <class C>
__global__ void __launch_bounds__(256) add_kernel(void* out, int64_t first, const void* src, DType t, Nest<2> nest) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < nest.n; i += step) {
    int64_t at[2];
    nest.places(i, at);
    store_as<C>(out, t, first + at[1], C(load_as<C>(out, t, first + at[1]) + load_as<C>(src, t, at[0])));
  }
}

}  // namespace

Kernel kernel_as_strided_scatter_add() {
  Kernel k;
  k.supports = [](const KernelDesc& d) {
    return known_dtype(d.out[0]->dtype) && !Layout(d.attrs.dims(0), d.attrs.dims(1), 0).overlaps_itself();
  };
  k.prepare = [](const KernelDesc& d) {
    struct P { Nest<2> region; DType dtype; int64_t bytes, at; };
    Layout region(d.attrs.dims(0), d.attrs.dims(1), 0);
    const Layout* layouts[2] = {&d.in[1]->layout, &region};
    const DType t = d.out[0]->dtype;
    return prepared<P>({make_nest<2>(region.shape, layouts), t, d.out[0]->layout.numel() * item_size(t),
                        d.attrs.integer(2)},
                       [](const P& p, const KernelArgs& a) {
                         if (p.bytes) copy_within(a.out[0], a.in[0], p.bytes);
                         if (p.region.n == 0) return;
                         with_compute(p.dtype, [&](auto v) {
                           using C = decltype(v);
                           if constexpr (!std::is_same_v<C, Truth>)
                             SUAN_LAUNCH(add_kernel<C>, dim3(blocks_for(p.region.n, 1024)), dim3(256), 0,
                                         a.out[0], p.at, a.in[1], p.dtype, p.region);
                         });
                       });
  };
  return k;
}

}  // namespace suan::cuda
