// apply(): signature lookup, kernel, tape, recording.
#include "core/apply.h"

#include <algorithm>
#include <array>

#include "core/allocator.h"
#include "core/check.h"
#include "core/hooks.h"
#include "core/profile.h"
#include "core/record.h"
#include "core/remedies.h"
#include "core/signature.h"
#include "core/tape.h"

namespace suan {

namespace {

// All that a call consults, found with one thread-local access.
struct ThreadState {
  Context context;
  ApplyCounters counters;
  ResultHook hook = nullptr;
  SignatureTable* signatures = nullptr;  // made by the first lookup, freed when the thread ends
};
ThreadState& thread_state() {
  static thread_local ThreadState s;
  return s;
}

}  // namespace

Context& context() { return thread_state().context; }
ApplyCounters& apply_counters() { return thread_state().counters; }
ResultHook set_result_hook(ResultHook hook) { return std::exchange(thread_state().hook, hook); }
ResultHook result_hook() { return thread_state().hook; }

namespace {

// ---- the signature table -----------------------------------------------------------------------------

// Frees a thread's table. Apart from the state, whose destructor would cost every call a check.
struct TableOwner {
  ~TableOwner() { delete std::exchange(thread_state().signatures, nullptr); }
};
SignatureTable& signatures(ThreadState& state) {
  if (!state.signatures) {
    static thread_local TableOwner owner;
    state.signatures = new SignatureTable;
  }
  return *state.signatures;
}

struct TypePtrs {
  std::vector<TensorType> types;
  std::vector<const TensorType*> ptrs;
  explicit TypePtrs(std::span<const Tensor> in) {
    types.reserve(in.size());
    for (const Tensor& t : in) types.push_back(t.defined() ? t.type() : TensorType{});
    for (size_t i = 0; i < in.size(); ++i) ptrs.push_back(in[i].defined() ? &types[i] : nullptr);
  }
};

std::vector<TensorType> infer_checked(const OpDef& def, std::span<const TensorType* const> in,
                                      const Attrs& attrs) {
  check_arguments(def, in, attrs);
  InferContext c{def, in, attrs};
  return def.infer(c);
}

std::unique_ptr<Entry> make_entry(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs) {
  auto e = std::make_unique<Entry>();
  e->def = &def;
  e->attrs = attrs;
  TypePtrs types(in);
  check_arguments(def, types.ptrs, attrs);
  if (!def.infer) return e;
  e->out_types = def.infer(InferContext{def, types.ptrs, attrs});
  for (const TensorType& t : e->out_types) {
    bool known = std::all_of(t.shape.begin(), t.shape.end(), [](int64_t d) { return d >= 0; });
    if (!known) return e;  // data-dependent: only the composite knows
    e->out_layouts.emplace_back(t.shape);
    e->out_bytes.push_back(t.bytes());
  }
  std::vector<Layout> layouts;
  std::vector<DType> dtypes;
  for (const Tensor& t : in) {
    layouts.push_back(t.defined() ? t.layout() : Layout{});
    dtypes.push_back(t.defined() ? t.dtype() : DType::f32);
  }
  std::vector<bool> present;
  for (const Tensor& t : in) present.push_back(t.defined());
  Device device = e->out_types.empty() ? Device{} : e->out_types[0].device;
  e->selected = select_kernel(def, attrs, device, layouts, dtypes, present, e->out_types, e->out_layouts);
  return e;
}

// ---- running ------------------------------------------------------------------------------------------

Tensor contiguous_copy(const Tensor& t) {
  ContextScope scope;
  context() = Context{.grad_enabled = false};
  return apply(op("copy"), {t});
}

void run_kernel(const Entry& e, std::span<const Tensor> in, std::span<const Tensor> out) {
  const Profiled profiled(e.def, false);
  std::array<const void*, 24> small_in;
  std::array<void*, max_outputs> small_out;
  std::vector<const void*> big_in;
  std::vector<void*> big_out;
  const void** ins = small_in.data();
  if (in.size() > small_in.size()) {
    big_in.resize(in.size());
    ins = big_in.data();
  }
  Tensors copies;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].defined()) { ins[i] = nullptr; continue; }
    if (e.selected.copy_mask && e.selected.needs_copy(int(i))) {
      copies.push_back(contiguous_copy(in[i]));
      ins[i] = copies.back().raw();
    } else {
      ins[i] = in[i].raw();
    }
  }
  // Optional inputs that the call left off are absent, not whatever stood here.
  for (size_t i = in.size(); i < e.def->inputs.size() && i < small_in.size(); ++i) ins[i] = nullptr;
  void** outs = small_out.data();
  if (out.size() > max_outputs) {
    big_out.resize(out.size());
    outs = big_out.data();
  }
  for (size_t j = 0; j < out.size(); ++j) outs[j] = out[j].raw();
  const Prepared& p = e.selected.prepared;
  const Device device = out.empty() ? Device{} : out[0].device();
  ++apply_counters().kernels_on[int(device.type)];
  if (p.workspace == 0) {
    p.run(p.state.get(), {ins, outs, nullptr});
    return;
  }
  Tensor scratch = Tensor::empty({DType::u8, Shape{p.workspace}, device});
  p.run(p.state.get(), {ins, outs, scratch.raw()});
}

