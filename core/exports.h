// Storages that may be written to without a version: where NumPy arrays or DLPack consumers lie over them, where the
// memory was never ours, and where an address was given away. What a program keeps packed is never made from these.
#pragma once

#include <cstdint>

#include "core/storage.h"

namespace suan {

// For as long as someone outside may write.
class ExportLease {
 public:
  explicit ExportLease(Ref<Storage> storage);
  ~ExportLease();
  ExportLease(ExportLease&& o) noexcept = default;
  ExportLease(const ExportLease&) = delete;

 private:
  Ref<Storage> storage_;
};

void export_for_good(const Storage& s);   // by its address
bool is_exported(const Storage& s);
// Grows with every lease and address: where it stands still, what was not exported is not.
uint64_t exports_begun();

// Of storages between watch and unwatch: the number of the last export (exports_begun() then), or one as late as it can
// have been. Equal numbers: no export between.
void watch_exports(const Storage& s);
void unwatch_exports(const Storage& s);
uint64_t last_export(const Storage& s);

// Of Storage's own: memory of someone else, from its first to its last owner.
void external_begins(uint64_t id);
void external_ends(uint64_t id);

}  // namespace suan
