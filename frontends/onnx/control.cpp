// Branches, loops, sequences and optionals. Sub-graphs run where their condition is known: while shapes are
// being translated that unrolls them; otherwise the model runs node by node.
#include <algorithm>

#include "core/allocator.h"
#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

constexpr int64_t longest_unrolled = 64;   // trips; longer loops run node by node instead of growing a plan

bool truth(Call& c, const Value& v) {
  if (!v.is_tensor() || v.tensor().numel() != 1) c.fail<TypeError>("condition is no bool: expected one, got {}", describe(v));
  if (v.tensor().is_dry()) throw NeedsData{c.node.name};
  return read_ints(v.tensor())[0];
}

Values build_if(Call& c) { return c.run(c.graph(truth(c, c.value(0)) ? "then_branch" : "else_branch"), {}); }

// Results of all trips, side by side along a new leading axis, or as ONNX's Scan wants them.
Tensor stacked(Call& c, const std::vector<Value>& parts, int64_t axis = 0, bool reverse = false) {
  Tensors rows;
  for (const Value& v : parts) {
    if (!v.is_tensor()) c.fail<TypeError>("scan output is no tensor: expected one, got {}", describe(v));
    rows.push_back(v.tensor());
  }
  if (reverse) std::reverse(rows.begin(), rows.end());
  const int at = c.axis(axis, rows[0].rank() + 1);
  for (Tensor& t : rows) t = unsqueeze(t, at);
  return rows.size() == 1 ? rows[0] : apply(SUAN_OP("cat"), rows, {int64_t(at)});
}
// No trip was made: an empty tensor of what the body declares.
Tensor nothing(Call& c, const Port& p) {
  if (p.kind != Port::Kind::tensor) c.fail<TypeError>("scan output of unknown type: expected a declared tensor, got none after no trips");
  Shape s{0};
  for (int64_t d : p.dims) s.push_back(std::max<int64_t>(d, 0));
  return Tensor::empty({p.dtype, s, {}});
}

// A list of so many values is about to be made: sizes beside a zero cost no memory of their own.
void require_list(int64_t n) {
  constexpr int64_t each = 512;   // bytes, with the handle
  require_memory(n > INT64_MAX / each ? INT64_MAX : n * each);
}

// The condition never changes from trip to trip.
bool counts_only(const Graph& body) {
  const int condition = body.out[0];
  if (condition == body.in[1]) return true;
  for (const auto& [slot, v] : body.constants)
    if (slot == condition) return true;   // false would end it sooner, after a trip
  for (const Node& n : body.nodes)
    if (!n.out.empty() && n.out[0] == condition) return n.op == "Identity" && n.in[0] == body.in[1];
  return false;
}

Values build_loop(Call& c) {
  const Graph& body = c.graph("body");
  const size_t carried = c.in.size() - std::min<size_t>(c.in.size(), 2);
  if (body.in.size() != carried + 2 || body.out.size() < carried + 1)
    c.fail<TypeError>("body does not fit: expected {} inputs, got {}", carried + 2, body.in.size());
  const int64_t most = c.has(0) ? c.host_int(0) : INT64_MAX;
  if (c.eval.tracing() && c.has(0) && most > longest_unrolled) throw NeedsData{c.node.name};
  Value condition = c.has(1) ? c.value(1) : Value(Tensor::scalar_int(1, DType::boolean));
  std::vector<Value> state(c.in.begin() + 2, c.in.end());
  std::vector<std::vector<Value>> scans(body.out.size() - carried - 1);
  if (c.has(0) && counts_only(body)) {   // as many trips as it says: known to be too many before the first
    constexpr int64_t most_nodes = 1'000'000'000;
    const int64_t each = int64_t(body.nodes.size()) + 1;
    if (most > most_nodes / each)
      c.fail<ValueError>("too many trips: expected at most {} of {} nodes, got {}", most_nodes / each, body.nodes.size(), most);
    if (!scans.empty() && most > 0 && truth(c, condition)) require_list(most * int64_t(scans.size()));
  }
  for (int64_t i = 0; i < most && truth(c, condition); ++i) {
    if (c.eval.tracing() && i >= longest_unrolled) throw NeedsData{c.node.name};
    c.eval.note_unrolled(c.node, body);
    std::vector<Value> in{Tensor::scalar_int(i, DType::i64), condition};
    in.insert(in.end(), state.begin(), state.end());
    std::vector<Value> out = c.run(body, std::move(in));
    condition = out[0];
    std::copy_n(out.begin() + 1, carried, state.begin());
    for (size_t k = 0; k < scans.size(); ++k) scans[k].push_back(out[carried + 1 + k]);
  }
  for (size_t k = 0; k < scans.size(); ++k)
    state.push_back(scans[k].empty() ? nothing(c, body.outputs[carried + 1 + k]) : stacked(c, scans[k]));
  return state;
}