// ---- the tape -----------------------------------------------------------------------------------------

// Finds which values a vjp reads, by running it dry on stand-ins.
class DryVjp : public VjpContext {
 public:
  using VjpContext::VjpContext;
  Tensors ins, outs;
  uint64_t keep_in = 0, keep_out = 0;
  bool many = false;  // more inputs than the mask has bits: keep everything
  const Tensor& in(int i) override { keep_in |= uint64_t(1) << (i & 63); many |= i > 63; return ins[i]; }
  const Tensor& out(int j) override { keep_out |= uint64_t(1) << (j & 63); return outs[j]; }
};

Tensor stand_in(const TensorType& t) {
  return Tensor::over(Storage::dry(t.device, t.bytes()), Layout(t.shape), t.dtype);
}

void find_masks(Entry& e, std::span<const Tensor> in, uint64_t wanted) {
  e.masks_known = true;
  e.wanted = wanted;
  if (!e.def->vjp) {  // differentiated through the definition, which may read every input
    e.keep_in = ~uint64_t(0);
    e.keep_out = 0;
    return;
  }
  ContextScope scope;
  context() = Context{.grad_enabled = false, .dry = true};
  DryVjp c(*e.def, e.attrs);
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i].defined()) c.in_types.push_back(in[i].type());
    else c.in_types.push_back(std::nullopt);
    c.ins.push_back(in[i].defined() ? stand_in(in[i].type()) : Tensor());
    c.wanted.push_back(i > 63 || (wanted >> i & 1));
  }
  c.out_types = e.out_types;
  for (const TensorType& t : e.out_types) {
    c.outs.push_back(stand_in(t));
    c.grads.push_back(stand_in(t));
  }
  c.result.resize(in.size());
  e.def->vjp(c);
  e.keep_in = c.many ? ~uint64_t(0) : c.keep_in;
  e.keep_out = c.keep_out;
}

bool differentiable(const OpDef& def) { return !def.no_grad && (def.vjp || def.compose || def.view); }

uint64_t grad_mask_of(const OpDef& def, std::span<const Tensor> in) {
  const Context& c = context();
  if (!c.grad_enabled || c.inference || !differentiable(def)) return 0;
  uint64_t mask = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    const TensorImpl* t = in[i].impl();
    if (t && (t->requires_grad || t->autograd) && in[i].requires_grad())
      mask |= uint64_t(1) << std::min<size_t>(i, 63);
  }
  return mask;
}

