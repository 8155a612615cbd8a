// scatter and scatter_add along one axis, in the order of the index tensor, so that equal positions always
// give the same bits.
#pragma once

#include <cstring>

#include "kernels/cpu/lib/positions.h"

namespace suan::cpu::SUAN_ISA {

struct ScatterState {
  Odometer<1> at;  // index's elements, as offsets into the output
  int64_t n, n_out, along, size;
  int axis, item;
  DType dtype;
};

// T void: replace; else add in T.
template <class T>
void run_scatter(const void* state, const KernelArgs& a) {
  const ScatterState& s = *static_cast<const ScatterState*>(state);
  const int64_t* index = static_cast<const int64_t*>(a.in[1]);
  check_positions(std::is_void_v<T> ? "scatter" : "scatter_add", index, s.n, 0, s.size, s.axis);
  if (s.n_out > 0) std::memcpy(a.out[0], a.in[0], size_t(s.n_out * s.item));
  Odometer<1> o = s.at;
  o.seek(0);
  if constexpr (std::is_void_v<T>) {
    with_word(s.item, [&](auto word) {
      using W = decltype(word);
      for (int64_t i = 0; i < s.n; ++i, o.next())
        static_cast<W*>(a.out[0])[o.offset[0] + index[i] * s.along] = static_cast<const W*>(a.in[2])[i];
    });
  } else {
    for (int64_t i = 0; i < s.n; ++i, o.next())
      add_elements<T>(s.dtype, a.out[0], o.offset[0] + index[i] * s.along, a.in[2], i, 1);
  }
}

inline std::shared_ptr<ScatterState> scatter_state(const KernelDesc& d) {
  const Shape &out = d.out[0]->layout.shape, &index = d.in[1]->layout.shape;
  const Dims strides = contiguous_strides(out);
  auto s = std::make_shared<ScatterState>();
  s->dtype = d.in[0]->dtype;
  s->item = int(item_size(s->dtype));
  s->n = numel(index);
  s->n_out = numel(out);
  s->along = s->axis = 0;
  s->size = 1;
  s->at.rank = out.size();
  if (out.empty()) return s;
  const int64_t given = d.attrs.integer(0);
  s->axis = int(given < 0 ? given + out.size() : given);
  s->along = strides[s->axis];
  s->size = out[s->axis];
  for (int i = 0; i < out.size(); ++i) {
    s->at.size[i] = index[i];
    s->at.stride[0][i] = i == s->axis ? 0 : strides[i];
  }
  if (s->n == 0) s->at.rank = 0;
  return s;
}

}  // namespace suan::cpu::SUAN_ISA
