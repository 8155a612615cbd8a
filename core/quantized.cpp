// Graphs that go through 8-bit integers (dequantize, something, quantize) compute with these: convolutions and products by
// 8-bit kernels, functions of one value by tables, sums, products and means of integers; what only moves values moves them
// as they are. Convolutions want channels last, so 4-D integers stay so from one to the next.
// Tables, and packing the weights of integer convolutions, keep every bit. The rest rounds once where the graph rounds
// between real values, within a quantum: not in exact mode.
#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_map>

#include "core/apply.h"
#include "core/hash.h"
#include "core/content_hash.h"
#include "core/pass.h"

namespace suan {
namespace {

class Quantized {
 public:
  Quantized(const Graph& g, ConstantCache& cache, bool exact)
      : g_(g), b_(g), cache_(cache), exact_(exact), uses_(g.use_counts()), reader_(g.values.size(), -1) {
    for (size_t i = 0; i < g.nodes.size(); ++i)
      for (ValueId v : g.nodes[i].in)
        if (v != no_value) reader_[size_t(v)] = int(i);
    find_waiting();
  }

  int run(Graph& out) {
    for (size_t i = 0; i < g_.nodes.size(); ++i)
      if (!waits_[i]) emit(g_.nodes[i]);
    for (ValueId v : g_.outputs) plain(v);
    out = b_.finish();
    return n_;
  }

 private:
  // A real value that is (q - zero) * scale.
  struct Real {
    ValueId q;
    float scale;
    int32_t zero;
    ValueId zero_value;   // no_value: 0
  };
  // A value of the new graph, with its channels last or where they were.
  struct Laid {
    ValueId v;
    bool last;
  };

  // ---- the graph as it was --------------------------------------------------------------------------------

  const TensorType& type(ValueId v) const { return g_.values[size_t(v)].type; }
  const Shape& shape(ValueId v) const { return type(v).shape; }
  const Node* producer(ValueId v) const {
    const int p = v == no_value ? -1 : g_.values[size_t(v)].producer;
    return p >= 0 ? &g_.nodes[size_t(p)] : nullptr;
  }
  const Node* producer(ValueId v, const OpDef& def) const {
    const Node* p = producer(v);
    return p && p->op == &def ? p : nullptr;
  }
  const Tensor* constant(ValueId v) const {
    const auto it = v == no_value ? g_.constants.end() : g_.constants.find(v);
    return it == g_.constants.end() ? nullptr : &it->second;
  }
  static ValueId input(const Node& n, size_t i) { return i < n.in.size() ? n.in[i] : no_value; }
  static bool is_byte(DType t) { return t == DType::u8 || t == DType::i8; }
  static int32_t byte_at(const Tensor& t, int64_t i) {
    return t.dtype() == DType::i8 ? int32_t(t.data<int8_t>()[i]) : int32_t(t.data<uint8_t>()[i]);
  }

  // Scale and zero point, inputs 1 and 2 of dequantize and quantize: one constant each.
  std::optional<Real> parameters(const Node& n, ValueId q) const {
    const Tensor *scale = constant(input(n, 1)), *zero = constant(input(n, 2));
    if (!is_byte(type(q).dtype) || !scale || scale->rank() != 0 || (input(n, 2) != no_value && !zero)) return std::nullopt;
    const float s = scale->data<float>()[0];
    if (!(s > 1e-30f && s < 1e30f)) return std::nullopt;
    return Real{q, s, zero ? byte_at(*zero, 0) : 0, input(n, 2)};
  }
  std::optional<Real> real(ValueId v) const {
    static const OpDef& dequantize = op("dequantize");
    const Node* n = producer(v, dequantize);
    return n ? parameters(*n, n->in[0]) : std::nullopt;
  }

