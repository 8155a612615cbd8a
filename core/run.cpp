// Executing a plan: resolve pointers, call the prepared kernels in order.
#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "core/allocator.h"
#include "core/apply.h"
#include "core/backend.h"
#include "core/communicator.h"
#include "core/hooks.h"
#include "core/interrupt.h"
#include "core/plan.h"
#include "core/pool.h"
#include "core/profile.h"

namespace suan {

ReplayCounters& replay_counters() {
  static ReplayCounters c;
  return c;
}

Ref<Storage> ArenaPool::take(Device device, int64_t bytes) {
  Ref<Storage> found;   // the smallest that is large enough; else the largest, which goes before another is asked for
  {
    std::lock_guard lock(mutex_);
    const auto better = [bytes](int64_t a, int64_t b) { return a < bytes ? a > b : b < bytes || a < b; };
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it)
      if ((*it)->device() == device && (best == idle_.end() || better((*it)->bytes(), (*best)->bytes()))) best = it;
    if (best != idle_.end()) {
      found = std::move(*best);
      idle_.erase(best);
    }
  }
  if (found && found->bytes() >= bytes) return found;
  found = nullptr;
  return Storage::allocate(device, bytes);
}

void ArenaPool::give(Ref<Storage> arena) {
  std::lock_guard lock(mutex_);
  // Callers beyond the threads that can run at once take their arenas with them.
  if (idle_.size() < size_t(std::max(num_threads(), available_cpus()))) idle_.push_back(std::move(arena));
}

void ArenaPool::trim() {
  std::lock_guard lock(mutex_);
  idle_.clear();
}

Run::Run(std::shared_ptr<const Plan> plan, std::shared_ptr<ArenaPool> arenas) : plan_(std::move(plan)) {
  captures_ = capturable();
  if (!captures_) arenas_ = std::move(arenas);   // a unit holds addresses
  base_.resize(plan_->buffers_.size());
  for (size_t i = 0; i < base_.size(); ++i)
    if (const Buffer& b = plan_->buffers_[i]; b.home == Home::constant) base_[i] = plan_->constants_[size_t(b.index)].raw();
  if (!arenas_) {
    arena_ = Storage::allocate(plan_->device_, plan_->arena_bytes_);
    point_at_arena();
  }
  in_.resize(plan_->most_in_);
  out_.resize(plan_->most_out_);
  find_early_commits();
}

void Run::point_at_arena() {
  if (arena_->data() == arena_base_) return;
  arena_base_ = arena_->data();
  for (size_t i = 0; i < base_.size(); ++i)
    if (const Buffer& b = plan_->buffers_[i]; b.home == Home::arena) base_[i] = arena_base_ + b.offset;
}

Run::~Run() {
  if (unit_) backend(plan_->device_.type).capture()->release(plan_->device_.index, unit_);
}

void Plan::point(const Step& s, std::byte* const* base, const void** in_at, void** out_at) const {
  for (size_t k = 0; k < s.in.size(); ++k)
    in_at[k] = s.in[k].buffer < 0 ? nullptr : base[size_t(s.in[k].buffer)] + s.in[k].offset;
  for (size_t k = 0; k < s.out.size(); ++k)
    out_at[k] = s.out[k].buffer < 0 ? nullptr : base[size_t(s.out[k].buffer)] + s.out[k].offset;
}

void Plan::run_step(const Step& s, std::byte* const* base, const void** in_at, void** out_at) const {
  const Node* node = s.node < 0 ? nullptr : &graph_.nodes[size_t(s.node)];
  static const SourceMark planner;
  const Profiled profiled(node ? node->op : nullptr, true, node ? &node->source : &planner);
  point(s, base, in_at, out_at);
  if (!s.host) {
    std::optional<CollectiveSource> line;
    if (node && node->op->flags & op_effect) line.emplace(node->source);
    s.prepared.run(s.prepared.state.get(),
                   {in_at, out_at, s.workspace < 0 ? nullptr : base[size_t(s.workspace)]});
    return;
  }
  // The op's definition, on tensors over the plan's buffers.
  NoGrad off;
  const Node& n = *node;
  auto over = [&](ValueId v, const void* ptr) {
    const TensorType& t = graph_.values[size_t(v)].type;
    Layout l = place_[size_t(v)].layout;
    l.offset = 0;
    auto [lo, hi] = l.extent();
    return Tensor::over(Storage::external(device_, const_cast<void*>(ptr), bytes_for(t.dtype, hi), {}), l, t.dtype);
  };
  Tensors in;
  for (size_t k = 0; k < n.in.size(); ++k)
    in.push_back(n.in[k] == no_value ? Tensor() : over(n.in[k], in_at[k]));
  Tensors result = n.op->compose(ComposeContext{*n.op, in, n.attrs});
  for (size_t k = 0; k < n.out.size(); ++k) {
    const TensorType& want = graph_.values[size_t(n.out[k])].type;
    if (!(result[k].type() == want))
      fail<StateError>(n.op->name, "result changed its type under a plan: expected {}, got {}",
                       to_string(want), to_string(result[k].type()));
    Tensor c = result[k].is_contiguous() ? result[k] : apply(op("copy"), {result[k]});
    copy_on(device_, out_at[k], c.raw(), want.bytes());
  }
}