Ref<TapeNode> make_node(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs,
                        std::vector<TensorType> out_types, uint64_t keep_in) {
  Ref<TapeNode> node(new TapeNode);
  node->op = &def;
  node->attrs = attrs;
  node->source = capture_source();
  node->out_types = std::move(out_types);
  size_t n = in.size();
  node->edges.resize(n);
  node->in_types.resize(n);
  node->saved_in.resize(n);
  for (size_t i = 0; i < n; ++i) {
    if (!in[i].defined()) continue;
    node->in_types[i] = in[i].type();
    if (is_floating(in[i].dtype()) || is_complex(in[i].dtype())) node->edges[i] = gradient_edge(in[i]);
    if (keep_in >> std::min<size_t>(i, 63) & 1) node->saved_in[i] = {in[i], in[i].storage()->version()};
  }
  node->sequence = next_tape_sequence();  // after its edges: a node always outranks what it flows to
  return node;
}

void attach(const Ref<TapeNode>& node, std::span<const Tensor> out, uint64_t keep_out) {
  node->saved_out.resize(out.size());
  for (size_t j = 0; j < out.size(); ++j) {
    if (j < 64 && (keep_out >> j & 1)) node->saved_out[j] = {out[j].detach(), out[j].storage()->version()};
    if (!is_floating(out[j].dtype()) && !is_complex(out[j].dtype())) continue;
    AutogradState& s = autograd_state(*out[j].impl());
    s.node = node;
    s.port = int(j);
  }
}

// ---- views --------------------------------------------------------------------------------------------

Tensor apply_view(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs) {
  ++apply_counters().views;
  const Tensor& x = in[0];
  TensorType type = x.type();
  const TensorType* ptr = &type;
  if (in.size() != 1) fail<TypeError>(def.name, "wrong number of inputs: expected 1, got {}", in.size());
  InferContext c{def, {&ptr, 1}, attrs};
  check_arguments(def, c.in, attrs);
  // as_strided speaks of the whole storage: seen from the root, its gradient has a place to go.
  static const OpDef& strided = op("as_strided");
  const AutogradState* state = x.impl()->autograd;
  if (&def == &strided && state && state->base.defined())
    return apply_view(def, {&state->base, 1}, attrs);
  std::optional<Layout> layout = def.view(c, x.layout());
  if (!layout) return apply(def, {apply(op("copy"), {x})}, attrs);
  Tensor out = Tensor::over(x.storage(), *layout, x.dtype());
  Context& ctx = context();
  if (!ctx.inference) {
    AutogradState& s = autograd_state(*out.impl());
    const AutogradState* xs = x.impl()->autograd;
    s.base = xs && xs->base.defined() ? xs->base : x;
    if (ctx.grad_enabled && x.requires_grad() && (is_floating(x.dtype()) || is_complex(x.dtype()))) {
      attach(make_node(def, in, attrs, {out.type()}, 0), {&out, 1}, 0);
    }
    s.history = autograd_state(*s.base.impl()).history;
  }
  if (ctx.recorder) ctx.recorder->record(def, in, attrs, {&out, 1});
  return out;
}

// ---- dispatch -----------------------------------------------------------------------------------------

Tensors run_composite(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs) {
  ++apply_counters().composites;
  return def.compose(ComposeContext{def, in, attrs});
}

