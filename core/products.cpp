// Convolutions that are products of matrices, and products of one weight that can be one product. Sums are added in
// another order, so this is a numeric option.
//  - A convolution whose result is one position multiplies whole images: linear, with the window's part that meets them.
//  - A transposed convolution is a plain one of more channels, whose results are laid side by side.
//  - A convolution of halves is one of float32, rounded at its end.
//  - Long windows of one channel (a Fourier transform or filter bank as a convolution) are rows of a product.
//  - A net that was unrolled over time multiplies each step's input by one weight, a row at a time. Where these inputs
//    do not wait for one another, their rows are joined and the weight is read once.
#include <algorithm>
#include <map>
#include <optional>

#include "core/apply.h"
#include "core/pass.h"

namespace suan {
namespace {

Dims or_filled(const Dims& d, int n, int64_t value) { return d.empty() ? Dims::filled(n, value) : d; }

class Convolutions {
 public:
  Convolutions(const Graph& g, ConstantCache& cache) : g_(g), b_(g), cache_(cache) {}

  int run(Graph& out) {
    int n = 0;
    for (const Node& node : g_.nodes) {
      if (convolution(node)) ++n;
      else b_.copy(node);
    }
    out = b_.finish();
    return n;
  }

 private:
  const TensorType& type(ValueId v) const { return g_.values[size_t(v)].type; }
  ValueId add(const char* name, std::vector<ValueId> in, const Attrs& attrs, SourceMark source) {
    const int k = b_.to.append(op(name), std::move(in), attrs, source);
    return b_.to.nodes[size_t(k)].out[0];
  }

  bool convolution(const Node& n) {
    static const OpDef &conv = op("conv"), &transposed = op("conv_input_grad");
    if (n.op == &transposed) return phases(n);
    if (n.op != &conv || n.attrs.integer(3) != 1) return false;
    const auto w = g_.constants.find(n.in[1]);
    const TensorType &x = type(n.in[0]), &y = type(n.out[0]);
    if (w == g_.constants.end() || !is_floating(y.dtype) || numel(x.shape) == 0 || numel(y.shape) == 0) return false;
    return one_position(n, w->second, x.shape, y.shape) || long_windows(n, w->second, x.shape, y.shape) || widened(n, w->second);
  }

  // Sums of halves are float32 anyway: as a float32 convolution it gets that one's blocks of channels.
  bool widened(const Node& n, const Tensor& w) {
    const TensorType& x = type(n.in[0]);
    const bool biased = n.in.size() > 2 && n.in[2] != no_value;
    if (x.dtype != DType::f16 || !x.device.is_cpu() || x.shape.size() > 4 || (biased && !g_.constants.count(n.in[2]))) return false;
    const auto wide = [&](const Tensor& t) {
      return b_.to.add_constant(cache_.find(t, "f32", [t] { return apply(op("cast"), {t}, {DType::f32}); }));
    };
    std::vector<ValueId> in{add("cast", {b_[n.in[0]]}, {DType::f32}, n.source), wide(w)};
    if (biased) in.push_back(wide(g_.constants.at(n.in[2])));
    b_.replace(n.out[0], add("cast", {add("conv", std::move(in), n.attrs, n.source)}, {x.dtype}, n.source));
    return true;
  }

  // x times rows of the weight, with the convolution's bias.
  ValueId product(const Node& n, ValueId x, const Tensor& rows) {
    std::vector<ValueId> in{x, b_.to.add_constant(rows)};
    if (n.in.size() > 2 && n.in[2] != no_value) in.push_back(b_[n.in[2]]);
    return add("linear", std::move(in), {}, n.source);
  }

