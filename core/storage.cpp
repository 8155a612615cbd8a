// Storage creation and release, source marks, device names.
#include "core/storage.h"

#include <atomic>
#include <new>

#include "core/allocator.h"
#include "core/error.h"

namespace suan {

SourceHooks source_hooks;

std::string to_string(const SourceMark& mark) {
  return mark && source_hooks.format ? source_hooks.format(mark) : "unknown line";
}

Device parse_device(const std::string& text) {
  std::string kind = text.substr(0, text.find(':'));
  Device d;
  if (kind == "cpu") d.type = DeviceType::cpu;
  else if (kind == "cuda") d.type = DeviceType::cuda;
  else if (kind == "cuda-emulated") d.type = DeviceType::cuda_emulated;
  else fail<DeviceError>("device", "unknown device: expected cpu, cuda or cuda-emulated, got '{}'", text);
  if (auto at = text.find(':'); at != std::string::npos) {
    std::string digits = text.substr(at + 1);
    if (digits.empty() || digits.size() > 2 || digits.find_first_not_of("0123456789") != std::string::npos)
      fail<DeviceError>("device", "bad device index: expected 0 to 99, got '{}'", text);
    d.index = int8_t(std::stoi(digits));
  }
  if (d.type != DeviceType::cpu)
    fail<DeviceError>("device", "device not available: expected cpu, got '{}' (this build has no {} backend)",
                      text, kind);
  if (d.index != 0) fail<DeviceError>("device", "no such device: expected cpu:0, got '{}'", text);
  return d;
}

std::string to_string(Device d) {
  static constexpr const char* names[n_device_types] = {"cpu", "cuda", "cuda-emulated"};
  std::string s = names[int(d.type)];
  return d.type == DeviceType::cpu ? s : s + ":" + std::to_string(d.index);
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
  s->data_ = static_cast<std::byte*>(cpu_allocate(bytes));
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

Ref<Storage> Storage::external(Device device, void* data, int64_t bytes, std::function<void()> release) {
  Ref<Storage> s(new (object_allocate(0)) Storage);
  s->device_ = device;
  s->id_ = next_id();
  s->release_ = new std::function<void()>(std::move(release));
  s->data_ = static_cast<std::byte*>(data);
  s->bytes_ = bytes;
  return s;
}

void Storage::destroy(Storage* s) {
  if (s->release_) {
    if (*s->release_) (*s->release_)();
    delete s->release_;
  } else if (s->data_) {
    cpu_free(s->data_, s->bytes_);
  }
  s->~Storage();
  object_free(s, 0);
}

}  // namespace suan
