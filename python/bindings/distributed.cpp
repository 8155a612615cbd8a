// Groups of ranks, and data-parallel training steps (see suan.distributed).
#include "distributed/data_parallel.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/allocator.h"
#include "core/pass.h"
#include "distributed/collectives.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

using namespace suan::distributed;

void init_tcp(const std::string& host, int port, int rank, int size, double meet, double timeout, bool local_reads) {
  bridged([&] {
    std::shared_ptr<Communicator> c;
    {
      ReleaseGil unlocked;
      c = make_communicator(tcp_transport({host, port, rank, size, meet, local_reads}), timeout);
    }
    set_process_communicator(c);
  });
}

// What fn does with stand-ins for `rows` rows of each argument; nothing is computed.
Trace record_dry(const nb::callable& fn, const Tensors& args, int parts) {
  Recorder recorder;
  Trace t;
  Tensors own;
  for (const Tensor& a : args) {
    TensorType type = a.type();
    type.shape[0] /= parts;
    own.push_back(Tensor::over(Storage::dry(type.device, type.bytes()), Layout(type.shape), type.dtype));
    recorder.add_argument(own.back());
  }
  ContextScope scope;
  context().recorder = &recorder;
  context().dry = true;
  const bool grad_enabled = context().grad_enabled && !context().inference;
  nb::list in;
  for (const Tensor& a : own) in.append(nb::cast(a));
  try {
    auto outputs = nb::cast<Tensors>(fn(in));
    bridged([&] { t.graph = recorder.finish(outputs); });
    t.n_outputs = int(outputs.size());
    for (const Tensor& o : outputs) t.differentiable |= grad_enabled && o.requires_grad();
  } catch (...) {
    recorder.restore_grads();
    throw;
  }
  recorder.restore_grads();
  t.captured = recorder.captured();
  t.updates = recorder.updates();
  t.literals = recorder.literals();
  return t;
}

// The most bytes of gathered parameters, as they came and laid out, that are there at once in a step.
int64_t gathered_bytes(const Plan& p) {
  static const OpDef &all_gather = op("all_gather"), &copy = op("copy");
  std::set<int> gathered;  // buffers
  for (const Step& s : p.steps()) {
    const OpDef* made_by = s.node < 0 ? &copy : p.graph().nodes[size_t(s.node)].op;
    if (made_by == &all_gather || (made_by == &copy && gathered.count(s.in[0].buffer))) gathered.insert(s.out[0].buffer);
  }
  std::map<int, int64_t> change;  // by step
  for (int i : gathered) {
    const Buffer& b = p.buffers()[size_t(i)];
    if (b.home != Home::arena) continue;
    change[b.first] += b.bytes;
    change[b.last + 1] -= b.bytes;
  }
  int64_t now = 0, most = 0;
  for (const auto& [step, bytes] : change) most = std::max(most, now += bytes);
  return most;
}

class PyParallelStep {
 public:
  PyParallelStep(nb::callable fn, const Tensors& args, int shards, int stage, int64_t bucket_bytes,
                 int64_t memory_limit) {
    std::shared_ptr<Communicator> c = current_communicator();
    options_ = {c ? c->rank() : 0, c ? c->size() : 1, shards, stage, bucket_bytes};
    bridged([&] { check_options(options_); });
    const int parts = shards / options_.world;
    for (const Tensor& a : args)
      if (a.rank() == 0 || a.dim(0) == 0 || a.dim(0) % parts)
        bridged([&] {
          fail<ShapeError>("data_parallel", "batch does not divide: expected rows in {} equal shards, got {}", parts,
                           to_string(a.type()));
        });
    Trace recorded = record_dry(fn, args, parts);
    ParallelStep step;
    bridged([&] { step = parallelize(recorded, options_); });
    {
      Trace again = record_dry(fn, args, parts);
      if (!(recorded.graph == again.graph))
        bridged([&] {
          fail<StateError>("data_parallel", "the step does something else at every call: expected equal recordings, "
                                            "got two that differ");
        });
    }
    bridged([&] {
      for (const Node& n : step.trace.graph.nodes) collectives_ += collective_world(n) > 0;
      auto cut = cut_captured(step, options_);
      recorded = Trace();
      {
        ReleaseGil unlocked;
        executable_ = Executable::make(std::move(step.trace), {.memory_limit = memory_limit});
      }
      adopt_parts(cut);
      for (const auto& [tensor, part] : cut) sharded_.push_back(tensor);
      cut.clear();
      trim_memory();
    });
  }

