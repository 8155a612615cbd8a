// fused_epilogue: the first node's own kernel, with the rest of the body as a program that it runs on each
// finished tile. A tile is found in the result by its address; the program's other operands are whole, one
// value per row, one per column, or one in all. Blocked convolutions are given the rows themselves where they are no more
// than a Finish; what follows a product of bf16 most often has its own loops (narrow_rows.h).
#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <utility>

#include "core/backend.h"
#include "core/pool.h"
#include "kernels/cpu/lib/elementwise.h"
#include "kernels/cpu/lib/finish.h"
#include "kernels/cpu/lib/narrow_rows.h"
#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int most_outputs = 8;

// An input of the node as the inner kernel or the program takes it, perhaps through a contiguous copy.
struct Source {
  int input = -1;          // of the node; -1: absent
  bool copied = false;
  Move move;
  int64_t at = 0;          // bytes into the workspace
};

struct Side {              // an operand of the program
  Source source;
  int64_t row_stride = 0, col_stride = 0, item = 0;
};

// The rows as a Finish: numbers of sides, -1 for none.
struct Ending {
  int add = -1, low = -1, high = -1, scale = -1, shift = -1;
  bool relu = false;
};

struct State {
  Prepared anchor;
  std::optional<Ending> ending;
  RunFinished finished = nullptr;      // of an anchor that takes a Finish
  ProgramPtr program;
  NarrowRows narrow = NarrowRows::none;  // what the program is; an operand is side 0
  std::vector<Source> anchor_in;
  std::vector<int> anchor_out;         // the node's output, or -1: into the workspace
  std::vector<int64_t> anchor_out_at;  // bytes into the workspace
  std::vector<Side> sides;             // inputs of the program after the tile itself
  std::vector<int> row_out;            // the node's output of each of the program's
  std::vector<int64_t> row_item;
  int64_t item = 0, row = 0;           // of the anchor's result
};

// How an operand of `shape` broadcasts to rows of `row` elements that fill `to`; false when it does so in
// no such way.
bool classify(const Shape& shape, const Shape& to, int64_t row, Side& s) {
  const int64_t n = numel(shape), total = numel(to);
  s.row_stride = s.col_stride = 0;
  if (n == 1) return true;
  if (shape == to) {
    s.row_stride = row;
    s.col_stride = 1;
    return true;
  }
  int64_t tail = 1, head = 1;
  const int lead = to.size() - shape.size();
  int d = to.size() - 1;
  for (; d >= lead && shape[d - lead] == to[d]; --d) tail *= to[d];
  if (tail == row && n == row) {
    s.col_stride = 1;
    return true;
  }
  if (lead > 0) return false;
  for (d = 0; d < to.size() && shape[d] == to[d]; ++d) head *= to[d];
  if (head * row == total && n == head) {
    s.row_stride = 1;
    return true;
  }
  return false;
}

// The body's nodes from `first` on as a chain from the tile, in[0]: add of a whole operand, then relu, bounds of one value
// each or a hard swish, which is the last. All of it is of one dtype.
std::optional<Ending> ending_of(const Graph& body, std::span<const ValueId> in, size_t first,
                                std::span<const ValueId> out, const std::vector<Side>& sides, int64_t row) {
  const DType dtype = body.values[size_t(in[0])].type.dtype;
  const auto of_one = [&](ValueId v) { return body.values[size_t(v)].type.dtype == dtype; };
  if (!std::all_of(in.begin(), in.end(), of_one)) return {};
  Ending e;
  ValueId at = in[0];
  const auto side = [&](ValueId v) {
    const auto found = std::find(in.begin() + 1, in.end(), v);
    return found == in.end() ? -1 : int(found - in.begin()) - 1;
  };
  const auto is_one = [&](int k) {
    return k >= 0 && sides[size_t(k)].row_stride == 0 && sides[size_t(k)].col_stride == 0;
  };
  // x * minimum(maximum(x * scale + shift, low), high), from node k on to the end.
  const auto hard_swish = [&](size_t k) {
    constexpr const char* names[] = {"mul", "add", "maximum", "minimum", "mul"};
    if (dtype != DType::f32 || k + std::size(names) != body.nodes.size() || e.low >= 0 || e.high >= 0) return false;
    int* const numbers[] = {&e.scale, &e.shift, &e.low, &e.high};
    ValueId gate = at;
    for (size_t i = 0; i < std::size(names); ++i, ++k) {
      const Node& n = body.nodes[k];
      if (n.op->name != names[i] || n.in.size() != 2 || !of_one(n.out[0])) return false;
      const bool second = n.in[0] != gate;
      if (second && (n.in[1] != gate || (i != 4 && i > 1))) return false;   // a bound comes second
      if (i == 4) return n.in[second ? 0 : 1] == at;
      *numbers[i] = side(n.in[second ? 0 : 1]);
      if (!is_one(*numbers[i])) return false;
      gate = n.out[0];
    }
    return false;
  };
  for (size_t k = first; k < body.nodes.size(); ++k) {
    if (!e.relu && body.nodes.size() - k == 5) {
      const Ending before = e;
      if (hard_swish(k)) {
        at = body.nodes.back().out[0];
        break;
      }
      e = before;
    }
    const Node& n = body.nodes[k];
    if (e.relu || n.in.empty() || !of_one(n.out[0])) return {};
    const bool unbounded = e.low < 0 && e.high < 0;
    if (n.op->name == "relu" && n.in[0] == at && unbounded) {
      e.relu = true;
    } else if (n.in.size() == 2 && (n.in[0] == at) != (n.in[1] == at)) {
      const int other = side(n.in[n.in[0] == at ? 1 : 0]);
      if (other < 0) return {};
      const Side& s = sides[size_t(other)];
      const bool whole = s.row_stride == row && s.col_stride == 1, one = s.row_stride == 0 && s.col_stride == 0;
      if (n.op->name == "add" && whole && e.add < 0 && unbounded) e.add = other;
      else if (n.op->name == "maximum" && one && n.in[0] == at && unbounded) e.low = other;
      else if (n.op->name == "minimum" && one && n.in[0] == at && e.high < 0) e.high = other;
      else return {};
    } else {
      return {};
    }
    at = n.out[0];
  }
  if (out.size() != 1 || out[0] != at) return {};
  return e;
}

