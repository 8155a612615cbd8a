// The one path: every Python call, C++ call, imported node and gradient rule goes through apply().
// Strict inference first (errors happen here), then the kernel, the tape if a gradient is wanted, and the
// recording if one is active on this thread.
#pragma once

#include <span>

#include "core/op.h"

namespace suan {

class Recorder;

// What apply() consults besides its arguments; one per thread.
struct Context {
  bool grad_enabled = true;
  bool inference = false;        // tensors made here never join autograd
  bool dry = false;              // infer and record, run nothing
  Recorder* recorder = nullptr;
};
Context& context();

// Sets fields of the context for a scope.
class ContextScope {
 public:
  ContextScope() : saved_(context()) {}
  ~ContextScope() { context() = saved_; }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  Context saved_;
};

struct NoGrad : ContextScope {
  NoGrad() { context().grad_enabled = false; }
};

// All outputs.
Tensors apply_all(const OpDef& op, std::span<const Tensor> in, const Attrs& attrs = {});
// First output of an op with one output.
Tensor apply(const OpDef& op, std::span<const Tensor> in, const Attrs& attrs = {});
inline Tensor apply(const OpDef& op, std::initializer_list<Tensor> in, const Attrs& attrs = {}) {
  return apply(op, std::span<const Tensor>(in.begin(), in.size()), attrs);
}
inline Tensors apply_all(const OpDef& op, std::initializer_list<Tensor> in, const Attrs& attrs = {}) {
  return apply_all(op, std::span<const Tensor>(in.begin(), in.size()), attrs);
}
// In place: the result is written to `out`, whose dtype and shape it must have. Autograd sees `out`
// (and, if it is a view, its base and the other views) take the new value.
void apply_into(const OpDef& op, std::span<const Tensor> in, const Attrs& attrs, const Tensor& out);
inline void apply_into(const OpDef& op, std::initializer_list<Tensor> in, const Attrs& attrs,
                       const Tensor& out) {
  apply_into(op, std::span<const Tensor>(in.begin(), in.size()), attrs, out);
}

// Output types without running anything (views included).
std::vector<TensorType> infer_types(const OpDef& op, std::span<const TensorType* const> in,
                                    const Attrs& attrs);

// Counters for tests and `suan.debug`: how often each path was taken by this thread.
struct ApplyCounters {
  uint64_t calls = 0, cache_misses = 0, kernels = 0, composites = 0, views = 0;
  uint64_t kernels_on[max_device_types] = {};  // by device type
};
ApplyCounters& apply_counters();

}  // namespace suan
