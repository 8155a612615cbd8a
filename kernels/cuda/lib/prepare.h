// The host half of a kernel: parameters made once per signature, launched many times.
#pragma once

#include <memory>
#include <utility>

#include "core/op.h"

namespace suan::cuda {

// Prepared from parameters and a function that launches with them.
template <class P>
Prepared prepared(P params, void (*run)(const P&, const KernelArgs&), int64_t workspace = 0) {
  struct State { P params; void (*run)(const P&, const KernelArgs&); };
  return {[](const void* s, const KernelArgs& a) {
            const auto& state = *static_cast<const State*>(s);
            state.run(state.params, a);
          },
          std::make_shared<State>(State{std::move(params), run}), workspace};
}

template <class T>
const T* in(const KernelArgs& a, int i) { return static_cast<const T*>(a.in[i]); }
template <class T>
T* out(const KernelArgs& a, int i) { return static_cast<T*>(a.out[i]); }

// Float tensors are f32 and index tensors i64: what most kernels here take.
inline bool all_f32(const KernelDesc& d) {
  for (const TensorDesc* t : d.in)
    if (t && t->dtype != DType::f32 && t->dtype != DType::i64) return false;
  for (const TensorDesc* t : d.out)
    if (t && t->dtype != DType::f32) return false;
  return true;
}

}  // namespace suan::cuda
