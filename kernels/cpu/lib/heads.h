// From op descriptions to the attention kernel's views: strides, masks, copies where none fit.
#pragma once

#include <cmath>

#include "kernels/cpu/lib/attention.h"
#include "kernels/cpu/lib/strided.h"
#include "kernels/cpu/lib/widened.h"

namespace suan::cpu::SUAN_ISA {

// [batch, heads, seq, head_dim] as the kernel takes it, perhaps through a contiguous copy.
struct HeadsOperand {
  int64_t stride[3];
  bool copied = false;
  int64_t at = 0;
  Move move;
};

inline HeadsOperand heads_operand(const TensorDesc& t, int64_t& workspace) {
  HeadsOperand h;
  Layout l = t.layout;
  if (l.shape[3] > 1 && l.strides[3] != 1) {
    h.copied = true;
    h.move = plan_contiguous_move(l.shape, l.strides, int(item_size(t.dtype)));
    h.at = workspace;
    workspace += (l.numel() * item_size(t.dtype) + 63) / 64 * 64;
    l = Layout(l.shape);
  }
  for (int i = 0; i < 3; ++i) h.stride[i] = l.strides[i];
  return h;
}

template <class T>
HeadsView<const T> heads_view(const HeadsOperand& h, const void* p, void* workspace) {
  if (h.copied) {
    auto* to = static_cast<std::byte*>(workspace) + h.at;
    run_move(h.move, to, p);
    p = to;
  }
  return {static_cast<const T*>(p), h.stride[0], h.stride[1], h.stride[2]};
}

// q, k, v are inputs `first` and the two after it; attributes `attr` and the next are is_causal,
// scale.
template <class T>
AttentionProblem<T> attention_problem(const KernelDesc& d, int first, int mask, int attr) {
  const Shape &q = d.in[first]->layout.shape, &k = d.in[first + 1]->layout.shape;
  AttentionProblem<T> p{q[0], q[1], k[1], q[2], k[2], q[3], {}};
  p.scale = T(d.attrs.has(attr + 1) ? d.attrs.real(attr + 1) : 1.0 / std::sqrt(double(q[3])));
  p.causal = d.attrs.boolean(attr);
  if (!d.has(mask)) return p;
  const Layout& m = d.in[mask]->layout;
  int64_t* stride[4] = {&p.mask.batch, &p.mask.head, &p.mask.query, &p.mask.key};
  for (int i = 0; i < m.rank(); ++i)
    *stride[4 - m.rank() + i] = m.shape[i] == 1 ? 0 : m.strides[i];
  static constexpr bool some = true;
  if (is_bool(d.in[mask]->dtype)) p.mask.keep = &some;  // the kind; set_mask gives the address
  return p;
}

// The mask's kind was fixed by the description; only its address comes with a run.
template <class T>
void set_mask(AttentionProblem<T>& p, const void* mask) {
  if (p.mask.keep) p.mask.keep = static_cast<const bool*>(mask);
  else p.mask.additive = static_cast<const T*>(mask);
}

// Outputs [0, n) may have any strides but the last one's; the others, and narrow ones unless they are written as they lie,
// are contiguous.
inline bool rows_stay(const KernelDesc& d, size_t n, bool narrow_too = false) {
  for (size_t j = 0; j < d.out.size(); ++j) {
    const Layout& l = d.out[j]->layout;
    const bool direct = narrow_too || d.out[j]->dtype == compute_type(d.out[j]->dtype);
    if (l.is_contiguous()) continue;
    if (j >= n || !direct || (l.shape[3] > 1 && l.strides[3] != 1)) return false;
  }
  return true;
}

// The blocked kernel wants one width for q, k and v; what does not fit runs by definition.
inline bool attention_supported(const KernelDesc& d, int first) {
  const Shape &q = d.in[first]->layout.shape, &v = d.in[first + 2]->layout.shape;
  return q[3] == v[3] && q[3] > 0 && q[3] <= attention_max_head_dim;
}

}  // namespace suan::cpu::SUAN_ISA
