// The hand-written CPU kernels (attention, norms, softmax, cross entropy, optimizers) against plain
// double loops, and their bits against the number of threads. Compiled once per instruction set:
// lib_kernels_avx512_test.cpp includes this file.
#ifndef SUAN_ISA
#define SUAN_ISA avx2
#define SUAN_ISA_TEST(name) TEST(LibKernelsAvx2, name)
#endif

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/pool.h"
#include "kernels/cpu/lib/attention.h"
#include "kernels/cpu/lib/cross_entropy.h"
#include "kernels/cpu/lib/norm.h"
#include "kernels/cpu/lib/optim.h"
#include "kernels/cpu/lib/softmax.h"
#include "lib_kernels_util.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct AttentionCase {
  std::int64_t batch, heads, kv_heads, q_len, kv_len, dim;
  bool causal;
  std::int64_t offset;
  int mask;  // 0 none, 1 additive, 2 keep (rows without any key among them)
};

template <class T>
struct AttentionData {
  AttentionCase c;
  std::vector<T> q, k, v, dout, out, lse, dq, dk, dv, additive;
  std::unique_ptr<bool[]> keep;
  AttentionProblem<T> problem;

  // q is [batch, seq, heads, dim] (strides as in a packed projection), k and v [batch, heads, seq,
  // dim].
  explicit AttentionData(const AttentionCase& spec) : c(spec) {
    const auto nq = c.batch * c.heads * c.q_len * c.dim;
    const auto nk = c.batch * c.kv_heads * c.kv_len * c.dim;
    q = random_values<T>(nq, 1);
    k = random_values<T>(nk, 2);
    v = random_values<T>(nk, 3);
    dout = random_values<T>(nq, 4);
    out.assign(q.size(), T(-9));
    dq.assign(q.size(), T(-9));
    dk.assign(k.size(), T(-9));
    dv.assign(k.size(), T(-9));
    lse.assign(static_cast<std::size_t>(c.batch * c.heads * c.q_len), T(-9));
    problem = {c.batch,
               c.heads,
               c.kv_heads,
               c.q_len,
               c.kv_len,
               c.dim,
               T(1) / std::sqrt(static_cast<T>(c.dim)),
               c.causal,
               c.offset,
               {}};
    const auto pairs = static_cast<std::size_t>(c.q_len * c.kv_len);
    AttentionMask<T>& m = problem.mask;
    m.query = c.kv_len, m.key = 1;  // the same for every batch and head
    if (c.mask == 1) {
      additive = random_values<T>(static_cast<std::int64_t>(pairs), 5);
      additive[3] = -std::numeric_limits<T>::infinity();
      m.additive = additive.data();
    } else if (c.mask == 2) {
      keep = std::make_unique<bool[]>(pairs);
      std::mt19937 random(6);
      for (std::size_t i = 0; i < pairs; ++i) {
        keep[i] = random() % 3 != 0 && i / static_cast<std::size_t>(c.kv_len) != 1;
      }
      m.keep = keep.get();
    }
  }
  // As bf16 widened: numbers of 8 significant bits.
  AttentionData& narrow() {
    for (std::vector<T>* x : {&q, &k, &v, &dout}) {
      for (T& value : *x) {
        const T part = value * T(65537);   // Dekker's split
        value = part - (part - value);
      }
    }
    problem.narrow = true;
    return *this;
  }
  HeadsView<T> by_seq(std::vector<T>& x) {
    return {x.data(), c.q_len * c.heads * c.dim, c.dim, c.heads * c.dim};
  }
  HeadsView<T> by_head(std::vector<T>& x) {
    return {x.data(), c.kv_heads * c.kv_len * c.dim, c.kv_len * c.dim, c.dim};
  }
  static HeadsView<const T> read(HeadsView<T> x) { return {x.data, x.batch, x.head, x.seq}; }

  void run() {
    attention_forward<T>(problem, read(by_seq(q)), read(by_head(k)), read(by_head(v)), by_seq(out),
                         lse.data());
    std::vector<char> space(static_cast<std::size_t>(attention_backward_workspace(problem)));
    attention_backward<T>(problem, read(by_seq(q)), read(by_head(k)), read(by_head(v)),
                          read(by_seq(out)), lse.data(), read(by_seq(dout)), by_seq(dq),
                          by_head(dk), by_head(dv), space.data());
  }

