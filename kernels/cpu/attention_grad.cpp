// Attention backward.
#include "kernels/cpu/lib/heads.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
struct State {
  AttentionProblem<T> problem;
  HeadsOperand g, q, k, v, out;
  int64_t dq[3], dk[3], dv[3];
  int64_t at_own = 0;
  bool copy_lse = false;
  Move move_lse;
  int64_t at_lse = 0;
};

template <class T>
Prepared prepare_in(const KernelDesc& d, bool narrow = false) {
  auto s = std::make_shared<State<T>>();
  int64_t workspace = 0;
  s->problem = attention_problem<T>(d, 1, 4, 0);
  s->problem.narrow = narrow;
  s->g = heads_operand(*d.in[0], workspace);
  s->q = heads_operand(*d.in[1], workspace);
  s->k = heads_operand(*d.in[2], workspace);
  s->v = heads_operand(*d.in[3], workspace);
  s->out = heads_operand(*d.in[5], workspace);
  const Layout& lse = d.in[6]->layout;
  if (!lse.is_contiguous()) {
    s->copy_lse = true;
    s->move_lse = plan_contiguous_move(lse.shape, lse.strides, int(sizeof(T)));
    s->at_lse = workspace;
    workspace += (lse.numel() * int64_t(sizeof(T)) + 63) / 64 * 64;
  }
  for (int i = 0; i < 3; ++i) {
    s->dq[i] = d.out[0]->layout.strides[i];
    s->dk[i] = d.out[1]->layout.strides[i];
    s->dv[i] = d.out[2]->layout.strides[i];
  }
  s->at_own = workspace;
  workspace += attention_backward_workspace(s->problem);
  return {[](const void* state, const KernelArgs& a) {
            const auto& s = *static_cast<const State<T>*>(state);
            AttentionProblem<T> p = s.problem;
            set_mask(p, a.in[4]);
            auto* w = static_cast<std::byte*>(a.workspace);
            auto view = [&](const HeadsOperand& h, int i) { return heads_view<T>(h, a.in[i], w); };
            auto write = [&](const int64_t (&st)[3], int j) {
              return HeadsView<T>{static_cast<T*>(a.out[j]), st[0], st[1], st[2]};
            };
            const void* lse = a.in[6];
            if (s.copy_lse) {
              run_move(s.move_lse, w + s.at_lse, lse);
              lse = w + s.at_lse;
            }
            attention_backward<T>(p, view(s.q, 1), view(s.k, 2), view(s.v, 3), view(s.out, 5),
                                  static_cast<const T*>(lse), view(s.g, 0), write(s.dq, 0),
                                  write(s.dk, 1), write(s.dv, 2), w + s.at_own);
          },
          s, workspace};
}

Prepared prepare(const KernelDesc& d) {
  return d.in[1]->dtype == DType::f64 ? prepare_in<double>(d) : prepare_in<float>(d);
}

Prepared prepare_narrow(const KernelDesc& d) { return prepare_in<float>(d, true); }

}  // namespace

Kernel kernel_attention_grad() {
  Kernel k;
  k.flags = kernel_strided_in | kernel_strided_out;
  k.prepare = [](const KernelDesc& d) { return widened(d, d.in[1]->dtype == DType::bf16 ? prepare_narrow : prepare); };
  // A gradient for logsumexp itself is rare: by definition.
  k.supports = [](const KernelDesc& d) { return !d.has(7) && attention_supported(d, 1) && rows_stay(d, 3); };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
