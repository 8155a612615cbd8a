// ai.onnx.ml without trees: encoders, scalers, linear models and support vector machines. What only selects and computes
// becomes part of a plan; strings, maps and probabilities found by iteration need their values, so models with them run
// node by node.
#include "frontends/onnx/learning.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>

namespace suan::onnx {

using namespace ops;

Labels labels_of(Call& c, const char* numbers) {
  return {c.ints(numbers, std::vector<int64_t>{}), c.texts("classlabels_strings", std::vector<std::string>{})};
}

Value pick(Call& c, const Labels& labels, const Tensor& at) {
  if (labels.texts.empty()) return apply(SUAN_OP("index"), {make_ints(labels.numbers), at}, {Dims{0}});
  if (at.is_dry()) throw NeedsData{c.node.name};
  Strings out{at.shape(), {}};
  StringRoom room;
  for (int64_t i : read_ints(at)) {
    room.add(labels.texts.at(size_t(i)).size());
    out.data.push_back(labels.texts.at(size_t(i)));
  }
  return out;
}

Tensor transformed(Call& c, const Tensor& scores, const std::string& how) {
  const Tensor& s = scores;
  if (how == "NONE" || how.empty()) return s;
  if (how == "LOGISTIC") return sigmoid(s);
  if (how == "SOFTMAX") return apply(SUAN_OP("softmax"), {s}, {int64_t(1)});
  if (how == "SOFTMAX_ZERO") {   // what is zero counts in the sum, but not for itself
    const Tensor top = apply(SUAN_OP("max"), {s}, {Dims{1}, true});
    const Tensor zero = le(abs(s), number(1e-7, s)), e = where(zero, s * exp(-top), exp(s - top));
    const Tensor total = sum(e, Dims{1}, true);
    return where(eq(total, number(0, total)), number(0.5, e), e / total);
  }
  if (how == "PROBIT") {   // Winitzki's approximation of the inverse error function (2008)
    const Tensor y = s * 2.0 - 1.0, l = log((1.0 - y) * (1.0 + y));
    const Tensor v = l * 0.5 + 2 / (std::numbers::pi * 0.147);
    const Tensor r = sign(y) * sqrt(sqrt(v * v - l * (1 / 0.147)) - v) * std::numbers::sqrt2;
    return where(ge(abs(y), number(1, y)), number(0, y), r);
  }
  c.fail<ValueError>("unknown post_transform: expected NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT, got '{}'", how);
}

Tensor features_of(Call& c, const Tensor& x, DType t) {
  if (x.rank() < 1 || x.rank() > 2) c.fail<ShapeError>("expected [features] or [rows, features], got {}", to_string(x.type()));
  const Tensor wide = cast(x, t);
  return x.rank() == 1 ? unsqueeze(wide, 0) : wide;
}

namespace {

Tensor reals_tensor(const std::vector<double>& v, DType t) { return make_reals(v, Shape{int64_t(v.size())}, t); }

// ---- encoders ------------------------------------------------------------------------------------------

Values build_binarizer(Call& c) {
  const Tensor& x = c[0];
  const double threshold = c.real("threshold", 0.0);
  const Tensor f = is_floating(x.dtype()) ? x : cast(x, DType::f64);
  return {cast(gt(f, number(threshold, f)), x.dtype())};
}

Values build_scaler(Call& c) {
  const Tensor x = cast(c[0], c[0].dtype() == DType::f64 ? DType::f64 : DType::f32);
  const Tensor offset = reals_tensor(c.reals("offset", std::vector<double>{0.0}), x.dtype()),
               scale = reals_tensor(c.reals("scale", std::vector<double>{1.0}), x.dtype());
  return {cast((x - offset) * scale, DType::f32)};
}

Values build_imputer(Call& c) {
  const Tensor& x = c[0];
  if (is_integer(x.dtype())) {
    const Tensor values = cast(make_ints(c.ints("imputed_value_int64s")), x.dtype());
    return {where(eq(x, Tensor::scalar_int(c.integer("replaced_value_int64", 0), x.dtype())), values, x)};
  }
  const Tensor values = reals_tensor(c.reals("imputed_value_floats"), x.dtype());
  const double gone = c.real("replaced_value_float", 0.0);
  return {where(std::isnan(gone) ? apply(SUAN_OP("isnan"), {x}) : eq(x, number(gone, x)), values, x)};
}

// Rows that are zero stay zero.
Values build_normalizer(Call& c) {
  const Tensor x = cast(c[0], DType::f32);
  const std::string norm = c.string("norm", "MAX");
  const Dims last{x.rank() - 1};
  Tensor by;
  if (norm == "MAX") by = apply(SUAN_OP("max"), {x}, {last, true});
  else if (norm == "L1") by = sum(abs(x), last, true);
  else if (norm == "L2") by = sqrt(sum(square(x), last, true));
  else c.fail<ValueError>("unknown norm: expected MAX, L1 or L2, got '{}'", norm);
  return {where(eq(by, number(0, by)), x, x / by)};
}

Values build_feature_vectorizer(Call& c) {
  const std::vector<int64_t> widths = c.ints("inputdimensions", std::vector<int64_t>{});
  Tensors parts;
  for (int i = 0; i < c.n_in(); ++i) {
    Tensor x = features_of(c, c[i].rank() == 1 ? unsqueeze(c[i], 1) : c[i], DType::f32);
    const int64_t width = size_t(i) < widths.size() ? widths[size_t(i)] : x.dim(1);
    if (width < 0 || width > longest_axis) c.fail<ValueError>("width out of range: expected 0 to {}, got {}", longest_axis, width);
    if (width < x.dim(1)) x = slice(x, 1, 0, width);
    if (width > x.dim(1))
      x = apply(SUAN_OP("pad_constant"), {x, number(0, x)}, {std::vector<int64_t>{0, width - x.dim(1)}});
    parts.push_back(x);
  }
  return {parts.size() == 1 ? parts[0] : apply(SUAN_OP("cat"), parts, {int64_t(1)})};
}

Values build_one_hot(Call& c) {
  const bool zeros = c.integer("zeros", 1);
  if (c.value(0).is_strings()) {
    const std::vector<std::string> cats = c.texts("cats_strings");
    const Strings& x = c.strings(0);
    Shape s = x.shape;
    s.push_back(int64_t(cats.size()));
    Tensor out = Eval::eagerly([&] { return copy(full(s, 0, DType::f32)); });
    for (size_t i = 0; i < x.data.size(); ++i) {
      const size_t at = size_t(std::find(cats.begin(), cats.end(), x.data[i]) - cats.begin());
      if (at < cats.size()) out.data<float>()[i * cats.size() + at] = 1;
      else if (!zeros) c.fail<ValueError>("unknown category: expected one of {}, got '{}'", cats.size(), x.data[i]);
    }
    return {std::move(out)};
  }
  const Tensor x = cast(c[0], DType::i64);
  const Tensor hit = eq(unsqueeze(x, x.rank()), make_ints(c.ints("cats_int64s")));
  if (!zeros) {
    if (x.is_dry()) throw NeedsData{c.node.name};
    const std::vector<int64_t> found = read_ints(apply(SUAN_OP("any"), {hit}, {Dims{x.rank()}, false}));
    if (std::find(found.begin(), found.end(), 0) != found.end()) c.fail<ValueError>("unknown category: expected one of cats_int64s, got another");
  }
  return {cast(hit, DType::f32)};
}

// ---- tables --------------------------------------------------------------------------------------------

// A column of keys or values: strings, or numbers as doubles, which hold the int64s apart that a double cannot.
struct Column {
  bool strings = false;
  DType dtype = DType::i64;
  std::vector<std::string> texts;
  std::vector<int64_t> ints;
  std::vector<double> reals;
  size_t size() const { return strings ? texts.size() : is_floating(dtype) ? reals.size() : ints.size(); }
};
Column column_of(const Value& v) {
  Column col;
  if (v.is_strings()) {
    col.strings = true;
    col.texts = v.strings().data;
  } else {
    col.dtype = v.tensor().dtype();
    if (is_floating(col.dtype)) col.reals = read_reals(v.tensor());
    else col.ints = read_ints(v.tensor());
  }
  return col;
}
// One of the attributes prefix + "_tensor", "_strings", "_int64s" or "_floats".
std::optional<Column> column_of(Call& c, const std::string& prefix) {
  Column col;
  if (const Attribute* a = c.attr(prefix + "_tensor")) {
    const Value* v = std::get_if<Value>(&a->data);
    if (!v) c.fail<TypeError>("attribute '{}_tensor' has another type than expected", prefix);
    return column_of(*v);
  }
  if (c.has_attr(prefix + "_strings")) {
    col.strings = true;
    col.texts = c.texts(prefix + "_strings");
  } else if (c.has_attr(prefix + "_int64s")) {
    col.ints = c.ints(prefix + "_int64s");
  } else if (c.has_attr(prefix + "_floats")) {
    col.dtype = DType::f32;
    col.reals = c.reals(prefix + "_floats");
  } else {
    return std::nullopt;
  }
  return col;
}

struct Table {
  Column keys, values, other;   // other: one value, for what is no key
  std::map<std::string, size_t> by_text;
  std::map<int64_t, size_t> by_int;
  std::map<double, size_t> by_real;
  std::optional<size_t> nan;    // from version 4 on NaN equals NaN here