  bool one_position(const Node& n, const Tensor& w, const Shape& x, const Shape& y) {
    const int dims = x.size() - 2;
    const Dims pad = or_filled(n.attrs.dims(1), 2 * dims, 0), dilation = or_filled(n.attrs.dims(2), dims, 1);
    Dims first, count;   // the taps that meet the image, along each dimension
    int64_t taps = 1, inside = 1;
    for (int d = 0; d < dims; ++d) {
      const int64_t size = x[2 + d], kernel = w.dim(2 + d);
      if (y[2 + d] != 1 || (dilation[d] != 1 && kernel != 1)) return false;
      first.push_back(pad[d]);
      count.push_back(std::min(kernel - pad[d], size));
      if (count[d] < 1) return false;
      taps *= count[d], inside *= size;
    }
    const int64_t out = w.dim(0), k = w.dim(1) * taps;
    std::string what = "rows of taps";
    for (int d = 0; d < dims; ++d) what += fmt::format(" {}+{}", first[d], count[d]);
    const Tensor rows = cache_.find(w, what, [w, first, count, dims, out, k] {
      Tensor t = w;
      for (int d = 0; d < dims; ++d) t = apply(op("slice"), {t}, {int64_t(2 + d), first[d], first[d] + count[d], int64_t(1)});
      return apply(op("copy"), {apply(op("reshape"), {t.is_contiguous() ? t : apply(op("copy"), {t})}, {Shape{out, k}})});
    });
    ValueId image = b_[n.in[0]];
    if (inside != taps)
      for (int d = 0; d < dims; ++d)
        image = add("slice", {image}, {int64_t(2 + d), int64_t(0), count[d], int64_t(1)}, n.source);
    image = add("reshape", {image}, {Shape{x[0], k}}, n.source);
    b_.replace(n.out[0], add("reshape", {product(n, image, rows)}, {y}, n.source));
    return true;
  }

  bool long_windows(const Node& n, const Tensor& w, const Shape& x, const Shape& y) {
    constexpr int64_t least_taps = 64, least_outputs = 16;
    const int dims = x.size() - 2, last = dims + 1;
    const Dims pad = or_filled(n.attrs.dims(1), 2 * dims, 0), dilation = or_filled(n.attrs.dims(2), dims, 1);
    const int64_t out = w.dim(0), k = w.dim(last);
    if (w.numel() != out * k || k < least_taps || out < least_outputs || dilation[dims - 1] != 1) return false;
    for (int d = 0; d < dims; ++d)
      if (pad[d] || pad[dims + d] || (d + 1 < dims && x[2 + d] != 1)) return false;
    const int64_t stride = or_filled(n.attrs.dims(0), dims, 1)[dims - 1];
    ValueId& rows = windows_[{n.in[0], {k, stride}}];   // several filter banks may read one signal
    if (rows == 0)
      rows = 1 + add("as_strided_copy", {b_[n.in[0]]}, {Dims{x[0], y[last], k}, Dims{x[last], stride, 1}, int64_t(0)}, n.source);
    const Tensor filters = cache_.find(w, "filters", [w, out, k] { return apply(op("copy"), {apply(op("reshape"), {w}, {Shape{out, k}})}); });
    const ValueId positions = product(n, rows - 1, filters);
    b_.replace(n.out[0], add("reshape", {add("permute", {positions}, {Dims{0, 2, 1}}, n.source)}, {y}, n.source));
    return true;
  }

  // A transposed convolution of one pixel: the window times what the pixel holds.
  bool one_pixel(const Node& n, const Tensor& w, const Shape& x, const Shape& y, const Dims& pad, const Dims& dilation) {
    const int dims = x.size() - 2;
    int64_t out = w.dim(1);
    for (int d = 0; d < dims; ++d) {
      if (x[2 + d] != 1 || dilation[d] != 1 || pad[d] + y[2 + d] > w.dim(2 + d)) return false;
      out *= y[2 + d];
    }
    const Tensor rows = cache_.find(w, fmt::format("rows of the window from {} {}", to_string(pad), to_string(y)), [w, pad, y, dims, out] {
      Tensor t = w;
      for (int d = 0; d < dims; ++d) t = apply(op("slice"), {t}, {int64_t(2 + d), pad[d], pad[d] + y[2 + d], int64_t(1)});
      t = apply(op("reshape"), {t.is_contiguous() ? t : apply(op("copy"), {t})}, {Shape{w.dim(0), out}});
      return apply(op("copy"), {apply(op("transpose"), {t}, {int64_t(0), int64_t(1)})});
    });
    const ValueId pixel = add("reshape", {b_[n.in[0]]}, {Shape{x[0], x[1]}}, n.source);
    b_.replace(n.out[0], add("reshape", {add("linear", {pixel, b_.to.add_constant(rows)}, {}, n.source)}, {y}, n.source));
    return true;
  }

