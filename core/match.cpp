// Formulas read into trees of products and sums, and compared with the graph's products and sums as sets.
#include "core/match.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "core/apply.h"

namespace suan {

struct Form::Expr {
  enum class Kind { value, number, call, product, sum } kind = Kind::value;
  std::string name;      // of a value or op; of the number that a product or sum leaves open
  double number = 0;     // a product's factor, a sum's term
  struct Part { std::shared_ptr<const Expr> expr; double power; };   // a term's power is its sign
  std::vector<Part> parts;
};

struct Form::Parser {
  using Ptr = std::shared_ptr<const Expr>;
  using Kind = Expr::Kind;
  std::string_view text;
  size_t at = 0;

  char peek() {
    while (at < text.size() && text[at] == ' ') ++at;
    return at < text.size() ? text[at] : '\0';
  }
  bool take(char c) { return peek() == c && ++at; }
  void expect(char c) {
    if (!take(c)) fail<InternalError>("match", "bad form '{}': expected '{}' at {}", text, c, at);
  }
  static bool is_number(const Ptr& e) { return e->kind == Kind::number; }

  static Ptr number(double x) {
    Expr e;
    e.kind = Kind::number;
    e.number = x;
    return std::make_shared<Expr>(e);
  }

  Ptr sum() {
    Expr all;
    all.kind = Kind::sum;
    double sign = 1;
    do {
      Ptr term = product();
      if (!is_number(term)) all.parts.push_back({term, sign});
      else if (term->name.empty()) all.number += sign * term->number;
      else all.name = term->name;
      sign = peek() == '-' ? -1 : 1;
    } while (take('+') || take('-'));
    if (all.parts.size() == 1 && all.number == 0 && all.name.empty()) return all.parts[0].expr;
    if (all.parts.empty()) all.kind = Kind::number;
    return std::make_shared<Expr>(all);
  }
  Ptr product() {
    Expr all;
    all.kind = Kind::product;
    all.number = 1;
    double over = 1;
    do {
      Ptr base = atom();
      double power = over;
      if (take('^')) power *= digits();
      if (!is_number(base)) all.parts.push_back({base, power});
      else if (base->name.empty()) all.number *= std::pow(base->number, power);
      else all.name = base->name;
      over = peek() == '/' ? -1 : 1;
    } while (take('*') || take('/'));
    if (all.parts.size() == 1 && all.number == 1 && all.name.empty() && all.parts[0].power == 1) return all.parts[0].expr;
    if (all.parts.empty()) all.kind = Kind::number;
    return std::make_shared<Expr>(all);
  }
  double digits() {
    peek();
    char* end = nullptr;
    const std::string rest(text.substr(at));
    const double x = std::strtod(rest.c_str(), &end);
    at += size_t(end - rest.c_str());
    return x;
  }
  Ptr atom() {
    if (take('(')) {
      Ptr inner = sum();
      expect(')');
      return inner;
    }
    const char c = peek();
    if (!std::isalpha(c)) return number(digits());
    const size_t from = at;
    while (at < text.size() && (std::isalnum(text[at]) || text[at] == '_')) ++at;
    Expr e;
    e.kind = std::isupper(c) ? Kind::number : Kind::value;
    e.name = std::string(text.substr(from, at - from));
    if (take('(')) {
      e.kind = Kind::call;
      op(e.name);   // an unknown op fails when the form is made
      do e.parts.push_back({sum(), 1});
      while (take(','));
      expect(')');
    }
    return std::make_shared<Expr>(e);
  }
};

Form::Form(std::string_view text) {
  Parser p{text};
  whole_ = p.sum();
  while (p.take(';')) {
    const std::string name = p.atom()->name;
    p.expect('=');
    names_.push_back({name, p.sum()});
  }
  if (p.peek() != '\0') fail<InternalError>("match", "bad form '{}': expected its end at {}", text, p.at);
}

namespace {
enum class Op { other, mul, div, neg, square, sqrt, rsqrt, reciprocal, pow, add, sub };
Op kind_of(const Node& n) {
  static const std::pair<const OpDef*, Op> table[] = {
      {&op("mul"), Op::mul}, {&op("div"), Op::div}, {&op("neg"), Op::neg}, {&op("square"), Op::square}, {&op("sqrt"), Op::sqrt},
      {&op("rsqrt"), Op::rsqrt}, {&op("reciprocal"), Op::reciprocal}, {&op("pow"), Op::pow}, {&op("add"), Op::add}, {&op("sub"), Op::sub}};
  for (auto [def, kind] : table)
    if (n.op == def) return kind;
  return Op::other;
}
bool whole(double x) { return x == std::floor(x); }
}  // namespace

const Node* Match::producer(ValueId v) const {
  const int p = v == no_value ? -1 : g_.values[size_t(v)].producer;
  return p < 0 ? nullptr : &g_.nodes[size_t(p)];
}

std::optional<double> Match::constant(ValueId v) const {
  static const OpDef* const layouts[] = {&op("full"), &op("expand"), &op("reshape"), &op("cast")};
  if (!is_floating(type(v).dtype)) return {};
  for (;;) {
    if (auto it = g_.constants.find(v); it != g_.constants.end()) {
      const Tensor& t = it->second;
      return t.numel() == 1 ? std::optional(apply(op("reshape"), {t}, {Shape{}}).item()) : std::nullopt;
    }
    const Node* n = producer(v);
    if (!n || std::find(std::begin(layouts), std::end(layouts), n->op) == std::end(layouts)) return {};
    v = n->in[0];
  }
}

void Match::collect(ValueId v, double power, int depth, bool deep, Product& p) const {
  if (const auto c = constant(v)) {
    p.number *= std::pow(*c, power);
    return;
  }
  const Node* n = depth == 0 || (deep && uses(v) == 1) ? producer(v) : nullptr;
  const Op kind = n && is_floating(type(v).dtype) ? kind_of(*n) : Op::other;
  const auto go = [&](size_t i, double to) { collect(n->in[i], to, depth + 1, deep, p); };
  // sqrt(x^2) is |x|: below a root nothing is taken apart.
  const auto root = [&](double to) { p.factors.push_back({n->in[0], to}); };
  switch (whole(power) ? kind : Op::other) {
    case Op::mul: go(0, power); return go(1, power);
    case Op::div: go(0, power); return go(1, -power);
    case Op::neg: p.number *= std::pow(-1, power); return go(0, power);
    case Op::square: return go(0, 2 * power);
    case Op::reciprocal: return go(0, -power);
    case Op::sqrt: return root(0.5 * power);
    case Op::rsqrt: return root(-0.5 * power);
    case Op::pow:
      if (const auto e = constant(n->in[1])) return whole(*e) ? go(0, *e * power) : root(*e * power);
      [[fallthrough]];
    default: p.factors.push_back({v, power});
  }
}

Match::Product Match::product(ValueId v, bool deep) const {
  Product all, merged;
  collect(v, 1, 0, deep, all);
  merged.number = all.number;
  for (const Factor& f : all.factors) {
    auto same = std::find_if(merged.factors.begin(), merged.factors.end(), [&](const Factor& o) { return o.v == f.v; });
    if (same == merged.factors.end()) merged.factors.push_back(f);
    else same->power += f.power;
  }
  return merged;
}

void Match::collect(ValueId v, double sign, int depth, bool deep, Sum& s) const {
  if (const auto c = constant(v)) {
    s.number += sign * *c;
    return;
  }
  const Node* n = depth == 0 || (deep && uses(v) == 1) ? producer(v) : nullptr;
  const Op kind = n && is_floating(type(v).dtype) ? kind_of(*n) : Op::other;
  if (kind != Op::add && kind != Op::sub) {
    s.terms.push_back({v, sign});
    return;
  }
  collect(n->in[0], sign, depth + 1, deep, s);
  collect(n->in[1], kind == Op::sub ? -sign : sign, depth + 1, deep, s);
}

Match::Sum Match::sum(ValueId v, bool deep) const {
  Sum s;
  collect(v, 1.0, 0, deep, s);
  return s;
}

bool Match::close(double a, double b, ValueId at) const {
  const DType t = type(at).dtype;
  const double tolerance = t == DType::f32 || t == DType::f64 ? 1e-5 : 1e-2;   // constants are rounded as well
  return std::abs(a - b) <= tolerance * std::abs(b);
}

bool Match::bind(const std::string& name, ValueId v) {
  const auto [it, fresh] = values_.try_emplace(name, v);
  if (!fresh) return it->second == v;
  for (const auto& [of, what] : form_->names_)
    if (of == name) return fits(*what, v, 1);
  return true;
}
bool Match::bind(const std::string& name, double number) {
  return numbers_.try_emplace(name, number).first->second == number;
}

bool Match::fits(const Form& form, ValueId v) {
  form_ = &form;
  values_.clear();
  numbers_.clear();
  return fits(*form.whole_, v, 1);
}

bool Match::fits(const Expr& e, ValueId v, double sign) {
  switch (e.kind) {
    case Expr::Kind::value: return sign == 1 && bind(e.name, v);
    case Expr::Kind::call: return sign == 1 && fits_call(e, v);
    case Expr::Kind::number: {
      const auto c = constant(v);
      if (!c) return false;
      return e.name.empty() ? close(sign * *c, e.number, v) : bind(e.name, sign * *c);
    }
    case Expr::Kind::product:
      // A name may stand for a product itself: what is taken apart least is tried first.
      for (const bool deep : {false, true}) {
        const auto values = values_;
        const auto numbers = numbers_;
        Product p = product(v, deep);
        p.number *= sign;
        const bool number = e.name.empty() ? close(p.number, e.number, v) : bind(e.name, p.number / e.number);
        if (number && p.factors.size() == e.parts.size() && fits_product(e, p, 0, 0)) return true;
        values_ = values;
        numbers_ = numbers;
      }
      return false;
    case Expr::Kind::sum:
      for (const bool deep : {false, true}) {
        const auto values = values_;
        const auto numbers = numbers_;
        Sum s = sum(v, deep);
        s.number *= sign;
        for (Term& t : s.terms) t.sign *= sign;
        const bool number = !e.name.empty() ? bind(e.name, s.number) : e.number == 0 ? s.number == 0 : close(s.number, e.number, v);
        if (number && s.terms.size() == e.parts.size() && fits_sum(e, s, 0, 0)) return true;
        values_ = values;
        numbers_ = numbers;
      }
      return false;
  }
  return false;
}

// Each part of the form to one factor of the graph, with every order tried.
bool Match::fits_product(const Expr& e, const Product& p, size_t next, unsigned taken) {
  if (next == e.parts.size()) return true;
  for (size_t i = 0; i < p.factors.size(); ++i) {
    if (taken >> i & 1 || p.factors[i].power != e.parts[next].power) continue;
    const auto values = values_;
    const auto numbers = numbers_;
    if (fits(*e.parts[next].expr, p.factors[i].v, 1) && fits_product(e, p, next + 1, taken | 1u << i)) return true;
    values_ = values;
    numbers_ = numbers;
  }
  return false;
}

bool Match::fits_sum(const Expr& e, const Sum& s, size_t next, unsigned taken) {
  if (next == e.parts.size()) return true;
  for (size_t i = 0; i < s.terms.size(); ++i) {
    if (taken >> i & 1) continue;
    const auto values = values_;
    const auto numbers = numbers_;
    if (fits(*e.parts[next].expr, s.terms[i].v, s.terms[i].sign * e.parts[next].power) &&
        fits_sum(e, s, next + 1, taken | 1u << i))
      return true;
    values_ = values;
    numbers_ = numbers;
  }
  return false;
}

bool Match::fits_call(const Expr& e, ValueId v) {
  const Node* n = producer(v);
  if (!n || n->op->name != e.name || n->out[0] != v) return false;
  std::vector<ValueId> in;
  for (ValueId x : n->in)
    if (x != no_value) in.push_back(x);
  if (in.size() != e.parts.size()) return false;
  for (size_t i = 0; i < in.size(); ++i)
    if (!fits(*e.parts[i].expr, in[i], 1)) return false;
  return true;
}

}  // namespace suan
