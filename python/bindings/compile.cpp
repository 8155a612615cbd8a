// suan.compile's engine and suan.plan: recordings, executables, and what a plan will need.
#include "core/compile.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <unordered_map>

#include "core/frozen.h"
#include "core/pass.h"
#include "core/recompute.h"
#include "core/tape.h"
#include "python/bindings/binding.h"

namespace suan::py {

nb::dict plan_facts(const Plan& plan);  // plan_facts.cpp

namespace {

// A recording knows tensors by storage: an argument that is part of a larger one gets a storage of its own.
Tensors own_storage(const Tensors& args) {
  Tensors out;
  for (const Tensor& t : args) {
    bool whole = t.offset() == 0 && t.is_contiguous() && t.type().bytes() == t.storage()->bytes();
    out.push_back(whole ? t : apply(op("copy"), {t}));
  }
  return out;
}

// Parameters and buffers (or None in their places), and what storages they had.
class Holding {
 public:
  explicit Holding(nb::list tensors) : tensors_(tensors) {
    for (nb::handle t : tensors_) storages_.push_back(storage(t.ptr()));
  }
  bool same(nb::list now) const {
    const size_t n = storages_.size();
    if (now.size() != n) return false;
    for (size_t i = 0; i < n; ++i)
      if (now[i].ptr() != tensors_[i].ptr() || storage(tensors_[i].ptr()) != storages_[i]) return false;
    return true;
  }

 private:
  static uint64_t storage(PyObject* o) { return is_tensor(o) ? unwrap(o).storage()->id() : 0; }
  nb::list tensors_;
  std::vector<uint64_t> storages_;
};

class PyTracer {
 public:
  PyTracer(int64_t memory_limit, bool freeze, bool exact, std::shared_ptr<FrozenWeights> weights)
      : options_{.memory_limit = memory_limit, .freeze = freeze, .exact = exact, .weights = std::move(weights)}, tracer_(options_) {}

  bool ready() const { return tracer_.ready(); }
  void set_freeze(bool on) {
    options_.freeze = on;
    tracer_.set_freeze(on);
  }
  bool stale() { return tracer_.ready() && tracer_.executable().stale(); }

  Tensors start(const Tensors& args) {
    return bridged([&] {
      Tensors own = own_storage(args);
      active().start(own);
      return own;
    });
  }
  Tensors finish(const Tensors& outputs) {
    return bridged([&] { return tracer_.finish(outputs); });
  }
  void abandon() { active().abandon(); }

  // The recording just made against what would be replayed.
  void check(const Tensors& outputs) {
    bridged([&] {
      std::unique_ptr<Tracer> now = std::move(checking_);
      now->finish(outputs);
      if (!(now->last_graph() == tracer_.executable().trace().graph))
        fail<StateError>("compile", "replay would not do what the function does: expected\n{}\ngot\n{}",
                         now->last_graph().print(), tracer_.executable().trace().graph.print());
    });
  }

  Tensors run(const Tensors& args) {
    return bridged([&] {
      ++replays_;
      ReleaseGil unlocked;
      return tracer_.executable()(args);
    });
  }

  nb::dict stats() const {
    nb::dict d;
    d["ready"] = tracer_.ready();
    d["recordings"] = tracer_.recordings();
    d["replays"] = replays_;
    if (tracer_.ready()) {
      auto& e = const_cast<Tracer&>(tracer_).executable();
      const auto f = e.forward_plan(), b = e.backward_plan();
      if (e.freezer()) {
        const Freezer::Stats s = e.freezer()->stats();
        d["frozen"] = s.frozen;
        d["exported"] = s.exported;
        d["programs"] = s.programs;
        d["packed_bytes"] = s.packed_bytes;
      }
      d["arena_bytes"] = (f ? f->arena_bytes() : 0) + (b ? b->arena_bytes() : 0);
      d["peak_bytes"] = (f ? f->peak_bytes() : 0) + (b ? b->arena_bytes() : 0);
      d["steps"] = (f ? f->steps().size() : 0) + (b ? b->steps().size() : 0);
      d["graph"] = f ? f->graph().print() : e.trace().graph.print();
    }
    return d;
  }
  // (which, facts) of the plans that a call runs; none before it is ready, and none with SUAN_INTERPRET=1.
  nb::list plans() {
    nb::list out;
    if (!tracer_.ready()) return out;
    Executable& e = tracer_.executable();
    if (const auto p = e.forward_plan()) out.append(nb::make_tuple(e.backward_plan() ? "forward" : "call", plan_facts(*p)));
    if (const auto p = e.backward_plan()) out.append(nb::make_tuple("backward", plan_facts(*p)));
    return out;
  }
  void trim() {
    if (tracer_.ready()) tracer_.executable().trim();
  }