  void check(double tolerance = kTolerance<T>) {
    std::vector<double> want(out.size()), want_lse(lse.size()), gq(q.size()), gk(k.size()),
        gv(v.size());
    std::vector<double> p(static_cast<std::size_t>(c.kv_len)), dp(p.size());
    for (std::int64_t b = 0; b < c.batch; ++b) {
      for (std::int64_t h = 0; h < c.heads; ++h) {
        const std::int64_t kv = h / (c.heads / c.kv_heads);
        for (std::int64_t i = 0; i < c.q_len; ++i) {
          const auto row = static_cast<std::size_t>(((b * c.q_len + i) * c.heads + h) * c.dim);
          const auto key = [&](std::int64_t j) {
            return static_cast<std::size_t>(((b * c.kv_heads + kv) * c.kv_len + j) * c.dim);
          };
          double top = -INFINITY, total = 0, delta = 0;
          for (std::int64_t j = 0; j < c.kv_len; ++j) {
            double s = 0;
            for (std::int64_t d = 0; d < c.dim; ++d)
              s += double(q[row + d]) * double(k[key(j) + d]);
            s *= static_cast<double>(problem.scale);
            const auto at = static_cast<std::size_t>(i * c.kv_len + j);
            if (c.mask == 1) s += static_cast<double>(additive[at]);
            if ((c.mask == 2 && !keep[at]) || (c.causal && j > i + c.offset)) s = -INFINITY;
            p[static_cast<std::size_t>(j)] = s;
            top = std::max(top, s);
          }
          for (double& s : p) s = std::isinf(top) ? 0 : std::exp(s - top), total += s;
          want_lse[static_cast<std::size_t>((b * c.heads + h) * c.q_len + i)] =
              top + std::log(total);
          for (std::int64_t j = 0; j < c.kv_len; ++j) {
            const auto jj = static_cast<std::size_t>(j);
            if (total > 0) p[jj] /= total;
            dp[jj] = 0;
            for (std::int64_t d = 0; d < c.dim; ++d) {
              want[row + d] += p[jj] * double(v[key(j) + d]);
              gv[key(j) + d] += p[jj] * double(dout[row + d]);
              dp[jj] += double(dout[row + d]) * double(v[key(j) + d]);
            }
            delta += p[jj] * dp[jj];
          }
          for (std::int64_t j = 0; j < c.kv_len; ++j) {
            const auto jj = static_cast<std::size_t>(j);
            const double ds = p[jj] * (dp[jj] - delta) * static_cast<double>(problem.scale);
            for (std::int64_t d = 0; d < c.dim; ++d) {
              gq[row + d] += ds * double(k[key(j) + d]);
              gk[key(j) + d] += ds * double(q[row + d]);
            }
          }
        }
      }
    }
    for (std::size_t i = 0; i < lse.size(); ++i) {
      if (std::isinf(want_lse[i])) {
        EXPECT_EQ(lse[i], -std::numeric_limits<T>::infinity());
        lse[i] = 0, want_lse[i] = 0;
      }
    }
    expect_close(out, want, tolerance, "out");
    expect_close(lse, want_lse, tolerance, "lse");
    expect_close(dq, gq, tolerance, "dq");
    expect_close(dk, gk, tolerance, "dk");
    expect_close(dv, gv, tolerance, "dv");
  }
};

const AttentionCase kAttentionCases[] = {
    {2, 3, 3, 64, 64, 32, true, 0, 0},   {1, 2, 2, 130, 130, 64, true, 0, 0},
    {1, 4, 2, 70, 200, 40, false, 0, 0}, {1, 2, 1, 7, 150, 16, true, 143, 0},
    {2, 2, 2, 33, 90, 20, false, 0, 1},  {1, 2, 2, 65, 65, 24, true, 0, 2},
    {1, 2, 2, 40, 129, 8, false, 0, 2},  {1, 1, 1, 1, 1, 1, true, 0, 0},
    {1, 1, 1, 90, 20, 12, true, -5, 0},  {1, 2, 2, 300, 300, 128, true, 0, 0},
    {1, 1, 1, 0, 5, 4, false, 0, 0},     {1, 1, 1, 3, 0, 4, false, 0, 0},
};

