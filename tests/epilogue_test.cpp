// Element-wise rows joined to products, convolutions, norms and softmax: which graphs the pass joins, and
// that the joined node gives the bits of its parts for every dtype, tile, split and operand it admits.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>

#include "core/apply.h"
#include "core/convert.h"
#include "core/dispatch.h"
#include "core/pass.h"
#include "core/plan.h"
#include "core/pool.h"
#include "kernels/cpu/lib/fast_pairs.h"

namespace suan {
namespace {

// A graph under construction; every input is filled with random values.
struct Build {
  Graph g;
  ValueId in(DType t, Shape s) { return g.add_input({t, std::move(s), {}}); }
  std::vector<ValueId> all(const char* name, std::vector<ValueId> args, const Attrs& attrs = {}) {
    const int k = g.append(op(name), std::move(args), attrs);
    return g.nodes[size_t(k)].out;
  }
  ValueId operator()(const char* name, std::vector<ValueId> args, const Attrs& attrs = {}) {
    return all(name, std::move(args), attrs)[0];
  }
  const TensorType& type(ValueId v) const { return g.values[size_t(v)].type; }
};

Tensors random_inputs(const Graph& g) {
  std::mt19937 rng(5);
  std::normal_distribution<double> normal;
  Tensors in;
  for (ValueId v : g.inputs) {
    const TensorType& t = g.values[size_t(v)].type;
    Tensor wide = Tensor::empty({DType::f64, t.shape, {}});
    for (int64_t i = 0; i < wide.numel(); ++i) wide.data<double>()[i] = normal(rng) * 3;
    in.push_back(t.dtype == DType::f64 ? wide : apply(op("cast"), {wide}, {t.dtype}));
  }
  return in;
}

int count(const Graph& g, std::string_view name) {
  int n = 0;
  for (const Node& node : g.nodes) n += node.op->name == name;
  return n;
}

void expect_equal_bits(const Tensors& got, const Tensors& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(got[i].type() == want[i].type()) << what;
    const Tensor x = apply(op("copy"), {got[i]}), y = apply(op("copy"), {want[i]});
    EXPECT_EQ(std::memcmp(x.raw(), y.raw(), size_t(x.type().bytes())), 0) << what << ", output " << i;
  }
}

// Every part of the graph joins into `n` nodes, and the plan gives the bits of the graph as it was.
void expect_joined(const Build& b, int n, const std::string& what) {
  const Tensors in = random_inputs(b.g);
  const Tensors want = interpret(b.g, in);
  Graph g = b.g;
  EXPECT_EQ(epilogue_pass(g), n) << what;
  g.verify(what);
  RunPool pool(std::make_shared<Plan>(g, PlanOptions{}));
  const int threads = num_threads();
  for (int t : {1, 3}) {
    set_num_threads(t);
    expect_equal_bits(pool(in), want, what);
  }
  set_num_threads(threads);
  expect_equal_bits(interpret(g, in), want, what);
}

// Rows over `v` with every kind of operand: whole, per column, per row, one.
void add_rows(Build& b, ValueId v, int kind) {
  const DType t = b.type(v).dtype;
  const Shape s = b.type(v).shape;
  Shape column = s, line = s;
  column.back() = 1;
  for (int i = 0; i + 1 < s.size(); ++i) line[i] = 1;
  switch (kind) {
    case 0: b.g.outputs = {b("relu", {v})}; return;
    case 1: b.g.outputs = {v, b("sub", {b.in(t, s), v})}; return;
    case 2: b.g.outputs = {b("sub", {v, b.in(t, {s.back()})})}; return;
    case 3: b.g.outputs = {b("mul", {b.in(t, column), v})}; return;
    case 4: b.g.outputs = {b("sub", {v, b.in(t, line)}), b("add", {v, b.in(t, {})})}; return;
    default: b.g.outputs = {b("cast", {v}, {t == DType::f64 ? DType::f32 : DType::f64})};
  }
}
constexpr int n_kinds = 6;

TEST(Epilogue, ProductsOfEveryDtypeAndShape) {
  struct Case { int64_t m, n, k; };
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i32})
    for (auto [m, n, k] : {Case{5, 7, 3}, Case{70, 530, 40}, Case{33, 40, 900}, Case{8, 8, 5000}, Case{9, 4, 0}})
      for (int kind = 0; kind < n_kinds; ++kind) {
        const std::string what = fmt::format("{} {}x{}x{} rows {}", name(t), m, n, k, kind);
        Build b;
        add_rows(b, b("matmul", {b.in(t, {m, k}), b.in(t, {k, n})}), kind);
        expect_joined(b, 1, what);
      }
}

