// Intrusive reference counting: one word in the object, no control block, thread-safe counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace suan {

template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  explicit Ref(T* p) : p_(p) { if (p_) retain(p_); }  // a fresh object, or one more owner
  Ref(const Ref& o) : p_(o.p_) { if (p_) retain(p_); }
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(Ref o) noexcept { std::swap(p_, o.p_); return *this; }
  ~Ref() { if (p_) release(p_); }

  // Takes over the count that the pointer already carries.
  static Ref adopt(T* p) { Ref r; r.p_ = p; return r; }
  T* detach() { return std::exchange(p_, nullptr); }

  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref& o) const { return p_ == o.p_; }

 private:
  static void retain(T* p) { p->refs_.fetch_add(1, std::memory_order_relaxed); }
  static void release(T* p) {
    // A sole owner needs no locked instruction.
    if (p->refs_.load(std::memory_order_acquire) == 1 ||
        p->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
      T::destroy(p);
  }
  T* p_ = nullptr;
};

// Base of every counted object; a class may shadow destroy() to recycle its memory.
template <class T>
class RefCounted {
 public:
  int64_t use_count() const { return refs_.load(std::memory_order_acquire); }

 protected:
  RefCounted() = default;
  RefCounted(const RefCounted&) : refs_(0) {}
  RefCounted& operator=(const RefCounted&) { return *this; }
  static void destroy(T* p) { delete p; }

 private:
  friend class Ref<T>;
  std::atomic<int64_t> refs_{0};
};

template <class T, class... Args>
Ref<T> make_ref(Args&&... args) {
  return Ref<T>(new T(std::forward<Args>(args)...));
}

}  // namespace suan
