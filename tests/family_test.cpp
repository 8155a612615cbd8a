// Every sample of the view, creation, reduction and indexing ops: other layouts give the same bits, every
// dtype runs, wrong calls fail with their message; first and second gradients by central differences.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/tape.h"
#include "tests/tensor_util.h"

namespace suan {
namespace {

using namespace test;

// ---- samples of these families
// -----------------------------------------------------------------------

const char* const family[] = {"reshape",
                              "permute",
                              "expand",
                              "slice",
                              "diagonal",
                              "as_strided",
                              "as_strided_copy",
                              "as_strided_scatter",
                              "as_strided_scatter_add",
                              "view",
                              "transpose",
                              "squeeze",
                              "unsqueeze",
                              "flatten",
                              "unflatten",
                              "movedim",
                              "split",
                              "chunk",
                              "unbind",
                              "narrow",
                              "select",
                              "flip",
                              "copy",
                              "clone",
                              "contiguous",
                              "full",
                              "arange",
                              "zeros",
                              "ones",
                              "empty",
                              "eye",
                              "linspace",
                              "cat",
                              "stack",
                              "repeat",
                              "tile",
                              "roll",
                              "tril",
                              "triu",
                              "pad",
                              "pad_constant",
                              "sum",
                              "mean",
                              "prod",
                              "max",
                              "min",
                              "any",
                              "all",
                              "argmax",
                              "argmin",
                              "max_dim",
                              "min_dim",
                              "cumsum",
                              "var",
                              "std",
                              "norm",
                              "logsumexp",
                              "count_nonzero",
                              "gather",
                              "scatter",
                              "scatter_add",
                              "index",
                              "index_put",
                              "index_select",
                              "take",
                              "one_hot",
                              "masked_select",
                              "nonzero",
                              "topk",
                              "sort",
                              "argsort",
                              "embedding",
                              "embedding_grad",
                              "embedding_grad_add",
                              "random_bits"};

Tensor sample_input(const SampleInput& s, DType swept, unsigned seed) {
  std::mt19937 random(seed);
  const DType t = s.dtype.value_or(swept);
  const int64_t n = numel(s.shape);
  std::vector<double> v;
  for (int64_t i = 0; i < n; ++i) {
    switch (s.fill) {
      case Fill::normal:
        v.push_back(std::normal_distribution<double>()(random));
        break;
      case Fill::uniform:
        v.push_back(std::uniform_real_distribution<double>(s.lo, s.hi)(random));
        break;
      case Fill::positive:
        v.push_back(std::uniform_real_distribution<double>(0.5, 2)(random));
        break;
      case Fill::distinct:
        v.push_back(double((i * 37 + 11) % 1009) / 100 - 5);
        break;
      case Fill::boolean:
        v.push_back(double(random() & 1));
        break;
      default:
        v.push_back(std::floor(std::uniform_real_distribution<double>(s.lo, s.hi)(random)));
    }
    if (!is_floating(t))
      v.back() = t == DType::boolean
                     ? v.back() > 0
                     : std::floor(is_unsigned_int(t) ? std::abs(v.back()) : v.back());
  }
  return tensor(v, s.shape, t);
}
Tensors sample_inputs(const Sample& s, DType t) {
  Tensors in;
  unsigned seed = 1;
  for (const SampleInput& i : s.in) in.push_back(i.absent ? Tensor() : sample_input(i, t, seed++));
  return in;
}
// The same values with every second place of a larger, reversed-axis storage.
Tensor relaid(const Tensor& x) {
  if (!x.defined() || x.rank() == 0 || x.numel() == 0) return x;
  Dims strides = Dims::filled(x.rank(), 0);
  int64_t step = 2, offset = 0;
  for (int i = 0; i < x.rank(); ++i) {
    strides[i] = i % 2 ? -step : step;
    if (i % 2) offset += step * (x.dim(i) - 1);
    step *= x.dim(i);
  }
  const Tensor base = Tensor::empty({x.dtype(), {step}, {}});
  std::memset(base.raw(), 0, size_t(base.numel() * item_size(x.dtype())));
  const Tensor out = Tensor::over(base.storage(), Layout(x.shape(), strides, offset), x.dtype());
  apply_into(op("copy"), {x}, {}, out);
  return out;
}

TEST(Family, SamplesRunUnderLayoutsAndDtypes) {
  const std::set<std::string> fixed_geometry{"as_strided", "as_strided_copy", "as_strided_scatter",
                                             "as_strided_scatter_add", "view"};
  int cases = 0;
  for (const char* name : family) {
    const OpDef& def = op(name);
    ASSERT_TRUE(def.samples) << name;
    for (const Sample& s : def.samples()) {
      SCOPED_TRACE(std::string(name) + ": " + s.note);
      if (!s.error.empty()) {
        try {
          apply_all(def, sample_inputs(s, DType::f32), s.attrs);
          ADD_FAILURE() << "expected an error";
        } catch (const Error& e) {
          EXPECT_NE(std::string(e.what()).find(s.error), std::string::npos) << e.what();
        }
        continue;
      }
      for (int t = 0; t < n_dtypes; ++t) {
        const DType dtype = DType(t);
        if (!contains(all_types, dtype)) continue;
        if (!def.inputs.empty() && !s.in.empty() && !s.in[0].dtype &&
            !contains(def.inputs[0].dtypes, dtype))
          continue;
        const Tensors in = sample_inputs(s, dtype);
        if (std::strcmp(name, "index_put") == 0 && dtype == DType::boolean && s.attrs.size() > 1)
          continue;
        const Tensors out = apply_all(def, in, s.attrs);
        ++cases;
        for (const Tensor& o : out) EXPECT_EQ(values(o).size(), size_t(o.numel()));
        if (fixed_geometry.count(name) || !def.updates.empty()) continue;  // what is written stays contiguous
        Tensors other;
        for (const Tensor& i : in) other.push_back(relaid(i));
        const Tensors again = apply_all(def, other, s.attrs);
        ASSERT_EQ(out.size(), again.size());
        for (size_t k = 0; k < out.size(); ++k)
          EXPECT_TRUE(same_bits(out[k], again[k])) << brief(dtype) << " output " << k;
      }
    }
  }
  EXPECT_GT(cases, 1000);
}

// sum(weights * outputs), weights fixed by position.
Tensor weighed(const Tensors& out) {
  Tensor total;
  for (const Tensor& o : out) {
    if (!is_floating(o.dtype())) continue;
    std::vector<double> w;
    for (int64_t i = 0; i < o.numel(); ++i) w.push_back(std::cos(double(i) * 0.7 + 0.3));
    const Tensor part = ops::sum(ops::mul(o, tensor(w, o.shape(), o.dtype())));
    total = total.defined() ? ops::add(total, part) : part;
  }
  return total;
}

TEST(Family, FirstAndSecondGradients) {
  int checked = 0;
  for (const char* name : family) {
    const OpDef& def = op(name);
    if (def.no_grad || std::strcmp(name, "nonzero") == 0) continue;
    for (const Sample& s : def.samples()) {
      if (!s.error.empty() || !s.check_grad) continue;
      SCOPED_TRACE(std::string(name) + ": " + s.note);
      Tensors in = sample_inputs(s, DType::f64), leaves;
      int64_t elements = 0;
      for (size_t i = 0; i < in.size(); ++i) {
        if (!in[i].defined() || !is_floating(in[i].dtype()) || !s.in[i].grad) continue;
        in[i].set_requires_grad(true);
        leaves.push_back(in[i]);
        elements += in[i].numel();
      }
      if (leaves.empty() || elements == 0 || elements > 700) continue;
      auto loss = [&] { return weighed(apply_all(def, in, s.attrs)); };
      const Tensor root = loss();
      if (!root.requires_grad()) continue;
      const Tensors first = grad({&root, 1}, leaves, {}, {true, true}, true);
      // Second: gradients of the sum of squares of the first, when they depend on the inputs at
      // all.
      Tensor square;
      for (const Tensor& g : first)
        if (g.defined())
          square = square.defined() ? ops::add(square, ops::sum(ops::mul(g, g)))
                                    : ops::sum(ops::mul(g, g));
      Tensors second;
      if (square.defined() && square.requires_grad())
        second = grad({&square, 1}, leaves, {}, {}, true);
      auto square_now = [&] {
        const Tensor r = loss();
        double total = 0;
        for (const Tensor& g : grad({&r, 1}, leaves, {}, {}, true))
          if (g.defined())
            for (double v : values(g)) total += v * v;
        return total;
      };
      for (size_t k = 0; k < leaves.size(); ++k) {
        const int64_t n = leaves[k].numel(), step = std::max<int64_t>(1, n / 12);
        for (int64_t i = 0; i < n; i += step) {
          double* p = leaves[k].data<double>() + i;
          const double h = 1e-5, old = *p;
          *p = old + h;
          const double up = loss().item(), up2 = second.empty() ? 0 : square_now();
          *p = old - h;
          const double down = loss().item(), down2 = second.empty() ? 0 : square_now();
          *p = old;
          const double got = first[k].defined() ? value(ops::contiguous(first[k]), i) : 0;
          EXPECT_NEAR(got, (up - down) / (2 * h), 1e-6 + 1e-6 * std::abs(got))
              << "input " << k << " element " << i;
          if (second.empty()) continue;
          const double got2 = second[k].defined() ? value(ops::contiguous(second[k]), i) : 0;
          EXPECT_NEAR(got2, (up2 - down2) / (2 * h), 1e-5 + 1e-5 * std::abs(got2))
              << "second, input " << k << " element " << i;
          ++checked;
        }
      }
    }
  }
  EXPECT_GT(checked, 100);
}

}  // namespace
}  // namespace suan