// A call is not given up once it has begun the steps at the end, which only commit. What is committed earlier
// (random state, running statistics) is small and can be put back; where it is not, the end begins there.
void Run::find_early_commits() {
  constexpr size_t most_kept = 256 * 1024;
  const std::vector<Step>& steps = plan_->steps_;
  auto commits = [&](const Operand& o) { return o.buffer >= 0 && plan_->buffers_[size_t(o.buffer)].home == Home::input; };
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
        kept_ = Storage::allocate(plan_->device_, int64_t(bytes));
        return;
      }
      early_.push_back({int(i), o.buffer, int64_t(bytes)});
      bytes += size_t(size);
    }
  if (bytes) kept_ = Storage::allocate(plan_->device_, int64_t(bytes));
}

Tensors Run::operator()(std::span<const Tensor> inputs, std::span<const Tensor> into) {
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
  if (!into.empty() && (into.size() != p.results_.size() || !p.options_.own_outputs))
    fail<ValueError>("run", "places for outputs: expected {} of a plan with outputs of their own, got {}", p.results_.size(),
                     into.size());
  std::vector<Ref<Storage>> outs(p.output_buffers_.size());
  std::vector<std::byte*> out_at(outs.size());
  for (size_t k = 0; k < into.size(); ++k)
    if (const Tensor& t = into[k]; t.defined()) {
      const TensorType& want = p.graph_.values[size_t(p.graph_.outputs[size_t(p.results_[k].output)])].type;
      if (!(t.type() == want) || !t.is_contiguous())
        fail<TypeError>("run", "output {} does not fit its place: expected a contiguous {}, got {}", k, to_string(want),
                        to_string(t.type()));
      out_at[size_t(p.buffers_[size_t(p.results_[k].buffer)].index)] = t.raw();
    }
  for (size_t k = 0; k < outs.size(); ++k)
    if (!out_at[k]) {
      outs[k] = Storage::allocate(p.device_, p.buffers_[size_t(p.output_buffers_[k])].bytes);
      out_at[k] = outs[k]->data();
    }
  for (size_t i = 0; i < base_.size(); ++i) {
    const Buffer& b = p.buffers_[i];
    if (b.home == Home::input) base_[i] = kept[size_t(b.index)].raw();
    if (b.home == Home::output) base_[i] = out_at[size_t(b.index)];
  }
  apply_counters().kernels_on[int(p.device_.type)] += p.n_kernels_;
  // A call that fails drops what it was lent.
  if (arenas_) {
    arena_ = arenas_->take(p.device_, p.arena_bytes_);
    point_at_arena();
  }
  const auto written = [&] {
    for (const Tensor& t : into)
      if (t.defined()) t.storage()->bump_version({});
  };
  try {
    if (captures_ && warm_) replay_unit(out_at);
    else run_steps();
  } catch (...) {
    written();
    throw;
  }
  written();
  if (arenas_) arenas_->give(std::exchange(arena_, nullptr));
  warm_ = true;
  Tensors result;
  for (const Plan::Result& r : p.results_) {
    const TensorType& t = p.graph_.values[size_t(p.graph_.outputs[size_t(r.output)])].type;
    if (const size_t k = result.size(); k < into.size() && into[k].defined()) result.push_back(into[k]);
    else result.push_back(Tensor::over(outs[size_t(p.buffers_[size_t(r.buffer)].index)], r.layout, t.dtype));
  }
  return result;
}

namespace {
// The arena buffers of one call that are alive.
struct Blocks {
  std::vector<std::byte*> base;   // by buffer
  const std::vector<Buffer>& buffers;
  const Device device;

  Blocks(const std::vector<Buffer>& b, Device d) : base(b.size()), buffers(b), device(d) {}
  ~Blocks() {
    for (size_t i = 0; i < base.size(); ++i)
      if (buffers[i].home == Home::arena) drop(i);
  }
  Blocks(const Blocks&) = delete;
  void drop(size_t i) {
    if (std::byte* p = std::exchange(base[i], nullptr)) free_on(device, p, buffers[i].bytes);
  }
};
}  // namespace

