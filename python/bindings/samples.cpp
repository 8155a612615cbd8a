// The op table's samples for the generated tests: what each sample is, and a strict call of an op with a
// sample's own attributes (no promotion in between).
#include <nanobind/stl/string.h>

#include "core/graph.h"
#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

nb::list integers(std::span<const int64_t> values) {
  nb::list l;
  for (int64_t v : values) l.append(v);
  return l;
}

}  // namespace

// An attribute as Python data; a graph as its text.
nb::object attr_value(const Attr& a) {
  return std::visit([](const auto& v) -> nb::object {
    using T = std::decay_t<decltype(v)>;
    if constexpr (std::is_same_v<T, std::monostate>) return nb::none();
    else if constexpr (std::is_same_v<T, DType>) return nb::steal(dtype_object(v));
    else if constexpr (std::is_same_v<T, Dims>) return integers({v.begin(), v.end()});
    else if constexpr (std::is_same_v<T, std::vector<int64_t>>) return integers(v);
    else if constexpr (std::is_same_v<T, GraphPtr>) return nb::str(v ? v->print().c_str() : "");
    else if constexpr (std::is_same_v<T, std::string>) return nb::str(v.c_str());
    else return nb::cast(v);
  }, a);
}

namespace {

const Sample& sample_of(const OpDef& op, size_t index) {
  static auto* all = [] {
    auto* v = new std::vector<std::vector<Sample>>;
    for (const OpDef* o : all_ops()) v->push_back(o->samples ? o->samples() : std::vector<Sample>{});
    return v;
  }();
  const auto& samples = (*all)[size_t(op.id)];
  if (index >= samples.size())
    fail<IndexError>(op.name, "no such sample: expected fewer than {}, got {}", samples.size(), index);
  return samples[index];
}

// Left-out trailing attributes take their defaults.
Attrs full_attrs(const OpDef& op, const Sample& s) {
  std::vector<Attr> a = s.attrs.values();
  for (size_t i = a.size(); i < op.attrs.size(); ++i) a.push_back(op.attrs[i].fallback);
  return Attrs(std::move(a));
}

nb::list samples(const std::string& name) {
  static const char* const fills[] = {"normal", "uniform", "positive", "integers", "boolean", "distinct", "index"};
  const OpDef& op = suan::op(name);
  nb::list all;
  const size_t n = op.samples ? op.samples().size() : 0;
  for (size_t k = 0; k < n; ++k) {
    const Sample& s = sample_of(op, k);
    nb::dict one;
    nb::list inputs;
    for (const SampleInput& i : s.in) {
      nb::dict d;
      nb::list shape;
      for (int64_t e : i.shape) shape.append(e);
      d["shape"] = shape;
      d["fill"] = fills[int(i.fill)];
      d["lo"] = i.lo;
      d["hi"] = i.hi;
      d["dtype"] = i.dtype ? nb::object(nb::str(std::string(suan::name(*i.dtype)).c_str())) : nb::none();
      d["absent"] = i.absent;
      d["grad"] = i.grad;
      inputs.append(d);
    }
    const Attrs attrs = full_attrs(op, s);
    nb::dict named;
    for (size_t i = 0; i < op.attrs.size(); ++i) named[op.attrs[i].name] = attr_value(attrs[int(i)]);
    one["in"] = inputs;
    one["attrs"] = named;
    one["note"] = s.note;
    one["check_grad"] = s.check_grad;
    one["error"] = s.error;
    all.append(one);
  }
  return all;
}

Tensors given(nb::handle inputs) {
  Tensors in;
  for (nb::handle o : nb::iter(inputs)) in.push_back(o.is_none() ? Tensor() : nb::cast<Tensor>(o));
  return in;
}

}  // namespace

void bind_samples(nb::module_& m) {
  m.def("samples", [](const std::string& name) { return bridged([&] { return samples(name); }); },
        "An op's samples: input shapes and fills, attributes by name, expected error.");
  m.def("apply_sample", [](const std::string& name, size_t index, nb::handle inputs) {
    return bridged([&] {
      const OpDef& op = suan::op(name);
      return nb::steal(wrap_many(apply_all(op, given(inputs), full_attrs(op, sample_of(op, index)))));
    });
  }, "Calls an op strictly, with a sample's attributes; a tuple of outputs.");
  m.def("apply_sample_into", [](const std::string& name, size_t index, nb::handle inputs, const Tensor& out) {
    bridged([&] {
      const OpDef& op = suan::op(name);
      apply_into(op, given(inputs), full_attrs(op, sample_of(op, index)), out);
    });
  }, "As apply_sample, written into a tensor.");
}

}  // namespace suan::py
