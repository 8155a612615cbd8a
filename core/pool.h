// The one thread pool of the process. Work is cut by its caller from shapes alone, so which thread
// runs which task never changes a result's bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace suan {

// A non-owning reference to a callable: two pointers, no allocation. It must not outlive its
// target.
template <class Signature>
class FunctionRef;

template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  FunctionRef() = default;
  FunctionRef(std::nullptr_t) {}

  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> &&
             std::is_invocable_r_v<R, F&, Args...>)
  FunctionRef(F&& f)
      : target_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* target, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(target))(std::forward<Args>(args)...);
        }) {}

  R operator()(Args... args) const { return call_(target_, std::forward<Args>(args)...); }
  explicit operator bool() const { return call_ != nullptr; }

 private:
  void* target_ = nullptr;
  R (*call_)(void*, Args...) = nullptr;
};

// Runs fn(0) … fn(n-1), the caller taking part, and returns when all are done. The first exception
// is rethrown here; tasks not yet begun are then dropped. Inside a task, or while another thread's
// call holds the pool, the tasks run inline on the calling thread.
// Throws StateError in a process forked after the pool's first use.
void parallel_for(int64_t n, FunctionRef<void(int64_t index)> fn);

// Threads that take part in parallel_for, the caller included: at first the CPUs this process may
// use (affinity and cgroup quota), or what set_num_threads asked for (more than the CPUs is fine).
int num_threads();
void set_num_threads(int n, bool pin_to_cpus = false);

// 0 for a caller, 1 … num_threads()-1 for the pool's own; unique within one parallel_for.
int thread_index();

// CPUs this process may use, from its affinity mask and its cgroup's quota.
int available_cpus();

// A buffer of the calling thread, 64-byte aligned, made at its first use and kept: packed tiles
// live here. A task owns it until it returns or calls anything that may use it in turn.
inline constexpr size_t thread_scratch_bytes = size_t{1} << 20;
std::byte* thread_scratch();

}  // namespace suan
