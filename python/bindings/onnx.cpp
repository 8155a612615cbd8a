// ONNX sessions for Python. A value is a Tensor, a NumPy array (its memory is read in place), None, a list (a sequence),
// a dict of numbers and str (a map), or a pair (shape, list of bytes) of strings.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "core/convert.h"
#include "core/plan.h"
#include "core/random_state.h"
#include "frontends/onnx/session.h"
#include "frontends/onnx/trainable.h"
#include "python/bindings/binding.h"

namespace suan::py {

Tensor tensor_over_array(PyObject* array, bool allow_read_only);
nb::dict plan_facts(const Plan& plan);  // plan_facts.cpp

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
  if (PyObject_HasAttrString(o.ptr(), "__array_struct__") || PyObject_HasAttrString(o.ptr(), "__array_interface__"))
    return tensor_over_array(o.ptr(), true);
  fail<TypeError>("onnx", "not a value: expected a Tensor, an array, a list, a dict, strings or None, got {}", type_name(o.ptr()));
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
                              shape, p.type));
  }
  return out;
}

struct CancelFlag {
  std::atomic<bool> set{false};
};

std::map<std::string, int64_t> sizes_from(nb::handle given) {
  std::map<std::string, int64_t> out;
  for (auto [name, size] : nb::cast<nb::dict>(given)) out[nb::cast<std::string>(name)] = nb::cast<int64_t>(size);
  return out;
}

std::vector<TensorType> types_from(const nb::list& pairs) {
  std::vector<TensorType> types;
  for (nb::handle pair : pairs) {
    nb::tuple t = nb::cast<nb::tuple>(pair);
    types.push_back({dtype_of(nb::handle(t[0]).ptr()), to_dims(nb::handle(t[1]).ptr(), "onnx", "shape"), {}});
  }
  return types;
}

nb::list dims(const Shape& s) {
  nb::list out;
  for (int64_t d : s) out.append(d);
  return out;
}

onnx::SessionOptions options_from(const nb::dict& given) {
  onnx::SessionOptions o;
  for (auto [key, value] : given) {
    const std::string name = nb::cast<std::string>(key);
    if (name == "max_plans") o.max_plans = nb::cast<size_t>(value);
    else if (name == "exact") o.exact = nb::cast<bool>(value);
    else if (name == "bf16") o.bf16 = nb::cast<bool>(value);
    else if (name == "threads") o.threads = nb::cast<int>(value);
    else if (name == "memory_limit") o.memory_limit = nb::cast<int64_t>(value);
    else if (name == "sizes") o.sizes = sizes_from(value);
    else if (name == "sizes_by_denotation") o.sizes_by_denotation = sizes_from(value);
    else if (name == "prepacked") o.prepacked = nb::cast<std::string>(value);
    else if (name == "prepacked_read_only") o.prepacked_read_only = nb::cast<bool>(value);
    else if (name == "name_nodes") o.name_nodes = nb::cast<bool>(value);
    else if (name == "initializers")
      for (auto [which, tensor] : nb::cast<nb::dict>(value)) {
        const Value v = value_from(tensor);
        if (!v.is_tensor()) fail<TypeError>("onnx", "initializer '{}': expected a tensor, got {}", nb::cast<std::string>(which), onnx::describe(v));
        o.initializers[nb::cast<std::string>(which)] = v.tensor();
      }
    else if (name != "log")
      fail<ValueError>("onnx", "unknown option: expected one of Session's, got '{}'", name);
  }
  return o;
}

// A session and the Python callable that it tells what it does.
struct PySession {
  nb::object log;
  std::optional<Session> session;

  PySession(nb::handle source, const nb::dict& given) {
    onnx::SessionOptions options = options_from(given);
    if (given.contains("log") && !given["log"].is_none()) {
      log = given["log"];
      options.log = [this](int severity, const std::string& message) {
        if (!Py_IsInitialized()) return;
        HoldGil hold;
        if (!log.is_valid()) return;
        Owned result(PyObject_CallFunction(log.ptr(), "is", severity, message.c_str()));
        if (!result) PyErr_WriteUnraisable(log.ptr());
      };
    }
    if (PyBytes_Check(source.ptr())) {
      char* data = nullptr;
      Py_ssize_t size = 0;
      check(PyBytes_AsStringAndSize(source.ptr(), &data, &size));
      ReleaseGil release;
      session.emplace(std::string_view(data, size_t(size)), options);
    } else {
      std::string path = nb::cast<std::string>(source);
      ReleaseGil release;
      session.emplace(std::filesystem::path(path), options);
    }
  }
};