  // max(x, c), min(x, c), relu: also of rounded values.
  static bool is_bound(const OpDef& def) {
    static const OpDef* const bounds[] = {&op("relu"), &op("maximum"), &op("minimum")};
    return std::find(std::begin(bounds), std::end(bounds), &def) != std::end(bounds);
  }
  // The operand of a bound that is no constant, or no_value.
  ValueId bounded(const Node& n) const {
    if (!is_bound(*n.op)) return no_value;
    if (n.in.size() == 1) return n.in[0];
    for (const size_t i : {size_t{0}, size_t{1}})
      if (const Tensor* c = constant(n.in[i]); c && c->numel() == 1 && shape(n.in[1 - i]) == shape(n.out[0])) return n.in[1 - i];
    return no_value;
  }
  // Whether nobody but a quantize reads v, through bounds at most.
  bool becomes_bytes(ValueId v) const {
    static const OpDef& quantize = op("quantize");
    for (; uses_[size_t(v)] == 1 && reader_[size_t(v)] >= 0; v = g_.nodes[size_t(reader_[size_t(v)])].out[0]) {
      const Node& n = g_.nodes[size_t(reader_[size_t(v)])];
      if (n.op == &quantize) return parameters(n, n.out[0]).has_value();
      if (bounded(n) == no_value) return false;
    }
    return false;
  }

  // What only a quantize wants is made where that one turns out to need it.
  void find_waiting() {
    static const OpDef &quantize = op("quantize"), &dequantize = op("dequantize");
    std::vector<char> wanted(g_.values.size(), 0);
    for (ValueId v : g_.outputs) wanted[size_t(v)] = 1;
    waits_.assign(g_.nodes.size(), 0);
    for (size_t i = g_.nodes.size(); i-- > 0;) {
      const Node& n = g_.nodes[i];
      waits_[i] = mergeable(*n.op) && n.op != &quantize && std::none_of(n.out.begin(), n.out.end(), [&](ValueId v) { return wanted[size_t(v)]; });
      waits_[i] = waits_[i] || n.op == &dequantize;
      if (waits_[i] || n.op == &quantize) continue;
      for (ValueId v : n.in)
        if (v != no_value) wanted[size_t(v)] = 1;
    }
  }

  // ---- the graph as it becomes ----------------------------------------------------------------------------

  void emit(const Node& n) {
    if (quantized(n) || real_result(n) || integer_conv(n) || turned(n)) ++n_;
    else copy(n);
  }
  bool is_made(ValueId v) const { return v == no_value || b_[v] != no_value || last_.count(v); }
  // Makes v, in one layout at least.
  void need(ValueId v) {
    if (is_made(v)) return;
    const Node& n = *producer(v);
    if (!weight(n)) return emit(n);
    const Tensor &x = *constant(n.in[0]), &scale = *constant(n.in[1]), *zero = constant(input(n, 2));   // weights that stay real
    const std::string what = fmt::format("real {} {} {}", content(scale), zero ? content(*zero) : "", n.attrs.integer(0));
    ContextScope scope;
    context() = Context{.grad_enabled = false};
    const auto make = [x, scale, z = zero ? *zero : Tensor(), by = n.op, attrs = n.attrs] { return apply(*by, {x, scale, z}, attrs); };
    b_.replace(v, b_.to.add_constant(cache_.find(x, what, make)));
  }

  ValueId append(const char* name, std::vector<ValueId> in, const Attrs& attrs, SourceMark source) {
    const int k = b_.to.append(op(name), std::move(in), attrs, source);
    return b_.to.nodes[size_t(k)].out[0];
  }
  static std::string content(const Tensor& t) {
    const Tensor whole = t.is_contiguous() ? t : apply(op("copy"), {t});
    const Hash128 h = content_hash({reinterpret_cast<const char*>(whole.raw()), size_t(t.type().bytes())});
    return fmt::format("{} {:x} {:x}", to_string(t.type()), h.low, h.high);
  }
  // A constant of a few numbers, one for all plans of a model. `near` lives as long as these.
  ValueId constant(const Tensor& t, const Tensor& near) {
    uint64_t h = mix(uint64_t(t.dtype()), uint64_t(t.numel()));
    for (int64_t i = 0; i < t.type().bytes(); ++i) h = mix(h, uint64_t(t.raw()[i]));
    return b_.to.add_constant(cache_.find(near, fmt::format("few {:x} {}", h, to_string(t.type())), [t] { return t; }));
  }
  ValueId constant(float x, const Tensor& near) { return constant(Tensor::scalar(x, DType::f32), near); }