  // A transposed convolution of stride s: its results at positions s apart are a convolution with every s-th tap, so all
  // are the channels of one convolution, laid side by side afterwards.
  bool phases(const Node& n) {
    const auto weight = g_.constants.find(n.in[1]);
    const Shape &x = type(n.in[0]).shape, &y = type(n.out[0]).shape;
    const int dims = x.size() - 2;
    if (weight == g_.constants.end() || dims > 2 || n.attrs.integer(4) != 1 || type(n.out[0]).dtype != DType::f32 || numel(x) == 0 || numel(y) == 0)
      return false;
    const Tensor& w = weight->second;
    const int64_t from = w.dim(0), to = w.dim(1);
    const Dims stride = or_filled(n.attrs.dims(1), dims, 1), pad = or_filled(n.attrs.dims(2), 2 * dims, 0),
               dilation = or_filled(n.attrs.dims(3), dims, 1);
    if (one_pixel(n, w, x, y, pad, dilation)) return true;
    Dims taps, low, high, first;   // of a phase: taps, padding on both sides, what is cut off its result
    Shape positions;
    int64_t steps = 1, made_taps = 1, all_taps = 1;
    for (int d = 0; d < dims; ++d) {
      const int64_t s = stride[d], kernel = w.dim(2 + d), begin = pad[d] / s, end = (pad[d] + y[2 + d] - 1) / s;
      taps.push_back((kernel + s - 1) / s);
      low.push_back(taps[d] - 1 - begin);
      high.push_back(end - (x[2 + d] - 1));
      first.push_back(pad[d] - begin * s);
      positions.push_back(end - begin + 1);
      steps *= s, made_taps *= s * taps[d], all_taps *= kernel;
      if (dilation[d] != 1 || low[d] < 0 || high[d] < 0 || high[d] >= taps[d]) return false;
    }
    // Windows that touch without overlapping, and those that would be filled with zeros, are faster as they are, but for
    // a few channels.
    constexpr int64_t few = 8;
    if (steps > 1 && to >= few && (made_taps == steps || 2 * made_taps > 3 * all_taps)) return false;
    // [from, to, kernel...] as [to × phases, from, taps...], the window turned around; taps beyond the kernel are zero.
    const Tensor filters = cache_.find(w, fmt::format("phases of {}", to_string(stride)), [w, stride, taps, dims, from, to, steps] {
      Shape shape{to * steps, from};
      for (int64_t t : taps) shape.push_back(t);
      Tensor made = apply(op("full"), {Tensor::scalar(0, w.dtype())}, {shape});
      if (context().dry) return made;
      const Tensor source = w.is_contiguous() ? w : apply(op("copy"), {w});
      const float* read = source.data<float>();
      float* write = made.data<float>();
      const int64_t kh = dims == 2 ? w.dim(2) : 1, kw = w.dim(1 + dims), sh = dims == 2 ? stride[0] : 1, sw = stride[dims - 1],
                    th = dims == 2 ? taps[0] : 1, tw = taps[dims - 1];
      for (int64_t o = 0; o < from; ++o)
        for (int64_t i = 0; i < to; ++i)
          for (int64_t r = 0; r < kh; ++r)
            for (int64_t c = 0; c < kw; ++c, ++read) {
              const int64_t channel = (i * sh + r % sh) * sw + c % sw;
              write[((channel * from + o) * th + th - 1 - r / sh) * tw + tw - 1 - c / sw] = *read;
            }
      return made;
    });
    Dims padding = low;
    for (int64_t p : high) padding.push_back(p);
    ValueId made = add("conv", {b_[n.in[0]], b_.to.add_constant(filters)}, {Dims{}, padding, Dims{}, int64_t(1)}, n.source);
    if (steps > 1) {
      Shape apart{x[0], to}, together{x[0], to};
      Dims order{0, 1};
      for (int64_t s : stride) apart.push_back(s);
      for (int d = 0; d < dims; ++d) {
        apart.push_back(positions[d]);
        together.push_back(positions[d] * stride[d]);
        order.push_back(2 + dims + d);
        order.push_back(2 + d);
      }
      made = add("permute", {add("reshape", {made}, {apart}, n.source)}, {order}, n.source);
      made = add("reshape", {made}, {together}, n.source);
    }
    for (int d = 0; d < dims; ++d)
      if (first[d] || positions[d] * stride[d] != y[2 + d])
        made = add("slice", {made}, {int64_t(2 + d), first[d], first[d] + y[2 + d], int64_t(1)}, n.source);
    b_.replace(n.out[0], made);
    return true;
  }

