// Ten thousand random graphs: the optimised, planned program must equal the interpreter bit for bit, every
// pass must fire often among them, and a wrong rewrite seeded into each pass must be caught.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include "core/apply.h"
#include "core/open_program.h"
#include "core/pass.h"
#include "core/plan.h"
#include "core/recompute.h"

namespace suan {
namespace {

class RandomGraph {
 public:
  explicit RandomGraph(uint32_t seed) : RandomGraph(seed, 4, 6) {}
  // Two of its sizes given; then it has no operators that round sizes.
  RandomGraph(uint32_t seed, int64_t rows, int64_t cols)
      : a_(rows), b_(cols), whole_(rows == 4 && cols == 6), rng_(seed) {
    int n_inputs = 1 + pick(3);
    for (int i = 0; i < n_inputs; ++i) pool_.push_back(g.add_input({DType::f32, shape(), {}}));
    index_ = g.add_input({DType::i64, {4}, {}});
    int n = 6 + pick(22);
    for (int i = 0; i < n; ++i) step();
    // Late readers of early values, as a backward pass has them.
    for (int i = 0; i < 3; ++i) {
      ValueId late = as_float(pool_.back()), early = as_float(pool_[size_t(pick(int(pool_.size())))]);
      if (broadcasts(late, early)) append("mul", {late, early});
    }
    int n_out = 1 + pick(3);
    for (int i = 0; i < n_out; ++i) g.outputs.push_back(pool_[pool_.size() - 1 - size_t(pick(int(std::min<size_t>(pool_.size(), 5))))]);
  }

  Tensors inputs() {
    Tensors in;
    std::normal_distribution<float> normal;
    for (ValueId v : g.inputs) {
      Tensor t = Tensor::empty(g.values[size_t(v)].type);
      if (t.dtype() == DType::i64) {
        for (int64_t i = 0; i < t.numel(); ++i) t.data<int64_t>()[i] = pick(4);
        in.push_back(t);
        continue;
      }
      for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = normal(rng_);
      in.push_back(t);
    }
    return in;
  }

  Graph g;

 private:
  int pick(int n) { return int(rng_() % uint32_t(n)); }
  Shape shape() {
    const Shape shapes[] = {{a_, b_}, {a_, b_}, {a_, b_}, {1, b_}, {a_, 1}, {}, {b_, a_}, {a_ * b_},
                            whole_ ? Shape{2, 3, 4} : Shape{a_, 1, b_}, {0, b_}};
    return shapes[pick(10)];
  }
  ValueId any() { return pool_[size_t(pick(int(pool_.size())))]; }
  const TensorType& type(ValueId v) const { return g.values[size_t(v)].type; }
  void append(const char* name, std::vector<ValueId> in, const Attrs& attrs = {}) {
    int k = g.append(op(name), std::move(in), attrs);
    for (ValueId v : g.nodes[size_t(k)].out) pool_.push_back(v);
  }
  bool broadcasts(ValueId a, ValueId b) {
    try { broadcast("test", type(a).shape, type(b).shape); return true; } catch (const Error&) { return false; }
  }
  ValueId as_float(ValueId v) {
    if (type(v).dtype == DType::f32) return v;
    append("cast", {v}, {DType::f32});
    return pool_.back();
  }
  ValueId partner(ValueId a) {
    for (int t = 0; t < 6; ++t) {
      ValueId b = as_float(any());
      if (broadcasts(a, b)) return b;
    }
    return a;
  }

