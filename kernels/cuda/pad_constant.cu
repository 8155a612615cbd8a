// A frame of one value around the input (or, where a pad is negative, a cut).
#include <algorithm>

#include "kernels/cuda/lib/copy.cuh"

namespace suan::cuda {

Kernel kernel_pad_constant() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.supports = copies_items;
  k.prepare = [](const KernelDesc& d) {
    struct P { Nest<2> inner, frame; int64_t item, bytes, in_at, out_at; bool value; };
    const Layout &in = d.in[0]->layout, &out = d.out[0]->layout;
    const std::vector<int64_t>& pads = d.attrs.ints(0);
    const int64_t item = item_size(d.out[0]->dtype);
    Layout place = out;
    int64_t in_at = 0, out_at = 0;
    place.shape = in.shape;
    for (size_t i = 0; i < pads.size() / 2; ++i) {   // pairs, the last axis first
      const int axis = in.rank() - 1 - int(i);
      const int64_t low = pads[2 * i], high = pads[2 * i + 1];
      place.shape[axis] = std::max<int64_t>(0, in.shape[axis] + std::min<int64_t>(low, 0) + std::min<int64_t>(high, 0));
      in_at += std::max<int64_t>(0, -low) * in.strides[axis];
      out_at += std::max<int64_t>(0, low) * out.strides[axis];
    }
    Layout part = in;
    part.shape = place.shape;
    const Layout scalar{Shape{}};
    const Layout* inner[2] = {&part, &place};
    const Layout* frame[2] = {&scalar, &out};
    return prepared<P>({make_nest<2>(place.shape, inner), make_nest<2>(out.shape, frame), item, out.numel() * item,
                        in_at * item, out_at * item, d.has(1)},
                       [](const P& p, const KernelArgs& a) {
                         if (p.bytes == 0) return;
                         if (p.value) copy_strided(a.out[0], a.in[1], p.frame, p.item);
                         else set_zero(a.out[0], p.bytes);
                         copy_strided(static_cast<char*>(a.out[0]) + p.out_at,
                                      static_cast<const char*>(a.in[0]) + p.in_at, p.inner, p.item);
                       });
  };
  return k;
}

}  // namespace suan::cuda