  ValueId plain(ValueId v) {
    need(v);
    if (v == no_value || b_[v] != no_value) return b_[v];
    const Shape& s = shape(v);
    ValueId x = last_.at(v);
    if (s[2] * s[3] != 1) x = append("copy", {append("permute", {x}, {Dims{0, 3, 1, 2}}, {})}, {}, {});
    else x = append("reshape", {x}, {s}, {});
    b_.replace(v, x);
    return x;
  }
  ValueId channels_last(ValueId v) {
    need(v);
    if (const auto it = last_.find(v); it != last_.end()) return it->second;
    const Shape& s = shape(v);
    ValueId x = plain(v);
    if (s[2] * s[3] != 1 && s[1] != 1) x = append("copy", {append("permute", {x}, {Dims{0, 2, 3, 1}}, {})}, {}, {});
    else x = append("reshape", {x}, {Shape{s[0], s[2], s[3], s[1]}}, {});
    return last_[v] = x;
  }
  Laid as_it_is(ValueId v) {
    need(v);
    const auto it = last_.find(v);
    return it != last_.end() ? Laid{it->second, true} : Laid{plain(v), false};
  }
  bool is_last(ValueId v) {
    need(v);
    return last_.count(v);
  }
  void set(ValueId v, Laid x) {
    if (x.last) last_[v] = x.v;
    else b_.replace(v, x.v);
  }
  void copy(const Node& n) {
    for (ValueId v : n.in) plain(v);
    b_.copy(n);
  }
  // Constant weights, which the nodes that read them ask for as they want them.
  bool weight(const Node& n) const {
    static const OpDef& dequantize = op("dequantize");
    if (n.op != &dequantize) return false;
    return constant(n.in[0]) && constant(n.in[1]) && (input(n, 2) == no_value || constant(n.in[2]));
  }

  // ---- tables ---------------------------------------------------------------------------------------------

  // All values of 8 bits in the order of their bits.
  static Tensor all_bytes(DType t) {
    Tensor x = apply(op("cast"), {apply(op("arange"), {}, {0.0, 256.0, 1.0, DType::i32})}, {DType::u8});
    if (t == DType::u8) return x;
    x = apply(op("cast"), {x}, {DType::i32});
    const Tensor back = apply(op("mul"), {apply(op("cast"), {apply(op("gt"), {x, Tensor::scalar_int(127, DType::i32)})}, {DType::i32}),
                                          Tensor::scalar_int(256, DType::i32)});
    return apply(op("cast"), {apply(op("sub"), {x, back})}, {DType::i8});
  }
  // v for each value of the 8 bits `of` (found on the way), if it depends on nothing else.
  std::optional<Tensor> for_each_byte(ValueId v, ValueId& of, std::unordered_map<ValueId, Tensor>& known) const {
    constexpr size_t most_nodes = 32;
    if (const auto it = known.find(v); it != known.end()) return it->second;
    if (const Tensor* c = constant(v)) {
      if (c->numel() != 1) return std::nullopt;
      return apply(op("reshape"), {*c}, {Shape{}});
    }
    const Node* n = producer(v);
    if (!n || n->out.size() != 1 || known.size() > most_nodes) return std::nullopt;
    Tensor made;
    if (const auto r = real(v)) {
      if (of != no_value && of != r->q) return std::nullopt;
      of = r->q;
      const Tensor* zero = constant(input(*n, 2));
      made = apply(*n->op, {all_bytes(type(of).dtype), *constant(n->in[1]), zero ? *zero : Tensor()}, n->attrs);
    } else {
      if (!(n->op->flags & op_elementwise) || !mergeable(*n->op)) return std::nullopt;
      Tensors in;
      for (ValueId x : n->in) {
        if (x == no_value) { in.emplace_back(); continue; }
        const auto t = for_each_byte(x, of, known);
        if (!t || (numel(shape(x)) != 1 && shape(x) != shape(v))) return std::nullopt;
        in.push_back(*t);
      }
      made = apply(*n->op, in, n->attrs);
    }
    return known[v] = made;
  }