// Whether the body's nodes from `first` on are no more than one of narrow_rows.h's loops.
NarrowRows narrow_rows_of(const Graph& body, std::span<const ValueId> in, size_t first, std::span<const ValueId> out,
                          const std::vector<Side>& sides, int64_t row) {
  const auto dtype = [&](ValueId v) { return body.values[size_t(v)].type.dtype; };
  const std::span<const Node> nodes(body.nodes.data() + first, body.nodes.size() - first);
  if (nodes.empty() || out.size() != 1 || out[0] != nodes.back().out[0]) return NarrowRows::none;
  if (nodes.size() == 1 && nodes[0].op->name == "cast" && nodes[0].in[0] == in[0] && dtype(in[0]) == DType::f32 &&
      dtype(out[0]) == DType::bf16)
    return NarrowRows::round;
  if (nodes.size() < 2 || dtype(in[0]) != DType::bf16) return NarrowRows::none;
  const ValueId wide = nodes[0].out[0];
  if (nodes[0].op->name != "cast" || nodes[0].in[0] != in[0] || dtype(wide) != DType::f32) return NarrowRows::none;
  if (nodes.size() == 3 && nodes[1].op->name == "gelu" && nodes[1].in[0] == wide && nodes[2].op->name == "cast" &&
      nodes[2].in[0] == nodes[1].out[0] && dtype(out[0]) == DType::bf16)
    return NarrowRows::gelu;
  if (nodes.size() == 2 && nodes[1].op->name == "add" && sides.size() == 1 && dtype(in[1]) == DType::f32 &&
      sides[0].row_stride == row && sides[0].col_stride == 1 &&
      nodes[1].in[nodes[1].in[0] == wide ? 1 : 0] == in[1] && (nodes[1].in[0] == wide || nodes[1].in[1] == wide))
    return NarrowRows::add;
  return NarrowRows::none;
}

struct Parts {
  std::shared_ptr<State> state;
  int64_t workspace = 0;
};

