// Finding the formulas, and putting numbers back.
#include "core/open_program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

namespace suan {

// Small, so that they fit most models, and without a pattern: what is equal in all samples is equal always.
std::vector<int64_t> OpenProgram::sample_sizes(int sample, int n_sizes) {
  static constexpr int64_t sizes[n_samples][most_sizes] = {
      {5, 13, 29, 43}, {7, 23, 17, 31}, {11, 37, 47, 19}, {19, 31, 23, 53}};
  return {sizes[sample], sizes[sample] + n_sizes};
}

namespace {

int64_t product(std::span<const int8_t> power, std::span<const int64_t> sizes) {
  int64_t m = 1;
  for (size_t i = 0; i < sizes.size(); ++i)
    for (int k = 0; k < power[i]; ++k) m *= sizes[i];
  return m;
}

bool same_constant(const Tensor& a, const Tensor& b) {
  return a.type() == b.type() &&
         (a.raw() == b.raw() || std::memcmp(a.raw(), b.raw(), size_t(a.type().bytes())) == 0);
}

std::span<const int64_t> integers(const Attr& a) {
  if (auto i = std::get_if<int64_t>(&a)) return {i, 1};
  if (auto d = std::get_if<Dims>(&a)) return *d;
  if (auto v = std::get_if<std::vector<int64_t>>(&a)) return *v;
  return {};
}
std::span<int64_t> integers(Attr& a) {
  const std::span<const int64_t> s = integers(std::as_const(a));
  return {const_cast<int64_t*>(s.data()), s.size()};
}

}  // namespace

class OpenProgram::Finder {
 public:
  Finder(std::vector<Sample> samples, OpenProgram& to) : samples_(std::move(samples)), to_(to) {
    // Every product of at most three sizes.
    const size_t n = samples_[0].sizes.size();
    std::array<int8_t, most_sizes> power{};
    for (;;) {
      size_t i = 0;
      while (i < n && power[i] == 3) power[i++] = 0;
      if (i == n) break;
      ++power[i];
      int degree = 0;
      for (int8_t p : power) degree += p;
      if (degree > 3) continue;
      Monomial m{power, {}};
      for (int k = 0; k < n_samples; ++k) m.at[size_t(k)] = product(power, samples_[size_t(k)].sizes);
      monomials_.push_back(m);
    }
  }

  bool run() {
    std::array<const Graph*, n_samples> graphs;
    for (size_t k = 0; k < n_samples; ++k) {
      graphs[k] = &samples_[k].graph;
      if (samples_[k].compared.size() != samples_[0].compared.size()) return false;
    }
    for (size_t i = 0; i < samples_[0].compared.size(); ++i) {
      Numbers a, b;
      for (size_t k = 0; k < n_samples; ++k) std::tie(a[k], b[k]) = samples_[k].compared[i];
      const bool less = a[0] < b[0];
      for (size_t k = 0; k < n_samples; ++k)
        if ((a[k] < b[k]) != less) return false;
      const Comparison c{formula(a), formula(b), less};
      if (c.a < 0 || c.b < 0) return false;
      to_.compared_.push_back(c);
    }
    return compare(graphs, to_.open_);
  }

 private:
  using Numbers = std::array<int64_t, n_samples>;
  struct Monomial {
    std::array<int8_t, most_sizes> power;
    Numbers at;
  };

  // Of four numbers; -1 where none fits, or more than one.
  int formula(const Numbers& v) {
    auto [it, fresh] = known_.try_emplace(v, -1);
    if (!fresh) return it->second;
    Formula found;
    int fits = 0;
    if (std::all_of(v.begin(), v.end(), [&](int64_t x) { return x == v[0]; })) {
      found.shift = v[0];
      fits = 1;
    } else {
      for (const Monomial& m : monomials_) {
        const int64_t rise = v[1] - v[0], step = m.at[1] - m.at[0];
        if (step == 0 || rise % step) continue;
        const Formula f{rise / step, v[0] - rise / step * m.at[0], m.power};
        bool all = true;
        for (size_t k = 0; k < n_samples; ++k) all &= f.scale * m.at[k] + f.shift == v[k];
        if (all) found = f, ++fits;
      }
    }
    if (fits != 1) return -1;
    to_.formulas_.push_back(found);
    return it->second = int(to_.formulas_.size()) - 1;
  }

  // Notes those of equally many integers that differ. False: some have no formula.
  bool note(std::array<std::span<const int64_t>, n_samples> lists, int at, std::vector<Integer>& open) {
    for (size_t i = 0; i < lists[0].size(); ++i) {
      Numbers v;
      for (size_t k = 0; k < n_samples; ++k) {
        if (lists[k].size() != lists[0].size()) return false;
        v[k] = lists[k][i];
      }
      if (std::all_of(v.begin(), v.end(), [&](int64_t x) { return x == v[0]; })) continue;
      const int f = formula(v);
      if (f < 0) return false;
      open.push_back({at, int32_t(i), f});
    }
    return true;
  }