SUAN_ISA_TEST(attention_is_right) {
  SUAN_NEEDS_ISA();
  for (const AttentionCase& c : kAttentionCases) {
    SCOPED_TRACE(testing::Message() << c.q_len << "x" << c.kv_len << " dim " << c.dim << " causal "
                                    << c.causal << " mask " << c.mask);
    AttentionData<float> single(c);
    single.run();
    single.check();
    AttentionData<double> wide(c);
    wide.run();
    wide.check();
    AttentionData<float> low(c);
    low.narrow().run();
    low.check(1.0 / 64);
  }
}

SUAN_ISA_TEST(attention_bits_do_not_depend_on_threads) {
  SUAN_NEEDS_ISA();
  const int before = num_threads();
  for (const AttentionCase& c : kAttentionCases) {
    for (const bool narrow : {false, true}) {
      set_num_threads(1);
      AttentionData<float> one(c);
      if (narrow) one.narrow();
      one.run();
      for (const int threads : {2, 3, 8}) {
        set_num_threads(threads);
        AttentionData<float> many(c);
        if (narrow) many.narrow();
        many.run();
        EXPECT_EQ(one.out, many.out);
        EXPECT_EQ(one.dq, many.dq);
        EXPECT_EQ(one.dk, many.dk);
        EXPECT_EQ(one.dv, many.dv);
      }
    }
  }
  set_num_threads(before);
}

SUAN_ISA_TEST(attention_refuses_what_it_cannot_do) {
  SUAN_NEEDS_ISA();
  AttentionData<float> data({1, 3, 2, 4, 4, 8, false, 0, 0});
  EXPECT_THROW(data.run(), ShapeError);
}

template <class T>
void check_norm(std::int64_t rows, std::int64_t n, bool centered) {
  const auto x = random_values<T>(rows * n, 1, 3), dy = random_values<T>(rows * n, 2);
  const auto w = random_values<T>(n, 3), b = random_values<T>(n, 4);
  const std::size_t size = x.size();
  std::vector<T> y(size), dx(size), mean(static_cast<std::size_t>(rows)), rstd(mean.size()),
      dw(w.size()), db(w.size());
  std::vector<char> space(static_cast<std::size_t>(
      norm_backward_workspace(rows, n, static_cast<std::int64_t>(sizeof(T)))));
  const RowsView<const T> xv{x.data(), n}, dyv{dy.data(), n};
  const T eps = T(1e-5);
  if (centered) {
    layer_norm_forward<T>(xv, w.data(), b.data(), eps, rows, n, {y.data(), n}, mean.data(),
                          rstd.data());
    layer_norm_backward<T>(dyv, xv, w.data(), mean.data(), rstd.data(), rows, n, {dx.data(), n},
                           dw.data(), db.data(), space.data());
  } else {
    rms_norm_forward<T>(xv, w.data(), eps, rows, n, {y.data(), n}, rstd.data());
    rms_norm_backward<T>(dyv, xv, w.data(), rstd.data(), rows, n, {dx.data(), n}, dw.data(),
                         space.data());
  }
  std::vector<double> wy(size), wdx(size), wdw(w.size()), wdb(w.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* row = x.data() + r * n;
    const T* g = dy.data() + r * n;
    double m = 0, s = 0, shift = 0, along = 0;
    const double count = static_cast<double>(n);
    for (std::int64_t i = 0; centered && i < n; ++i) m += static_cast<double>(row[i]) / count;
    for (std::int64_t i = 0; i < n; ++i) s += std::pow(static_cast<double>(row[i]) - m, 2) / count;
    const double rs = 1 / std::sqrt(s + static_cast<double>(eps));
    const auto hat = [&](std::int64_t i) { return (static_cast<double>(row[i]) - m) * rs; };
    const auto grad = [&](std::int64_t i) { return double(g[i]) * double(w[std::size_t(i)]); };
    for (std::int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(r * n + i), col = static_cast<std::size_t>(i);
      wy[at] = hat(i) * double(w[col]) + (centered ? double(b[col]) : 0.0);
      wdw[col] += double(g[i]) * hat(i);
      wdb[col] += double(g[i]);
      shift += centered ? grad(i) / count : 0;
      along += grad(i) * hat(i) / count;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      wdx[static_cast<std::size_t>(r * n + i)] = rs * (grad(i) - shift - hat(i) * along);
    }
  }
  expect_close(y, wy, kTolerance<T>, "y");
  expect_close(dx, wdx, kTolerance<T>, "dx");
  expect_close(dw, wdw, kTolerance<T>, "dweight");
  if (centered) expect_close(db, wdb, kTolerance<T>, "dbias");
}