TEST(Epilogue, LinearWithBiasAndBatches) {
  for (DType t : {DType::f32, DType::bf16})
    for (bool biased : {false, true}) {
      Build b;
      const ValueId x = b.in(t, {3, 21, 40}), w = b.in(t, {65, 40}), bias = biased ? b.in(t, {65}) : no_value;
      const ValueId y = b("linear", {x, w, bias});
      b.g.outputs = {y, b("add", {b("gelu_tanh", {y}), b.in(t, {3, 21, 65})})};
      fuse_pass(b.g);
      expect_joined(b, 1, fmt::format("linear {} bias {}", name(t), biased));
    }
}

TEST(Epilogue, BatchedProductsAndBroadcastBatches) {
  Build b;
  const ValueId y = b("matmul", {b.in(DType::f32, {2, 1, 9, 12}), b.in(DType::f32, {3, 12, 10})});
  b.g.outputs = {b("sub", {y, b.in(DType::f32, {2, 3, 9, 10})})};
  expect_joined(b, 1, "outer batches");
}

TEST(Epilogue, ThroughAReshapeWhoseOtherReadersFollow) {
  Build b;
  const ValueId y = b("matmul", {b.in(DType::f32, {24, 8}), b.in(DType::f32, {8, 10})});
  const ValueId folded = b("reshape", {y}, {Shape{4, 6, 10}});
  const ValueId early = b("permute", {folded}, {Dims{1, 0, 2}});
  const ValueId rows = b("sub", {b.in(DType::f32, {4, 6, 10}), folded});
  b.g.outputs = {rows, b("sum", {early}, {Dims{0}, false}), b("neg", {y})};
  expect_joined(b, 1, "reshape");
}

TEST(Epilogue, StridedOperands) {
  Build b;
  const ValueId y = b("layer_norm", {b("permute", {b.in(DType::f32, {40, 30})}, {Dims{1, 0}})}, {int64_t(1), 1e-5});
  b.g.outputs = {b("sub", {y, b("permute", {b.in(DType::f32, {40, 30})}, {Dims{1, 0}})})};
  expect_joined(b, 1, "strided");
}

TEST(Epilogue, Convolutions) {
  for (DType t : {DType::f32, DType::bf16, DType::f64})
    for (int64_t groups : {1, 2})
      for (int kind : {0, 1, 5}) {
        Build b;
        const ValueId x = b.in(t, {2, 4, 17, 19}), w = b.in(t, {6, 4 / groups, 3, 3}), bias = b.in(t, {6});
        add_rows(b, b("conv", {x, w, bias}, {Dims{}, Dims{1, 1, 1, 1}, Dims{}, groups}), kind);
        expect_joined(b, 1, fmt::format("conv {} groups {} rows {}", name(t), groups, kind));
        Build c;
        const ValueId g = c.in(t, {2, 6, 17, 19}), v = c.in(t, {6, 4 / groups, 3, 3});
        add_rows(c, c("conv_input_grad", {g, v}, {Dims{17, 19}, Dims{}, Dims{1, 1, 1, 1}, Dims{}, groups}), kind);
        expect_joined(c, 1, fmt::format("conv_input_grad {} groups {} rows {}", name(t), groups, kind));
      }
}

