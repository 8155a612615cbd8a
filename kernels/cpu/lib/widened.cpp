// Conversion of narrow floats around a kernel.
#include "kernels/cpu/lib/widened.h"

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t grain = 16384;

struct Operand {
  bool narrow = false, strided = false;
  DType dtype = DType::f32;
  int64_t n = 0, at = 0, at_copy = 0;  // elements; bytes into the workspace
  Move move;
};

struct State {
  Prepared inner;
  std::vector<Operand> in, out;
  int64_t at_inner = 0;
};

bool is_narrow(DType t) { return t == DType::f16 || t == DType::bf16; }

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  auto* w = static_cast<std::byte*>(a.workspace);
  const void* in[8] = {};
  void* out[8];
  for (size_t i = 0; i < s.in.size(); ++i) {
    const Operand& o = s.in[i];
    in[i] = a.in[i];
    if (!o.narrow) continue;
    const void* from = a.in[i];
    if (o.strided) {
      run_move(o.move, w + o.at_copy, from);
      from = w + o.at_copy;
    }
    auto* to = reinterpret_cast<float*>(w + o.at);
    run_ranges(o.n, grain, o.n, [&](int64_t begin, int64_t end) {
      load_tile<float>(o.dtype, from, begin, end - begin, to + begin);
    });
    in[i] = to;
  }
  for (size_t j = 0; j < s.out.size(); ++j)
    out[j] = s.out[j].narrow && a.out[j] ? w + s.out[j].at : a.out[j];  // null: nobody reads it
  s.inner.run(s.inner.state.get(), {in, out, w + s.at_inner});
  for (size_t j = 0; j < s.out.size(); ++j) {
    const Operand& o = s.out[j];
    if (!o.narrow || !a.out[j]) continue;
    const auto* from = reinterpret_cast<const float*>(w + o.at);
    run_ranges(o.n, grain, o.n, [&](int64_t begin, int64_t end) {
      store_tile<float>(o.dtype, a.out[j], begin, end - begin, from + begin);
    });
  }
}

}  // namespace

Prepared widened(const KernelDesc& d, Prepared (*prepare)(const KernelDesc&)) {
  bool any_narrow = false;
  for (auto* t : d.in) any_narrow |= t && is_narrow(t->dtype);
  for (auto* t : d.out) any_narrow |= is_narrow(t->dtype);
  if (!any_narrow) return prepare(d);

  auto s = std::make_shared<State>();
  int64_t bytes = 0;
  auto take = [&](int64_t n) {
    const int64_t at = bytes;
    bytes += (n + 63) / 64 * 64;
    return at;
  };
  std::vector<TensorDesc> descs(d.in.size() + d.out.size());
  std::vector<const TensorDesc*> in, out;
  auto widen = [&](const TensorDesc* t, TensorDesc& to, bool input) {
    Operand o;
    to = *t;
    if (is_narrow(t->dtype)) {
      o.narrow = true;
      o.dtype = t->dtype;
      o.n = t->layout.numel();
      o.at = take(o.n * 4);
      if (input && !t->layout.is_contiguous()) {
        o.strided = true;
        o.at_copy = take(o.n * 2);
        o.move = plan_contiguous_move(t->layout.shape, t->layout.strides, 2);
      }
      to.dtype = DType::f32;
      to.layout = Layout(t->layout.shape);
    }
    return o;
  };
  for (size_t i = 0; i < d.in.size(); ++i) {
    if (!d.in[i]) {
      in.push_back(nullptr);
      s->in.emplace_back();
      continue;
    }
    s->in.push_back(widen(d.in[i], descs[i], true));
    in.push_back(&descs[i]);
  }
  for (size_t j = 0; j < d.out.size(); ++j) {
    s->out.push_back(widen(d.out[j], descs[d.in.size() + j], false));
    out.push_back(&descs[d.in.size() + j]);
  }
  s->inner = prepare(KernelDesc{d.op, d.attrs, in, out});
  s->at_inner = take(0);
  bytes += s->inner.workspace;
  return {run, s, bytes};
}

}  // namespace suan::cpu::SUAN_ISA