  Laid looked_up(Laid x, const Tensor& table, DType from, const Tensor& near, SourceMark source) {
    bool same = table.dtype() == from;
    for (int64_t i = 0; i < 256 && same; ++i) same = uint8_t(table.raw()[i]) == uint8_t(i);
    return same ? x : Laid{append("int8_lookup", {x.v, constant(table, near)}, {}, source), x.last};
  }

  // quantize(bounds(dequantize(values))) as a table.
  Tensor again(const Real& from, DType t, const std::vector<const Node*>& bounds, const Node& quantize) const {
    const Tensor scale = Tensor::scalar(from.scale, DType::f32);
    Tensor x = apply(op("dequantize"), {all_bytes(t), scale, Tensor::scalar_int(from.zero, t)}, {int64_t(0)});
    for (size_t i = bounds.size(); i-- > 0;) {
      Tensors in;
      for (ValueId v : bounds[i]->in) in.push_back(constant(v) ? apply(op("reshape"), {*constant(v)}, {Shape{}}) : x);
      x = apply(*bounds[i]->op, in, bounds[i]->attrs);
    }
    const Tensor* zero = constant(input(quantize, 2));
    return apply(*quantize.op, {x, *constant(quantize.in[1]), zero ? *zero : Tensor()}, quantize.attrs);
  }

  // ---- what becomes of quantize(something(dequantize ...)) ----------------------------------------------

  bool quantized(const Node& n) {
    static const OpDef& quantize = op("quantize");
    if (n.op != &quantize) return false;
    const auto to = parameters(n, n.out[0]);
    if (!to) return false;
    ContextScope scope;
    context() = Context{.grad_enabled = false};
    const DType t = type(n.out[0]).dtype;
    ValueId of = no_value;
    std::unordered_map<ValueId, Tensor> known;
    if (const auto x = for_each_byte(n.in[0], of, known); x && of != no_value && shape(of) == shape(n.out[0])) {
      const Tensor* zero = constant(input(n, 2));
      const Tensor table = apply(quantize, {*x, *constant(n.in[1]), zero ? *zero : Tensor()}, n.attrs);
      set(n.out[0], looked_up(as_it_is(of), table, type(of).dtype, *constant(n.in[1]), n.source));
      return true;
    }
    if (exact_) return false;
    std::vector<const Node*> bounds;   // the last one first
    ValueId v = n.in[0];
    const Node* p = producer(v);
    for (; p && uses_[size_t(v)] == 1 && bounded(*p) != no_value; p = producer(v)) {
      bounds.push_back(p);
      v = bounded(*p);
    }
    if (!p || uses_[size_t(v)] != 1) return false;
    // As which 8 bits it comes: the result's, or those of a value that was only moved.
    Real as{n.out[0], to->scale, to->zero, to->zero_value};
    DType made = t;
    auto y = convolution(*p, t, &n, as);
    if (!y) y = product(*p, t, &n, as);
    if (!y) y = pair(*p, t, n, as);
    if (!y) y = mean(*p, n, t, as);
    if (!y) y = joined(*p, n);
    if (!y) y = moved(*p, as, made);
    if (!y) return false;
    if (!bounds.empty() || made != t || as.scale != to->scale || as.zero != to->zero)
      y = looked_up(*y, again(as, made, bounds, n), made, *constant(n.in[1]), n.source);
    set(n.out[0], *y);
    return true;
  }