// Null when the body is not what the pass makes or what the kernels can do.
Parts build(const KernelDesc& d) {
  const Graph& body = *d.attrs.graph(0);
  if (body.nodes.empty() || !body.constants.empty() || body.outputs.size() > size_t(most_outputs)) return {};
  const Node& first = body.nodes[0];
  const Kernel* kernel = find_kernel(*first.op, {});
  if (!kernel) return {};
  auto type = [&](ValueId v) -> const TensorType& { return body.values[size_t(v)].type; };
  auto input_of = [&](ValueId v) {
    for (size_t i = 0; i < body.inputs.size(); ++i)
      if (body.inputs[i] == v) return int(i);
    return -1;
  };
  auto s = std::make_shared<State>();
  int64_t workspace = 0;
  auto take = [&](int64_t bytes) { return std::exchange(workspace, workspace + (bytes + 63) / 64 * 64); };
  auto source = [&](int input, bool contiguous) {
    Source from{input};
    const TensorDesc& t = *d.in[size_t(input)];
    if (contiguous && !t.layout.is_contiguous()) {
      from.copied = true;
      from.move = plan_contiguous_move(t.layout.shape, t.layout.strides, int(item_size(t.dtype)));
      from.at = take(t.layout.numel() * item_size(t.dtype));
    }
    return from;
  };

  std::vector<TensorDesc> descs(first.in.size() + first.out.size());
  std::vector<const TensorDesc*> in, out;
  for (size_t k = 0; k < first.in.size(); ++k) {
    if (first.in[k] == no_value) {
      s->anchor_in.emplace_back();
      in.push_back(nullptr);
      continue;
    }
    const int i = input_of(first.in[k]);
    if (i < 0) return {};
    s->anchor_in.push_back(source(i, !(kernel->flags & kernel_strided_in)));
    descs[k] = *d.in[size_t(i)];
    if (s->anchor_in.back().copied) descs[k].layout = Layout(descs[k].layout.shape);
    in.push_back(&descs[k]);
  }
  while (s->anchor_in.size() < first.op->inputs.size()) s->anchor_in.emplace_back();
  if (s->anchor_in.size() > size_t(max_program_inputs)) return {};
  for (size_t k = 0; k < first.out.size(); ++k) {
    TensorDesc& o = descs[first.in.size() + k];
    o.dtype = type(first.out[k]).dtype;
    o.layout = Layout(type(first.out[k]).shape);
    out.push_back(&o);
  }
  const KernelDesc desc{*first.op, first.attrs, in, out};
  if (kernel->supports && !kernel->supports(desc)) return {};
  s->anchor = kernel->prepare(desc);
  s->row = s->anchor.epilogue_row;
  const TensorType& result = type(first.out[0]);
  if (s->row <= 0 || numel(result.shape) == 0) return {};
  s->item = item_size(result.dtype);

  // The rows alone: their first input is the result; a reshape of it is the same memory.
  ValueId tile = first.out[0];
  size_t rows = 1;
  if (rows < body.nodes.size() && body.nodes[rows].op->name == "reshape") tile = body.nodes[rows++].out[0];
  const Shape& shape = type(tile).shape;
  std::vector<ValueId> row_in{tile}, row_out;
  std::vector<char> known(body.values.size(), 0);
  known[size_t(tile)] = 1;
  for (size_t k = rows; k < body.nodes.size(); ++k) {
    const Node& n = body.nodes[k];
    for (ValueId v : n.in) {
      if (v == no_value || known[size_t(v)]) continue;
      const int i = input_of(v);
      Side side;
      if (i < 0 || !classify(type(v).shape, shape, s->row, side)) return {};
      side.source = source(i, true);
      side.item = item_size(type(v).dtype);
      s->sides.push_back(side);
      row_in.push_back(v);
      known[size_t(v)] = 1;
    }
    if (n.out.size() != 1 || !(type(n.out[0]).shape == shape)) return {};
    known[size_t(n.out[0])] = 1;
  }
  s->anchor_out.assign(first.out.size(), -1);
  s->anchor_out_at.assign(first.out.size(), 0);
  for (size_t j = 0; j < body.outputs.size(); ++j) {
    const ValueId v = body.outputs[j];
    bool own = false;
    for (size_t p = 0; p < first.out.size(); ++p)
      if (first.out[p] == v) {
        s->anchor_out[p] = int(j);
        own = true;
      }
    if (own) continue;
    if (!known[size_t(v)] || v == tile) return {};
    row_out.push_back(v);
    s->row_out.push_back(int(j));
    s->row_item.push_back(item_size(type(v).dtype));
  }
  s->program = graph_program(body, row_in, rows, row_out);
  if (!s->program) return {};
  if (first.op->name == "conv_blocked") s->finished = conv_blocked_finished;
  if (first.op->name == "conv_winograd") s->finished = conv_winograd_finished;
  if (first.op->name == "conv_pairs") s->finished = conv_pairs_finished;
  if (first.op->name == "conv_winograd_pairs") s->finished = conv_winograd_pairs_finished;
  if (s->finished && std::none_of(s->anchor_out.begin(), s->anchor_out.end(), [](int j) { return j >= 0; }))
    s->ending = ending_of(body, row_in, rows, row_out, s->sides, s->row);
  s->narrow = narrow_rows_of(body, row_in, rows, row_out, s->sides, s->row);
  // A result that nobody else reads is made where the program's own result of its dtype goes.
  for (size_t j = 0; j < s->row_out.size() && s->anchor_out[0] < 0; ++j)
    if (type(body.outputs[size_t(s->row_out[j])]).dtype == result.dtype) s->anchor_out[0] = s->row_out[j];
  for (size_t p = 0; p < first.out.size(); ++p)
    if (s->anchor_out[p] < 0) s->anchor_out_at[p] = take(type(first.out[p]).bytes());
  return {s, workspace};
}

