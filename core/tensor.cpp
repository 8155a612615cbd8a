// Tensor handles: creation, element reads, autograd flags.
#include "core/tensor.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/allocator.h"
#include "core/apply.h"
#include "core/backend.h"
#include "core/convert.h"
#include "core/record.h"
#include "core/tape.h"

namespace suan {

static_assert(sizeof(TensorImpl) <= 320);

void* TensorImpl::operator new(size_t) { return object_allocate(1); }
void TensorImpl::operator delete(void* p) { object_free(p, 1); }
void TensorImpl::destroy(TensorImpl* t) {
  delete t->autograd;
  delete t;
}

std::string to_string(const TensorType& t) {
  return to_string(t.shape) + " " + std::string(brief(t.dtype));
}

Tensor Tensor::over(Ref<Storage> s, const Layout& layout, DType dtype) {
  Ref<TensorImpl> t(new TensorImpl);
  t->storage = std::move(s);
  t->layout = layout;
  t->dtype = dtype;
  return Tensor(std::move(t));
}

Tensor Tensor::empty(const TensorType& type) {
  return over(Storage::allocate(type.device, type.bytes()), Layout(type.shape), type.dtype);
}

namespace {
Tensor literal(const std::byte* value, DType dtype, Device device) {
  Tensor t = Tensor::empty({dtype, {}, device});
  const int64_t bytes = t.storage()->bytes();
  if (device.is_cpu()) std::memcpy(t.storage()->data(), value, size_t(bytes));
  else backend(device.type).memory().upload(device.index, t.storage()->data(), value, bytes);
  t.storage()->mark_literal(value);
  return t;
}
}  // namespace

Tensor Tensor::scalar(double value, DType dtype, Device device) {
  alignas(16) std::byte bytes[16];
  store_as(bytes, dtype, value);
  return literal(bytes, dtype, device);
}

Tensor Tensor::scalar_int(int64_t value, DType dtype, Device device) {
  alignas(16) std::byte bytes[16];
  store_as_int(bytes, dtype, value);
  return literal(bytes, dtype, device);
}

std::byte* Tensor::raw() const {
  if (is_dry())
    fail<StateError>("tensor", "no data: expected a computed tensor, got one made while a function was recorded or planned "
                             "(return it from the function to have its values)");
  if (storage()->is_absent()) [[unlikely]] storage()->make();
  return storage()->data() + offset() * item_size(dtype());
}

namespace {
// A value read while recording would decide what is recorded: the replay could not follow it.
void check_readable(const Tensor& t) {
  if (t.numel() != 1)
    fail<ValueError>("item", "wrong number of elements: expected 1, got {}", to_string(t.type()));
  if (context().recorder && !t.storage()->is_literal())
    fail<StateError>("item", "data-dependent value in a compiled function: expected the tensor to be returned, "
                             "got a read at {}", to_string(capture_source()));
}
}  // namespace

double Tensor::item() const {
  check_readable(*this);
  if (!device().is_cpu()) return to_device(*this, {}).item();
  return load_as(raw(), dtype());
}

int64_t Tensor::item_int() const {
  check_readable(*this);
  if (!device().is_cpu()) return to_device(*this, {}).item_int();
  return load_as_int(raw(), dtype());
}

Tensor Tensor::detach() const { return over(storage(), layout(), dtype()); }

namespace {
// A view's history follows its base's after an in-place write to the base or to another view.
bool has_history(const TensorImpl& t) {
  if (!t.autograd) return false;
  const AutogradState& s = *t.autograd;
  if (s.base.defined()) {
    const AutogradState* b = s.base.impl()->autograd;
    if (b && b->history != s.history) return s.base.requires_grad();
  }
  return bool(s.node);
}
}  // namespace

bool Tensor::requires_grad() const {
  return impl_->requires_grad || has_history(*impl_);
}

bool Tensor::is_leaf() const { return impl_->requires_grad || !has_history(*impl_); }

void Tensor::set_requires_grad(bool on) const {
  if (on && !is_floating(dtype()))
    fail<TypeError>("requires_grad_", "no gradient for this dtype: expected a floating one, got {}",
                    name(dtype()));
  if (!on && has_history(*impl_))
    fail<StateError>("requires_grad_", "cannot switch off: expected a leaf, got the output of an op");
  if (has_history(*impl_)) return;
  impl_->requires_grad = on;
  if (Recorder* r = context().recorder; on && r && r->is_within()) r->note_leaf(*this);
}

Tensor Tensor::grad() const { return impl_->autograd ? impl_->autograd->grad : Tensor(); }

void Tensor::set_grad(const Tensor& g) const {
  if (g.defined() && (g.shape() != shape() || g.dtype() != dtype()))
    fail<ShapeError>("grad", "gradient does not fit: expected {}, got {}", to_string(type()),
                     to_string(g.type()));
  if (!g.defined() && !impl_->autograd) return;
  if (const Context& c = context(); c.dry && c.recorder) c.recorder->note_grad_change(*this);
  autograd_state(*impl_).grad = g;
}

}  // namespace suan