Tensor at_step(const Tensor& x, int axis, int64_t t) {
  Shape s = x.shape();
  s.erase(axis);
  return reshape(slice(x, axis, t, t + 1), s);
}

struct ScanPlan {
  size_t n_scan, n_state;
  std::vector<int64_t> in_axes, out_axes, in_back, out_back;
};
Values scan(Call& c, const Graph& body, const ScanPlan& p, std::vector<Value> state, const Tensors& xs) {
  const size_t n_out = body.out.size() - p.n_state;
  int64_t trips = -1;
  std::vector<int> axes;
  for (size_t k = 0; k < xs.size(); ++k) {
    axes.push_back(c.axis(p.in_axes.empty() ? 0 : p.in_axes.at(k), xs[k].rank()));
    if (trips >= 0 && xs[k].dim(axes[k]) != trips)
      c.fail<ShapeError>("scanned lengths differ: expected {}, got {}", trips, xs[k].dim(axes[k]));
    trips = xs[k].dim(axes[k]);
  }
  if (c.eval.tracing() && trips > longest_unrolled) throw NeedsData{c.node.name};
  std::vector<std::vector<Value>> scans(n_out);
  require_list(trips);
  for (int64_t t = 0; t < trips; ++t) {
    c.eval.note_unrolled(c.node, body);
    std::vector<Value> in = state;
    for (size_t k = 0; k < xs.size(); ++k) {
      const bool back = !p.in_back.empty() && p.in_back.at(k);
      in.emplace_back(at_step(xs[k], axes[k], back ? trips - 1 - t : t));
    }
    std::vector<Value> out = c.run(body, std::move(in));
    std::copy_n(out.begin(), p.n_state, state.begin());
    for (size_t k = 0; k < n_out; ++k) scans[k].push_back(out[p.n_state + k]);
  }
  for (size_t k = 0; k < n_out; ++k)
    state.push_back(scans[k].empty() ? nothing(c, body.outputs[p.n_state + k])
                                     : stacked(c, scans[k], p.out_axes.empty() ? 0 : p.out_axes.at(k),
                                               !p.out_back.empty() && p.out_back.at(k)));
  return state;
}

Values build_scan(Call& c) {
  const Graph& body = c.graph("body");
  const int64_t n = c.integer("num_scan_inputs");
  const size_t first = c.version() < 9 ? 1 : 0;                 // version 8 has sequence lengths before
  if (n < 1 || size_t(n) + first > c.in.size() || c.in.size() - first != body.in.size() ||
      body.out.size() < c.in.size() - first - size_t(n))
    c.fail<TypeError>("body does not fit: expected {} inputs, got {}", body.in.size(), c.in.size() - first);
  ScanPlan p{size_t(n), c.in.size() - first - size_t(n), {}, {}, {}, {}};
  auto list = [&](const char* name) { return c.ints(name, std::vector<int64_t>{}); };
  std::vector<Value> state(c.in.begin() + int64_t(first), c.in.begin() + int64_t(first + p.n_state));
  Tensors xs;
  for (size_t k = 0; k < p.n_scan; ++k) xs.push_back(c[int(first + p.n_state + k)]);
  if (first == 0) {
    p.in_axes = list("scan_input_axes");
    p.out_axes = list("scan_output_axes");
    p.in_back = list("scan_input_directions");
    p.out_back = list("scan_output_directions");
    return scan(c, body, p, std::move(state), xs);
  }
  // Version 8: a batch in front of everything.
  if (c.has(0)) c.fail<TypeError>("unsupported sequence lengths: expected none, got some");
  p.in_back = list("directions");
  const int64_t batch = xs[0].dim(0);
  require_list(batch);
  std::vector<Values> each;
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<Value> s;
    Tensors x;
    for (const Value& v : state) s.emplace_back(at_step(v.tensor(), 0, b));
    for (const Tensor& t : xs) x.push_back(at_step(t, 0, b));
    each.push_back(scan(c, body, p, std::move(s), x));
  }
  Values out;
  for (size_t k = 0; !each.empty() && k < each[0].size(); ++k) {
    std::vector<Value> column;
    for (Values& v : each) column.push_back(v[k]);
    out.emplace_back(stacked(c, column));
  }
  return out;
}

// ---- sequences and optionals ---------------------------------------------------------------------------

Values build_sequence_construct(Call& c) { return {Value(Sequence(c.in.begin(), c.in.end()))}; }
Values build_sequence_empty(Call&) { return {Value(Sequence{})}; }