  bool compare(const std::array<const Graph*, n_samples>& g, Open& open) {
    const Graph& a = *g[0];
    for (const Graph* b : g)
      if (a.inputs != b->inputs || a.outputs != b->outputs || a.values.size() != b->values.size() ||
          a.nodes.size() != b->nodes.size() || a.constants.size() != b->constants.size())
        return false;
    for (size_t i = 0; i < a.values.size(); ++i) {
      std::array<std::span<const int64_t>, n_samples> shapes;
      for (size_t k = 0; k < n_samples; ++k) {
        const Value &x = a.values[i], &y = g[k]->values[i];
        if (x.type.dtype != y.type.dtype || !(x.type.device == y.type.device) || x.producer != y.producer ||
            x.port != y.port || x.type.shape.size() != y.type.shape.size())
          return false;
        shapes[k] = y.type.shape;
      }
      if (!note(shapes, int(i), open.dims)) return false;
    }
    for (const Integer& d : open.dims) to_.formulas_[size_t(d.formula)].dim = true;
    for (const Graph* b : g)
      for (auto x = a.constants.begin(), y = b->constants.begin(); x != a.constants.end(); ++x, ++y)
        if (x->first != y->first || !same_constant(x->second, y->second)) return false;
    for (size_t i = 0; i < a.nodes.size(); ++i) {
      const Node& n = a.nodes[i];
      for (const Graph* b : g) {
        const Node& m = b->nodes[i];
        if (n.op != m.op || n.in != m.in || n.out != m.out || n.attrs.size() != m.attrs.size()) return false;
      }
      for (int j = 0; j < n.attrs.size(); ++j)
        if (!compare_attr(g, int(i), j, open)) return false;
    }
    open.graph = a;
    return true;
  }

  bool compare_attr(const std::array<const Graph*, n_samples>& g, int node, int j, Open& open) {
    std::array<const Attr*, n_samples> attrs;
    for (size_t k = 0; k < n_samples; ++k) {
      attrs[k] = &g[k]->nodes[size_t(node)].attrs[j];
      if (attrs[k]->index() != attrs[0]->index()) return false;
    }
    const Attr& a = *attrs[0];
    Open::InAttr in{node, j, {}, nullptr};
    if (std::holds_alternative<GraphPtr>(a)) {
      std::array<const Graph*, n_samples> inner;
      for (size_t k = 0; k < n_samples; ++k) inner[k] = std::get<GraphPtr>(*attrs[k]).get();
      in.inner = std::make_unique<Open>();
      if (!compare(inner, *in.inner)) return false;
      if (in.inner->dims.empty() && in.inner->attrs.empty()) return true;
    } else if (std::holds_alternative<int64_t>(a) || std::holds_alternative<Dims>(a) ||
               std::holds_alternative<std::vector<int64_t>>(a)) {
      std::array<std::span<const int64_t>, n_samples> lists;
      for (size_t k = 0; k < n_samples; ++k) lists[k] = integers(*attrs[k]);
      if (!note(lists, node, in.integers)) return false;
      if (in.integers.empty()) return true;
    } else if (std::all_of(attrs.begin(), attrs.end(), [&](const Attr* b) { return *b == a; })) {
      return true;
    } else if (std::holds_alternative<double>(a)) {   // a range's end
      Numbers v;
      for (size_t k = 0; k < n_samples; ++k) {
        const double x = std::get<double>(*attrs[k]);
        if (x != std::floor(x) || std::abs(x) > 1e15) return false;
        v[k] = int64_t(x);
      }
      const int f = formula(v);
      if (f < 0) return false;
      in.integers.push_back({node, 0, f});
    } else {
      return false;
    }
    open.attrs.push_back(std::move(in));
    return true;
  }

  std::vector<Sample> samples_;
  OpenProgram& to_;
  std::vector<Monomial> monomials_;
  std::map<Numbers, int> known_;
};

std::unique_ptr<OpenProgram> OpenProgram::from(std::vector<Sample> samples) {
  auto program = std::make_unique<OpenProgram>();
  if (!Finder(std::move(samples), *program).run()) return nullptr;
  return program;
}

Graph OpenProgram::Open::at(std::span<const int64_t> numbers) const {
  Graph g = graph;
  for (const Integer& i : dims) g.values[size_t(i.at)].type.shape[i.position] = numbers[size_t(i.formula)];
  for (const InAttr& a : attrs) {
    Attrs& of = g.nodes[size_t(a.node)].attrs;
    std::vector<Attr> all = of.values();
    Attr& one = all[size_t(a.attr)];
    if (a.inner) one = GraphPtr(std::make_shared<Graph>(a.inner->at(numbers)));
    for (const Integer& i : a.integers) {
      const int64_t number = numbers[size_t(i.formula)];
      if (std::holds_alternative<double>(one)) one = double(number);
      else integers(one)[size_t(i.position)] = number;
    }
    of = Attrs(std::move(all));
  }
  return g;
}

std::optional<int64_t> OpenProgram::Formula::at(std::span<const int64_t> sizes) const {
  int64_t v = scale;
  bool fits = true;
  for (size_t i = 0; i < sizes.size(); ++i)
    for (int k = 0; k < power[i]; ++k) fits &= !__builtin_mul_overflow(v, sizes[i], &v);
  fits &= !__builtin_add_overflow(v, shift, &v);
  return fits ? std::optional(v) : std::nullopt;
}

std::optional<Graph> OpenProgram::at(std::span<const int64_t> sizes) const {
  std::vector<int64_t> numbers;
  numbers.reserve(formulas_.size());
  for (const Formula& f : formulas_) {
    const std::optional<int64_t> v = f.at(sizes);
    if (!v || (f.dim && *v < 2)) return {};
    numbers.push_back(*v);
  }
  const auto number = [&](int i) { return numbers[size_t(i)]; };
  for (const Comparison& c : compared_)
    if ((number(c.a) < number(c.b)) != c.less) return {};
  return open_.at(numbers);
}

}  // namespace suan
