// ONNX sessions for Python. A value is a Tensor, None, a list (a sequence), a dict of numbers and str (a map), or a pair
// (shape, list of bytes) of strings.
#include <nanobind/stl/string.h>

#include "core/convert.h"
#include "frontends/onnx/session.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

using onnx::Port;
using onnx::Session;
using onnx::Value;

// Numbers or str as a tensor [n] or strings.
Value column_from(const nb::list& items, const char* what) {
  const int64_t n = int64_t(nb::len(items));
  auto all = [&](auto check) {
    for (nb::handle h : items)
      if (!check(h.ptr())) return false;
    return true;
  };
  if (n && all([](PyObject* o) { return PyUnicode_Check(o); })) {
    onnx::Strings s{Shape{n}, {}};
    for (nb::handle h : items) s.data.push_back(nb::cast<std::string>(h));
    return s;
  }
  if (all([](PyObject* o) { return PyLong_Check(o); })) {
    std::vector<int64_t> v;
    for (nb::handle h : items) v.push_back(nb::cast<int64_t>(h));
    return Tensor::from<int64_t>(v, Shape{n});
  }
  std::vector<float> v;
  for (nb::handle h : items) {
    double number = 0;
    if (!nb::try_cast(h, number)) fail<TypeError>("onnx", "{} of a map mix types: expected numbers or str, got {}", what, type_name(h.ptr()));
    v.push_back(float(number));
  }
  return Tensor::from<float>(v, Shape{n});
}
nb::list column_to(const Value& v) {
  nb::list out;
  if (v.is_strings())
    for (const std::string& s : v.strings().data) out.append(nb::str(s.data(), s.size()));
  else
    for (int64_t i = 0; i < v.tensor().numel(); ++i) {
      const Tensor& t = v.tensor();
      const std::byte* at = t.raw() + i * item_size(t.dtype());
      out.append(is_floating(t.dtype()) ? nb::object(nb::float_(load_as(at, t.dtype()))) : nb::object(nb::int_(load_as_int(at, t.dtype()))));
    }
  return out;
}

Value value_from(nb::handle o, int depth = 0) {
  if (depth > 32) fail<ValueError>("onnx", "sequences nest too deeply: expected at most 32 levels");
  if (o.is_none()) return {};
  if (is_tensor(o.ptr())) return unwrap(o.ptr()).detach();
  if (PyList_Check(o.ptr())) {
    onnx::Sequence s;
    for (nb::handle item : nb::borrow<nb::list>(o)) s.push_back(value_from(item, depth + 1));
    return s;
  }
  if (PyDict_Check(o.ptr())) {
    nb::dict d = nb::borrow<nb::dict>(o);
    return onnx::Map{column_from(d.keys(), "keys"), column_from(d.values(), "values")};
  }
  if (PyTuple_Check(o.ptr()) && PyTuple_Size(o.ptr()) == 2) {
    nb::tuple pair = nb::borrow<nb::tuple>(o);
    onnx::Strings s{to_dims(pair[0].ptr(), "onnx", "shape"), {}};
    for (nb::handle item : nb::cast<nb::list>(pair[1])) {
      nb::bytes b = nb::cast<nb::bytes>(item);
      s.data.emplace_back(b.c_str(), b.size());
    }
    if (int64_t(s.data.size()) != numel(s.shape))
      fail<ShapeError>("onnx", "strings do not fill the shape: expected {}, got {}", numel(s.shape), s.data.size());
    return s;
  }
  fail<TypeError>("onnx", "not a value: expected a Tensor, a list, a dict, strings or None, got {}", type_name(o.ptr()));
}

nb::object value_to(const Value& v) {
  if (v.absent()) return nb::none();
  if (v.is_tensor()) return nb::cast(v.tensor());
  nb::list items;
  if (v.is_sequence()) {
    for (const Value& item : v.sequence()) items.append(value_to(item));
    return items;
  }
  if (v.is_map()) {
    nb::dict d;
    const nb::list keys = column_to(v.map().keys), values = column_to(v.map().values);
    for (size_t i = 0; i < nb::len(keys); ++i) d[keys[i]] = values[i];
    return d;
  }
  nb::list shape;
  for (int64_t d : v.strings().shape) shape.append(d);
  for (const std::string& s : v.strings().data) items.append(nb::bytes(s.data(), s.size()));
  return nb::make_tuple(nb::tuple(shape), items);
}

nb::list ports(const std::vector<Port>& list) {
  static constexpr const char* kinds[] = {"tensor", "strings", "sequence", "optional", "unknown", "map"};
  nb::list out;
  for (const Port& p : list) {
    nb::object shape = nb::none();
    if (p.has_shape) {
      nb::list dims;
      for (size_t i = 0; i < p.dims.size(); ++i)
        if (p.dims[i] >= 0) dims.append(p.dims[i]);
        else if (p.dim_names[i].empty()) dims.append(nb::none());
        else dims.append(p.dim_names[i]);
      shape = dims;
    }
    out.append(nb::make_tuple(p.name, kinds[int(p.kind)], p.kind == Port::Kind::tensor ? nb::steal(dtype_object(p.dtype)) : nb::none(),
                              shape));
  }
  return out;
}

}  // namespace

void bind_onnx(nb::module_& m) {
  nb::class_<Session>(m, "OnnxSession", "An ONNX model; see suan.onnx.")
      .def("__init__", [](Session* self, nb::handle source, size_t max_plans, bool exact) {
        onnx::SessionOptions options{.max_plans = max_plans, .exact = exact};
        if (PyBytes_Check(source.ptr())) {
          char* data = nullptr;
          Py_ssize_t size = 0;
          check(PyBytes_AsStringAndSize(source.ptr(), &data, &size));
          ReleaseGil release;
          new (self) Session(std::string_view(data, size_t(size)), options);
        } else {
          std::string path = nb::cast<std::string>(source);
          ReleaseGil release;
          new (self) Session(std::filesystem::path(path), options);
        }
      }, nb::arg("source"), nb::arg("max_plans"), nb::arg("exact"))
      .def("run", [](const Session& s, nb::list inputs) {
        std::vector<Value> in, out;
        for (nb::handle o : inputs) in.push_back(value_from(o));
        {
          ReleaseGil release;
          out = s.run(in);
        }
        nb::list result;
        for (const Value& v : out) result.append(value_to(v));
        return result;
      })
      .def("inputs", [](const Session& s) { return ports(s.inputs()); })
      .def("outputs", [](const Session& s) { return ports(s.outputs()); })
      .def("operators", [](const Session& s) {
        nb::dict d;
        for (const auto& [name, n] : s.operators()) d[name.c_str()] = n;
        return d;
      })
      .def("describe", &Session::describe)
      .def("stats", [](const Session& s) {
        const onnx::SessionStats t = s.stats();
        nb::dict d;
        d["plans"] = t.plans;
        d["translated"] = t.translated;
        d["laid_out"] = t.laid_out;
        d["replayed"] = t.replayed;
        d["stepped"] = t.stepped;
        d["planning_seconds"] = t.planning_seconds;
        d["weight_bytes"] = t.weight_bytes;
        d["mapped_bytes"] = t.mapped_bytes;
        return d;
      });
  m.def("onnx_supported_ops", [] {
    nb::list out;
    for (const onnx::SupportedOp& op : onnx::supported_ops()) out.append(nb::make_tuple(op.domain, op.name, op.since));
    return out;
  }, "(domain, operator, first version) of every mapping.");
}

}  // namespace suan::py
