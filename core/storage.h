// Storage: ref-counted bytes on one device, with a version that every in-place write bumps.
// The CPU side of the caching allocator lives in allocator.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstring>
#include <functional>

#include "core/device.h"
#include "core/ref.h"
#include "core/source.h"

namespace suan {

class Storage : public RefCounted<Storage> {
 public:
  static Ref<Storage> allocate(Device device, int64_t bytes);  // OutOfMemory
  // No bytes behind it: what a dry recording produces. Reading it is a StateError.
  static Ref<Storage> dry(Device device, int64_t bytes);
  // Memory that someone else owns (NumPy, DLPack, a mapped file); release runs when the last user goes.
  // `let_go`: for let_go().
  static Ref<Storage> external(Device device, void* data, int64_t bytes, std::function<void()> release, std::function<void()> let_go = {});
  // The host's memory with an address from the start, whose bytes `fill` writes when Tensor::raw() first asks for them, and
  // again after drop(). `fill` may be called on any thread. The allocator does not count such memory.
  // `part` writes so many bytes from an offset on elsewhere, for read_part().
  static Ref<Storage> deferred(int64_t bytes, std::function<void(std::byte*)> fill,
                               std::function<void(std::byte* to, int64_t from, int64_t bytes)> part = {});   // OutOfMemory

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool is_dry() const { return data_ == nullptr && bytes_ > 0; }
  bool is_absent() const { return absent_.load(std::memory_order_acquire); }
  void make() const;   // what is absent; OutOfMemory
  // A part of what is absent, which it stays; false where it is there, or cannot be read so.
  bool read_part(std::byte* to, int64_t from, int64_t bytes) const;
  // Gives the memory of a deferred storage back, which nobody may be reading. Once keep() was called, and for other
  // storages, nothing happens.
  void drop();
  void keep();
  // Pages of a mapped file leave memory until somebody reads them, at any time; nothing for other storages.
  void let_go() const;
  uint64_t id() const { return id_; }  // never reused: what a recording knows a storage by
  uint32_t version() const { return version_; }
  const SourceMark& last_write() const { return last_write_; }
  void bump_version(const SourceMark& where) { ++version_; last_write_ = where; }
  // A Python number: its value is part of a recording as a constant, not a captured tensor. The host keeps the
  // value's bytes, at most 16, whatever device the storage is on.
  bool is_literal() const { return is_literal_; }
  const std::byte* literal() const { return literal_; }
  void mark_literal(const std::byte* value) {
    is_literal_ = true;
    std::memcpy(literal_, value, size_t(bytes_));
  }

 private:
  friend class RefCounted<Storage>;
  friend class Ref<Storage>;
  static void destroy(Storage* s);
  Storage() = default;

  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  uint64_t id_ = 0;
  uint32_t version_ = 0;
  Device device_;
  bool is_literal_ = false;
  mutable std::atomic<bool> absent_{false};
  SourceMark last_write_;
  struct External;
  External* external_ = nullptr;
  alignas(16) std::byte literal_[16] = {};
  struct Deferred;
  Deferred* deferred_ = nullptr;
};

}  // namespace suan