Tensors run_once(const Plan& p, std::vector<Ref<Storage>> inputs) {
  if (inputs.size() != p.graph_.inputs.size())
    fail<ValueError>("run", "wrong number of inputs: expected {}, got {}", p.graph_.inputs.size(), inputs.size());
  std::vector<Ref<Storage>> outs(p.output_buffers_.size());
  Blocks blocks(p.buffers_, p.device_);
  auto begin = [&](size_t i) {
    const Buffer& b = p.buffers_[i];
    if (b.home == Home::input) {
      blocks.base[i] = inputs[size_t(b.index)]->data();
    } else if (b.home == Home::output) {
      outs[size_t(b.index)] = Storage::allocate(p.device_, b.bytes);
      blocks.base[i] = outs[size_t(b.index)]->data();
    } else {
      blocks.base[i] = static_cast<std::byte*>(allocate_on(p.device_, b.bytes));
    }
  };
  for (size_t i = 0; i < p.buffers_.size(); ++i)
    if (p.buffers_[i].home == Home::constant)
      blocks.base[i] = p.constants_[size_t(p.buffers_[i].index)].raw();
  apply_counters().kernels_on[int(p.device_.type)] += p.n_kernels_;
  std::vector<const void*> in(p.most_in_);
  std::vector<void*> out(p.most_out_);
  auto first = p.by_first_.begin(), last = p.by_last_.begin();
  auto end_until = [&](int step) {
    for (; last != p.by_last_.end() && p.buffers_[size_t(*last)].last <= step; ++last) {
      const Buffer& b = p.buffers_[size_t(*last)];
      if (b.home == Home::input) inputs[size_t(b.index)] = nullptr;
      if (b.home == Home::arena) blocks.drop(size_t(*last));
    }
  };
  end_until(-1);  // what no step reads
  for (int i = 0; i < int(p.steps_.size()); ++i) {
    for (; first != p.by_first_.end() && p.buffers_[size_t(*first)].first <= i; ++first) begin(size_t(*first));
    check_interrupt();
    p.run_step(p.steps_[size_t(i)], blocks.base.data(), in.data(), out.data());
    end_until(i);
  }
  Tensors result;
  for (const Plan::Result& r : p.results_) {
    const TensorType& t = p.graph_.values[size_t(p.graph_.outputs[size_t(r.output)])].type;
    result.push_back(Tensor::over(outs[size_t(p.buffers_[size_t(r.buffer)].index)], r.layout, t.dtype));
  }
  return result;
}

namespace {
// The collectives of one call that run beside its steps.
class Beside {
 public:
  Beside() = default;
  ~Beside() {
    if (c_) c_->settle(give_up_);
  }
  Beside(const Beside&) = delete;

  void start(std::function<void()> task) {
    if (!c_) c_ = current_communicator();
    if (!c_) return task();  // which says that there is no group
    tasks_.push_back(c_->start([c = c_, task = std::move(task)] {
      struct Joined {
        explicit Joined(const std::shared_ptr<Communicator>& c) { set_thread_communicator(c); }
        ~Joined() { set_thread_communicator(nullptr); }
      } joined(c);
      task();
    }));
  }

  // Until the first n are done.
  void wait(size_t n) {
    n = std::min(n, tasks_.size());
    if (n <= done_) return;
    c_->wait(tasks_[n - 1]);
    done_ = n;
  }
  void wait() { wait(tasks_.size()); }
  // An interrupted call does not wait for other ranks.
  void give_up() { give_up_ = done_ < tasks_.size(); }

 private:
  std::shared_ptr<Communicator> c_;
  std::vector<uint64_t> tasks_;
  size_t done_ = 0;
  bool give_up_ = false;
};
}  // namespace