 private:
  // With check=True a ready function is recorded again beside its executable.
  Tracer& active() {
    if (!tracer_.ready()) return tracer_;
    if (!checking_) checking_ = std::make_unique<Tracer>(options_);
    return *checking_;
  }
  CompileOptions options_;
  Tracer tracer_;
  std::unique_ptr<Tracer> checking_;
  uint64_t replays_ = 0;
};

double total_flops(const Graph& g) {
  double flops = 0;
  for (const Node& n : g.nodes) {
    if (!n.op->cost) continue;
    std::vector<const TensorType*> types;
    for (ValueId v : n.in) types.push_back(v == no_value ? nullptr : &g.values[size_t(v)].type);
    flops += n.op->cost(InferContext{*n.op, types, n.attrs}).flops;
  }
  return flops;
}

nb::dict plan(nb::callable fn, const Tensors& args, int64_t memory_limit) {
  Recorder recorder;
  Tensors own;
  for (const Tensor& t : args) {
    own.push_back(Tensor::over(Storage::dry(t.device(), t.type().bytes()), Layout(t.shape()), t.dtype()));
    own.back().set_requires_grad(t.impl()->requires_grad);
    recorder.add_argument(own.back());
  }
  Graph graph;
  {
    ContextScope scope;
    context().recorder = &recorder;
    context().dry = true;
    nb::list in;
    for (const Tensor& t : own) in.append(nb::cast(t));
    try {
      auto outputs = nb::cast<Tensors>(fn(in));
      bridged([&] { graph = recorder.finish(outputs); });
    } catch (...) {
      recorder.restore_grads();
      throw;
    }
    recorder.restore_grads();
  }
  return bridged([&] {
    nb::dict d;
    int64_t captured = 0, arguments = 0;
    for (const auto& c : recorder.captured()) (c.argument ? arguments : captured) += c.root.type().bytes();
    PlanOptions options;
    options.commits.assign(graph.outputs.size(), -1);
    size_t returned = graph.outputs.size() - recorder.updates().size();
    for (size_t u = 0; u < recorder.updates().size(); ++u)
      options.commits[returned + u] = recorder.updates()[u].captured;
    d["flops"] = total_flops(graph);
    optimize(graph);
    const double work = estimate_work(graph);
    options.memory_limit = memory_limit;
    fit_memory(graph, options);
    Plan p(graph, options);
    d["peak_bytes"] = p.peak_bytes();
    d["captured_bytes"] = captured;
    d["argument_bytes"] = arguments;
    d["nodes"] = p.graph().nodes.size();
    d["work"] = work;
    d["planned_work"] = estimate_work(p.graph());
    nb::list holders;
    for (const Buffer* b : p.peak_holders()) {
      std::string what = "workspace", line;
      if (b->value != no_value) {
        const Value& v = p.graph().values[size_t(b->value)];
        const Node& n = p.graph().nodes[size_t(v.producer)];
        what = n.op->name + " " + to_string(v.type);
        line = to_string(n.source);
      }
      holders.append(nb::make_tuple(b->bytes, what, line));
    }
    d["holders"] = holders;
    return d;
  });
}

}  // namespace

void bind_compile(nb::module_& m) {
  nb::class_<FrozenWeights>(m, "FrozenWeights", "Packed weights that the signatures of a function share.").def(nb::init<>());
  nb::class_<Holding>(m, "Holding", "Which tensors, and which storages, a module held when this was made.")
      .def(nb::init<nb::list>(), nb::arg("tensors"))
      .def("same", &Holding::same, nb::arg("tensors"));
  nb::class_<PyTracer>(m, "Tracer", "Recordings of one function for one signature (see suan.compile).")
      .def(nb::init<int64_t, bool, bool, std::shared_ptr<FrozenWeights>>(), nb::arg("memory_limit") = 0,
           nb::arg("freeze") = false, nb::arg("exact") = false, nb::arg("weights").none() = nb::none())
      .def("set_freeze", &PyTracer::set_freeze)
      .def_prop_ro("stale", &PyTracer::stale)
      .def_prop_ro("ready", &PyTracer::ready)
      .def("start", &PyTracer::start)
      .def("finish", &PyTracer::finish)
      .def("abandon", &PyTracer::abandon)
      .def("check", &PyTracer::check)
      .def("run", &PyTracer::run)
      .def("stats", &PyTracer::stats)
      .def("plans", &PyTracer::plans)
      .def("trim", &PyTracer::trim);
  m.def("plan", &plan, "See suan.plan.");
  m.def("apply_counters", [] {
    const ApplyCounters& c = apply_counters();
    nb::dict d;
    d["calls"] = c.calls;
    d["cache_misses"] = c.cache_misses;
    d["kernels"] = c.kernels;
    d["composites"] = c.composites;
    d["views"] = c.views;
    d["plans"] = replay_counters().plans.load();
    d["replays"] = replay_counters().replays.load();
    d["captures"] = replay_counters().captures.load();
    d["unit_replays"] = replay_counters().unit_replays.load();
    return d;
  }, "How often each path through the engine was taken by this thread.");
  m.def("saved_bytes", [](const Tensor& t) { return saved_bytes(t); },
        "Bytes of intermediate tensors that the tape under this tensor keeps, each storage once.");
}

}  // namespace suan::py
