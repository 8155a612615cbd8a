// suan.autocast: casts of the inputs of Python's calls. Gradient rules and optimizers call ops from C++ and see
// the dtypes that were chosen in the forward pass.
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "core/remedies.h"
#include "core/tape.h"
#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

struct Setting {
  bool enabled = false, cache = true;
  DType dtype = DType::bf16;
};

// A leaf's cast is kept while a region lasts, so that a weight used twice is cast, and its gradient cast back, once.
struct Kept {
  Tensor leaf, cast;  // holds the leaf: its address stays its own
  uint32_t version;
};

struct State {
  std::array<Setting, max_device_types> settings;
  int depth = 0;  // regions around
  std::unordered_map<const TensorImpl*, Kept> kept;

  State() { settings[size_t(DeviceType::cuda)].dtype = DType::f16; }
};

State& state() {
  static thread_local State s;
  return s;
}

// Products compute in the low dtype, losses in float32, as torch's on the CPU; a head with its loss multiplies in the
// low dtype and goes on in float32. Normalising layers need one dtype for
// input and weights, and take the wider. All others compute in what they are given.
Precision precision_of(const OpDef& op) {
  static const auto* table = [] {
    auto* t = new std::vector<Precision>(all_ops().size(), Precision::as_given);
    const auto mark = [&](Precision p, std::initializer_list<const char*> names) {
      for (const char* n : names) (*t)[size_t(suan::op(n).id)] = p;
    };
    mark(Precision::low, {"linear", "matmul", "bmm", "einsum", "tensordot", "conv", "conv_input_grad",
                          "attention", "linear_cross_entropy"});
    mark(Precision::full, {"cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1", "huber_loss", "kl_div",
                           "bce_with_logits", "prod"});
    mark(Precision::widest, {"layer_norm", "rms_norm", "group_norm", "batch_norm"});
    return t;
  }();
  return (*table)[size_t(op.id)];
}

bool eligible(const Tensor& t) {
  const DType d = t.dtype();
  return d == DType::f32 || d == DType::f16 || d == DType::bf16;
}

Tensor low_cast(State& s, const Setting& now, const Tensor& t) {
  if (t.dtype() == now.dtype) return t;
  const Context& c = context();
  // A recording keeps its own: equal casts in it become one.
  const bool keep = now.cache && !c.recorder && !c.dry && c.grad_enabled && !c.inference &&
                    t.dtype() == DType::f32 && t.requires_grad() && t.is_leaf();
  if (!keep) return cast(t, now.dtype);
  Kept& k = s.kept[t.impl()];
  const uint32_t version = t.storage()->version();
  const bool freed = k.cast.defined() && gradient_edge(k.cast).node && gradient_edge(k.cast).node->freed;
  if (!k.cast.defined() || k.version != version || k.cast.dtype() != now.dtype || freed)
    k = {t, cast(t, now.dtype), version};
  return k.cast;
}

Setting& setting(const std::string& device_type) {
  // Settings for CUDA may be asked for and made where there is no driver.
  const DeviceType type = device_type == "cuda" ? DeviceType::cuda : parse_device(device_type).type;
  return state().settings[size_t(type)];
}

}  // namespace

bool autocast_active() { return state().depth > 0; }

void autocast_inputs(const OpDef& op, std::span<Tensor> in) {
  State& s = state();
  Precision p = precision_of(op);
  if (p == Precision::as_given) return;
  const auto first = std::find_if(in.begin(), in.end(), [](const Tensor& t) { return t.defined(); });
  if (first == in.end()) return;
  const Setting& now = s.settings[size_t(first->device().type)];
  if (!now.enabled) return;
  // Its gradients are taken before a loss is scaled, so they may be too small for f16.
  static const auto head = suan::op("linear_cross_entropy").id;
  if (op.id == head && now.dtype == DType::f16) p = Precision::full;
  // Input, weight and bias: running statistics beyond them are written to, and keep their dtype.
  if (p == Precision::widest) in = in.first(std::min<size_t>(in.size(), 3));
  DType widest = now.dtype;
  for (const Tensor& t : in)
    if (t.defined() && eligible(t)) widest = promote(widest, t.dtype());
  for (Tensor& t : in) {
    if (!t.defined() || !eligible(t)) continue;
    if (p == Precision::low) t = low_cast(s, now, t);
    else if (const DType to = p == Precision::full ? DType::f32 : widest; t.dtype() != to) t = cast(t, to);
  }
}

void bind_autocast(nb::module_& m) {
  autocast_precision = precision_of;
  m.def("autocast_state", [](const std::string& device_type) {
    const Setting& now = setting(device_type);
    return nb::make_tuple(now.enabled, nb::steal(dtype_object(now.dtype)), now.cache);
  }, "(enabled, dtype, whether casts of weights are kept) of this thread for a type of device.");

  m.def("set_autocast", [](const std::string& device_type, bool enabled, nb::handle dtype, bool cache) {
    setting(device_type) = {enabled, cache, dtype_of(dtype.ptr())};
  }, "Sets what autocast_state returns.");

  m.def("autocast_depth", [](int change) {
    State& s = state();
    s.depth += change;
    if (s.depth == 0) s.kept.clear();
    return s.depth;
  }, "Enters (1) or leaves (-1) a region; the last one to be left drops the kept casts.");

  m.def("autocast_settings", []() -> nb::object {
    if (!autocast_active()) return nb::none();
    nb::list all;
    for (const Setting& s : state().settings)
      all.append(s.enabled ? int(s.dtype) : -1);
    return nb::tuple(all);
  }, "What a signature must know of autocast: None outside of all regions.");
}

}  // namespace suan::py
