#include "core/exports.h"

#include <atomic>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

namespace suan {
namespace {

struct Watch {
  int64_t watchers = 0;
  uint64_t last = 0;   // export of all; that before the first watcher where it is not known
};

struct Table {
  std::mutex mutex;
  std::unordered_map<uint64_t, int64_t> leases;   // by storage
  std::unordered_set<uint64_t> addresses;
  std::unordered_map<uint64_t, Watch> watched;
  bool all = false;                               // too many addresses to remember: any storage may be one of them
  std::atomic<uint64_t> begun{0};
};
Table& table() {
  static Table& t = *new Table;   // storages may outlive static objects
  return t;
}

// With the lock held.
void note(uint64_t id) {
  Table& t = table();
  const uint64_t now = ++t.begun;
  if (auto it = t.watched.find(id); it != t.watched.end()) it->second.last = now;
}
void end(uint64_t id) {
  std::lock_guard lock(table().mutex);
  auto it = table().leases.find(id);
  if (it != table().leases.end() && --it->second == 0) table().leases.erase(it);
}

}  // namespace

ExportLease::ExportLease(Ref<Storage> storage) : storage_(std::move(storage)) {
  std::lock_guard lock(table().mutex);
  ++table().leases[storage_->id()];
  note(storage_->id());
}

ExportLease::~ExportLease() {
  if (storage_) end(storage_->id());
}

void export_for_good(const Storage& s) {
  constexpr size_t most = 1 << 18;
  Table& t = table();
  std::lock_guard lock(t.mutex);
  if (t.all || t.addresses.count(s.id())) return;
  if (t.addresses.size() >= most) t.all = true, t.addresses.clear();
  else t.addresses.insert(s.id());
  note(s.id());
}

bool is_exported(const Storage& s) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  return t.all || t.leases.count(s.id()) || t.addresses.count(s.id());
}

void watch_exports(const Storage& s) {
  std::lock_guard lock(table().mutex);
  Watch& w = table().watched[s.id()];
  if (w.watchers++ == 0) w.last = table().begun;
}

void unwatch_exports(const Storage& s) {
  std::lock_guard lock(table().mutex);
  auto it = table().watched.find(s.id());
  if (it != table().watched.end() && --it->second.watchers == 0) table().watched.erase(it);
}

uint64_t last_export(const Storage& s) {
  std::lock_guard lock(table().mutex);
  auto it = table().watched.find(s.id());
  return it == table().watched.end() ? 0 : it->second.last;
}

uint64_t exports_begun() { return table().begun; }

void external_begins(uint64_t id) {
  std::lock_guard lock(table().mutex);
  ++table().leases[id];
}
void external_ends(uint64_t id) { end(id); }

}  // namespace suan