void Run::run_steps() {
  const Plan& p = *plan_;
  auto swap_early = [&](const Early& e, bool back) {
    std::byte *held = kept_->data() + e.at, *state = base_[size_t(e.buffer)];
    copy_on(p.device_, back ? state : held, back ? held : state, p.buffers_[size_t(e.buffer)].bytes);
  };
  auto start = [&](Beside& beside, const Step& s) {
    std::vector<const void*> in(s.in.size());
    std::vector<void*> out(s.out.size());
    p.point(s, base_.data(), in.data(), out.data());
    std::byte* scratch = s.workspace < 0 ? nullptr : base_[size_t(s.workspace)];
    const Node& node = p.graph_.nodes[size_t(s.node)];
    beside.start([&s, in, out, scratch, op = node.op, line = node.source] {
      const Profiled profiled(op, true, &line);
      const CollectiveSource source(line);
      s.prepared.run(s.prepared.state.get(), {in.data(), out.data(), scratch});
    });
  };
  std::optional<InterruptShield> shield;
  size_t n_kept = 0;
  auto run_all = [&](Beside& beside) {
    for (size_t i = 0; i < p.steps_.size(); ++i) {
      const Step& s = p.steps_[i];
      if (int(i) == commits_from_) {
        beside.wait();  // commits come after all that may fail
        shield.emplace();
      }
      check_interrupt();
      beside.wait(size_t(s.waits));
      for (; n_kept < early_.size() && early_[n_kept].step == int(i); ++n_kept) swap_early(early_[n_kept], false);
      if (s.beside) start(beside, s);
      else p.run_step(s, base_.data(), in_.data(), out_.data());
    }
    beside.wait();
  };
  try {
    Beside beside;
    try {
      run_all(beside);
    } catch (const Interrupted&) {
      beside.give_up();
      throw;
    }
  } catch (...) {
    if (!shield)
      while (n_kept > 0) swap_early(early_[--n_kept], true);
    throw;
  }
}

// Large results (values that a compiled module saves for its gradient) are not worth their copies.
bool Run::capturable() const {
  constexpr int64_t most_results = 1 << 20;
  const Plan& p = *plan_;
  if (!backend(p.device_.type).capture() || p.output_bytes_ > most_results) return false;
  return std::none_of(p.steps_.begin(), p.steps_.end(), [&](const Step& s) {
    return s.host || (s.node >= 0 && p.graph_.nodes[size_t(s.node)].op->flags & op_effect);
  });
}

void Run::replay_unit(std::span<std::byte* const> results) {
  const Plan& p = *plan_;
  const DeviceCapture& capture = *backend(p.device_.type).capture();
  const int index = p.device_.index;
  own_.resize(base_.size());
  bool fresh = !unit_;
  for (size_t i = 0; i < base_.size(); ++i) {
    const Buffer& b = p.buffers_[i];
    if (b.home != Home::input && b.home != Home::output) continue;
    if (b.home == Home::input && !own_[i]) {
      if (!unit_ || base_[i] == captured_at_[i]) continue;
      fresh = true;
      const auto& commits = p.options_.commits;
      if (std::find(commits.begin(), commits.end(), b.index) != commits.end()) continue;  // it is written where it is
    }
    if (!own_[i]) own_[i] = Storage::allocate(p.device_, b.bytes);
    if (b.home == Home::input) copy_on(p.device_, own_[i]->data(), base_[i], b.bytes);
    base_[i] = own_[i]->data();
  }
  if (fresh) {
    if (unit_) capture.release(index, std::exchange(unit_, nullptr));
    capture.begin(index);
    try {
      run_steps();
    } catch (...) {
      capture.cancel(index);
      throw;
    }
    unit_ = capture.end(index);
    captured_at_ = base_;
    ++replay_counters().captures;
  }
  capture.replay(index, unit_);
  ++replay_counters().unit_replays;
  for (size_t i = 0; i < base_.size(); ++i)
    if (const Buffer& b = p.buffers_[i]; b.home == Home::output)
      copy_on(p.device_, results[size_t(b.index)], own_[i]->data(), b.bytes);
}

// Node by node through apply(), for a hook that wants to see each result.
Tensors RunPool::watched(std::span<const Tensor> inputs, std::span<const Tensor> into) const {
  NoGrad off;
  Tensors all = interpret(plan_->graph(), inputs), out;
  InterruptShield commit;
  for (size_t k = 0; k < all.size(); ++k)
    if (int to = plan_->commits()[k]; to >= 0) apply_into(op("copy"), {all[k]}, {}, inputs[size_t(to)]);
    else out.push_back(all[k]);
  for (size_t k = 0; k < into.size(); ++k)
    if (into[k].defined()) {
      apply_into(op("copy"), {out[k]}, {}, into[k]);
      out[k] = into[k];
    }
  return out;
}

Tensors RunPool::operator()(std::span<const Tensor> inputs, std::span<const Tensor> into) {
  if (result_hook()) return watched(inputs, into);
  std::unique_ptr<Run> run;
  {
    std::lock_guard lock(mutex_);
    ++replay_counters().replays;
    if (!idle_.empty()) {
      run = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!run) run = std::make_unique<Run>(plan_, arenas_);
  Tensors out = (*run)(inputs, into);
  std::lock_guard lock(mutex_);
  // Callers beyond the threads that can run at once take their arenas with them.
  if (idle_.size() < size_t(std::max(num_threads(), available_cpus()))) idle_.push_back(std::move(run));
  return out;
}

void RunPool::trim() {
  std::lock_guard lock(mutex_);
  idle_.clear();
}

}  // namespace suan