// Kernel ops: fills `out`, returns how many. -1: the result is in `many` (the op ran by its definition, or has
// more outputs than `out` holds).
int dispatch(const OpDef& def, std::span<const Tensor> in, const Attrs& given, Tensor* out, Tensors& many) {
  ThreadState& state = thread_state();
  ++state.counters.calls;
  Attrs filled;
  const Attrs& attrs = with_defaults(def, given, filled);
  if (def.view) {
    out[0] = apply_view(def, in, attrs);
    return 1;
  }
  uint64_t grad_mask = grad_mask_of(def, in);
  Pin pin(signatures(state).lookup(def, in, attrs, grad_mask, state.counters.cache_misses,
                                   [&] { return make_entry(def, in, attrs); }));
  Entry& e = *pin;
  Context& ctx = state.context;

  if (!e.selected.kernel) {
    if (!def.compose && !in.empty() && in[0].defined() && !in[0].device().is_cpu())
      fail<DeviceError>(def.name, "no kernel on this device: expected one for {} on {}, got none",
                        to_string(in[0].type()), to_string(in[0].device()));
    if (!def.compose)
      fail<TypeError>(def.name, "no kernel: expected one for these dtypes on {}, got none (first input {})",
                      to_string(in.empty() ? Device{} : in[0].device()),
                      in.empty() || !in[0].defined() ? "absent" : to_string(in[0].type()));
    const bool whole = ctx.recorder && ctx.recorder->whole && ctx.recorder->whole(def, attrs);
    const bool region = whole || def.flags & op_region;
    if (!region && (!def.vjp || !grad_mask || (ctx.recorder && ctx.recorder->is_within()))) {
      many = run_composite(def, in, attrs);
      return -1;
    }
    // Its own gradient rule: the definition's inner steps stay off the tape. A region's stay off the
    // recording too, which shows it as one node.
    {
      NoGrad off;
      if (region) context().recorder = nullptr;
      if (region && ctx.dry && !e.out_types.empty())
        for (const TensorType& t : e.out_types) many.push_back(stand_in(t));
      else
        many = run_composite(def, in, attrs);
    }
    if (e.out_types.empty())
      for (const Tensor& t : many) e.out_types.push_back(t.type());
    if (!e.masks_known) find_masks(e, in, grad_mask);
    for (Tensor& t : many)  // an output that is an input itself must not lose its identity
      for (const Tensor& i : in)
        if (i.defined() && t.same(i)) t = region ? contiguous_copy(t) : t.detach();
    if (region && ctx.recorder) ctx.recorder->record(def, in, attrs, many);
    if (!grad_mask) return -1;
    attach(make_node(def, in, attrs, e.out_types, e.keep_in), many, e.keep_out);
    return -1;
  }

  size_t n = e.out_types.size();
  if (n > max_outputs) {
    many.resize(n);
    out = many.data();
  }
  const auto updated = [&](size_t k) {
    const int j = updated_input(def, k, in.size(), n);
    return j >= 0 && in[size_t(j)].defined() ? j : -1;
  };
  const bool in_place = !def.updates.empty();
  for (size_t k = 0; k < n; ++k) {
    if (const int j = in_place ? updated(k) : -1; j >= 0) {
      out[k] = in[size_t(j)];
      if (!out[k].is_contiguous())
        fail<ValueError>(def.name, "cannot update: expected a contiguous '{}', got strides",
                         def.inputs[std::min(size_t(j), def.inputs.size() - 1)].name);
    } else {
      Ref<Storage> s = ctx.dry ? Storage::dry(e.out_types[k].device, e.out_bytes[k])
                               : Storage::allocate(e.out_types[k].device, e.out_bytes[k]);
      out[k] = Tensor::over(std::move(s), e.out_layouts[k], e.out_types[k].dtype);
    }
  }
  if (grad_mask && !e.masks_known) find_masks(e, in, grad_mask);
  if (!ctx.dry) {
    ++state.counters.kernels;
    run_kernel(e, in, {out, n});
    if (state.hook) state.hook(def, in, {out, n});
  }
  if (in_place)
    for (size_t k = 0; k < n; ++k)
      if (updated(k) >= 0) out[k].storage()->bump_version(capture_source());
  if (ctx.recorder) ctx.recorder->record(def, in, attrs, {out, n});
  if (grad_mask) attach(make_node(def, in, attrs, e.out_types, e.keep_in), {out, n}, e.keep_out);
  return n > max_outputs ? -1 : int(n);
}