  void step() {
    ValueId a = as_float(any());
    const Shape s = type(a).shape;
    switch (pick(19)) {
      case 0: case 1: {
        static const char* names[] = {"neg", "abs", "square", "tanh", "sigmoid", "relu", "exp", "erf", "gelu", "silu"};
        return append(names[pick(10)], {a});
      }
      case 2: case 3: case 4: {
        static const char* names[] = {"add", "sub", "mul", "div", "maximum", "minimum"};
        return append(names[pick(6)], {a, partner(a)});
      }
      case 5:  // the same work again
        if (!g.nodes.empty()) {
          Node n = g.nodes[size_t(pick(int(g.nodes.size())))];
          if (n.out.size() == 1) append(n.op->name.c_str(), n.in, n.attrs);
        }
        return;
      case 6: {
        ValueId c = g.add_constant(Tensor::scalar(double(pick(7)) / 2 - 1, DType::f32));
        ValueId d = c;
        if (pick(2)) { append("exp", {c}); d = pool_.back(); }
        return append("mul", {a, d});
      }
      case 7: append("cast", {a}, {pick(2) ? DType::bf16 : DType::f16}); return append("cast", {pool_.back()}, {DType::f32});
      case 8: return append("reshape", {a}, {Shape{numel(s)}});
      case 9: {
        if (s.size() != 2) return;
        return append("permute", {a}, {Dims{1, 0}});
      }
      case 10: {
        if (s.empty()) return;
        return append("sum", {a}, {Dims{int64_t(pick(s.size()))}, bool(pick(2))});
      }
      case 11: {
        ValueId b = partner(a);
        append("lt", {a, b});
        ValueId c = pool_.back();
        return append("where", {c, a, b});
      }
      case 12: {
        if (s.size() != 2 || s[0] != a_ || s[1] != b_) return;
        append("permute", {a}, {Dims{1, 0}});
        return append("matmul", {a, pool_.back()});
      }
      case 13: return rows(tiled(a));
      case 14: {  // the same through a reshape, as a gradient of linear has it
        const ValueId t = tiled(a);
        if (type(t).shape.size() != 2) return;
        append("reshape", {t}, {Shape{1, type(t).shape[0], type(t).shape[1]}});
        return rows(pool_.back());
      }
      case 15: {  // a rectified picture, pooled, and back
        if (!whole_ || numel(s) != 24) return;
        append("reshape", {a}, {Shape{2, 3, 4}});
        append("relu", {pool_.back()});
        const ValueId y = pool_.back();
        append("max_pool", {y}, {Dims{2}, Dims{int64_t(1 + pick(2))}, Dims{}, Dims{}, false});
        const ValueId where = pool_.back();
        append("neg", {pool_[pool_.size() - 2]});
        append("max_pool_grad", {pool_.back(), where}, {Dims{4}});
        return append("relu_grad", {pool_.back(), y});
      }
      case 16: case 17: {  // a table read at random rows, its gradient beside another
        if (!whole_ || s.size() != 2 || s[0] != 4) return;
        ValueId table = partner(a);
        if (!(type(table).shape == s)) return;
        append("embedding_grad", {a, index_}, {int64_t(4)});
        ValueId rows = pool_.back();
        return append("add", pick(2) ? std::vector{table, rows} : std::vector{rows, table});
      }
      default: {
        if (s.empty() || s[0] < 2) return;
        return append("slice", {a}, {int64_t(0), int64_t(1), s[0], int64_t(1)});
      }
    }
  }

  // The result of an op that hands its result on tile by tile.
  ValueId tiled(ValueId a) {
    const Shape s = type(a).shape;
    const int64_t one = 1;
    const Attrs norm{one, 1e-5};
    if (whole_ && numel(s) == 24 && pick(4) == 0) {
      append("reshape", {a}, {Shape{2, 3, 4}});
      append("conv", {pool_.back(), pool_.back()}, {Dims{}, Dims{1, 1}, Dims{}, one});
    } else if (s.size() == 2 && pick(2)) {
      append("linear", {a, a});
    } else if (s.empty()) {
      return a;
    } else if (pick(2)) {
      append("softmax", {a}, {int64_t(-1)});
    } else {
      append("layer_norm", {a}, norm);
      const ValueId mean = pool_[pool_.size() - 2], rstd = pool_.back();
      if (pick(2)) return pool_[pool_.size() - 3];
      append("layer_norm_grad", {pool_[pool_.size() - 3], a, no_value, mean, rstd},
             {one, 1e-5, false, false});
      return pool_[pool_.size() - 3];
    }
    return pool_.back();
  }
  void rows(ValueId v) {
    for (int n = 1 + pick(3); n > 0; --n) {
      if (pick(2)) append(pick(2) ? "tanh" : "relu", {v});
      else append(pick(2) ? "sub" : "mul", {v, partner(v)});
      v = pool_.back();
    }
  }