  const Graph& g_;
  Rebuild b_;
  ConstantCache& cache_;
  std::map<std::pair<ValueId, std::pair<int64_t, int64_t>>, ValueId> windows_;   // 1 + the value
};

// ---- products of one weight ----------------------------------------------------------------------------------------

// The nodes that can be joined with the first of them, or none: of the same operands but the first, whose rows are few.
class Joined {
 public:
  explicit Joined(Graph& g) : g_(g) {}

  int run() {
    std::map<Key, std::vector<int>> groups;
    for (size_t i = 0; i < g_.nodes.size(); ++i)
      if (fits(g_.nodes[i])) groups[key(g_.nodes[i])].push_back(int(i));
    std::vector<Key> several;
    for (const auto& [k, nodes] : groups)
      if (nodes.size() > 1) several.push_back(k);
    int n = 0;
    constexpr size_t most = 64;   // each rebuilds the graph
    for (size_t i = 0; i < std::min(several.size(), most); ++i) n += join(several[i]);
    return n;
  }

 private:
  // The op, x's shape, weight and bias as storage, offset and shape: values are renumbered.
  using Key = std::pair<const OpDef*, std::vector<int64_t>>;
  const Shape& shape(ValueId v) const { return g_.values[size_t(v)].type.shape; }

  bool fits(const Node& n) const {
    static const OpDef &linear = op("linear"), &matmul = op("matmul");
    if (n.op != &linear && n.op != &matmul) return false;
    const auto w = g_.constants.find(n.in[1]);
    if (w == g_.constants.end() || w->second.rank() != 2 || !is_floating(w->second.dtype())) return false;
    constexpr int64_t least_weights = 4096, most_rows = 16;
    const Shape& x = shape(n.in[0]);
    if (n.in.size() > 2 && n.in[2] != no_value && !g_.constants.count(n.in[2])) return false;
    return x.size() >= 2 && numel(x) > 0 && w->second.numel() >= least_weights && numel(x) / x.back() <= most_rows;
  }
  Key key(const Node& n) const {
    const Shape& x = shape(n.in[0]);
    Key k{n.op, {x.begin(), x.end()}};
    for (size_t i = 1; i < n.in.size(); ++i) {
      if (n.in[i] == no_value) continue;
      const Tensor& t = g_.constants.at(n.in[i]);
      k.second.insert(k.second.end(), {int64_t(t.storage()->id()), t.offset()});
      k.second.insert(k.second.end(), t.shape().begin(), t.shape().end());
    }
    return k;
  }

  // Nodes with this key of which none needs another's result.
  std::vector<int> independent(const Key& k) const {
    std::vector<int> members;
    std::vector<char> after(g_.values.size(), 0);   // needs a member's result
    for (size_t i = 0; i < g_.nodes.size(); ++i) {
      const Node& n = g_.nodes[i];
      bool waits = std::any_of(n.in.begin(), n.in.end(), [&](ValueId v) { return v != no_value && after[size_t(v)]; });
      if (!waits && fits(n) && key(n) == k) members.push_back(int(i)), waits = true;
      if (waits)
        for (ValueId v : n.out) after[size_t(v)] = 1;
    }
    return members;
  }

  bool join(const Key& k) {
    const std::vector<int> members = independent(k);
    if (members.size() < 2) return false;
    // What the later members' inputs need has to come before the first.
    std::vector<char> needed(g_.nodes.size(), 0);
    const auto need = [&](ValueId v) {
      if (v != no_value && g_.values[size_t(v)].producer >= 0) needed[size_t(g_.values[size_t(v)].producer)] = 1;
    };
    for (int m : members) need(g_.nodes[size_t(m)].in[0]);
    for (int i = members.back(); i >= 0; --i) {
      if (!needed[size_t(i)]) continue;
      if (i > members[0] && !mergeable(*g_.nodes[size_t(i)].op)) return false;
      for (ValueId v : g_.nodes[size_t(i)].in) need(v);
    }
    Rebuild b(g_);
    for (int i = 0; i < int(g_.nodes.size()); ++i) {
      const Node& n = g_.nodes[size_t(i)];
      if (i == members[0]) {
        for (int j = i; j < members.back(); ++j)
          if (needed[size_t(j)]) b.copy(g_.nodes[size_t(j)]);
        together(b, members);
      }
      const bool moved = i > members[0] && i < members.back() && needed[size_t(i)];
      if (!moved && !std::binary_search(members.begin(), members.end(), i)) b.copy(n);
    }
    g_ = b.finish();
    return true;
  }

