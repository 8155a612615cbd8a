// Advanced indexing, writing into a copy: blocks are replaced or added in the result's order, one after
// another, so repeated positions always give the same bits.
#include <cstring>

#include "kernels/cpu/lib/advanced.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  Advanced p;
  Move spread;         // values broadcast to the result's shape, when they are smaller
  bool spreads = false, accumulate = false;
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const Advanced& p = s.p;
  int64_t* at = static_cast<int64_t*>(a.workspace);
  locate(p, "index_put", a.in + 2, at);
  const void* values = a.in[1];
  if (s.spreads) {
    std::byte* room = static_cast<std::byte*>(a.workspace) + p.workspace();
    run_move(s.spread, room, values);
    values = room;
  }
  if (p.n_out > 0) std::memcpy(a.out[0], a.in[0], size_t(p.n_out * p.item));
  const int64_t n = p.block ? p.n_points * p.n_rest : 0;
  for (int64_t b = 0; b < n; ++b) {
    const int64_t to = block_offset(p, at, b);
    if (s.accumulate)
      add_elements<T>(p.dtype, a.out[0], to, values, b * p.block, p.block);
    else
      std::memcpy(element(a.out[0], to, p.item), element(values, b * p.block, p.item),
                  size_t(p.block * p.item));
  }
}

}  // namespace

Kernel kernel_index_put() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    auto s = std::make_shared<State>();
    const Shape& in = d.in[0]->layout.shape;
    s->p = plan_advanced(d, in, 2);
    s->accumulate = d.attrs.boolean(1);
    // The result's shape, to which values broadcast.
    const Advanced& p = s->p;
    Shape shape, points;
    for (int i = 0; i < p.points.rank; ++i) points.push_back(p.points.size[i]);
    for (int i = 0; i < p.rest.rank; ++i) shape.push_back(p.rest.size[i]);
    const int place = p.rest_first ? p.rest.rank : 0;
    for (int i = points.size() - 1; i >= 0; --i) shape.insert(place, points[i]);
    int highest = -1;
    for (int i = 0; i < p.n_indices; ++i) highest = std::max(highest, p.axis[i]);
    for (int i = highest + 1; i < in.size(); ++i) shape.push_back(in[i]);
    const Layout& v = d.in[1]->layout;
    Dims strides = Dims::filled(shape.size(), 0);
    const Dims own = contiguous_strides(v.shape);
    for (int i = 0; i < v.rank(); ++i)
      if (v.shape[i] != 1) strides[shape.size() - v.rank() + i] = own[i];
    s->spreads = !(v.shape == shape);
    s->spread = plan_contiguous_move(shape, strides, p.item);
    const int64_t room = s->spreads ? numel(shape) * p.item : 0;
    const int64_t workspace = p.workspace() + room;
    return with_compute(p.dtype, [&](auto t) { return Prepared{run<decltype(t)>, s, workspace}; });
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
