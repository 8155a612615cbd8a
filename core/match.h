// Recognises arithmetic in a graph, however it is spelled. A form is written as a formula,
//   "0.5 * x * (1 + erf(x / 1.4142135623730951))",
// and fits every way of associating, commuting and spelling its products and sums: x / 2 is 0.5 * x; x * x, square(x)
// and pow(x, 2) are x^2; 1 / sqrt(x), rsqrt(x) and pow(x, -0.5) are x^-0.5; a - b is a + -1 * b.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"

namespace suan {

// Small letters name values, capital letters numbers (constants of one element), f(...) the results of ops. Further
// formulas may say what a name is: "d / (v + E)^0.5; v = mean(d^2)". A name stands for one value wherever it occurs.
// An absent input of an op is no argument.
// A product's factor or a sum's term that is a number written out has to be close to the graph's.
class Form {
 public:
  explicit Form(std::string_view text);

 private:
  friend class Match;
  struct Expr;
  struct Parser;
  std::shared_ptr<const Expr> whole_;
  std::vector<std::pair<std::string, std::shared_ptr<const Expr>>> names_;
};

class Match {
 public:
  Match(const Graph& g, const std::vector<int>& uses) : g_(g), uses_(uses) {}
  bool fits(const Form& form, ValueId v);

  bool has(const std::string& name) const { return values_.count(name) > 0; }
  ValueId value(const std::string& name) const { return values_.at(name); }
  double number(const std::string& name) const { return numbers_.at(name); }
  const TensorType& type(const std::string& name) const { return type(value(name)); }
  const TensorType& type(ValueId v) const { return g_.values[size_t(v)].type; }
  const Node* producer(ValueId v) const;
  int uses(ValueId v) const { return uses_[size_t(v)]; }
  // A constant of one element, perhaps laid out or cast by nodes that were not folded.
  std::optional<double> constant(ValueId v) const;

  // number * the product of values to their powers; +- values + number. Values that something else reads too are not
  // taken apart, unless they are v itself.
  struct Factor { ValueId v; double power; };
  struct Product { double number = 1; std::vector<Factor> factors; };
  struct Term { ValueId v; double sign; };
  struct Sum { double number = 0; std::vector<Term> terms; };
  Product product(ValueId v, bool deep = true) const;
  Sum sum(ValueId v, bool deep = true) const;

 private:
  using Expr = Form::Expr;
  bool fits(const Expr& e, ValueId v, double sign);
  bool fits_product(const Expr& e, const Product& p, size_t next, unsigned taken);
  bool fits_sum(const Expr& e, const Sum& s, size_t next, unsigned taken);
  bool fits_call(const Expr& e, ValueId v);
  bool bind(const std::string& name, ValueId v);
  bool bind(const std::string& name, double number);
  bool close(double a, double b, ValueId at) const;
  void collect(ValueId v, double power, int depth, bool deep, Product& p) const;
  void collect(ValueId v, double sign, int depth, bool deep, Sum& s) const;

  const Graph& g_;
  const std::vector<int>& uses_;
  const Form* form_ = nullptr;
  std::map<std::string, ValueId> values_;
  std::map<std::string, double> numbers_;
};

}  // namespace suan
