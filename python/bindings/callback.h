// Python callables that the engine holds. They are named types, so that Python's collector can find them
// inside a std::function.
#pragma once

#include <atomic>
#include <memory>

#include "core/tape.h"
#include "python/bindings/binding.h"

namespace suan::py {

// Held by C++ code that may run, and die, without the GIL.
class Callback {
 public:
  explicit Callback(PyObject* f) : f_(f) {
    Py_INCREF(f);
    ++alive_;
  }
  ~Callback() {
    --alive_;
    if (!Py_IsInitialized()) return;
    HoldGil hold;
    Py_DECREF(f_);
  }
  Callback(const Callback&) = delete;
  PyObject* get() const { return f_; }
  static bool any() { return alive_.load(std::memory_order_relaxed) > 0; }

 private:
  PyObject* f_;
  static inline std::atomic<int64_t> alive_{0};
};

// Hook: f(grad), a returned tensor replaces the gradient.
struct GradientHook {
  std::shared_ptr<Callback> call;
  Tensor operator()(const Tensor& g) const;
};

// After .grad of a leaf changed: f(leaf).
struct LeafHook {
  std::shared_ptr<Callback> call;
  void operator()(const Tensor& leaf) const;
};

// Backward of a Python autograd.Function.
struct CustomFunction {
  std::shared_ptr<Callback> call;
  Tensors operator()(std::span<const Tensor> grads) const;
};

// Python's cyclic collector: visits the callables that nothing but this tensor keeps alive.
int visit_callbacks(const Tensor& t, visitproc visit, void* arg);

// The Python object of a tensor goes, and with it the reader of a gradient that retain_grad() asked for: the node
// that would write it need not keep the tensor, which keeps the node.
void forget_retained(const Tensor& t);

}  // namespace suan::py
