// Kernels of the scalar rows: every one is a program of one instruction.
#include <unordered_map>

#include "kernels/cpu/lib/elementwise.h"
#include "kernels/cpu/lib/scalar_code.h"

namespace suan::cpu::SUAN_ISA {
namespace {

const RowCode* (*const tables[])() = {rows_unary_basic,    rows_unary_math,  rows_binary_basic,
                                      rows_binary_compare, rows_binary_math, rows_ternary};

Prepared prepare_row(const KernelDesc& d) {
  int types[3];
  for (size_t i = 0; i < d.in.size(); ++i) types[i] = d.in[i] ? int(d.in[i]->dtype) : absent;
  const RowChoice row = choose_row(d.op, {types, d.in.size()}, d.out[0]->dtype);
  if (const Prepared p = prepare_flat(row, d.in, *d.out[0]); p.run) return p;
  return prepare_program(row_program(d.op, d.attrs, d.in, d.out[0]->dtype), d.in, d.out);
}
bool supports_row(const KernelDesc& d) {
  for (const TensorDesc* t : d.in)
    if (t && !load_fn(t->dtype)) return false;
  return store_fn(d.out[0]->dtype) != nullptr;
}

}  // namespace

const RowCode* find_row(std::string_view name) {
  static const auto* index = [] {
    auto* map = new std::unordered_map<std::string_view, const RowCode*>;
    for (auto table : tables)
      for (const RowCode* r = table(); r->name; ++r) map->emplace(r->name, r);
    return map;
  }();
  const auto it = index->find(name);
  return it == index->end() ? nullptr : it->second;
}

std::vector<std::pair<const char*, Kernel>> scalar_kernels() {
  const Kernel kernel{prepare_row, kernel_strided_in | kernel_strided_out | kernel_in_place,
                      supports_row};
  std::vector<std::pair<const char*, Kernel>> list;
  for (auto table : tables)
    for (const RowCode* r = table(); r->name; ++r) list.emplace_back(r->name, kernel);
  list.emplace_back("cast", kernel);
  return list;
}

}  // namespace suan::cpu::SUAN_ISA
