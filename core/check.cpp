#include "core/check.h"

#include <array>

#include "core/dispatch.h"

namespace suan {

std::string describe(DTypeSet s) {
  std::string text;
  for (int i = 0; i < n_dtypes; ++i)
    if (contains(s, DType(i))) text += (text.empty() ? "" : ", ") + std::string(name(DType(i)));
  return text;
}

void check_arguments(const OpDef& def, std::span<const TensorType* const> in, const Attrs& attrs) {
  size_t fixed = def.inputs.size();
  bool variadic = fixed && def.inputs.back().arity == Arity::variadic;
  size_t least = 0;
  for (size_t i = 0; i < fixed; ++i)
    if (def.inputs[i].arity == Arity::required) least = i + 1;
  if (in.size() < least || (!variadic && in.size() > fixed))
    fail<TypeError>(def.name, "wrong number of inputs: expected {}{}, got {}", least,
                    variadic ? " or more" : fixed > least ? " to " + std::to_string(fixed) : "", in.size());
  std::array<const TensorType*, 8> group{};
  std::array<const char*, 8> group_name{};
  const TensorType* first = nullptr;
  for (size_t i = 0; i < in.size(); ++i) {
    const InputSpec& spec = def.inputs[std::min(i, fixed - 1)];
    if (!in[i]) {
      if (spec.arity != Arity::optional)
        fail<TypeError>(def.name, "missing input: expected a tensor for '{}', got none", spec.name);
      continue;
    }
    const TensorType& t = *in[i];
    if (!contains(spec.dtypes, t.dtype))
      fail<TypeError>(def.name, "dtype not supported for '{}': expected {}, got {}", spec.name,
                      describe(spec.dtypes), name(t.dtype));
    if (spec.group) {
      const TensorType*& g = group[spec.group];
      if (!g) { g = &t; group_name[spec.group] = spec.name; }
      else if (g->dtype != t.dtype)
        fail<TypeError>(def.name, "dtypes differ: expected '{}' to be {} as '{}', got {}", spec.name,
                        name(g->dtype), group_name[spec.group], name(t.dtype));
    }
    if (!first) first = &t;
    else if (!(first->device == t.device))
      fail<DeviceError>(def.name, "tensors on two devices: expected {}, got {} for '{}'",
                        to_string(first->device), to_string(t.device), spec.name);
  }
  if (attrs.size() > int(def.attrs.size()))
    fail<TypeError>(def.name, "too many attributes: expected {}, got {}", def.attrs.size(), attrs.size());
  for (size_t i = 0; i < def.attrs.size(); ++i) {
    const AttrSpec& spec = def.attrs[i];
    if (!attrs.has(int(i))) {
      if (!spec.nullable && spec.fallback.index() == 0)
        fail<TypeError>(def.name, "missing attribute: expected a value for '{}', got none", spec.name);
      continue;
    }
    static constexpr size_t variant_index[] = {1, 2, 3, 4, 5, 6, 7, 8};  // AttrKind -> Attr alternative
    if (attrs[int(i)].index() != variant_index[int(spec.kind)])
      fail<TypeError>(def.name, "wrong attribute type for '{}': expected kind {}, got {}", spec.name,
                      int(spec.kind), to_string(attrs[int(i)]));
  }
}

const Attrs& with_defaults(const OpDef& def, const Attrs& attrs, Attrs& storage) {
  if (attrs.size() == int(def.attrs.size())) return attrs;
  std::vector<Attr> v = attrs.values();
  for (size_t i = v.size(); i < def.attrs.size(); ++i) v.push_back(def.attrs[i].fallback);
  storage = Attrs(std::move(v));
  return storage;
}

}  // namespace suan