SUAN_ISA_TEST(norms_are_right) {
  SUAN_NEEDS_ISA();
  for (const auto& [rows, n] :
       {std::pair<int, int>{5, 7}, {40, 128}, {3, 384}, {130, 33}, {700, 65}, {2, 5000}, {1, 1}}) {
    for (const bool centered : {true, false}) {
      check_norm<float>(rows, n, centered);
      check_norm<double>(rows, n, centered);
    }
  }
}

template <class T>
void check_softmax(std::int64_t outer, std::int64_t n, std::int64_t inner, bool log_form) {
  auto x = random_values<T>(outer * n * inner, 1, 4);
  const auto dy = random_values<T>(outer * n * inner, 2);
  x[0] = -std::numeric_limits<T>::infinity();
  std::vector<T> y(x.size()), dx(x.size());
  softmax_forward(x.data(), y.data(), outer, n, inner, log_form);
  softmax_backward(dy.data(), y.data(), dx.data(), outer, n, inner, log_form);
  std::vector<double> wy(x.size()), wdx(x.size());
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t c = 0; c < inner; ++c) {
      const auto at = [&](std::int64_t j) {
        return static_cast<std::size_t>((o * n + j) * inner + c);
      };
      double top = -INFINITY, total = 0, sum = 0;
      for (std::int64_t j = 0; j < n; ++j) top = std::max(top, static_cast<double>(x[at(j)]));
      for (std::int64_t j = 0; j < n; ++j) total += std::exp(static_cast<double>(x[at(j)]) - top);
      for (std::int64_t j = 0; j < n; ++j) {
        const double z = static_cast<double>(x[at(j)]) - top - std::log(total);
        wy[at(j)] = log_form ? z : std::exp(z);
        sum += static_cast<double>(dy[at(j)]) * (log_form ? 1 : std::exp(z));
      }
      for (std::int64_t j = 0; j < n; ++j) {
        const double g = static_cast<double>(dy[at(j)]);
        wdx[at(j)] = log_form ? g - std::exp(wy[at(j)]) * sum : wy[at(j)] * (g - sum);
      }
    }
  }
  if (log_form) {
    EXPECT_EQ(y[0], -std::numeric_limits<T>::infinity());
    y[0] = 0, wy[0] = 0;
  }
  expect_close(y, wy, kTolerance<T>, "y");
  expect_close(dx, wdx, kTolerance<T>, "dx");
}

SUAN_ISA_TEST(softmax_is_right_over_any_axis) {
  SUAN_NEEDS_ISA();
  for (const bool log_form : {false, true}) {
    for (const auto& [outer, n, inner] : {std::array<int, 3>{7, 10, 1},
                                          {3, 1000, 1},
                                          {2, 5, 3},
                                          {2, 17, 40},
                                          {70, 64, 1},
                                          {1, 3, 100}}) {
      check_softmax<float>(outer, n, inner, log_form);
      check_softmax<double>(outer, n, inner, log_form);
    }
  }
}