// conv_blocked does common endings itself before it stores: the bits of the rows one by one, NaN and -0 too.
TEST(Epilogue, EndingsOfBlockedConvolutions) {
  struct Case {
    Shape x, weight;
    Dims kernel, strides, padding;
    int64_t groups;
  };
  const Case cases[] = {
      {{1, 2, 7, 7, 16}, {3, 32 * 9, 16}, {3, 3}, {1, 1}, {1, 1, 1, 1}, 1},
      {{1, 20, 5, 9, 16}, {3, 320, 16}, {1, 1}, {1, 1}, {0, 0, 0, 0}, 1},      // more than one block of k
      {{2, 2, 9, 8, 16}, {2, 32, 16}, {1, 1}, {2, 2}, {0, 0, 0, 0}, 1},
      {{1, 3, 17, 31}, {1, 27, 16}, {3, 3}, {2, 2}, {1, 1, 1, 1}, 1},
      {{1, 2, 6, 19, 16}, {2, 9, 16}, {3, 3}, {1, 1}, {1, 1, 1, 1}, 32},
      {{1, 2, 6, 18, 16}, {2, 9, 16}, {3, 3}, {2, 2}, {0, 0, 1, 1}, 32},
      {{1, 2, 5, 1, 16}, {2, 9, 16}, {3, 3}, {1, 1}, {1, 1, 1, 1}, 32},
      {{1, 1, 9, 9, 16}, {1, 25, 16}, {5, 5}, {2, 1}, {2, 2, 2, 2}, 16},
  };
  using Rows = ValueId (*)(Build&, ValueId);
  const auto one = [](Build& b) { return b.in(DType::f32, {}); };
  static const auto whole = [](Build& b, ValueId v) { return b.in(DType::f32, b.type(v).shape); };
  static const auto bound = one;
  const Rows endings[] = {
      [](Build& b, ValueId v) { return b("relu", {v}); },
      [](Build& b, ValueId v) { return b("add", {v, whole(b, v)}); },
      [](Build& b, ValueId v) { return b("relu", {b("add", {whole(b, v), v})}); },
      [](Build& b, ValueId v) { return b("minimum", {b("maximum", {v, bound(b)}), bound(b)}); },
      [](Build& b, ValueId v) { return b("maximum", {b("add", {v, whole(b, v)}), bound(b)}); },
      [](Build& b, ValueId v) { return b("minimum", {v, bound(b)}); },
      // No such endings:
      [](Build& b, ValueId v) { return b("add", {b("relu", {v}), whole(b, v)}); },
      [](Build& b, ValueId v) { return b("maximum", {b("minimum", {v, bound(b)}), bound(b)}); },
      [](Build& b, ValueId v) { return b("maximum", {bound(b), v}); },
      [](Build& b, ValueId v) { return b("mul", {v, whole(b, v)}); },
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Case& c : cases)
    for (const bool biased : {false, true})
      for (size_t k = 0; k < std::size(endings); ++k) {
        Build b;
        std::vector<ValueId> in{b.in(DType::f32, c.x), b.in(DType::f32, c.weight)};
        if (biased) in.push_back(b.in(DType::f32, {c.weight[0], 16}));
        const ValueId y = b("conv_blocked", in, {c.kernel, c.strides, c.padding, Dims{}, c.groups});
        b.g.outputs = {endings[k](b, y)};
        fuse_pass(b.g);
        const std::string what = to_string(c.x) + " " + to_string(c.weight) + ", ending " + std::to_string(k);
        expect_joined(b, 1, what);
        // A NaN, zeros of both signs and a bound of NaN.
        Tensors values = random_inputs(b.g);
        values[0].data<float>()[3] = nan;
        for (size_t v = 2; v < values.size(); ++v) {
          float* at = values[v].data<float>();
          at[0] = v % 2 ? -0.f : nan;
        }
        std::fill_n(values[1].data<float>(), values[1].numel() / 2, -0.f);
        const Tensors want = interpret(b.g, values);
        Graph g = b.g;
        epilogue_pass(g);
        RunPool pool(std::make_shared<Plan>(g, PlanOptions{}));
        const Tensors got = pool(values);
        for (int64_t i = 0; i < want[0].numel(); ++i) {
          const float x = got[0].data<float>()[i], z = want[0].data<float>()[i];
          ASSERT_TRUE((x != x && z != z) || std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(z)) << what << " at " << i;
        }
      }
}