  Tensors run(const Tensors& args) {
    return bridged([&] {
      ReleaseGil unlocked;
      return (*executable_)(args);
    });
  }

  nb::dict stats() const {
    nb::dict d;
    const auto p = executable_->forward_plan();
    int64_t state = 0;
    for (const auto& c : executable_->trace().captured)
      if (!c.argument) state += c.root.type().bytes();
    d["state_bytes"] = state;
    d["arena_bytes"] = p ? p->arena_bytes() : 0;
    d["gathered_bytes"] = p ? gathered_bytes(*p) : 0;
    d["collectives"] = collectives_;
    d["graph"] = p ? p->graph().print() : executable_->trace().graph.print();
    return d;
  }
  void trim() { executable_->trim(); }
  const Tensors& sharded() const { return sharded_; }

 private:
  ParallelOptions options_;
  std::shared_ptr<Executable> executable_;
  Tensors sharded_;
  int collectives_ = 0;
};

}  // namespace

void bind_distributed(nb::module_& m) {
  m.def("init_tcp", init_tcp, nb::arg("host"), nb::arg("port"), nb::arg("rank"), nb::arg("size"),
        nb::arg("meet_timeout"), nb::arg("timeout"), nb::arg("local_reads"), "Meets the other ranks (see suan.distributed).");
  m.def("destroy_group", [] {
    set_thread_communicator(nullptr);
    set_process_communicator(nullptr);
  }, "Leaves the group of ranks.");
  m.def("rank", [] { auto c = current_communicator(); return c ? c->rank() : 0; }, "This process's rank.");
  m.def("world_size", [] { auto c = current_communicator(); return c ? c->size() : 1; }, "How many ranks there are.");
  m.def("transport", [] { auto c = current_communicator(); return c ? c->transport() : std::string("none"); },
        "How ranks reach each other.");
  m.def("communication", [] {
    auto c = current_communicator();
    const CommunicatorStats s = c ? c->stats() : CommunicatorStats();
    nb::dict d;
    d["calls"] = s.calls;
    d["bytes"] = s.bytes;
    d["waited"] = s.waited;
    d["moved"] = s.moved;
    d["exposed_waited"] = s.exposed_waited;
    d["exposed_moved"] = s.exposed_moved;
    return d;
  }, "This rank's collectives so far: calls, bytes sent, seconds until all ranks had come (waited) and from then to "
     "the end (moved), and the parts of these in which computation stood still (exposed_).");
  m.def("in_group", [] { return bool(current_communicator()); }, "True between init and destroy.");
  m.def("agree", [](const std::string& what, uint64_t a, uint64_t b) {
    if (auto c = current_communicator()) bridged([&] {
      ReleaseGil unlocked;
      c->agree(what.c_str(), {a, b});
    });
  }, "MismatchError unless all ranks give the same numbers.");
  nb::class_<PyParallelStep>(m, "ParallelStep", "A recorded training step on all ranks (see suan.distributed).")
      .def(nb::init<nb::callable, const Tensors&, int, int, int64_t, int64_t>(), nb::arg("fn"), nb::arg("args"),
           nb::arg("shards"), nb::arg("stage"), nb::arg("bucket_bytes"), nb::arg("memory_limit"))
      .def("run", &PyParallelStep::run)
      .def("stats", &PyParallelStep::stats)
      .def("trim", &PyParallelStep::trim)
      .def_prop_ro("sharded", &PyParallelStep::sharded);
}

}  // namespace suan::py
