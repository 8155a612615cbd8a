// Attention forward: hands views to the blocked kernel, copies only what has no unit stride. bf16 is read and written as it
// lies where the processor multiplies its pairs fast, and goes through float32 elsewhere.
#include "kernels/cpu/lib/attention_pairs.h"
#include "kernels/cpu/lib/fast_pairs.h"
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
std::shared_ptr<State<T>> state_of(const KernelDesc& d, int64_t& workspace) {
  auto s = std::make_shared<State<T>>();
  s->problem = attention_problem<T>(d, 0, 3, 0);
  s->masked = d.has(3);
  s->q = heads_operand(*d.in[0], workspace);
  s->k = heads_operand(*d.in[1], workspace);
  s->v = heads_operand(*d.in[2], workspace);
  for (int i = 0; i < 3; ++i) s->out[i] = d.out[0]->layout.strides[i];
  return s;
}

template <class T>
Prepared prepare_in(const KernelDesc& d, bool narrow = false) {
  int64_t workspace = 0;
  auto s = state_of<T>(d, workspace);
  s->problem.narrow = narrow;
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

#ifdef __AVX512F__
bool by_pairs(const KernelDesc& d) { return d.in[0]->dtype == DType::bf16 && fast_pairs(); }

Prepared prepare_pairs(const KernelDesc& d) {
  int64_t workspace = 0;
  auto s = state_of<float>(d, workspace);
  return {[](const void* state, const KernelArgs& a) {
            using Bits = uint16_t;
            const auto& s = *static_cast<const State<float>*>(state);
            const AttentionMask<float>& kind = s.problem.mask;
            AttentionMask<Bits> mask{nullptr, nullptr, kind.batch, kind.head, kind.query, kind.key};
            if (s.masked && kind.keep) mask.keep = static_cast<const bool*>(a.in[3]);
            else if (s.masked) mask.additive = static_cast<const Bits*>(a.in[3]);
            attention_forward_pairs(s.problem, mask, heads_view<Bits>(s.q, a.in[0], a.workspace),
                                    heads_view<Bits>(s.k, a.in[1], a.workspace), heads_view<Bits>(s.v, a.in[2], a.workspace),
                                    {static_cast<Bits*>(a.out[0]), s.out[0], s.out[1], s.out[2]},
                                    static_cast<float*>(a.out[1]));
          },
          s, workspace};
}
#else
bool by_pairs(const KernelDesc&) { return false; }
Prepared prepare_pairs(const KernelDesc&) { return {}; }   // of no kernel
#endif

}  // namespace

Kernel kernel_attention() {
  Kernel k;
  k.flags = kernel_strided_in | kernel_strided_out;
  k.prepare = [](const KernelDesc& d) {
    if (by_pairs(d)) return prepare_pairs(d);
    return widened(d, d.in[0]->dtype == DType::bf16 ? prepare_narrow : prepare);
  };
  k.supports = [](const KernelDesc& d) { return attention_supported(d, 0) && rows_stay(d, 1, by_pairs(d)); };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
