// Executing a plan: resolve pointers, call the prepared kernels in order.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "core/apply.h"
#include "core/hooks.h"
#include "core/interrupt.h"
#include "core/plan.h"

namespace suan {

ReplayCounters& replay_counters() {
  static ReplayCounters c;
  return c;
}

Run::Run(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {
  arena_ = Storage::allocate({}, plan_->arena_bytes_);
  base_.resize(plan_->buffers_.size());
  size_t most_in = 0, most_out = 0;
  for (size_t i = 0; i < base_.size(); ++i) {
    const Buffer& b = plan_->buffers_[i];
    if (b.home == Home::arena) base_[i] = arena_->data() + b.offset;
    if (b.home == Home::constant) base_[i] = plan_->constants_[size_t(b.index)].raw();
  }
  for (const Step& s : plan_->steps_) {
    most_in = std::max(most_in, s.in.size());
    most_out = std::max(most_out, s.out.size());
  }
  in_.resize(most_in);
  out_.resize(most_out);
  find_early_commits();
}

// A call is not given up once it has begun the steps at the end, which only commit. What is committed earlier
// (random state, running statistics) is small and can be put back; where it is not, the end begins there.
void Run::find_early_commits() {
  constexpr size_t most_kept = 256 * 1024;
  const std::vector<Step>& steps = plan_->steps_;
  auto commits = [&](const Operand& o) { return plan_->buffers_[size_t(o.buffer)].home == Home::input; };
  size_t last = steps.size();
  auto only_commits = [&](const Step& s) {
    return s.node < 0 || std::all_of(s.out.begin(), s.out.end(), commits);
  };
  while (last > 0 && only_commits(steps[last - 1])) --last;
  commits_from_ = int(last);
  std::vector<char> seen(plan_->buffers_.size(), 0);
  size_t bytes = 0;
  for (size_t i = 0; i < last; ++i)
    for (const Operand& o : steps[i].out) {
      if (!commits(o) || std::exchange(seen[size_t(o.buffer)], 1)) continue;
      const int64_t size = plan_->buffers_[size_t(o.buffer)].bytes;
      if (bytes + size_t(size) > most_kept) {
        commits_from_ = int(i);
        kept_.resize(bytes);
        return;
      }
      early_.push_back({int(i), o.buffer, int64_t(bytes)});
      bytes += size_t(size);
    }
  kept_.resize(bytes);
}

Tensors Run::operator()(std::span<const Tensor> inputs) {
  const Plan& p = *plan_;
  if (inputs.size() != p.graph_.inputs.size())
    fail<ValueError>("run", "wrong number of inputs: expected {}, got {}", p.graph_.inputs.size(), inputs.size());
  Tensors kept(inputs.begin(), inputs.end());  // contiguous stand-ins live until the end
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& want = p.graph_.values[size_t(p.graph_.inputs[i])].type;
    if (!(inputs[i].type() == want))
      fail<TypeError>("run", "input {} does not fit the plan: expected {}, got {}", i, to_string(want),
                      to_string(inputs[i].type()));
    if (!inputs[i].is_contiguous()) {
      NoGrad off;
      kept[i] = apply(op("copy"), {inputs[i]});
    }
  }
  std::vector<Ref<Storage>> outs;
  for (int b : p.output_buffers_) outs.push_back(Storage::allocate({}, p.buffers_[size_t(b)].bytes));
  for (size_t i = 0; i < base_.size(); ++i) {
    const Buffer& b = p.buffers_[i];
    if (b.home == Home::input) base_[i] = kept[size_t(b.index)].raw();
    if (b.home == Home::output) base_[i] = outs[size_t(b.index)]->data();
  }
  run_steps();
  Tensors result;
  for (const Plan::Result& r : p.results_) {
    const TensorType& t = p.graph_.values[size_t(p.graph_.outputs[size_t(r.output)])].type;
    result.push_back(Tensor::over(outs[size_t(p.buffers_[size_t(r.buffer)].index)], r.layout, t.dtype));
  }
  return result;
}

void Run::run_steps() {
  const Plan& p = *plan_;
  auto swap_early = [&](const Early& e, bool back) {
    std::byte *held = kept_.data() + e.at, *state = base_[size_t(e.buffer)];
    std::memcpy(back ? state : held, back ? held : state, size_t(p.buffers_[size_t(e.buffer)].bytes));
  };
  std::optional<InterruptShield> shield;
  size_t n_kept = 0;
  try {
    for (size_t i = 0; i < p.steps_.size(); ++i) {
      if (int(i) == commits_from_) shield.emplace();
      check_interrupt();
      for (; n_kept < early_.size() && early_[n_kept].step == int(i); ++n_kept) swap_early(early_[n_kept], false);
      const Step& s = p.steps_[i];
      for (size_t k = 0; k < s.in.size(); ++k)
        in_[k] = s.in[k].buffer < 0 ? nullptr : base_[size_t(s.in[k].buffer)] + s.in[k].offset;
      for (size_t k = 0; k < s.out.size(); ++k) out_[k] = base_[size_t(s.out[k].buffer)] + s.out[k].offset;
      if (s.host)
        run_host(s);
      else
        s.prepared.run(s.prepared.state.get(),
                       {in_.data(), out_.data(), s.workspace < 0 ? nullptr : base_[size_t(s.workspace)]});
    }
  } catch (...) {
    if (!shield)
      while (n_kept > 0) swap_early(early_[--n_kept], true);
    throw;
  }
}

// The op's definition, on tensors over the plan's buffers.
void Run::run_host(const Step& s) {
  const Plan& p = *plan_;
  NoGrad off;
  const Node& n = p.graph_.nodes[size_t(s.node)];
  auto over = [&](ValueId v, const void* ptr) {
    const Plan::Place& place = p.place_[size_t(v)];
    const TensorType& t = p.graph_.values[size_t(v)].type;
    Layout l = place.layout;
    l.offset = 0;
    auto [lo, hi] = l.extent();
    return Tensor::over(Storage::external({}, const_cast<void*>(ptr), bytes_for(t.dtype, hi), {}), l, t.dtype);
  };
  Tensors in;
  for (size_t k = 0; k < n.in.size(); ++k)
    in.push_back(n.in[k] == no_value ? Tensor() : over(n.in[k], in_[k]));
  std::vector<void*> to(out_.begin(), out_.begin() + int64_t(s.out.size()));
  Tensors result = n.op->compose(ComposeContext{*n.op, in, n.attrs});
  for (size_t k = 0; k < n.out.size(); ++k) {
    const TensorType& want = p.graph_.values[size_t(n.out[k])].type;
    if (!(result[k].type() == want))
      fail<StateError>(n.op->name, "result changed its type under a plan: expected {}, got {}", to_string(want),
                       to_string(result[k].type()));
    Tensor c = result[k].is_contiguous() ? result[k] : apply(op("copy"), {result[k]});
    std::memcpy(to[k], c.raw(), size_t(want.bytes()));
  }
}

// Node by node through apply(), for a hook that wants to see each result.
Tensors RunPool::watched(std::span<const Tensor> inputs) const {
  NoGrad off;
  Tensors all = interpret(plan_->graph(), inputs), out;
  InterruptShield commit;
  for (size_t k = 0; k < all.size(); ++k)
    if (int to = plan_->commits()[k]; to >= 0) apply_into(op("copy"), {all[k]}, {}, inputs[size_t(to)]);
    else out.push_back(all[k]);
  return out;
}

Tensors RunPool::operator()(std::span<const Tensor> inputs) {
  if (result_hook()) return watched(inputs);
  std::unique_ptr<Run> run;
  {
    std::lock_guard lock(mutex_);
    ++replay_counters().replays;
    if (!idle_.empty()) {
      run = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!run) run = std::make_unique<Run>(plan_);
  Tensors out = (*run)(inputs);
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(run));
  return out;
}

void RunPool::trim() {
  std::lock_guard lock(mutex_);
  idle_.clear();
}

}  // namespace suan
