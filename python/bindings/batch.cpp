// suan.func.vmap's engine: a function recorded for one example, run for all of them.
#include "ops/batch.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "core/record.h"
#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

Tensor batch_first(const Tensor& t, int64_t axis) {
  Dims axes{axis};
  for (int64_t k = 0; k < t.rank(); ++k)
    if (k != axis) axes.push_back(k);
  return axis ? ops::permute(t, axes) : t;
}
Tensor batch_back(const Tensor& t, int64_t axis) {
  Dims axes;
  for (int64_t k = 1; k < t.rank(); ++k) axes.push_back(k);
  axes.insert(int(axis), 0);
  return axis ? ops::permute(t, axes) : t;
}

BatchRandom random_of(const std::string& text) {
  if (text == "error") return BatchRandom::refuse;
  if (text == "same") return BatchRandom::same;
  if (text == "different") return BatchRandom::different;
  fail<ValueError>("vmap", "unknown randomness: expected \"error\", \"different\" or \"same\", got \"{}\"", text);
}

// What the recording changed of the tensors outside.
void commit(const Recorder& r, std::span<const Batched> inputs, std::span<const Batched> values,
            const Tensors& args, const std::vector<int64_t>& axes, const BatchDraws& draws) {
  for (size_t u = 0; u < r.updates().size(); ++u) {
    const int at = r.updates()[u].captured;
    const Recorder::Captured& c = r.captured()[size_t(at)];
    Batched now = values[u];
    if (c.argument) {
      const size_t k = size_t(c.argument_index);
      const Tensor all = now.batched ? now.value : ops::expand(now.value, batch_first(args[k], axes[k]).shape());
      apply_into(op("copy"), {batch_back(all, axes[k])}, {}, args[k]);
      continue;
    }
    if (now.batched)
      fail<StateError>("vmap", "examples write into one tensor from outside: expected changes that do not depend on the batch, "
                               "got a change of a tensor {} first used at {}",
                       to_string(c.source.type()), to_string(c.line));
    if (draws.states[size_t(at)]) now.value = advanced(now.value, draws.more);
    apply_into(op("copy"), {now.value}, {}, inputs[size_t(at)].value);
  }
}

nb::object vmap(nb::callable fn, const Tensors& args, const std::vector<int64_t>& axes, int64_t size,
                const std::string& randomness) {
  const std::unique_ptr<Recorder> recorder = Recorder::within();
  Tensors examples;
  BatchOptions options{.size = size};
  bridged([&] {
    options.random = random_of(randomness);
    for (size_t i = 0; i < args.size(); ++i) {
      Shape s = args[i].shape();
      s.erase(int(axes[i]));
      const TensorType type{args[i].dtype(), s, args[i].device()};
      examples.push_back(Tensor::over(Storage::dry(type.device, type.bytes()), Layout(s), type.dtype));
      if (args[i].requires_grad()) examples.back().set_requires_grad(true);
      recorder->add_argument(examples.back());
    }
  });
  Graph graph;
  std::vector<bool> tracked;
  {
    ContextScope scope;
    context().recorder = recorder.get();
    context().dry = true;
    nb::list in;
    for (const Tensor& t : examples) in.append(nb::cast(t));
    try {
      auto outputs = nb::cast<Tensors>(fn(in));
      bridged([&] {
        if (!recorder->leaves_with_dry_grad().empty())
          fail<StateError>("vmap", "backward() inside: expected func.grad or autograd.grad, got gradients added to .grad");
        for (const Tensor& t : outputs) tracked.push_back(recorder->gradient_leaves(t));
        graph = recorder->finish(outputs);
      });
    } catch (...) {
      recorder->restore_grads();
      throw;
    }
    recorder->restore_grads();
  }
  return bridged([&] {
    std::vector<Batched> inputs;
    for (const Recorder::Captured& c : recorder->captured()) {
      if (c.argument) inputs.push_back({batch_first(args[size_t(c.argument_index)], axes[size_t(c.argument_index)]), true});
      else inputs.push_back({c.root, false});
    }
    std::vector<SourceMark> custom_lines;
    for (const Recorder::Custom& c : recorder->customs())
      for (ValueId v : c.inputs) {
        graph.outputs.push_back(v);
        custom_lines.push_back(c.source);
      }
    options.tracked = &recorder->tracked();
    BatchResult r = run_batched(graph, inputs, options);
    const std::span<const Batched> all = r.outputs;
    const size_t returned = tracked.size(), changed = recorder->updates().size();
    if (context().grad_enabled)
      for (size_t k = 0; k < custom_lines.size(); ++k)
        if (all[returned + changed + k].value.requires_grad())
          fail<StateError>("vmap", "gradient from outside through a function with a gradient of its own: expected ops, got an "
                                   "autograd.Function, checkpoint or compiled module (at {})",
                           to_string(custom_lines[k]));
    commit(*recorder, inputs, all.subspan(returned, changed), args, axes, batch_draws(graph, options));
    nb::list out;
    for (size_t k = 0; k < returned; ++k) {
      const Tensor t = tracked[k] || !all[k].value.requires_grad() ? all[k].value : all[k].value.detach();
      out.append(nb::make_tuple(nb::cast(t), all[k].batched));
    }
    return nb::object(nb::make_tuple(out, r.one_by_one));
  });
}

}  // namespace

void bind_batch(nb::module_& m) {
  m.def("vmap", &vmap, "See suan.func.vmap.");
}

}  // namespace suan::py