template <class T>
void check_cross_entropy(std::int64_t rows, std::int64_t classes, double smoothing, bool weighted) {
  const auto x = random_values<T>(rows * classes, 1, 3), dloss = random_values<T>(rows, 2);
  auto weights = random_values<T>(classes, 3);
  for (T& w : weights) w = std::fabs(w);
  std::vector<std::int64_t> targets(static_cast<std::size_t>(rows));
  for (std::int64_t r = 0; r < rows; ++r)
    targets[std::size_t(r)] = r % 4 == 1 ? -100 : r * 7 % classes;
  const CrossEntropy<T> problem{rows,
                                classes,
                                classes,
                                targets.data(),
                                -100,
                                static_cast<T>(smoothing),
                                weighted ? weights.data() : nullptr};
  std::vector<T> loss(targets.size()), lse(loss), weight(loss), dx(x);
  cross_entropy_forward(problem, x.data(), loss.data(), lse.data(), weight.data());
  cross_entropy_backward(problem, dx.data(), lse.data(), dloss.data(), 1, dx.data());  // in place
  std::vector<double> want(loss.size()), wdx(x.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* row = x.data() + r * classes;
    const std::int64_t t = targets[std::size_t(r)];
    if (t < 0) continue;
    double top = -INFINITY, total = 0;
    for (std::int64_t c = 0; c < classes; ++c) top = std::max(top, double(row[c]));
    for (std::int64_t c = 0; c < classes; ++c) total += std::exp(double(row[c]) - top);
    const double norm = top + std::log(total);
    for (std::int64_t c = 0; c < classes; ++c) {
      const double w = weighted ? double(weights[std::size_t(c)]) : 1;
      const double share = w * (smoothing / double(classes) + (c == t ? 1 - smoothing : 0));
      want[std::size_t(r)] += share * (norm - double(row[c]));
      for (std::int64_t k = 0; k < classes; ++k) {
        const double p = std::exp(double(row[k]) - norm);
        wdx[std::size_t(r * classes + k)] += double(dloss[std::size_t(r)]) * share * (p - (k == c));
      }
    }
    EXPECT_EQ(weight[std::size_t(r)], weighted ? weights[std::size_t(t)] : T(1));
  }
  expect_close(loss, want, kTolerance<T>, "loss");
  expect_close(dx, wdx, kTolerance<T>, "dlogits");
}

SUAN_ISA_TEST(cross_entropy_is_right) {
  SUAN_NEEDS_ISA();
  for (const double smoothing : {0.0, 0.1}) {
    for (const bool weighted : {false, true}) {
      check_cross_entropy<float>(9, 65, smoothing, weighted);
      check_cross_entropy<double>(6, 10, smoothing, weighted);
      check_cross_entropy<float>(40, 300, smoothing, weighted);
    }
  }
  const std::int64_t bad[2] = {0, 5};
  const float x[10] = {};
  float out[6];
  const CrossEntropy<float> problem{2, 5, 5, bad};
  EXPECT_THROW(cross_entropy_forward(problem, x, out, out + 2, out + 4), IndexError);
}

template <class T>
void check_adamw(bool decoupled) {
  const std::int64_t n = 40001;
  auto p = random_values<T>(n, 1), m = random_values<T>(n, 3, 0.1), v = random_values<T>(n, 4, 0.1);
  const auto g = random_values<T>(n, 2);
  for (T& x : v) x = std::fabs(x);
  const std::vector<double> p0(p.begin(), p.end()), m0(m.begin(), m.end()), v0(v.begin(), v.end());
  const AdamWOptions<T> o{T(0.01),  T(0.9),    T(0.99), T(1e-8),  T(0.1),
                          T(0.271), T(0.0297), T(0.5),  decoupled};
  adamw_step(p.data(), g.data(), m.data(), v.data(), n, o);
  std::vector<double> wp(p0.size()), wm(wp), wv(wp);
  for (std::size_t i = 0; i < wp.size(); ++i) {
    double grad = double(g[i]) * double(o.grad_scale);
    if (!decoupled) grad += double(o.weight_decay) * p0[i];
    wm[i] = double(o.beta1) * m0[i] + (1 - double(o.beta1)) * grad;
    wv[i] = double(o.beta2) * v0[i] + (1 - double(o.beta2)) * grad * grad;
    const double denominator = std::sqrt(wv[i] / double(o.correction2)) + double(o.eps);
    wp[i] = p0[i] * (decoupled ? 1 - double(o.lr) * double(o.weight_decay) : 1) -
            double(o.lr) / double(o.correction1) * wm[i] / denominator;
  }
  expect_close(m, wm, kTolerance<T>, "m");
  expect_close(v, wv, kTolerance<T>, "v");
  expect_close(p, wp, kTolerance<T>, "p");
}

template <class T>
void check_sgd(bool nesterov, bool first) {
  const std::int64_t n = 20011;
  auto p = random_values<T>(n, 1), buffer = random_values<T>(n, 3);
  const auto g = random_values<T>(n, 2);
  std::vector<double> wp(p.begin(), p.end()), wb(buffer.begin(), buffer.end());
  const SgdOptions<T> o{T(0.1), T(0.9), T(0), T(0.01), T(0.5), nesterov, first};
  sgd_step(p.data(), g.data(), buffer.data(), n, o);
  for (std::size_t i = 0; i < wp.size(); ++i) {
    const double grad = double(g[i]) * double(o.grad_scale) + double(o.weight_decay) * wp[i];
    wb[i] = first ? grad : double(o.momentum) * wb[i] + grad;
    wp[i] -= double(o.lr) * (nesterov ? grad + double(o.momentum) * wb[i] : wb[i]);
  }
  expect_close(buffer, wb, kTolerance<T>, "momentum");
  expect_close(p, wp, kTolerance<T>, "p");
}

