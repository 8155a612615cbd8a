// Inputs one after another along an axis: one strided copy each.
#include "kernels/cuda/lib/copy.cuh"

namespace suan::cuda {

Kernel kernel_cat() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.supports = copies_items;
  k.prepare = [](const KernelDesc& d) {
    struct Part { Nest<2> nest; int64_t at; };
    struct P { std::vector<Part> parts; int64_t item; };
    P p{{}, item_size(d.out[0]->dtype)};
    const Layout& out = d.out[0]->layout;
    const int axis = normalize_axis(d.op.name, d.attrs.integer(0), out.rank());
    int64_t at = 0;
    for (const TensorDesc* t : d.in) {
      Layout place = out;
      place.shape = t->layout.shape;
      const Layout* layouts[2] = {&t->layout, &place};
      p.parts.push_back({make_nest<2>(t->layout.shape, layouts), at * out.strides[axis] * p.item});
      at += t->layout.shape[axis];
    }
    return prepared<P>(std::move(p), [](const P& p, const KernelArgs& a) {
      for (size_t i = 0; i < p.parts.size(); ++i)
        copy_strided(static_cast<char*>(a.out[0]) + p.parts[i].at, a.in[i], p.parts[i].nest, p.item);
    });
  };
  return k;
}

}  // namespace suan::cuda