  // Convolutions and products of integers whose results stay real.
  bool real_result(const Node& n) {
    if (exact_ || n.out.size() != 1 || becomes_bytes(n.out[0])) return false;
    ContextScope scope;
    context() = Context{.grad_enabled = false};
    auto y = convolution(n, DType::f32, nullptr, {});
    if (!y) y = product(n, DType::f32, nullptr, {});
    if (y) set(n.out[0], *y);
    return y.has_value();
  }

  // Scales of sums, by output: the operands' over the result's.
  Tensor scales(const Real& x, const Tensor& w, const Real* to) const {
    Tensor made = apply(op("mul"), {w, Tensor::scalar(x.scale, DType::f32)});
    return to ? apply(op("div"), {made, Tensor::scalar(to->scale, DType::f32)}) : made;
  }
  // A real bias as sums have it. Null: too large for them.
  std::optional<Tensor> whole_bias(const Tensor& b, const Real& x, const Tensor& w_scale) const {
    std::vector<int32_t> whole;
    for (int64_t i = 0; i < b.numel(); ++i) {
      const double v = std::nearbyint(double(b.data<float>()[i]) / (double(x.scale) * double(w_scale.data<float>()[w_scale.rank() ? i : 0])));
      if (!(std::abs(v) < 2147483648.0)) return std::nullopt;
      whole.push_back(int32_t(v));
    }
    return Tensor::from<int32_t>(whole, Shape{b.numel()});
  }

  std::optional<Laid> convolution(const Node& n, DType t, const Node* quantize, const Real& to) {
    static const OpDef &conv = op("conv"), &dequantize = op("dequantize");
    if (n.op != &conv || shape(n.in[0]).size() != 4) return std::nullopt;
    const auto x = real(n.in[0]);
    const Node* w = producer(n.in[1], dequantize);
    if (!x || !w || !weight(*w)) return std::nullopt;
    const Tensor &values = *constant(w->in[0]), &w_scale = *constant(w->in[1]);
    const Tensor* w_zero = constant(input(*w, 2));
    if (!is_byte(values.dtype()) || (w_scale.rank() && w->attrs.integer(0) != 0)) return std::nullopt;
    const int32_t middle = values.dtype() == DType::u8 ? 128 : 0;
    ValueId zeros = no_value;   // of the weights as packed, unsigned ones 128 lower
    if (middle || w_zero) {
      std::vector<int8_t> lower;
      for (int64_t i = 0; i < (w_zero ? w_zero->numel() : 1); ++i) lower.push_back(int8_t((w_zero ? byte_at(*w_zero, i) : 0) - middle));
      if (std::any_of(lower.begin(), lower.end(), [](int8_t z) { return z != 0; }))
        zeros = constant(Tensor::from<int8_t>(lower, w_zero ? w_zero->shape() : Shape{}), w_scale);
    }
    ValueId bias = no_value;
    if (input(n, 2) != no_value) {
      const Tensor* b = constant(n.in[2]);
      const auto whole = b ? whole_bias(*b, *x, w_scale) : std::nullopt;
      if (!whole) return std::nullopt;
      bias = constant(*whole, *b);
    }
    const Dims kernel{values.dim(2), values.dim(3)};
    const ValueId packed = packed_weight(values, n.attrs.dims(2), n.attrs.integer(3));
    const ValueId scale = constant(scales(*x, w_scale, quantize ? &to : nullptr), w_scale);
    return Laid{append("int8_conv",
                       {channels_last(x->q), packed, b_[x->zero_value], zeros, bias, scale, quantize ? b_[to.zero_value] : no_value},
                       {t, values.dim(0), kernel, n.attrs[0], n.attrs[1], n.attrs[2], n.attrs[3]}, n.source),
                true};
  }
  ValueId packed_weight(const Tensor& w, const Dims& dilation, int64_t groups) {
    const std::string what = fmt::format("int8_conv {} {}", groups, to_string(dilation));
    return b_.to.add_constant(cache_.find(w, what, [w, dilation, groups] { return apply(op("int8_conv_pack"), {w}, {dilation, groups}); }));
  }