// Rows after a product of bf16 that have loops of their own, beside some that almost do: whole and partial vectors.
TEST(Epilogue, rows_of_bf16_products_keep_their_bits) {
  for (const int64_t n : {1, 16, 33, 96}) {
    for (const int64_t k : {8, 130}) {
      const auto product = [&](Build& b) {
        return b("linear", {b.in(DType::bf16, {37, k}), b.in(DType::bf16, {n, k}), b.in(DType::bf16, {n})});
      };
      const auto check = [&](Build& b, const char* what) {
        fuse_pass(b.g);
        expect_joined(b, 1, std::string(what) + " of " + std::to_string(n));
      };
      for (const char* row : {"gelu", "gelu_tanh"})
        for (const DType to : {DType::bf16, DType::f16}) {
          Build b;
          const ValueId wide = b("cast", {product(b)}, {DType::f32});
          b.g.outputs = {b("cast", {b(row, {wide})}, {to})};
          check(b, row);
        }
      for (const bool first : {false, true})
        for (const Shape& other : {Shape{37, n}, Shape{n}}) {
          Build b;
          const ValueId wide = b("cast", {product(b)}, {DType::f32}), more = b.in(DType::f32, other);
          b.g.outputs = {first ? b("add", {more, wide}) : b("add", {wide, more})};
          check(b, "add");
        }
      {
        Build b;
        const ValueId wide = b("cast", {product(b)}, {DType::f32});
        b.g.outputs = {b("add", {wide, wide})};
        check(b, "doubled");
      }
      Build b;
      const ValueId norm = b("layer_norm", {b.in(DType::f32, {37, n}), b.in(DType::f32, {n}), b.in(DType::f32, {n})});
      b.g.outputs = {norm, b("cast", {norm}, {DType::bf16})};
      check(b, "rounded");
    }
  }
}

// So does conv_pairs, with each value rounded to bf16 as its row would round it.
TEST(Epilogue, EndingsOfConvolutionsInPairs) {
  using Rows = ValueId (*)(Build&, ValueId);
  static const auto one = [](Build& b) { return b.in(DType::bf16, {}); };
  static const auto whole = [](Build& b, ValueId v) { return b.in(DType::bf16, b.type(v).shape); };
  const Rows endings[] = {
      [](Build& b, ValueId v) { return b("relu", {v}); },
      [](Build& b, ValueId v) { return b("relu", {b("add", {whole(b, v), v})}); },
      [](Build& b, ValueId v) { return b("minimum", {b("maximum", {v, one(b)}), one(b)}); },
      [](Build& b, ValueId v) { return b("mul", {v, whole(b, v)}); },
  };
  const Dims same{1, 1, 1, 1}, none{};
  for (size_t k = 0; k < std::size(endings); ++k) {
    const auto check = [&](const char* op, const Shape& x, const Shape& weight, const Attrs& attrs) {
      Build b;
      const ValueId y = b(op, {b.in(DType::bf16, x), b.in(DType::bf16, weight), b.in(DType::f32, {weight[0], 16})}, attrs);
      const TensorType out = b.type(y);
      std::vector<TensorType> in;
      for (ValueId v : b.g.inputs) in.push_back(b.type(v));
      if (!kernel_takes(suan::op(op), attrs, in, {&out, 1})) return;   // a processor whose pairs are slow: no kernel to join
      b.g.outputs = {endings[k](b, y)};
      fuse_pass(b.g);
      expect_joined(b, 1, std::string(op) + ", ending " + std::to_string(k));
    };
    check("conv_pairs", {1, 2, 7, 7, 16}, {3, 16 * 9, 16, 2}, {Dims{3, 3}, none, same, none, int64_t(1)});
    check("conv_pairs", {1, 3, 5, 9, 16}, {2, 24, 16, 2}, {Dims{1, 1}, none, none, none, int64_t(1)});
    check("conv_pairs", {1, 2, 6, 19, 16}, {2, 9, 16, 1}, {Dims{3, 3}, none, same, none, int64_t(32)});
  }
}

TEST(Epilogue, NormsAndSoftmax) {
  const int64_t one = 1;
  for (DType t : {DType::f32, DType::f64})
    for (int kind = 0; kind < n_kinds; ++kind) {
      const Shape s{3, 50, 70};
      auto check = [&](Build& b, ValueId v, const char* what) {
        add_rows(b, v, kind);
        fuse_pass(b.g);
        expect_joined(b, 1, fmt::format("{} {} rows {}", what, name(t), kind));
      };
      Build b;
      check(b, b("layer_norm", {b.in(t, s), b.in(t, {70}), b.in(t, {70})}, {one, 1e-5}), "layer_norm");
      Build c;
      check(c, c("rms_norm", {c.in(t, s), c.in(t, {70})}, {one, 1e-5}), "rms_norm");
      Build d;
      const auto grads = d.all("layer_norm_grad", {d.in(t, s), d.in(t, s), d.in(t, {70}), d.in(t, {3, 50}), d.in(t, {3, 50})},
                               {one, 1e-5, true, true});
      check(d, grads[0], "layer_norm_grad");
      Build e;
      check(e, e("softmax", {e.in(t, s)}, {int64_t(-1)}), "softmax");
      Build f;
      check(f, f("softmax_grad", {f.in(t, s), f.in(t, s)}, {int64_t(-1)}), "softmax_grad");
      Build h;
      check(h, h("log_softmax_grad", {h.in(t, s), h.in(t, s)}, {int64_t(-1)}), "log_softmax_grad");
    }
}

