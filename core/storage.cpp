// Storage creation and release, source marks.
#include "core/storage.h"

#include <sys/mman.h>

#include <atomic>
#include <mutex>
#include <new>
#include <unordered_set>

#include "core/allocator.h"
#include "core/backend.h"
#include "core/error.h"
#include "core/exports.h"
#include "core/node_mark.h"

namespace suan {

SourceHooks source_hooks;

namespace {
constexpr int32_t is_name = INT32_MIN;   // no position in code
}
SourceMark named_mark(std::string_view name) {
  static std::mutex mutex;
  static auto& names = *new std::unordered_set<std::string>;
  std::lock_guard lock(mutex);
  return {&*names.emplace(name).first, is_name};
}
bool is_named(const SourceMark& mark) { return mark && mark.position == is_name; }

std::string to_string(const SourceMark& mark) {
  if (is_named(mark)) return *static_cast<const std::string*>(mark.code);
  return mark && source_hooks.format ? source_hooks.format(mark) : "unknown line";
}

namespace {
// Identities come in blocks per thread, so that making a storage touches no shared line.
uint64_t next_id() {
  static std::atomic<uint64_t> blocks{1};
  static thread_local uint64_t next = 0, end = 0;
  if (next == end) {
    next = blocks.fetch_add(1) << 20;
    end = next + (1 << 20);
  }
  return next++;
}
}  // namespace

static_assert(sizeof(Storage) <= 128);

Ref<Storage> Storage::allocate(Device device, int64_t bytes) {
  Ref<Storage> s(new (object_allocate(0)) Storage);
  s->device_ = device;
  s->id_ = next_id();
  s->data_ = static_cast<std::byte*>(allocate_on(device, bytes));
  s->bytes_ = bytes;
  return s;
}

Ref<Storage> Storage::dry(Device device, int64_t bytes) {
  Ref<Storage> s(new (object_allocate(0)) Storage);
  s->device_ = device;
  s->id_ = next_id();
  s->bytes_ = bytes;
  return s;
}

struct Storage::External {
  std::function<void()> release, let_go;
};

Ref<Storage> Storage::external(Device device, void* data, int64_t bytes, std::function<void()> release, std::function<void()> let_go) {
  Ref<Storage> s(new (object_allocate(0)) Storage);
  s->device_ = device;
  s->id_ = next_id();
  if (release) external_begins(s->id_);
  s->external_ = new External{std::move(release), std::move(let_go)};
  s->data_ = static_cast<std::byte*>(data);
  s->bytes_ = bytes;
  return s;
}

// Mapped, so that what is dropped is the system's at once, and out of reach while it is absent.
struct Storage::Deferred {
  std::mutex mutex;
  std::function<void(std::byte*)> fill;
  std::function<void(std::byte*, int64_t, int64_t)> part;
  bool kept = false;
};

Ref<Storage> Storage::deferred(int64_t bytes, std::function<void(std::byte*)> fill,
                               std::function<void(std::byte*, int64_t, int64_t)> part) {
  void* p = ::mmap(nullptr, size_t(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) fail<OutOfMemory>("allocate", "no memory: expected {} bytes, got the system's limit", bytes);
  Ref<Storage> s(new (object_allocate(0)) Storage);
  s->id_ = next_id();
  s->data_ = static_cast<std::byte*>(p);
  s->bytes_ = bytes;
  s->deferred_ = new Deferred{{}, std::move(fill), std::move(part)};
  s->absent_ = true;
  return s;
}

void Storage::make() const {
  std::lock_guard lock(deferred_->mutex);
  if (!absent_.load(std::memory_order_relaxed)) return;   // another thread was first
  if (::mprotect(data_, size_t(bytes_), PROT_READ | PROT_WRITE) != 0)
    fail<OutOfMemory>("allocate", "no memory: expected {} bytes, got the system's limit", bytes_);
  deferred_->fill(data_);
  absent_.store(false, std::memory_order_release);
}

bool Storage::read_part(std::byte* to, int64_t from, int64_t bytes) const {
  if (!deferred_ || !deferred_->part || !is_absent()) return false;
  deferred_->part(to, from, bytes);
  return true;
}

void Storage::drop() {
  if (!deferred_) return;
  std::lock_guard lock(deferred_->mutex);
  if (deferred_->kept || absent_.load(std::memory_order_relaxed)) return;
  absent_.store(true, std::memory_order_release);
  ::madvise(data_, size_t(bytes_), MADV_DONTNEED);
  ::mprotect(data_, size_t(bytes_), PROT_NONE);
}

void Storage::keep() {
  if (!deferred_) return;
  std::lock_guard lock(deferred_->mutex);
  deferred_->kept = true;
}

void Storage::let_go() const {
  if (external_ && external_->let_go) external_->let_go();
}

void Storage::destroy(Storage* s) {
  if (s->external_) {
    if (s->external_->release) {
      external_ends(s->id_);
      s->external_->release();
    }
    delete s->external_;
  } else if (s->deferred_) {
    ::munmap(s->data_, size_t(s->bytes_));
    delete s->deferred_;
  } else if (s->data_) {
    free_on(s->device_, s->data_, s->bytes_);
  }
  s->~Storage();
  object_free(s, 0);
}

}  // namespace suan