SUAN_ISA_TEST(optimizers_are_right) {
  SUAN_NEEDS_ISA();
  for (const bool flag : {false, true}) {
    check_adamw<float>(flag);
    check_adamw<double>(flag);
    check_sgd<float>(flag, false);
    check_sgd<double>(flag, true);
  }
}

SUAN_ISA_TEST(sum_of_squares_is_right_and_the_same_for_any_threads) {
  SUAN_NEEDS_ISA();
  const int before = num_threads();
  for (const std::int64_t n : {0, 1, 15, 16384, 16385, 100003}) {
    const auto x = random_values<float>(n, 1);
    std::vector<double> partial(static_cast<std::size_t>(sum_squares_chunks(n)));
    double want = 0;
    for (const float v : x) want += static_cast<double>(v) * static_cast<double>(v);
    set_num_threads(1);
    const double one = sum_squares(x.data(), n, partial.data());
    set_num_threads(3);
    EXPECT_EQ(one, sum_squares(x.data(), n, partial.data()));
    EXPECT_NEAR(one, want, 1e-12 * want);
  }
  set_num_threads(before);
}

// Everything once, for the comparison of instruction sets in the other file.
std::vector<float> run_everything() {
  std::vector<float> all;
  const auto add = [&](const std::vector<float>& v) { all.insert(all.end(), v.begin(), v.end()); };
  for (const AttentionCase& c : kAttentionCases) {
    for (const bool narrow : {false, true}) {
      AttentionData<float> data(c);
      if (narrow) data.narrow();
      data.run();
      add(data.out), add(data.lse), add(data.dq), add(data.dk), add(data.dv);
    }
  }
  const std::int64_t rows = 37, n = 131;
  const auto x = random_values<float>(rows * n, 1, 3), dy = random_values<float>(rows * n, 2);
  const auto w = random_values<float>(n, 3);
  std::vector<float> y(x.size()), dx(x.size()), mean(rows), rstd(rows), dw(n), db(n);
  std::vector<char> space(static_cast<std::size_t>(norm_backward_workspace(rows, n, 4)));
  const RowsView<const float> xv{x.data(), n}, dyv{dy.data(), n};
  layer_norm_forward<float>(xv, w.data(), w.data(), 1e-5f, rows, n, {y.data(), n}, mean.data(),
                            rstd.data());
  layer_norm_backward<float>(dyv, xv, w.data(), mean.data(), rstd.data(), rows, n, {dx.data(), n},
                             dw.data(), db.data(), space.data());
  add(y), add(dx), add(dw), add(db);
  softmax_forward(x.data(), y.data(), rows, n, 1, false);
  softmax_backward(dy.data(), y.data(), dx.data(), rows, n, 1, false);
  add(y), add(dx);
  softmax_forward(x.data(), y.data(), 1, rows, n, true);
  add(y);
  const std::vector<std::int64_t> targets(rows, 5);
  const CrossEntropy<float> problem{rows, n, n, targets.data(), -100, 0.1f, nullptr};
  std::vector<float> loss(rows), lse(rows), weight(rows);
  cross_entropy_forward(problem, x.data(), loss.data(), lse.data(), weight.data());
  cross_entropy_backward(problem, x.data(), lse.data(), loss.data(), 1, dx.data());
  add(loss), add(lse), add(dx);
  std::vector<float> p = x, m = dy, v = y;
  for (float& value : v) value = std::fabs(value);
  adamw_step<float>(p.data(), dy.data(), m.data(), v.data(), rows * n,
                    {0.01f, 0.9f, 0.99f, 1e-8f, 0.1f, 0.1f, 0.01f});
  add(p), add(m), add(v);
  return all;
}

}  // namespace

std::vector<float> lib_kernel_bits() { return run_everything(); }

}  // namespace suan::cpu::SUAN_ISA
