// A copy of the input with a strided region overwritten.
#include "kernels/cuda/lib/copy.cuh"

namespace suan::cuda {

Kernel kernel_as_strided_scatter() {
  Kernel k;
  k.supports = copies_items;
  k.prepare = [](const KernelDesc& d) {
    struct P { Nest<2> region; int64_t bytes, item, at; };
    Layout region(d.attrs.dims(0), d.attrs.dims(1), 0);
    const Layout* layouts[2] = {&d.in[1]->layout, &region};
    const int64_t item = item_size(d.out[0]->dtype);
    return prepared<P>({make_nest<2>(region.shape, layouts), d.out[0]->layout.numel() * item, item,
                        d.attrs.integer(2) * item},
                       [](const P& p, const KernelArgs& a) {
                         if (p.bytes) copy_within(a.out[0], a.in[0], p.bytes);
                         copy_strided(static_cast<char*>(a.out[0]) + p.at, a.in[1], p.region, p.item);
                       });
  };
  return k;
}

}  // namespace suan::cuda
