// The op table: built once, immutable afterwards; lookups by name with a hint for misspelt ones.
#include "core/op.h"

#include <algorithm>
#include <unordered_map>

#include "core/apply.h"
#include "core/backend.h"

namespace suan {

std::vector<OpDef (*)()> const& op_definitions();     // generated from the files in ops/
std::vector<OpDef> scalar_op_definitions();           // ops/scalar.cpp

namespace {

struct Table {
  std::vector<const OpDef*> list;
  std::unordered_map<std::string_view, const OpDef*> by_name;

  Table() {
    auto add = [&](OpDef def) {
      auto* p = new OpDef(std::move(def));  // lives as long as the process
      p->id = int(list.size());
      list.push_back(p);
      if (!by_name.emplace(p->name, p).second)
        fail<InternalError>("op table", "defined twice: expected one definition, got two of '{}'", p->name);
    };
    for (auto make : op_definitions()) add(make());
    for (OpDef& def : scalar_op_definitions()) add(std::move(def));
  }
};
const Table& table() {
  static const Table* t = new Table;
  return *t;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t next = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = std::exchange(row[j], next);
    }
  }
  return row[b.size()];
}

}  // namespace

const std::vector<const OpDef*>& all_ops() { return table().list; }

const OpDef* find_op(std::string_view name) {
  auto it = table().by_name.find(name);
  return it == table().by_name.end() ? nullptr : it->second;
}

const OpDef& op(std::string_view name) {
  if (const OpDef* p = find_op(name)) return *p;
  const OpDef* nearest = *std::min_element(all_ops().begin(), all_ops().end(), [&](auto* a, auto* b) {
    return edit_distance(a->name, name) < edit_distance(b->name, name);
  });
  fail<ValueError>("op", "unknown op: expected a name in the table such as '{}', got '{}'", nearest->name,
                   name);
}

int OpDef::find_attr(std::string_view attr) const {
  for (size_t i = 0; i < attrs.size(); ++i)
    if (attr == attrs[i].name) return int(i);
  return -1;
}

int InferContext::axis(int attr, int input) const {
  return normalize_axis(op.name, attrs.integer(attr), shape(input).size());
}

Dims InferContext::axes(int attr, int input) const {
  int rank = shape(input).size();
  Dims out;
  if (!attrs.has(attr) || attrs.dims(attr).empty()) {
    for (int i = 0; i < rank; ++i) out.push_back(i);
    return out;
  }
  for (int64_t a : attrs.dims(attr)) {
    int i = normalize_axis(op.name, a, rank);
    if (rank == 0) continue;
    if (std::find(out.begin(), out.end(), i) != out.end())
      fail<ValueError>("dim given twice: expected distinct axes, got {} again", a);
    out.push_back(i);
  }
  std::sort(out.begin(), out.end());
  return out;
}

Tensor VjpContext::grad_or_zeros(int j) const {
  if (grads[j].defined()) return grads[j];
  const TensorType& t = out_types[j];
  return apply(suan::op("full"), {Tensor::scalar(0, t.dtype, t.device)}, {t.shape});
}

const Kernel* find_kernel(const OpDef& def, Device device) {
  return backend(device.type).kernel(def);
}

}  // namespace suan