TEST(Epilogue, OtherOutputsOfTheFirstOpStay) {
  Build b;
  const auto out = b.all("layer_norm", {b.in(DType::f32, {20, 30})}, {int64_t(1), 1e-5});
  b.g.outputs = {b("neg", {out[0]}), out[2], out[1]};
  expect_joined(b, 1, "mean and rstd");
}

// What has to stay apart does: no join, the same bits.
TEST(Epilogue, LeavesAloneWhatItCannotJoin) {
  {
    Build b;  // read before the rows
    const ValueId y = b("matmul", {b.in(DType::f32, {6, 8}), b.in(DType::f32, {8, 10})});
    const ValueId total = b("sum", {y}, {Dims{}, false});
    b.g.outputs = {b("sub", {y, total})};
    expect_joined(b, 0, "a reader in between");
  }
  {
    Build b;  // read by the rows themselves in another order
    const ValueId y = b("matmul", {b.in(DType::f32, {9, 8}), b.in(DType::f32, {8, 9})});
    b.g.outputs = {b("sub", {y, b("permute", {y}, {Dims{1, 0}})})};
    expect_joined(b, 0, "the result and its transpose");
  }
  {
    Build b;  // an operand that is neither whole nor a row nor a column
    const ValueId y = b("matmul", {b.in(DType::f32, {2, 3, 8}), b.in(DType::f32, {8, 10})});
    b.g.outputs = {b("sub", {y, b.in(DType::f32, {1, 3, 10})})};
    expect_joined(b, 0, "a periodic operand");
  }
  {
    Build b;  // softmax along another axis has no rows
    b.g.outputs = {b("neg", {b("softmax", {b.in(DType::f32, {6, 8})}, {int64_t(0)})})};
    expect_joined(b, 0, "columns");
  }
  {
    Build b;  // the result broadcasts
    const ValueId y = b("matmul", {b.in(DType::f32, {1, 8}), b.in(DType::f32, {8, 10})});
    b.g.outputs = {b("sub", {b.in(DType::f32, {4, 10}), y})};
    expect_joined(b, 0, "broadcast result");
  }
}

TEST(Rewrite, MaskMovesBelowThePooling) {
  for (int64_t stride : {1, 2}) {
    Build b;
    const ValueId y = b("relu", {b.in(DType::f32, {2, 3, 9, 10})});
    const auto pooled = b.all("max_pool", {y}, {Dims{2, 2}, Dims{stride, stride}, Dims{}, Dims{}, false});
    const ValueId g = b.in(DType::f32, b.type(pooled[0]).shape);
    b.g.outputs = {pooled[0], b("relu_grad", {b("max_pool_grad", {g, pooled[1]}, {Dims{9, 10}}), y})};
    const Tensors in = random_inputs(b.g);
    const Tensors want = interpret(b.g, in);
    Graph after = b.g;
    EXPECT_EQ(rewrite_pass(after), 1);
    dce_pass(after);
    after.verify("rewrite");
    EXPECT_EQ(count(after, "max_pool_grad"), 1);
    EXPECT_EQ(count(after, "relu_grad"), 1);
    expect_equal_bits(interpret(after, in), want, fmt::format("stride {}", stride));
  }
}