  const int64_t a_, b_;
  const bool whole_;
  std::mt19937 rng_;
  std::vector<ValueId> pool_;
  ValueId index_;
};

bool equal_bits(const Tensor& a, const Tensor& b) {
  if (!(a.type() == b.type())) return false;
  Tensor x = a.is_contiguous() ? a : apply(op("copy"), {a}), y = b.is_contiguous() ? b : apply(op("copy"), {b});
  return std::memcmp(x.raw(), y.raw(), size_t(x.type().bytes())) == 0;
}
bool equal_bits(const Tensors& a, const Tensors& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!equal_bits(a[i], b[i])) return false;
  return true;
}

int n_graphs() {
  const char* n = std::getenv("SUAN_RANDOM_GRAPHS");
  return n ? std::atoi(n) : 10000;
}

TEST(RandomGraphs, PlannedEqualsInterpreted) {
  std::map<std::string, int> fired;
  int n = n_graphs(), n_recomputed = 0;
  for (int seed = 0; seed < n; ++seed) {
    RandomGraph r{uint32_t(seed)};
    r.g.verify("generation");
    Tensors in = r.inputs();
    Tensors want = interpret(r.g, in);
    Graph g = r.g;
    for (auto& [name, count] : optimize(g).rewrites) fired[name] += count > 0;
    ASSERT_TRUE(equal_bits(interpret(g, in), want)) << "interpreted, seed " << seed << "\n" << r.g.print() << g.print();
    Graph apart = g;
    if (split_epilogues(apart)) {
      apart.verify("split");
      ASSERT_TRUE(equal_bits(interpret(apart, in), want)) << "split, seed " << seed << "\n" << apart.print();
    }
    RunPool pool(std::make_shared<Plan>(g, PlanOptions{}));
    ASSERT_TRUE(equal_bits(pool(in), want)) << "planned, seed " << seed << "\n" << r.g.print() << g.print();
    ASSERT_TRUE(equal_bits(pool(in), want)) << "planned twice, seed " << seed;
    // Before fusion there are more values to drop.
    Graph small = r.g;
    PeakEstimate peak = estimate_peak(small);
    if (recompute_pass(small, peak.bytes - 1) > 0) {
      ++n_recomputed;
      small.verify("recompute");
      RunPool again(std::make_shared<Plan>(small, PlanOptions{}));
      ASSERT_TRUE(equal_bits(again(in), want)) << "recomputed, seed " << seed << "\n" << g.print() << small.print();
    }
  }
  fired["recompute"] = n_recomputed;
  for (const char* pass : {"fold", "cse", "rewrite", "dce", "accumulate", "fuse", "epilogue", "recompute"}) {
    std::printf("pass %-10s fired in %d of %d graphs\n", pass, fired[pass], n);
    EXPECT_GE(fired[pass], n / 20) << pass;
  }
}

// ---- programs whose sizes stay open --------------------------------------------------------------------------

bool same_operators(const Graph& a, const Graph& b) {
  if (a.nodes.size() != b.nodes.size() || a.inputs != b.inputs || a.outputs != b.outputs) return false;
  for (size_t i = 0; i < a.nodes.size(); ++i)
    if (a.nodes[i].op != b.nodes[i].op || a.nodes[i].in != b.nodes[i].in) return false;
  return true;
}

// What the passes made of samples, laid out at other sizes, equals the interpreter there.
TEST(RandomGraphs, OpenProgramsEqualInterpreted) {
  const int n = n_graphs() / 5;
  int opened = 0, ran = 0;
  for (int seed = 0; seed < n; ++seed) {
    std::vector<OpenProgram::Sample> samples;
    for (int k = 0; k < OpenProgram::n_samples; ++k) {
      const std::vector<int64_t> sizes = OpenProgram::sample_sizes(k, 2);
      samples.push_back({sizes, RandomGraph(uint32_t(seed), sizes[0], sizes[1]).g, {}});
    }
    const Graph first = samples[0].graph;
    for (OpenProgram::Sample& s : samples) optimize(s.graph, {.open_sizes = true});
    const std::unique_ptr<OpenProgram> program = OpenProgram::from(std::move(samples));
    if (!program) continue;
    ++opened;
    for (auto [rows, cols] : {std::pair<int64_t, int64_t>{9, 5}, {2, 3}, {6, 6}, {33, 64}}) {
      RandomGraph r{uint32_t(seed), rows, cols};
      if (!same_operators(r.g, first)) continue;   // the generator itself decides by sizes
      const std::optional<Graph> g = program->at(std::vector<int64_t>{rows, cols});
      if (!g) continue;
      ++ran;
      g->verify("opening");
      const Tensors in = r.inputs(), want = interpret(r.g, in);
      RunPool pool(std::make_shared<Plan>(*g, PlanOptions{}));
      ASSERT_TRUE(equal_bits(pool(in), want)) << "seed " << seed << " at " << rows << "x" << cols << "\n" << g->print();
    }
  }
  std::printf("%d of %d graphs opened, %d runs\n", opened, n, ran);
  EXPECT_GE(opened * 2, n);
  EXPECT_GE(ran, n);
}

Graph reshaped(int64_t n, int64_t rows) {
  Graph g;
  const ValueId x = g.add_input({DType::f32, {n, 6}, {}});
  g.append(op("reshape"), {x}, {Shape{rows, n * 6 / rows}});
  g.outputs = {1};
  return g;
}
std::vector<OpenProgram::Sample> reshaped_samples(int64_t (*rows)(int64_t)) {
  std::vector<OpenProgram::Sample> samples;
  for (int k = 0; k < OpenProgram::n_samples; ++k) {
    const std::vector<int64_t> sizes = OpenProgram::sample_sizes(k, 1);
    samples.push_back({sizes, reshaped(sizes[0], rows(sizes[0])), {{sizes[0], 40}}});
  }
  return samples;
}

TEST(OpenProgram, GivesTheGraphOfAnySize) {
  const auto program = OpenProgram::from(reshaped_samples([](int64_t n) { return 2 * n; }));
  ASSERT_TRUE(program);
  for (int64_t n : {2, 3, 17, 39}) {
    const std::optional<Graph> g = program->at(std::vector<int64_t>{n});
    ASSERT_TRUE(g) << n;
    EXPECT_TRUE(*g == reshaped(n, 2 * n)) << g->print();
  }
}

TEST(OpenProgram, RefusesWhatItCannotKnow) {
  const auto program = OpenProgram::from(reshaped_samples([](int64_t n) { return 2 * n; }));
  ASSERT_TRUE(program);
  for (int64_t n : {int64_t(0), int64_t(1), int64_t(40), int64_t(1) << 62})  // special, special, compares otherwise, too large
    EXPECT_FALSE(program->at(std::vector<int64_t>{n})) << n;
  // A number that rounds has no formula; other operators are another program.
  EXPECT_FALSE(OpenProgram::from(reshaped_samples([](int64_t n) { return n % 4 == 1 ? 2 * n : 3 * n; })));
  auto other = reshaped_samples([](int64_t n) { return 2 * n; });
  other[2].graph.append(op("neg"), {1}, {});
  other[2].graph.outputs = {2};
  EXPECT_FALSE(OpenProgram::from(std::move(other)));
}

// ---- in the optimised graph, the wrong rewrite that each pass could have made ---------------------------------------------------------------------

// Counts how often the comparison above notices a fault; `breaks` returns whether it changed the graph.
template <class F>
void expect_caught(const char* pass, F&& breaks) {
  int tried = 0, caught = 0;
  for (uint32_t seed = 0; seed < 4000 && tried < 50; ++seed) {
    RandomGraph r{seed};
    Tensors in = r.inputs();
    Tensors want = interpret(r.g, in);
    Graph g = r.g;
    optimize(g);
    if (!breaks(g)) continue;
    ++tried;
    try {
      g.verify(pass);
      RunPool pool(std::make_shared<Plan>(g, PlanOptions{}));
      caught += !equal_bits(pool(in), want);
    } catch (const Error&) {
      ++caught;
    }
  }
  ASSERT_GT(tried, 10) << pass;
  // A fault in a value that is multiplied by zero or clipped away shows nothing: most must be seen.
  EXPECT_GE(caught, tried / 2) << pass << ": caught " << caught << " of " << tried;
}

TEST(SeededFaults, FoldWithWrongConstantIsCaught) {
  expect_caught("fold", [](Graph& g) {
    for (auto& [v, t] : g.constants)
      if (t.dtype() == DType::f32 && t.numel() == 1) {
        float x = float(t.item());
        g.constants[v] = Tensor::scalar(double(x) + 0.5, DType::f32);
        return true;
      }
    return false;
  });
}

TEST(SeededFaults, CseMergingDifferentNodesIsCaught) {
  expect_caught("cse", [](Graph& g) {
    for (size_t i = 0; i < g.outputs.size(); ++i)
      for (size_t v = 0; v < g.values.size(); ++v)
        if (ValueId(v) != g.outputs[i] && g.values[v].type == g.values[size_t(g.outputs[i])].type &&
            g.values[v].type.bytes() > 0) {
          g.outputs[i] = ValueId(v);
          return true;
        }
    return false;
  });
}

TEST(SeededFaults, DceRemovingALiveNodeIsCaught) {
  expect_caught("dce", [](Graph& g) {
    if (g.nodes.empty()) return false;
    g.nodes.erase(g.nodes.begin());
    return true;
  });
}

TEST(SeededFaults, AccumulateAddingToTheWrongTableIsCaught) {
  expect_caught("accumulate", [](Graph& g) {
    for (Node& n : g.nodes) {
      if (n.op->name != "embedding_grad_add") continue;
      if (n.in[0] == n.in[1]) continue;
      std::swap(n.in[0], n.in[1]);  // both have 4 rows: the gradient becomes the table
      return true;
    }
    return false;
  });
}

TEST(SeededFaults, RewriteLosingTheMaskIsCaught) {
  expect_caught("rewrite", [](Graph& g) {
    for (Node& n : g.nodes) {
      if (n.op->name != "max_pool_grad") continue;
      const int pool = g.values[size_t(n.in[1])].producer;
      if (pool < 0 || g.nodes[size_t(pool)].out[0] == n.in[0]) continue;
      n.in[0] = g.nodes[size_t(pool)].out[0];
      return true;
    }
    return false;
  });
}

// In the body of a node of that op, the operands of one row.
bool swap_operands(Graph& g, std::string_view op_name) {
  for (Node& n : g.nodes) {
    if (n.op->name != op_name) continue;
    auto body = std::make_shared<Graph>(*n.attrs.graph(0));
    for (Node& m : body->nodes)
      if ((m.op->name == "sub" || m.op->name == "div") && m.in[0] != m.in[1] &&
          body->values[size_t(m.in[0])].type == body->values[size_t(m.in[1])].type &&
          body->values[size_t(m.in[0])].type.bytes() > 0) {
        std::swap(m.in[0], m.in[1]);
        n.attrs = Attrs{GraphPtr(body)};
        return true;
      }
  }
  return false;
}

TEST(SeededFaults, FuseWithSwappedOperandsIsCaught) {
  expect_caught("fuse", [](Graph& g) { return swap_operands(g, "fused_elementwise"); });
}

TEST(SeededFaults, EpilogueWithSwappedOperandsIsCaught) {
  expect_caught("epilogue", [](Graph& g) { return swap_operands(g, "fused_epilogue"); });
}

TEST(SeededFaults, RecomputeFeedingALateReaderTheWrongValueIsCaught) {
  // The fault that a wrong recompute makes: a late reader gets another early value of the same type.
  expect_caught("recompute", [](Graph& g) {
    for (size_t i = g.nodes.size(); i-- > 0;)
      for (ValueId& v : g.nodes[i].in) {
        if (v == no_value) continue;
        for (ValueId u = 0; u < v; ++u)
          if (u != v && g.values[size_t(u)].type == g.values[size_t(v)].type && g.values[size_t(u)].producer >= 0 &&
              g.values[size_t(v)].type.bytes() > 0) {
            v = u;
            return true;
          }
      }
    return false;
  });
}

// ---- sub-graphs ---------------------------------------------------------------------------------------

GraphPtr affine(double scale, double shift) {
  auto g = std::make_shared<Graph>();
  ValueId x = g->add_input({DType::f32, {3}, {}});
  ValueId a = g->add_constant(Tensor::scalar(scale, DType::f32)), b = g->add_constant(Tensor::scalar(shift, DType::f32));
  int m = g->append(op("mul"), {x, a}, {});
  int s = g->append(op("add"), {g->nodes[size_t(m)].out[0], b}, {});
  g->outputs = {g->nodes[size_t(s)].out[0]};
  return g;
}

Tensor three(float a, float b, float c) {
  Tensor t = Tensor::empty({DType::f32, {3}, {}});
  t.data<float>()[0] = a, t.data<float>()[1] = b, t.data<float>()[2] = c;
  return t;
}

TEST(SubGraphs, CallIfAndLoopRunAndPlan) {
  Graph g;
  ValueId x = g.add_input({DType::f32, {3}, {}}), c = g.add_input({DType::boolean, {}, {}}),
          n = g.add_input({DType::i64, {}, {}});
  int call = g.append(op("call"), {x}, {affine(2, 1)});
  int cond = g.append(op("if"), {c, g.nodes[size_t(call)].out[0]}, {affine(10, 0), affine(-1, 0)});
  auto body = std::make_shared<Graph>();
  body->add_input({DType::i64, {}, {}});
  ValueId carried = body->add_input({DType::f32, {3}, {}});
  int twice = body->append(op("add"), {carried, carried}, {});
  body->outputs = {body->nodes[size_t(twice)].out[0]};
  int loop = g.append(op("loop"), {n, g.nodes[size_t(cond)].out[0]}, {GraphPtr(body), int64_t(1)});
  g.outputs = {g.nodes[size_t(loop)].out[0]};
  g.verify("construction");
  RunPool pool(std::make_shared<Plan>(g, PlanOptions{}));
  for (bool taken : {true, false}) {
    Tensors in = {three(1, 2, 3), Tensor::scalar(taken, DType::boolean), Tensor::scalar_int(3, DType::i64)};
    float k = (taken ? 10.0f : -1.0f) * 8;
    for (const Tensors& out : {interpret(g, in), pool(in)}) {
      EXPECT_EQ(out[0].data<float>()[0], 3 * k);
      EXPECT_EQ(out[0].data<float>()[2], 7 * k);
    }
  }
}

TEST(Verify, NamesWhatIsBroken) {
  Graph g;
  ValueId x = g.add_input({DType::f32, {3}, {}});
  g.append(op("neg"), {x}, {});
  g.outputs = {1};
  g.verify("a test");
  g.values[1].type.shape = {4};
  try {
    g.verify("a test");
    FAIL() << "a wrong type went unnoticed";
  } catch (const InternalError& e) {
    EXPECT_NE(std::string(e.what()).find("after a test: neg"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace suan
