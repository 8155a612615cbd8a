// Tensor: a handle on a Storage seen through a Layout, plus its autograd state. Views share Storage and
// every alias sees a write. A tensor made in a dry recording has type and layout but no bytes.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/shape.h"
#include "core/storage.h"

namespace suan {

struct AutogradState;  // core/tape.h

struct TensorType {
  DType dtype = DType::f32;
  Shape shape;
  Device device;
  int64_t bytes() const { return bytes_for(dtype, numel(shape)); }
  bool operator==(const TensorType& o) const {
    return dtype == o.dtype && shape == o.shape && device == o.device;
  }
};
std::string to_string(const TensorType& t);  // "8x512 f32"

class TensorImpl : public RefCounted<TensorImpl> {
 public:
  Ref<Storage> storage;
  Layout layout;
  DType dtype = DType::f32;
  bool requires_grad = false;                // set by the user on a leaf
  AutogradState* autograd = nullptr;         // owned; null for the many tensors that need none
  void* python = nullptr;                    // the binding's own object for this tensor, if one is alive

 private:
  friend class RefCounted<TensorImpl>;
  friend class Ref<TensorImpl>;
  static void destroy(TensorImpl* t);

 public:
  static void* operator new(size_t n);
  static void operator delete(void* p);
};

class Tensor {
 public:
  Tensor() = default;  // undefined: an absent optional input, a zero gradient
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}
  static Tensor empty(const TensorType& type);                 // uninitialised bytes
  static Tensor over(Ref<Storage> s, const Layout& layout, DType dtype);
  // A 0-d tensor holding a number; as an operand it is a constant of any recording.
  static Tensor scalar(double value, DType dtype, Device device = {});
  static Tensor scalar_int(int64_t value, DType dtype, Device device = {});
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape);

  bool defined() const { return bool(impl_); }
  explicit operator bool() const { return defined(); }
  TensorImpl* impl() const { return impl_.get(); }
  const Ref<TensorImpl>& ref() const { return impl_; }

  DType dtype() const { return impl_->dtype; }
  const Layout& layout() const { return impl_->layout; }
  const Shape& shape() const { return impl_->layout.shape; }
  const Dims& strides() const { return impl_->layout.strides; }
  int64_t offset() const { return impl_->layout.offset; }
  int rank() const { return impl_->layout.rank(); }
  int64_t dim(int axis) const { return shape()[axis < 0 ? axis + rank() : axis]; }
  int64_t numel() const { return impl_->layout.numel(); }
  Device device() const { return impl_->storage->device(); }
  TensorType type() const { return {dtype(), shape(), device()}; }
  const Ref<Storage>& storage() const { return impl_->storage; }
  bool is_contiguous() const { return impl_->layout.is_contiguous(); }
  bool is_dry() const { return impl_->storage->is_dry(); }
  // First element, offset applied. StateError when dry.
  std::byte* raw() const;
  template <class T>
  T* data() const { return reinterpret_cast<T*>(raw()); }
  // Value of a one-element tensor; StateError inside a dry or compiled recording (data-dependent control flow).
  double item() const;
  int64_t item_int() const;

  // The same data without history: shares storage, requires no gradient.
  Tensor detach() const;

  bool requires_grad() const;  // leaf flag or has a gradient function
  void set_requires_grad(bool on) const;
  bool is_leaf() const;
  Tensor grad() const;
  void set_grad(const Tensor& g) const;

  bool same(const Tensor& o) const { return impl_ == o.impl_; }

 private:
  Ref<TensorImpl> impl_;
};

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
  if (int64_t(values.size()) != suan::numel(shape))
    fail<ShapeError>("tensor", "values do not fill the shape: expected {}, got {}", suan::numel(shape), values.size());
  Tensor t = empty({dtype_for<T>, shape, {}});
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}

using Tensors = std::vector<Tensor>;

}  // namespace suan