  std::optional<Laid> product(const Node& n, DType t, const Node* quantize, const Real& to) {
    static const OpDef &linear = op("linear"), &matmul = op("matmul"), &dequantize = op("dequantize");
    if (n.op != &linear && n.op != &matmul) return std::nullopt;
    const auto x = real(n.in[0]);
    const Node* w = producer(n.in[1], dequantize);
    if (!x || !w || shape(n.in[0]).size() < 2 || shape(n.in[1]).size() < 2) return std::nullopt;
    std::vector<ValueId> in{plain(x->q), no_value, b_[x->zero_value], no_value, no_value, no_value, no_value};
    if (weight(*w)) {
      Tensor values = *constant(w->in[0]);
      const Tensor& w_scale = *constant(w->in[1]);
      const Tensor* w_zero = constant(input(*w, 2));
      const int64_t axis = w->attrs.integer(0), rank = values.rank(), column = n.op == &linear ? 0 : rank - 1;
      if (!is_byte(values.dtype()) || (w_scale.rank() && (axis < 0 ? axis + rank : axis) != column)) return std::nullopt;
      if (n.op == &linear) {
        const Tensor turned = values;
        values = cache_.find(turned, "turned", [turned] { return apply(op("copy"), {apply(op("permute"), {turned}, {Dims{1, 0}})}); });
        if (input(n, 2) != no_value) {
          const Tensor* b = constant(n.in[2]);
          const auto whole = b ? whole_bias(*b, *x, w_scale) : std::nullopt;
          if (!whole) return std::nullopt;
          in[4] = constant(*whole, *b);
        }
      }
      in[1] = b_.to.add_constant(values);
      in[3] = w_zero ? b_.to.add_constant(*w_zero) : no_value;
      in[5] = constant(scales(*x, w_scale, quantize ? &to : nullptr), w_scale);
    } else {
      const auto other = real(n.in[1]);
      if (!other || n.op == &linear) return std::nullopt;
      in[1] = plain(other->q);
      in[3] = b_[other->zero_value];
      in[5] = constant(scales(*x, Tensor::scalar(other->scale, DType::f32), quantize ? &to : nullptr), *constant(w->in[1]));
    }
    if (quantize) in[6] = b_[to.zero_value];
    return Laid{append("int8_matmul", std::move(in), {t, int64_t(0)}, n.source), false};
  }

  std::optional<Laid> pair(const Node& n, DType t, const Node& quantize, const Real& to) {
    static const OpDef &add = op("add"), &sub = op("sub"), &mul = op("mul");
    if (n.op != &add && n.op != &sub && n.op != &mul) return std::nullopt;
    auto a = real(n.in[0]), b = real(n.in[1]);
    if (!a || !b) return std::nullopt;
    const Shape& out = shape(n.out[0]);
    float a_sign = 1, b_sign = n.op == &sub ? -1 : 1;
    if (shape(a->q) != out) {
      std::swap(a, b);
      std::swap(a_sign, b_sign);
    }
    if (shape(a->q) != out) return std::nullopt;
    const bool whole = shape(b->q) == out, one = numel(shape(b->q)) == 1;
    bool last = out.size() == 4 && (whole || one || shape(b->q).size() == 4) && (is_last(a->q) || is_last(b->q));
    const Tensor& near = *constant(quantize.in[1]);
    std::vector<ValueId> in;
    if (last) {
      in = {channels_last(a->q), one && !whole ? append("reshape", {plain(b->q)}, {Shape{}}, {}) : channels_last(b->q)};
    } else {
      in = {plain(a->q), plain(b->q)};
    }
    in.insert(in.end(), {b_[a->zero_value], b_[b->zero_value]});
    if (n.op == &mul) {
      in.push_back(constant(a->scale * b->scale / to.scale, near));
    } else {
      in.push_back(constant(a_sign * a->scale / to.scale, near));
      in.push_back(constant(b_sign * b->scale / to.scale, near));
    }
    in.push_back(b_[to.zero_value]);
    return Laid{append(n.op == &mul ? "int8_mul" : "int8_add", std::move(in), {t}, n.source), last};
  }