int64_t position(Call& c, int i, size_t size, bool insert) {
  const int64_t n = int64_t(size), p = c.host_int(i), at = p < 0 ? p + n : p;
  if (at < 0 || at > n - (insert ? 0 : 1)) c.fail<IndexError>("position out of range: expected -{} to {}, got {}", n, insert ? n : n - 1, p);
  return at;
}
Values build_sequence_insert(Call& c) {
  Sequence s = c.sequence(0);
  s.insert(s.begin() + (c.has(2) ? position(c, 2, s.size(), true) : int64_t(s.size())), c.value(1));
  return {Value(std::move(s))};
}
Values build_sequence_erase(Call& c) {
  Sequence s = c.sequence(0);
  if (s.empty()) c.fail<IndexError>("sequence is empty: expected an element to erase, got none");
  s.erase(s.begin() + (c.has(1) ? position(c, 1, s.size(), false) : int64_t(s.size()) - 1));
  return {Value(std::move(s))};
}
Values build_sequence_at(Call& c) {
  const Sequence& s = c.sequence(0);
  return {s[size_t(position(c, 1, s.size(), false))]};
}
Values build_sequence_length(Call& c) { return {Tensor::scalar_int(int64_t(c.sequence(0).size()), DType::i64)}; }

Values build_concat_from_sequence(Call& c) {
  const Sequence& s = c.sequence(0);
  if (s.empty()) c.fail<ValueError>("sequence is empty: expected tensors to join, got none");
  const bool fresh = c.integer("new_axis", 0);
  if (fresh) return {stacked(c, s, c.integer("axis"))};
  Tensors parts;
  for (const Value& v : s) {
    if (!v.is_tensor()) c.fail<TypeError>("sequence element is no tensor: expected one, got {}", describe(v));
    parts.push_back(v.tensor());
  }
  return {apply(SUAN_OP("cat"), parts, {int64_t(c.axis(c.integer("axis"), parts[0].rank()))})};
}

Values build_split_to_sequence(Call& c) {
  const Tensor& x = c[0];
  const int axis = c.axis_attr(0, x.rank());
  const bool keep = c.has(1) || c.integer("keepdims", 1);
  std::vector<int64_t> sizes;
  if (!c.has(1)) {
    require_list(x.dim(axis));
    sizes.assign(size_t(x.dim(axis)), 1);
  } else {
    sizes = c.host_ints(1);
    if (c[1].rank() == 0) {
      const int64_t each = sizes[0];
      if (each < 1) c.fail<ValueError>("piece too small: expected 1 or more, got {}", each);
      require_list(x.dim(axis) / each);
      sizes.clear();
      for (int64_t left = x.dim(axis); left > 0; left -= each) sizes.push_back(std::min(left, each));
    }
  }
  Sequence s;
  int64_t at = 0;
  for (int64_t n : sizes) {
    if (n < 0 || n > x.dim(axis) - at) c.fail<ShapeError>("pieces do not fit: expected at most {}, got more", x.dim(axis));
    s.emplace_back(keep ? slice(x, axis, at, at + n) : at_step(x, axis, at));
    at += n;
  }
  return {Value(std::move(s))};
}

Values build_sequence_map(Call& c) {
  const Graph& body = c.graph("body");
  const size_t n = c.sequence(0).size();
  std::vector<Sequence> out(body.out.size());
  for (size_t i = 0; i < n; ++i) {
    std::vector<Value> in;
    c.eval.note_unrolled(c.node, body);
    for (int k = 0; k < c.n_in(); ++k) {
      const Value& v = c.value(k);
      if (v.is_sequence() && i >= v.sequence().size()) c.fail<ShapeError>("sequences differ in length: expected {}, got {}", n, v.sequence().size());
      in.push_back(v.is_sequence() ? v.sequence()[i] : v);
    }
    std::vector<Value> made = c.run(body, std::move(in));
    for (size_t k = 0; k < out.size(); ++k) out[k].push_back(made[k]);
  }
  return Values(out.begin(), out.end());
}

Values build_optional(Call& c) { return {c.has(0) ? c.value(0) : Value()}; }
Values build_optional_get(Call& c) { return {c.value(0)}; }
Values build_optional_has(Call& c) { return {Tensor::scalar_int(c.has(0), DType::boolean)}; }

}  // namespace

std::vector<Mapping> control_ops() {
  return {
      {"ConcatFromSequence", 11, build_concat_from_sequence},
      {"If", 1, build_if},
      {"Loop", 1, build_loop},
      {"Optional", 15, build_optional},
      {"OptionalGetElement", 15, build_optional_get},
      {"OptionalHasElement", 15, build_optional_has},
      {"Scan", 8, build_scan},
      {"SequenceAt", 11, build_sequence_at},
      {"SequenceConstruct", 11, build_sequence_construct},
      {"SequenceEmpty", 11, build_sequence_empty},
      {"SequenceErase", 11, build_sequence_erase},
      {"SequenceInsert", 11, build_sequence_insert},
      {"SequenceLength", 11, build_sequence_length},
      {"SequenceMap", 17, build_sequence_map},
      {"SplitToSequence", 11, build_split_to_sequence},
  };
}

}  // namespace suan::onnx
