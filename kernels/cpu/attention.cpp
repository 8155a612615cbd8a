// Attention forward: hands views to the blocked kernel, copies only what has no unit stride.
#include "kernels/cpu/lib/heads.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct State {
  AttentionProblem<T> problem;
  HeadsOperand q, k, v;
  int64_t out[3];
  bool masked;
};

template <class T>
Prepared prepare_in(const KernelDesc& d, bool narrow = false) {
  auto s = std::make_shared<State<T>>();
  int64_t workspace = 0;
  s->problem = attention_problem<T>(d, 0, 3, 0);
  s->problem.narrow = narrow;
  s->masked = d.has(3);
  s->q = heads_operand(*d.in[0], workspace);
  s->k = heads_operand(*d.in[1], workspace);
  s->v = heads_operand(*d.in[2], workspace);
  for (int i = 0; i < 3; ++i) s->out[i] = d.out[0]->layout.strides[i];
  return {[](const void* state, const KernelArgs& a) {
            const auto& s = *static_cast<const State<T>*>(state);
            AttentionProblem<T> p = s.problem;
            if (s.masked) set_mask(p, a.in[3]);
            attention_forward<T>(p, heads_view<T>(s.q, a.in[0], a.workspace),
                                 heads_view<T>(s.k, a.in[1], a.workspace),
                                 heads_view<T>(s.v, a.in[2], a.workspace),
                                 {static_cast<T*>(a.out[0]), s.out[0], s.out[1], s.out[2]},
                                 static_cast<T*>(a.out[1]));
          },
          s, workspace};
}

Prepared prepare(const KernelDesc& d) {
  return d.in[0]->dtype == DType::f64 ? prepare_in<double>(d) : prepare_in<float>(d);
}

Prepared prepare_narrow(const KernelDesc& d) { return prepare_in<float>(d, true); }

}  // namespace

Kernel kernel_attention() {
  Kernel k;
  k.flags = kernel_strided_in | kernel_strided_out;
  k.prepare = [](const KernelDesc& d) { return widened(d, d.in[0]->dtype == DType::bf16 ? prepare_narrow : prepare); };
  k.supports = [](const KernelDesc& d) { return attention_supported(d, 0) && rows_stay(d, 1); };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