int dispatch_told(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs, Tensor* out, Tensors& many) {
  try {
    return dispatch(def, in, attrs, out, many);
  } catch (const OutOfMemory& e) {
    rethrow_with_remedies(e, in);
  }
}

}  // namespace

Tensors apply_all(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs) {
  std::array<Tensor, max_outputs> out;
  Tensors many;
  int n = dispatch_told(def, in, attrs, out.data(), many);
  if (n < 0) return many;
  return Tensors(std::make_move_iterator(out.begin()), std::make_move_iterator(out.begin() + n));
}

Tensor apply(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs) {
  std::array<Tensor, max_outputs> out;
  Tensors many;
  int n = dispatch_told(def, in, attrs, out.data(), many);
  return n < 0 ? std::move(many[0]) : std::move(out[0]);
}

std::vector<TensorType> infer_types(const OpDef& def, std::span<const TensorType* const> in,
                                    const Attrs& given) {
  Attrs filled;
  const Attrs& attrs = with_defaults(def, given, filled);
  if (def.infer) return infer_checked(def, in, attrs);
  if (def.view) {
    check_arguments(def, in, attrs);
    InferContext c{def, in, attrs};
    std::optional<Layout> l = def.view(c, Layout(in[0]->shape));
    if (!l) fail<InternalError>(def.name, "view of a contiguous tensor: expected a layout, got none");
    return {{in[0]->dtype, l->shape, in[0]->device}};
  }
  ContextScope scope;
  context() = Context{.grad_enabled = false, .dry = true};
  Tensors ins;
  for (const TensorType* t : in) ins.push_back(t ? stand_in(*t) : Tensor());
  std::vector<TensorType> out;
  for (const Tensor& t : run_composite(def, ins, attrs)) out.push_back(t.type());
  return out;
}

// ---- in place -----------------------------------------------------------------------------------------

namespace {

// Whether writing `out` element by element could change an input that is still to be read.
bool hazard(const Tensor& in, const Tensor& out) {
  if (!in.defined() || !(in.storage() == out.storage())) return false;
  if (in.layout() == out.layout()) return false;
  auto [a, b] = in.layout().extent();
  auto [c, d] = out.layout().extent();
  return a < d && c < b;
}

// The kernel that writes `out` itself, if there is one for these layouts.
std::unique_ptr<Entry> make_entry_into(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs,
                                       const Tensor& out) {
  auto e = std::make_unique<Entry>();
  e->def = &def;
  e->attrs = attrs;
  TypePtrs types(in);
  e->out_types = infer_types(def, types.ptrs, attrs);
  if (e->out_types.size() != 1 || e->out_types[0].shape != out.shape())
    fail<ShapeError>(def.name, "result does not fit in place: expected {}, got {}", to_string(out.shape()),
                     e->out_types.empty() ? "nothing" : to_string(e->out_types[0].shape));
  if (e->out_types[0].dtype != out.dtype())
    fail<TypeError>(def.name, "result does not fit in place: expected {}, got {}", name(out.dtype()),
                    name(e->out_types[0].dtype));
  if (out.layout().overlaps_itself())
    fail<ValueError>(def.name, "cannot write in place: expected distinct elements, got an expanded tensor {}",
                     to_string(out.type()));
  const Kernel* k = def.view ? nullptr : find_kernel(def, out.device());
  if (!k || !(k->flags & kernel_in_place)) return e;
  if (!out.is_contiguous() && !(k->flags & kernel_strided_out)) return e;
  std::vector<Layout> layouts;
  std::vector<DType> dtypes;
  std::vector<bool> present;
  for (const Tensor& t : in) {
    layouts.push_back(t.defined() ? t.layout() : Layout{});
    dtypes.push_back(t.defined() ? t.dtype() : DType::f32);
    present.push_back(t.defined());
  }
  e->selected = select_kernel(def, attrs, out.device(), layouts, dtypes, present, e->out_types,
                              {&out.layout(), 1});
  return e;
}

void write_into(const Entry& e, const OpDef& def, std::span<const Tensor> in, const Attrs& attrs,
                const Tensor& out) {
  bool direct = e.selected.kernel &&
                std::none_of(in.begin(), in.end(), [&](const Tensor& t) { return hazard(t, out); });
  if (direct) return run_kernel(e, in, {&out, 1});
  ContextScope scope;
  context() = Context{.grad_enabled = false};
  Tensor result = apply(def, in, attrs);
  static const OpDef& copy_op = op("copy");
  static const Attrs none;
  Entry copy;
  copy.def = &copy_op;
  TensorType type = out.type();
  DType dtype = result.dtype();
  copy.selected = select_kernel(copy_op, none, out.device(), {&result.layout(), 1}, {&dtype, 1},
                                std::vector<bool>{true}, {&type, 1}, {&out.layout(), 1});
  run_kernel(copy, {&result, 1}, {&out, 1});
}

}  // namespace