  // Over a whole image: mean, or a window of that size.
  std::optional<Laid> mean(const Node& n, const Node& quantize, DType t, const Real& to) {
    static const OpDef &mean = op("mean"), &avg_pool = op("avg_pool");
    const auto x = n.in.empty() || n.in[0] == no_value ? std::nullopt : real(n.in[0]);
    if (!x || shape(x->q).size() != 4 || shape(x->q)[2] * shape(x->q)[3] == 0) return std::nullopt;
    const Shape &s = shape(x->q), &out = shape(n.out[0]);
    if (out != Shape{s[0], s[1], 1, 1}) return std::nullopt;
    if (n.op == &mean) {
      const Dims axes = n.attrs.dims(0);
      if (axes.size() != 2 || axes[0] + axes[1] + (axes[0] < 0 ? 4 : 0) + (axes[1] < 0 ? 4 : 0) != 5) return std::nullopt;
      for (int64_t a : axes)
        if ((a < 0 ? a + 4 : a) < 2) return std::nullopt;
    } else if (n.op != &avg_pool || n.attrs.dims(0) != Dims{s[2], s[3]} ||
               std::any_of(n.attrs.dims(2).begin(), n.attrs.dims(2).end(), [](int64_t p) { return p != 0; })) {
      return std::nullopt;
    }
    const Tensor& near = *constant(quantize.in[1]);
    return Laid{append("int8_mean", {channels_last(x->q), b_[x->zero_value], constant(x->scale / to.scale, near), b_[to.zero_value]}, {t}, n.source), true};
  }

  std::optional<Laid> joined(const Node& n, const Node& quantize) {
    static const OpDef& cat = op("cat");
    if (n.op != &cat) return std::nullopt;
    bool last = shape(n.out[0]).size() == 4;
    for (ValueId v : n.in) {
      const auto r = real(v);
      if (!r) return std::nullopt;
      last = last && is_last(r->q);
    }
    std::vector<ValueId> in;
    for (ValueId v : n.in) {
      const auto r = real(v);
      const DType from = type(r->q).dtype;
      const Laid x{last ? channels_last(r->q) : plain(r->q), last};
      in.push_back(looked_up(x, again(*r, from, {}, quantize), from, *constant(quantize.in[1]), n.source).v);
    }
    int64_t axis = normalize_axis("cat", n.attrs.integer(0), shape(n.out[0]).size());
    if (last) axis = axis == 0 ? 0 : axis == 1 ? 3 : axis - 1;
    return Laid{append("cat", std::move(in), {axis}, n.source), last};
  }

  // What only moves values, or picks the largest of a few, of 8 bits as they are.
  std::optional<Laid> moved(const Node& n, Real& as, DType& made) {
    static const OpDef &max_pool = op("max_pool"), &slice = op("slice");
    static const OpDef* const movers[] = {&op("reshape"), &op("permute"), &slice, &op("expand"), &op("copy"), &op("index"), &op("index_select")};
    std::vector<const Node*> moves;
    const Node* p = &n;
    std::optional<Real> x;
    for (;; p = producer(p->in[0])) {
      const bool pool = p && p->op == &max_pool && shape(p->in[0]).size() == 4 && uses_[size_t(p->out[1])] == 0;
      const bool moves_only = p && std::find(std::begin(movers), std::end(movers), p->op) != std::end(movers);
      if (!pool && !moves_only) return std::nullopt;
      for (size_t i = 1; i < p->in.size(); ++i)
        if (p->in[i] != no_value && !constant(p->in[i])) return std::nullopt;
      moves.push_back(p);
      if ((x = real(p->in[0]))) break;
      if (uses_[size_t(p->in[0])] != 1) return std::nullopt;
    }
    Laid y = as_it_is(x->q);
    for (size_t i = moves.size(); i-- > 0;) {
      const Node& m = *moves[i];
      if (m.op == &max_pool) {
        if (!y.last) y = {append("copy", {append("permute", {y.v}, {Dims{0, 2, 3, 1}}, {})}, {}, {}), true};
        y.v = append("int8_max_pool", {y.v}, m.attrs, m.source);
        continue;
      }
      std::vector<Attr> attrs = m.attrs.values();
      if (m.op == &slice && y.last) {
        const int64_t axis = normalize_axis("slice", m.attrs.integer(0), 4);
        attrs[0] = axis == 0 ? int64_t(0) : axis == 1 ? int64_t(3) : axis - 1;
      } else if (y.last) {
        y = {append("copy", {append("permute", {y.v}, {Dims{0, 3, 1, 2}}, {})}, {}, {}), false};
      }
      std::vector<ValueId> in = b_.mapped(m.in);
      in[0] = y.v;
      y.v = append(m.op->name.c_str(), std::move(in), Attrs(std::move(attrs)), m.source);
    }
    as = *x;
    made = type(x->q).dtype;
    return y;
  }