const void* resolve(const Source& s, const KernelArgs& a) {
  if (s.input < 0) return nullptr;
  if (!s.copied) return a.in[s.input];
  auto* to = static_cast<std::byte*>(a.workspace) + s.at;
  run_move(s.move, to, a.in[s.input]);
  return to;
}

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  auto* workspace = static_cast<std::byte*>(a.workspace);
  const void* in[max_program_inputs];
  void* out[most_outputs];
  for (size_t i = 0; i < s.anchor_in.size(); ++i) in[i] = resolve(s.anchor_in[i], a);
  for (size_t j = 0; j < s.anchor_out.size(); ++j)
    out[j] = s.anchor_out[j] < 0 ? workspace + s.anchor_out_at[j] : a.out[s.anchor_out[j]];
  void* sides[max_program_inputs];
  for (size_t i = 0; i < s.sides.size(); ++i) sides[i] = const_cast<void*>(resolve(s.sides[i].source, a));

  if (s.ending) {
    const Ending& e = *s.ending;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const bool narrow = s.item == 2;   // bf16
    const auto value = [&](int side, float otherwise) {
      if (side < 0) return otherwise;
      return narrow ? std::bit_cast<float>(uint32_t{*static_cast<const uint16_t*>(sides[side])} << 16)
                    : *static_cast<const float*>(sides[side]);
    };
    Finish finish;
    if (e.add >= 0 && narrow) finish.add_bf16 = static_cast<const uint16_t*>(sides[e.add]);
    if (e.add >= 0 && !narrow) finish.add = static_cast<const float*>(sides[e.add]);
    finish.relu = e.relu;
    finish.gated = e.scale >= 0;
    finish.bounded = !finish.gated && (e.low >= 0 || e.high >= 0);
    finish.scale = value(e.scale, 1);
    finish.shift = value(e.shift, 0);
    finish.low = value(e.low, -infinity);
    finish.high = value(e.high, infinity);
    return s.finished(s.anchor.state.get(), {in, out, workspace}, finish);
  }
  const auto* base = static_cast<const std::byte*>(out[0]);
  const auto epilogue = [&](void* tile, int64_t, int64_t, int64_t rows, int64_t, int64_t cols, int64_t) {
    const int64_t at = (static_cast<const std::byte*>(tile) - base) / s.item;
    if (s.narrow != NarrowRows::none) {
      const auto* x = static_cast<const uint16_t*>(tile);
      void* y = a.out[s.row_out[0]];
      if (s.narrow == NarrowRows::round)
        return narrow_round(static_cast<const float*>(tile), static_cast<uint16_t*>(y) + at, s.row, rows, cols);
      if (s.narrow == NarrowRows::gelu) return narrow_gelu(x, static_cast<uint16_t*>(y) + at, s.row, rows, cols);
      return narrow_add(x, static_cast<const float*>(sides[0]) + at, static_cast<float*>(y) + at, s.row, rows, cols);
    }
    const int64_t row = at / s.row, col = at % s.row;
    Operand from[max_program_inputs], to[most_outputs];
    from[0] = {tile, s.row, 1};
    for (size_t i = 0; i < s.sides.size(); ++i) {
      const Side& x = s.sides[i];
      from[i + 1] = {static_cast<std::byte*>(sides[i]) +
                         (row * x.row_stride + col * x.col_stride) * x.item,
                     x.row_stride, x.col_stride};
    }
    for (size_t j = 0; j < s.row_out.size(); ++j)
      to[j] = {static_cast<std::byte*>(a.out[s.row_out[j]]) + at * s.row_item[j], s.row, 1};
    rows_run(*s.program, from, to, rows, cols);
  };
  const TileFn each_tile = epilogue;
  KernelArgs inner{in, out, workspace, &each_tile};
  s.anchor.run(s.anchor.state.get(), inner);
}

}  // namespace

Kernel kernel_fused_epilogue() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.prepare = [](const KernelDesc& d) {
    auto [state, workspace] = build(d);
    if (!state) return Prepared{};
    const int64_t own = state->anchor.workspace;
    // The inner kernel's workspace comes first, what is ours after it.
    const int64_t shift = (own + 63) / 64 * 64;
    auto move = [&](Source& s) { s.at += shift; };
    for (Source& s : state->anchor_in) move(s);
    for (Side& s : state->sides) move(s.source);
    for (int64_t& at : state->anchor_out_at) at += shift;
    return Prepared{run, std::move(state), shift + workspace};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