void apply_into(const OpDef& def, std::span<const Tensor> in, const Attrs& given, const Tensor& out) {
  ThreadState& state = thread_state();
  ++state.counters.calls;
  Attrs filled;
  const Attrs& attrs = with_defaults(def, given, filled);
  Context& ctx = state.context;
  bool track = ctx.grad_enabled && !ctx.inference && is_floating(out.dtype());
  if (track && out.impl()->requires_grad)
    fail<StateError>(def.name, "leaf changed in place: expected no_grad() around the write, got a leaf that "
                               "requires a gradient");
  if (track) {
    const AutogradState* s = out.impl()->autograd;
    if (s && s->base.defined() && s->base.impl()->requires_grad)
      fail<StateError>(def.name, "view of a leaf changed in place: expected no_grad() around the write, got a "
                                 "view of a leaf that requires a gradient");
  }
  uint64_t grad_mask = track ? grad_mask_of(def, in) : 0;
  bool rebase = grad_mask || (track && out.requires_grad());
  constexpr uint64_t in_place_mark = uint64_t(1) << 62;  // a signature of its own, with `out` as last input
  std::array<Tensor, 8> with_out;
  if (in.size() >= with_out.size())
    fail<TypeError>(def.name, "too many inputs in place: expected at most 7, got {}", in.size());
  std::copy(in.begin(), in.end(), with_out.begin());
  with_out[in.size()] = out;
  Pin pin(signatures(state).lookup(def, {with_out.data(), in.size() + 1}, attrs, grad_mask | in_place_mark,
                                   state.counters.cache_misses, [&] { return make_entry_into(def, in, attrs, out); }));
  Entry& e = *pin;

  Ref<TapeNode> node;
  uint64_t keep_out = 0;
  if (grad_mask) {
    if (!e.masks_known) find_masks(e, in, grad_mask);
    keep_out = e.keep_out;
    node = make_node(def, in, attrs, e.out_types, e.keep_in);
    // A value that the rule reads and this write overwrites is kept as a copy, history included.
    for (size_t i = 0; i < in.size(); ++i) {
      if (!node->saved_in[i].value.defined() || !(in[i].storage() == out.storage())) continue;
      Tensor old = apply(op("copy"), {in[i]});
      node->saved_in[i] = {old, old.storage()->version()};
    }
  }
  if (ctx.recorder) ctx.recorder->record_into(def, in, attrs, out);
  if (!ctx.dry) {
    ++state.counters.kernels;
    write_into(e, def, in, attrs, out);
    if (state.hook) state.hook(def, in, {&out, 1});
  }
  out.storage()->bump_version(capture_source());
  if (node) {
    node->saved_out.resize(1);
    if (keep_out & 1) node->saved_out[0] = {out.detach(), out.storage()->version()};
  }
  if (rebase) rebase_history(out, node);
}

}  // namespace suan