  // ---- integer convolutions that the model names itself --------------------------------------------------

  bool integer_conv(const Node& n) {
    static const OpDef& conv = op("int8_conv");
    const Tensor* w = n.op == &conv && n.attrs.integer(1) == 0 ? constant(n.in[1]) : nullptr;
    if (!w || w->dim(0) == 0) return false;
    const Tensor* zero = constant(input(n, 3));
    if (input(n, 3) != no_value && !zero) return false;
    ContextScope scope;
    context() = Context{.grad_enabled = false};
    for (ValueId v : n.in) plain(v);
    std::vector<ValueId> in = b_.mapped(n.in);
    in[1] = packed_weight(*w, n.attrs.dims(5), n.attrs.integer(6));
    if (zero && w->dtype() == DType::u8) {   // packed 128 lower
      std::vector<int8_t> lower;
      for (int64_t i = 0; i < zero->numel(); ++i) lower.push_back(int8_t(byte_at(*zero, i) - 128));
      in[3] = constant(Tensor::from<int8_t>(lower, zero->shape()), *w);
    }
    std::vector<Attr> attrs = n.attrs.values();
    attrs[1] = w->dim(0);
    b_.replace(n.out[0], append("int8_conv", std::move(in), Attrs(std::move(attrs)), n.source));
    return true;
  }
  // Their results with channels where ONNX has them, and those with channels last again.
  bool turned(const Node& n) {
    static const OpDef &permute = op("permute"), &conv = op("int8_conv");
    if (n.op != &permute || shape(n.in[0]).size() != 4) return false;
    if (n.attrs.dims(0) == Dims{0, 3, 1, 2} && producer(n.in[0], conv)) {
      last_[n.out[0]] = plain(n.in[0]);
      return true;
    }
    if (n.attrs.dims(0) != Dims{0, 2, 3, 1} || !is_last(n.in[0])) return false;
    b_.replace(n.out[0], last_.at(n.in[0]));
    return true;
  }

  const Graph& g_;
  Rebuild b_;
  ConstantCache& cache_;
  bool exact_;
  int n_ = 0;
  std::vector<char> waits_;          // by node
  std::vector<int> uses_, reader_;   // by value; reader_: the last one
  std::unordered_map<ValueId, ValueId> last_;   // value of the graph -> it, with its channels last
};

}  // namespace

int quantized_pass(Graph& g, ConstantCache& cache, bool exact) {
  static const OpDef* const wanted[] = {&op("dequantize"), &op("int8_conv")};
  if (std::none_of(g.nodes.begin(), g.nodes.end(), [](const Node& n) { return n.op == wanted[0] || n.op == wanted[1]; })) return 0;
  Quantized p(g, cache, exact);
  Graph out;
  const int n = p.run(out);
  g = std::move(out);
  return n + dce_pass(g);
}

}  // namespace suan