  Table(Call& c, Column k, Column v, Column o) : keys(std::move(k)), values(std::move(v)), other(std::move(o)) {
    if (keys.size() != values.size()) c.fail<ValueError>("keys and values differ in number: expected {}, got {}", keys.size(), values.size());
    if (other.size() != 1 || other.strings != values.strings) c.fail<TypeError>("default does not fit: expected one value of the values' type");
    for (size_t i = 0; i < keys.size(); ++i)
      if (keys.strings) by_text.emplace(keys.texts[i], i);
      else if (!is_floating(keys.dtype)) by_int.emplace(keys.ints[i], i);
      else if (std::isnan(keys.reals[i])) nan = c.version() >= 4 ? std::optional<size_t>(i) : std::nullopt;
      else by_real.emplace(keys.reals[i], i);
  }
  Value apply_to(Call& c, const Value& x) const {
    const Column in = column_of(x);
    if (in.strings != keys.strings || (!in.strings && is_floating(in.dtype) != is_floating(keys.dtype)))
      c.fail<TypeError>("input does not fit the keys: expected {}, got {}", keys.strings ? "strings" : name(keys.dtype), describe(x));
    const size_t n = in.size();
    const Shape& shape = x.is_strings() ? x.strings().shape : x.tensor().shape();
    std::vector<std::string> texts;
    std::vector<int64_t> ints;
    std::vector<double> reals;
    StringRoom room;
    auto find = [](const auto& table, const auto& key) -> std::optional<size_t> {
      auto it = table.find(key);
      return it == table.end() ? std::nullopt : std::optional<size_t>(it->second);
    };
    for (size_t i = 0; i < n; ++i) {
      const std::optional<size_t> k = in.strings                  ? find(by_text, in.texts[i])
                                      : !is_floating(in.dtype)    ? find(by_int, in.ints[i])
                                      : std::isnan(in.reals[i]) ? nan
                                                                  : find(by_real, in.reals[i]);
      const Column& from = k ? values : other;
      const size_t at = k.value_or(0);
      if (values.strings) {
        room.add(from.texts[at].size());
        texts.push_back(from.texts[at]);
      } else if (is_floating(values.dtype)) reals.push_back(is_floating(from.dtype) ? from.reals[at] : double(from.ints[at]));
      else ints.push_back(is_floating(from.dtype) ? int64_t(from.reals[at]) : from.ints[at]);
    }
    if (values.strings) return Strings{shape, std::move(texts)};
    return is_floating(values.dtype) ? make_reals(reals, shape, values.dtype)
                                     : Eval::eagerly([&] { return cast(make_ints(ints, shape), values.dtype); });
  }
};
const Value& known(Call& c, int i) {
  if (c.value(i).is_tensor()) c.concrete(i);
  return c.value(i);
}

Values build_label_encoder(Call& c) {
  const Value& x = known(c, 0);
  auto table = c.prepared<Table>([&] {
    Column keys, values;
    Column other;
    if (c.version() < 2) {   // strings to their positions, or back
      keys.strings = x.is_strings();
      values.strings = !keys.strings;
      std::vector<std::string> classes = c.texts("classes_strings");
      std::vector<int64_t> at(classes.size());
      for (size_t i = 0; i < at.size(); ++i) at[i] = int64_t(i);
      (keys.strings ? keys : values).texts = classes;
      (keys.strings ? values : keys).ints = at;
    } else {
      auto k = column_of(c, "keys"), v = column_of(c, "values");
      if (!k || !v) c.fail<ValueError>("missing attribute: expected keys_* and values_*, got none");
      keys = std::move(*k);
      values = std::move(*v);
    }
    other.strings = values.strings;
    other.dtype = values.dtype;
    const Attribute* given = c.version() >= 4 ? c.attr("default_tensor") : nullptr;
    if (given && std::get_if<Value>(&given->data)) other = column_of(std::get<Value>(given->data));
    else if (values.strings) other.texts = {c.string("default_string", "_Unused")};
    else if (is_floating(values.dtype)) other.reals = {c.real("default_float", -0.0)};
    else other.ints = {c.integer("default_int64", -1)};
    return Table(c, std::move(keys), std::move(values), std::move(other));
  });
  return {table->apply_to(c, x)};
}

Values build_category_mapper(Call& c) {
  const Value& x = known(c, 0);
  auto table = c.prepared<Table>([&] {
    Column texts, ints, other;
    texts.strings = true;
    texts.texts = c.texts("cats_strings");
    ints.ints = c.ints("cats_int64s");
    other.strings = !x.is_strings();
    if (other.strings) other.texts = {c.string("default_string", "_Unused")};
    else other.ints = {c.integer("default_int64", -1)};
    return x.is_strings() ? Table(c, texts, ints, other) : Table(c, ints, texts, other);
  });
  return {table->apply_to(c, x)};
}

// ---- maps ----------------------------------------------------------------------------------------------

// A map for each row of x [rows, keys], or for x [keys].
Values build_zip_map(Call& c) {
  const Tensor& x = c.concrete(0);
  const Labels labels = labels_of(c, "classlabels_int64s");
  const int64_t n = labels.size();
  if (x.rank() < 1 || x.rank() > 2 || x.dim(-1) != n) c.fail<ShapeError>("expected [rows, {}], got {}", n, to_string(x.type()));
  const Value keys = labels.texts.empty() ? Value(make_ints(labels.numbers)) : Value(Strings{Shape{n}, labels.texts});
  Sequence out;
  return Eval::eagerly([&]() -> Values {
    const Tensor rows = reshape(x, {x.rank() == 1 ? 1 : x.dim(0), n});
    for (int64_t r = 0; r < rows.dim(0); ++r) out.push_back(Map{keys, copy(reshape(slice(rows, 0, r, r + 1), {n}))});
    return {Value(std::move(out))};
  });
}

const Map& map_of(Call& c) {
  if (!c.value(0).is_map()) c.fail<TypeError>("input is no map: expected one, got {}", describe(c.value(0)));
  return c.value(0).map();
}

Values build_dict_vectorizer(Call& c) {
  const Map& m = map_of(c);
  Column words;
  if (m.keys.is_strings()) {
    words.strings = true;
    words.texts = c.texts("string_vocabulary");
  } else {
    words.ints = c.ints("int64_vocabulary");
  }
  const Column keys = column_of(m.keys), values = column_of(m.values);
  const size_t n = words.size();
  std::vector<size_t> from(n, values.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const size_t at = keys.strings ? size_t(std::find(words.texts.begin(), words.texts.end(), keys.texts[i]) - words.texts.begin())
                                   : size_t(std::find(words.ints.begin(), words.ints.end(), keys.ints[i]) - words.ints.begin());
    if (at < n) from[at] = i;
  }
  const Shape s{1, int64_t(n)};
  if (values.strings) {
    Strings out{s, std::vector<std::string>(n)};
    for (size_t k = 0; k < n; ++k)
      if (from[k] < values.size()) out.data[k] = values.texts[from[k]];
    return {std::move(out)};
  }
  std::vector<double> reals(n, 0);
  std::vector<int64_t> ints(n, 0);
  for (size_t k = 0; k < n; ++k)
    if (from[k] < values.size()) (is_floating(values.dtype) ? void(reals[k] = values.reals[from[k]]) : void(ints[k] = values.ints[from[k]]));
  return {is_floating(values.dtype) ? make_reals(reals, s, values.dtype) : make_ints(ints, s)};
}

// The values in the order of their keys; with map_form SPARSE each at the position of its key.
Values build_cast_map(Call& c) {
  const Map& m = map_of(c);
  if (m.keys.is_strings()) c.fail<TypeError>("keys are strings: expected int64");
  const std::vector<int64_t> keys = read_ints(m.keys.tensor());
  const std::string form = c.string("map_form", "DENSE"), to = c.string("cast_to", "TO_FLOAT");
  const bool dense = form == "DENSE";
  const int64_t n = dense ? int64_t(keys.size()) : c.integer("max_map", 1);
  if (n < 0 || n > longest_axis) c.fail<ValueError>("max_map out of range: expected 0 to {}, got {}", longest_axis, n);
  std::map<int64_t, size_t> order;
  for (size_t i = 0; i < keys.size(); ++i) order.emplace(keys[i], i);
  const Column values = column_of(m.values);
  const int code = onnx_type_named(to == "TO_FLOAT" ? "FLOAT" : to == "TO_INT64" ? "INT64" : "STRING");
  if (to != "TO_FLOAT" && to != "TO_INT64" && to != "TO_STRING")
    c.fail<ValueError>("unknown cast_to: expected TO_FLOAT, TO_INT64 or TO_STRING, got '{}'", to);
  Column laid = values;
  if (values.strings) laid.texts.assign(size_t(n), code == onnx_type_named("STRING") ? "" : "0");
  else if (is_floating(values.dtype)) laid.reals.assign(size_t(n), 0);
  else laid.ints.assign(size_t(n), 0);
  int64_t next = 0;
  for (auto [key, i] : order) {
    const int64_t at = dense ? next++ : key;
    if (at < 0 || at >= n) c.fail<IndexError>("key out of range: expected 0 to {}, got {}", n - 1, key);
    if (values.strings) laid.texts[size_t(at)] = values.texts[i];
    else if (is_floating(values.dtype)) laid.reals[size_t(at)] = values.reals[i];
    else laid.ints[size_t(at)] = values.ints[i];
  }
  const Shape s{1, n};
  const Value row = laid.strings                 ? Value(Strings{s, laid.texts})
                    : is_floating(laid.dtype) ? Value(make_reals(laid.reals, s, laid.dtype))
                                                 : Value(make_ints(laid.ints, s));
  return {cast_value(c, row, code)};
}

// ---- linear models -------------------------------------------------------------------------------------

// [rows, features] times coefficients [targets, features], plus one number a target.
Tensor linear_scores(Call& c, const Tensor& x, int64_t targets) {
  const std::vector<double> w = c.reals("coefficients"), b = c.reals("intercepts", std::vector<double>{});
  if (targets < 1 || int64_t(w.size()) != targets * x.dim(1) || (!b.empty() && int64_t(b.size()) != targets))
    c.fail<ShapeError>("coefficients do not fit: expected {} for each of {} targets, got {} and {} intercepts", x.dim(1), targets,
                       w.size(), b.size());
  return apply(SUAN_OP("linear"), {x, make_reals(w, Shape{targets, x.dim(1)}, x.dtype()),
                                   b.empty() ? Tensor() : reals_tensor(b, x.dtype())});
}

Values build_linear_regressor(Call& c) {
  const Tensor x = features_of(c, c[0], c[0].dtype() == DType::f64 ? DType::f64 : DType::f32);
  const Tensor scores = cast(linear_scores(c, x, c.integer("targets", 1)), DType::f32);
  return {transformed(c, scores, c.string("post_transform", "NONE"))};
}

Tensor top(const Tensor& scores) { return apply(SUAN_OP("argmax"), {scores}, {int64_t(1), false}); }
Tensor column(const Tensor& scores) { return reshape(scores, {scores.dim(0)}); }

Values build_linear_classifier(Call& c) {
  const Tensor x = features_of(c, c[0], c[0].dtype() == DType::f64 ? DType::f64 : DType::f32);
  const Labels labels = labels_of(c, "classlabels_ints");
  const std::string how = c.string("post_transform", "NONE");
  const int64_t targets = int64_t(c.reals("coefficients").size()) / std::max<int64_t>(x.dim(1), 1);
  const Tensor scores = cast(linear_scores(c, x, targets), DType::f32);
  if (targets > 1) {
    if (labels.size() != targets) c.fail<ValueError>("wrong number of labels: expected {}, got {}", targets, labels.size());
    return {pick(c, labels, top(scores)), transformed(c, scores, how)};
  }
  const Tensor positive = cast(gt(column(scores), number(0, scores)), DType::i64);
  if (labels.size() == 2) {
    const Tensor both = apply(SUAN_OP("cat"), {-scores, scores}, {int64_t(1)});
    return {pick(c, labels, positive), transformed(c, both, how)};
  }
  if (labels.size() != 1 || !labels.texts.empty()) c.fail<ValueError>("wrong number of labels: expected 2, got {}", labels.size());
  return {positive * double(labels.numbers[0]), transformed(c, scores, how)};
}

// ---- support vector machines ---------------------------------------------------------------------------

// What x [rows, features] and vectors [n, features] have in common: [rows, n].
Tensor kernel_of(Call& c, const Tensor& x, const Tensor& vectors, const std::string& kind) {
  const std::vector<double> p = c.reals("kernel_params", std::vector<double>{});
  auto param = [&](size_t i) { return i < p.size() ? p[i] : 0.0; };
  const Tensor product = apply(SUAN_OP("linear"), {x, vectors, Tensor()});
  if (kind == "LINEAR") return product;
  const Tensor affine = product * param(0) + param(1);
  if (kind == "POLY") return pow(affine, number(param(2), affine));
  if (kind == "SIGMOID") return tanh(affine);
  if (kind == "RBF") {
    const Tensor apart = sum(square(x), Dims{1}, true) + sum(square(vectors), Dims{1}, false) - product * 2.0;
    return exp(maximum(apart, number(0, apart)) * -param(0));
  }
  c.fail<ValueError>("unknown kernel_type: expected LINEAR, POLY, RBF or SIGMOID, got '{}'", kind);
}

Tensor support_vectors(Call& c, const Tensor& x, int64_t n) {
  const std::vector<double> v = c.reals("support_vectors");
  if (n < 1 || int64_t(v.size()) != n * x.dim(1))
    c.fail<ShapeError>("support vectors do not fit: expected {} of {} features, got {} numbers", n, x.dim(1), v.size());
  return make_reals(v, Shape{n, x.dim(1)}, DType::f64);
}
double rho_of(Call& c, size_t i) {
  const std::vector<double> rho = c.reals("rho");
  if (i >= rho.size()) c.fail<ValueError>("rho too short: expected at least {} numbers, got {}", i + 1, rho.size());
  return rho[i];
}

Values build_svm_regressor(Call& c) {
  const Tensor x = features_of(c, c[0], DType::f64);
  const int64_t n = c.integer("n_supports", 0);
  const std::vector<double> w = c.reals("coefficients");
  const Tensor common = n > 0 ? kernel_of(c, x, support_vectors(c, x, n), c.string("kernel_type", "LINEAR")) : x;
  if (int64_t(w.size()) != common.dim(1)) c.fail<ShapeError>("wrong number of coefficients: expected {}, got {}", common.dim(1), w.size());
  Tensor y = matmul(common, make_reals(w, Shape{int64_t(w.size()), 1}, DType::f64)) + rho_of(c, 0);
  if (c.integer("one_class", 0)) y = where(gt(y, number(0, y)), number(1, y), number(-1, y));
  return {transformed(c, cast(y, DType::f32), c.string("post_transform", "NONE"))};
}

// Class probabilities from those of pairs: Wu, Lin, Weng 2004, method 2, as in libsvm.
std::vector<double> joined_probabilities(size_t k, const std::vector<double>& pair) {
  std::vector<double> q(k * k, 0), p(k, 1.0 / double(k)), qp(k);
  for (size_t t = 0; t < k; ++t)
    for (size_t j = 0; j < k; ++j)
      if (j != t) {
        q[t * k + t] += pair[j * k + t] * pair[j * k + t];
        q[t * k + j] = -pair[j * k + t] * pair[t * k + j];
      }
  for (size_t round = 0; round < std::max<size_t>(100, k); ++round) {
    double total = 0, worst = 0;
    for (size_t t = 0; t < k; ++t) {
      qp[t] = 0;
      for (size_t j = 0; j < k; ++j) qp[t] += q[t * k + j] * p[j];
      total += p[t] * qp[t];
    }
    for (size_t t = 0; t < k; ++t) worst = std::max(worst, std::abs(qp[t] - total));
    if (worst < 0.005 / double(k)) break;
    for (size_t t = 0; t < k; ++t) {
      const double by = (total - qp[t]) / q[t * k + t];
      p[t] += by;
      total = (total + by * (by * q[t * k + t] + 2 * qp[t])) / (1 + by) / (1 + by);
      for (size_t j = 0; j < k; ++j) {
        qp[j] = (qp[j] + by * q[t * k + j]) / (1 + by);
        p[j] /= 1 + by;
      }
    }
  }
  return p;
}

Values build_svm_classifier(Call& c) {
  const Tensor x = features_of(c, c[0], DType::f64);
  const Labels labels = labels_of(c, "classlabels_ints");
  const std::string how = c.string("post_transform", "NONE");
  const std::vector<int64_t> per_class = c.ints("vectors_per_class", std::vector<int64_t>{});
  const std::vector<double> w = c.reals("coefficients");
  const int64_t classes = labels.size();
  int64_t n = 0;
  for (int64_t v : per_class) {
    if (v < 0 || v > longest_axis) c.fail<ValueError>("vectors_per_class out of range: expected 0 or more, got {}", v);
    n += v;
  }
  if (n == 0) {   // linear: one set of coefficients a class
    if (classes < 1 || int64_t(w.size()) != classes * x.dim(1))
      c.fail<ShapeError>("coefficients do not fit: expected {} for each of {} classes, got {}", x.dim(1), classes, w.size());
    const Tensor scores = cast(kernel_of(c, x, make_reals(w, Shape{classes, x.dim(1)}, DType::f64), "LINEAR") + rho_of(c, 0), DType::f32);
    return {pick(c, labels, top(scores)), transformed(c, scores, how)};
  }
  if (int64_t(per_class.size()) != classes || classes < 2 || int64_t(w.size()) != (classes - 1) * n)
    c.fail<ShapeError>("coefficients do not fit: expected {} classes and {} coefficients, got {} and {}", classes, (classes - 1) * n,
                       per_class.size(), w.size());
  // Of each two classes one wins: the sum over both classes' vectors says which.
  const int64_t pairs = classes * (classes - 1) / 2;
  std::vector<double> share(size_t(n * pairs), 0), bias, first(size_t(pairs * classes), 0), second = first;
  std::vector<int64_t> start{0};
  for (int64_t v : per_class) start.push_back(start.back() + v);
  for (int64_t i = 0, e = 0; i < classes; ++i)
    for (int64_t j = i + 1; j < classes; ++j, ++e) {
      for (int64_t k = start[size_t(i)]; k < start[size_t(i) + 1]; ++k) share[size_t(k * pairs + e)] = w[size_t((j - 1) * n + k)];
      for (int64_t k = start[size_t(j)]; k < start[size_t(j) + 1]; ++k) share[size_t(k * pairs + e)] = w[size_t(i * n + k)];
      first[size_t(e * classes + i)] = second[size_t(e * classes + j)] = 1;
      bias.push_back(rho_of(c, size_t(e)));
    }
  const Tensor common = kernel_of(c, x, support_vectors(c, x, n), c.string("kernel_type", "LINEAR"));
  const Tensor scores = matmul(common, make_reals(share, Shape{n, pairs}, DType::f64)) + reals_tensor(bias, DType::f64);
  const Shape table{pairs, classes};
  const Tensor won = cast(gt(scores, number(0, scores)), DType::f64);
  const Tensor votes = matmul(won, make_reals(first, table, DType::f64)) + matmul(1.0 - won, make_reals(second, table, DType::f64));
  const std::vector<double> a = c.reals("prob_a", std::vector<double>{}), b = c.reals("prob_b", std::vector<double>{});
  if (!a.empty()) {
    if (int64_t(a.size()) != pairs || a.size() != b.size()) c.fail<ValueError>("prob_a and prob_b do not fit: expected {}, got {} and {}", pairs, a.size(), b.size());
    if (scores.is_dry()) throw NeedsData{c.node.name};
    const std::vector<double> s = read_reals(scores);
    std::vector<double> all;
    const size_t k = size_t(classes);
    for (int64_t r = 0; r < x.dim(0); ++r) {
      std::vector<double> pair(k * k, 0);
      for (size_t i = 0, e = 0; i < k; ++i)
        for (size_t j = i + 1; j < k; ++j, ++e) {
          const double p = 1 / (1 + std::exp(s[size_t(r * pairs) + e] * a[e] + b[e]));
          pair[i * k + j] = std::clamp(p, 1e-7, 1 - 1e-7);
          pair[j * k + i] = 1 - pair[i * k + j];
        }
      const std::vector<double> p = joined_probabilities(k, pair);
      all.insert(all.end(), p.begin(), p.end());
    }
    const Tensor probabilities = make_reals(all, Shape{x.dim(0), classes}, DType::f32);
    return {pick(c, labels, top(votes)), transformed(c, probabilities, how)};
  }
  const Tensor out = cast(scores, DType::f32);
  // One score for two classes: the other one gets its opposite. PROBIT of one stands alone.
  const Tensor all = classes > 2 || how == "PROBIT" ? out : apply(SUAN_OP("cat"), {-out, out}, {int64_t(1)});
  return {pick(c, labels, top(votes)), transformed(c, all, how)};
}

}  // namespace

std::vector<Mapping> learning_ops() {
  return {
      {"ai.onnx.ml.Binarizer", 1, build_binarizer},
      {"ai.onnx.ml.CastMap", 1, build_cast_map},
      {"ai.onnx.ml.CategoryMapper", 1, build_category_mapper},
      {"ai.onnx.ml.DictVectorizer", 1, build_dict_vectorizer},
      {"ai.onnx.ml.FeatureVectorizer", 1, build_feature_vectorizer},
      {"ai.onnx.ml.Imputer", 1, build_imputer},
      {"ai.onnx.ml.LabelEncoder", 1, build_label_encoder},
      {"ai.onnx.ml.LinearClassifier", 1, build_linear_classifier},
      {"ai.onnx.ml.LinearRegressor", 1, build_linear_regressor},
      {"ai.onnx.ml.Normalizer", 1, build_normalizer},
      {"ai.onnx.ml.OneHotEncoder", 1, build_one_hot},
      {"ai.onnx.ml.SVMClassifier", 1, build_svm_classifier},
      {"ai.onnx.ml.SVMRegressor", 1, build_svm_regressor},
      {"ai.onnx.ml.Scaler", 1, build_scaler},
      {"ai.onnx.ml.ZipMap", 1, build_zip_map},
  };
}

}  // namespace suan::onnx