TEST(Rewrite, ClippingMovesIntoTheStep) {
  for (DType t : {DType::f32, DType::bf16}) {
    Build b;
    const Shape s{33, 50};
    const ValueId param = b.in(t, s), grad = b.in(t, s), mean = b.in(t, s), square = b("square", {b.in(t, s)});
    const ValueId lr = b.g.add_constant(Tensor::scalar(0.01, DType::f32)), count = b.g.add_constant(Tensor::scalar(3, DType::f32));
    const ValueId scaled = b("mul", {grad, b.in(t, {})});
    b.g.outputs = b.all("adamw_step", {param, scaled, mean, square, lr, count}, {0.9, 0.99, 1e-8, 0.1});
    const Tensors in = random_inputs(b.g);
    const Tensors want = interpret(b.g, in);
    Graph after = b.g;
    EXPECT_EQ(rewrite_pass(after), t == DType::f32 ? 1 : 0);
    dce_pass(after);
    after.verify("rewrite");
    EXPECT_EQ(suan::count(after, "mul"), t == DType::f32 ? 0 : 1);
    RunPool pool(std::make_shared<Plan>(after, PlanOptions{}));
    expect_equal_bits(pool(in), want, std::string(name(t)));
  }
}

// A permuted result that is copied, and parts of a cat, are made where they belong: no step moves them.
TEST(Plan, ValuesAreMadeWhereACopyOrCatWouldPutThem) {
  auto check = [](const Build& b, size_t n_steps, const char* what) {
    const Tensors in = random_inputs(b.g);
    const Tensors want = interpret(b.g, in);
    auto plan = std::make_shared<Plan>(b.g, PlanOptions{});
    EXPECT_EQ(plan->steps().size(), n_steps) << what;
    RunPool pool(plan);
    expect_equal_bits(pool(in), want, what);
  };
  const Shape heads{2, 3, 40, 8};
  const Dims order{0, 2, 1, 3};
  auto attention = [&](Build& b) {
    return b.all("attention", {b.in(DType::f32, heads), b.in(DType::f32, heads), b.in(DType::f32, heads)}, {true});
  };
  {
    Build b;
    const auto out = attention(b);
    const ValueId rows = b("copy", {b("permute", {out[0]}, {order})});
    b.g.outputs = {b("linear", {b("reshape", {rows}, {Shape{80, 24}}), b.in(DType::f32, {5, 24})}), out[1]};
    check(b, 2, "a copy");
  }
  {
    Build b;
    const auto out = attention(b);
    const auto grads = b.all("attention_grad", {b.in(DType::f32, heads), b.in(DType::f32, heads), b.in(DType::f32, heads),
                                                b.in(DType::f32, heads), no_value, out[0], out[1]}, {true});
    std::vector<ValueId> parts;
    for (ValueId v : grads) parts.push_back(b("reshape", {b("permute", {v}, {order})}, {Shape{2, 40, 1, 3, 8}}));
    const ValueId joined = b("cat", parts, {int64_t(2)});
    b.g.outputs = {joined, b("sum", {joined}, {Dims{0}, false})};
    check(b, 3, "a cat");
  }
  {
    Build b;  // one part is an input: it alone is copied
    const ValueId x = b.in(DType::f32, {6, 5});
    const ValueId made = b("permute", {b("tanh", {b.in(DType::f32, {5, 4})})}, {Dims{1, 0}});
    b.g.outputs = {b("cat", {x, made}, {int64_t(0)})};
    check(b, 2, "one part made, one copied");
  }
  {
    Build b;  // read in its own order as well, and changed afterwards
    const ValueId made = b("tanh", {b.in(DType::f32, {5, 4})});
    const ValueId moved = b("copy", {b("permute", {made}, {Dims{1, 0}})});
    b.g.outputs = {b("exp", {moved}), b("neg", {made})};
    check(b, 3, "two readers");
  }
  {
    Build b;  // bf16 attention writes contiguous results only where it goes through float32
    const ValueId q = b.in(DType::bf16, heads);
    b.g.outputs = {b("exp", {b("copy", {b("permute", {b("attention", {q, q, q}, {true})}, {order})})})};
    bool pairs = false;
#if SUAN_AVX512   // the sanitizer builds do not hold these kernels
    const char* asked = std::getenv("SUAN_ISA");
    pairs = __builtin_cpu_supports("avx512bw") && (!asked || std::string(asked) != "avx2") && cpu::avx512::fast_pairs();
#endif
    check(b, pairs ? 2 : 3, "narrow");
  }
}

}  // namespace
}  // namespace suan