// The callable often leads back to the session.
int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (nb::inst_ready(self)) Py_VISIT(nb::inst_ptr<PySession>(self)->log.ptr());
  return 0;
}
int clear(PyObject* self) {
  nb::inst_ptr<PySession>(self)->log.reset();
  return 0;
}
PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse)}, {Py_tp_clear, reinterpret_cast<void*>(clear)}, {0, nullptr}};

// A file's names may be any bytes.
nb::object text(const std::string& t) { return nb::steal(check(PyUnicode_DecodeUTF8(t.data(), Py_ssize_t(t.size()), "replace"))); }

nb::dict metadata_of(const Session& s) {
  const onnx::Metadata& m = s.metadata();
  nb::dict d, opsets, custom;
  d["ir_version"] = m.ir_version;
  d["model_version"] = m.model_version;
  d["producer"] = text(m.producer);
  d["producer_version"] = text(m.producer_version);
  d["domain"] = text(m.domain);
  d["description"] = text(m.description);
  d["graph"] = text(m.graph);
  d["graph_description"] = text(m.graph_description);
  for (const auto& [domain, version] : m.opsets) opsets[text(domain)] = version;
  for (const auto& [key, value] : m.custom) custom[text(key)] = text(value);
  d["opsets"] = opsets;
  d["custom"] = custom;
  return d;
}

}  // namespace

