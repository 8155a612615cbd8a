// Recorded graphs as Python data, for what is written from them (suan.onnx.export).
#include "core/graph.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "core/apply.h"
#include "core/record.h"
#include "python/bindings/binding.h"

namespace suan::py {

nb::object attr_value(const Attr& a);  // samples.cpp

namespace {

struct RecordedGraph {
  Graph graph;
  Tensors captured;   // by graph input past the arguments
  size_t n_arguments = 0;
};

nb::object dims(const Shape& s) {
  nb::list l;
  for (int64_t d : s) l.append(d);
  return nb::tuple(l);
}

nb::list ids(const std::vector<ValueId>& list) {
  nb::list l;
  for (ValueId v : list) l.append(v == no_value ? nb::none() : nb::object(nb::int_(v)));
  return l;
}

// Ops that are recorded as they are, though they are defined by others; in training they may write to inputs.
thread_local const std::vector<std::string>* kept_whole = nullptr;
bool is_kept(const OpDef& op, const Attrs& attrs) {
  const int training = op.find_attr("training");
  if (training >= 0 && attrs.boolean(training)) return false;
  return std::find(kept_whole->begin(), kept_whole->end(), op.name) != kept_whole->end();
}

// Nothing is computed: every argument, and what follows from it, has a type and no data.
RecordedGraph record(nb::callable fn, const Tensors& like, const std::vector<std::vector<int64_t>>& shapes,
                     const std::vector<std::string>& whole) {
  Recorder recorder;
  kept_whole = &whole;
  recorder.whole = is_kept;
  Tensors own;
  for (size_t i = 0; i < like.size(); ++i) {
    const TensorType t{like[i].dtype(), Shape(std::span<const int64_t>(shapes.at(i))), like[i].device()};
    own.push_back(Tensor::over(Storage::dry(t.device, t.bytes()), Layout(t.shape), t.dtype));
    recorder.add_argument(own.back());
  }
  RecordedGraph r;
  {
    ContextScope scope;
    context().recorder = &recorder;
    context().dry = true;
    context().grad_enabled = false;
    nb::list in;
    for (const Tensor& t : own) in.append(nb::cast(t));
    auto outputs = nb::cast<Tensors>(fn(in));
    r.n_arguments = own.size();
    bridged([&] { r.graph = recorder.finish(outputs); });
  }
  if (!recorder.updates().empty()) {
    const Recorder::Captured& c = recorder.captured()[size_t(recorder.updates()[0].captured)];
    fail<StateError>("onnx.export", "function writes to a tensor: expected one that only computes, got a write to {} ({})",
                     to_string(c.source.type()), to_string(c.line));
  }
  for (const Recorder::Captured& c : recorder.captured())
    if (!c.argument) r.captured.push_back(c.root);
  return r;
}

nb::dict describe(const RecordedGraph& r) {
  const Graph& g = r.graph;
  nb::dict d;
  nb::list values, nodes;
  for (const Value& v : g.values) values.append(nb::make_tuple(nb::steal(dtype_object(v.type.dtype)), dims(v.type.shape)));
  for (const Node& n : g.nodes) {
    nb::dict attrs;
    for (size_t i = 0; i < n.op->attrs.size() && int(i) < n.attrs.size(); ++i)
      if (!std::holds_alternative<GraphPtr>(n.attrs[int(i)])) attrs[n.op->attrs[i].name] = attr_value(n.attrs[int(i)]);
    nodes.append(nb::make_tuple(n.op->name, attrs, ids(n.in), ids(n.out)));
  }
  nb::dict constants;
  for (const auto& [v, t] : g.constants) constants[nb::int_(v)] = nb::cast(t);
  nb::list captured;
  for (const Tensor& t : r.captured) captured.append(nb::cast(t));
  d["values"] = values;
  d["nodes"] = nodes;
  d["inputs"] = ids(g.inputs);
  d["outputs"] = ids(g.outputs);
  d["constants"] = constants;
  d["captured"] = captured;
  return d;
}

}  // namespace

void bind_graph(nb::module_& m) {
  nb::class_<RecordedGraph>(m, "RecordedGraph", "A call recorded without running it.")
      .def("describe", &describe,
           "values: (dtype, shape); nodes: (op, attributes, inputs, outputs) over positions in values; inputs, of "
           "which the last len(captured) are tensors of the outside; outputs; constants.")
      .def("source", [](const RecordedGraph& r, size_t node) { return to_string(r.graph.nodes.at(node).source); },
           "The Python line that made a node.");
  m.def("record", &record, nb::arg("fn"), nb::arg("like"), nb::arg("shapes"), nb::arg("whole"),
        "Records fn(list of tensors) -> list of tensors, for arguments of these dtypes and shapes; the ops named in "
        "`whole` as they are.");
}

}  // namespace suan::py