  // Where a value lies in the one it is a view of.
  struct Place {
    ValueId base;
    Layout layout;
  };
  Place place(ValueId v) const {
    static const OpDef& strided = op("as_strided");   // counts from a contiguous root
    const int p = g_.values[size_t(v)].producer;
    const Node* n = p < 0 ? nullptr : &g_.nodes[size_t(p)];
    if (!n || !n->op->view || n->op == &strided) return {v, Layout(shape(v))};
    const Place from = place(n->in[0]);
    const TensorType* type = &g_.values[size_t(n->in[0])].type;
    const std::optional<Layout> layout = n->op->view({*n->op, {&type, 1}, n->attrs}, from.layout);
    return layout ? Place{from.base, *layout} : Place{v, Layout(shape(v))};
  }

  // One row of each member, equally far apart in one tensor: where, in that order, which becomes the members'.
  std::optional<Place> evenly(std::vector<int>& members) const {
    std::vector<std::pair<Place, int>> places;
    for (int m : members) places.push_back({place(g_.nodes[size_t(m)].in[0]), m});
    std::sort(places.begin(), places.end(), [](const auto& a, const auto& b) { return a.first.layout.offset < b.first.layout.offset; });
    const Place& one = places[0].first;
    const int last = one.layout.rank() - 1;
    const int64_t k = one.layout.shape[last], apart = places[1].first.layout.offset - one.layout.offset;
    if (one.layout.numel() != k || apart <= 0) return {};
    for (size_t i = 0; i < places.size(); ++i) {
      const Place& p = places[i].first;
      if (p.base != one.base || p.layout.strides[last] != one.layout.strides[last] || p.layout.offset != one.layout.offset + int64_t(i) * apart)
        return {};
      members[i] = places[i].second;
    }
    return Place{one.base, {{int64_t(places.size()), k}, {apart, one.layout.strides[last]}, one.layout.offset}};
  }

  void together(Rebuild& b, std::vector<int> members) {
    const Node& first = g_.nodes[size_t(members[0])];
    const auto add = [&](const char* name, std::vector<ValueId> in, const Attrs& attrs) {
      const int k = b.to.append(op(name), std::move(in), attrs, first.source);
      return b.to.nodes[size_t(k)].out[0];
    };
    const Shape x = shape(first.in[0]), y = shape(first.out[0]);
    const int64_t k = x.back(), rows = numel(x) / k;
    std::vector<ValueId> in = b.mapped(first.in);
    if (const auto p = evenly(members)) {
      in[0] = add("as_strided_copy", {b[p->base]}, {Dims(p->layout.shape), p->layout.strides, p->layout.offset});
    } else {
      std::vector<ValueId> inputs;
      for (int m : members) inputs.push_back(add("reshape", {b[g_.nodes[size_t(m)].in[0]]}, {Shape{rows, k}}));
      in[0] = add("cat", std::move(inputs), {int64_t(0)});
    }
    const int made = b.to.append(*first.op, std::move(in), first.attrs, first.source);
    const ValueId all = b.to.nodes[size_t(made)].out[0];
    for (size_t i = 0; i < members.size(); ++i) {
      const int64_t at = int64_t(i) * rows;
      b.replace(g_.nodes[size_t(members[i])].out[0], add("reshape", {add("slice", {all}, {int64_t(0), at, at + rows, int64_t(1)})}, {y}));
    }
  }

  Graph& g_;
};

}  // namespace

int products_pass(Graph& g, ConstantCache& cache) {
  Graph made;
  const int n = Convolutions(g, cache).run(made);
  g = std::move(made);
  return n + Joined(g).run();
}

}  // namespace suan