void bind_onnx(nb::module_& m) {
  nb::class_<CancelFlag>(m, "CancelFlag", "What another thread sets to end a run.")
      .def(nb::init<>())
      .def_prop_rw("set", [](const CancelFlag& f) { return f.set.load(); }, [](CancelFlag& f, bool on) { f.set = on; });
  nb::class_<PySession>(m, "OnnxSession", nb::type_slots(slots), "An ONNX model; see suan.onnx.")
      .def(nb::init<nb::handle, const nb::dict&>(), nb::arg("source"), nb::arg("options"))
      .def("run", [](const PySession& py, nb::list inputs, nb::handle into, double timeout, const CancelFlag* cancel) {
        std::vector<Value> in, places, out;
        for (nb::handle o : inputs) in.push_back(value_from(o));
        if (!into.is_none())
          for (nb::handle o : nb::cast<nb::list>(into))
            places.push_back(o.is_none() ? Value() : Value(is_tensor(o.ptr()) ? unwrap(o.ptr()).detach() : tensor_over_array(o.ptr(), false)));
        {
          ReleaseGil release;
          out = py.session->run(in, {.timeout = timeout, .cancel = cancel ? &cancel->set : nullptr, .into = places});
        }
        nb::list result;
        for (const Value& v : out) result.append(value_to(v));
        return result;
      }, nb::arg("inputs"), nb::arg("into").none() = nb::none(), nb::arg("timeout") = 0.0, nb::arg("cancel").none() = nb::none())
      .def("memory", [](const PySession& py, nb::list types) {
        const std::vector<TensorType> in = types_from(types);
        onnx::MemoryNeed need;
        {
          ReleaseGil release;
          need = py.session->memory(in);
        }
        nb::dict d;
        d["arena"] = need.arena;
        d["outputs"] = need.outputs;
        d["weights"] = need.weights;
        return d;
      }, nb::arg("types"))
      .def("plan", [](const PySession& py, nb::list types) -> nb::object {
        const std::vector<TensorType> in = types_from(types);
        std::shared_ptr<const Plan> plan;
        {
          ReleaseGil release;
          plan = py.session->plan(in);
        }
        return plan ? nb::object(plan_facts(*plan)) : nb::none();
      }, nb::arg("types"), "Facts on the plan of a call; None where the types decide all outputs.")
      .def("values", [](const PySession& py, nb::object types) {
        std::optional<std::vector<TensorType>> in;
        if (!types.is_none()) in = types_from(nb::cast<nb::list>(types));
        std::vector<onnx::KnownValue> values;
        {
          ReleaseGil release;
          values = py.session->values(in);
        }
        nb::dict known, typed;
        for (const onnx::KnownValue& v : values) {
          const nb::bytes name(v.name.data(), v.name.size());
          if (!v.type) known[name] = value_to(v.value);
          else typed[name] = nb::make_tuple(nb::steal(dtype_object(v.type->dtype)), dims(v.type->shape));
        }
        return nb::make_tuple(known, typed);
      }, nb::arg("types").none() = nb::none(), "({name: value}, {name: (dtype, shape)}) of the main graph's values that are "
         "decided, or have a type, before a call; names are bytes.")
      .def("trim", [](const PySession& py) { py.session->trim(); }, nb::call_guard<nb::gil_scoped_release>())
      .def("metadata", [](const PySession& py) { return metadata_of(*py.session); })
      .def("inputs", [](const PySession& py) { return ports(py.session->inputs()); })
      .def("outputs", [](const PySession& py) { return ports(py.session->outputs()); })
      .def("defaults", [](const PySession& py) { return ports(py.session->defaults()); })
      .def("operators", [](const PySession& py) {
        nb::dict d;
        for (const auto& [name, n] : py.session->operators()) d[name.c_str()] = n;
        return d;
      })
      .def("describe", [](const PySession& py) { return py.session->describe(); })
      .def("stats", [](const PySession& py) {
        const onnx::SessionStats t = py.session->stats();
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
  using onnx::TrainableModel;
  nb::class_<TrainableModel>(m, "OnnxTrainable", "An ONNX model whose weights are given to each call; see suan.onnx.module.")
      .def("__init__", [](TrainableModel* at, nb::handle source) {
        if (PyBytes_Check(source.ptr())) {
          const nb::bytes data = nb::borrow<nb::bytes>(source);
          ReleaseGil release;
          new (at) TrainableModel(std::string_view(data.c_str(), data.size()));
        } else {
          const std::string path = nb::cast<std::string>(source);
          ReleaseGil release;
          new (at) TrainableModel(std::filesystem::path(path));
        }
      }, nb::arg("source"))
      .def("inputs", [](const TrainableModel& t) { return ports(t.inputs()); })
      .def("outputs", [](const TrainableModel& t) { return ports(t.outputs()); })
      .def("initializers", [](const TrainableModel& t) {
        static constexpr const char* roles[] = {"weight", "statistics", "constant"};
        nb::list out;
        for (const onnx::Initializer& i : t.initializers()) out.append(nb::make_tuple(text(i.name), text(i.where), value_to(i.value), roles[int(i.role)]));
        return out;
      }, "(name, place, value, role); values of mapped files may not be written to.")
      .def("open", [](TrainableModel& t, nb::list which) {
        std::vector<int> positions;
        for (nb::handle i : which) positions.push_back(nb::cast<int>(i));
        t.open(positions);
      }, nb::arg("which"))
      .def("run", [](const TrainableModel& t, nb::list inputs, const Tensors& weights, nb::handle dropout) {
        std::vector<Value> in;
        for (nb::handle o : inputs) in.push_back(is_tensor(o.ptr()) ? Value(unwrap(o.ptr())) : value_from(o));
        const Tensor state = dropout.is_none() ? Tensor() : unwrap(dropout.ptr());
        std::vector<Value> out;
        {
          ReleaseGil release;
          out = t.run(std::move(in), weights, state);
        }
        nb::list result;
        for (const Value& v : out) result.append(value_to(v));
        return result;
      }, nb::arg("inputs"), nb::arg("weights"), nb::arg("dropout").none());
  m.def("seed_random_state", &seed_random_state, nb::arg("seed"), "Seeds the random nodes of models that name no seed.");
  m.def("onnx_supported_ops", [] {
    nb::list out;
    for (const onnx::SupportedOp& op : onnx::supported_ops()) out.append(nb::make_tuple(op.domain, op.name, op.since));
    return out;
  }, "(domain, operator, first version) of every mapping.");
}

}  // namespace suan::py
