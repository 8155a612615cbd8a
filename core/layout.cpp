// Convolutions with constant weights move to blocks of 16 channels, [batch, blocks, height, width, 16], together
// with what lies between them: element-wise nodes, poolings, concatenations of channels. A blocked value is an
// ordinary tensor of five dimensions, so no kernel but the convolution's knows of it. One spatial dimension is a height
// of 1. Every bit stays: the blocked kernel adds in conv's order. Channels that do not fill the last block leave lanes
// that nobody reads. Where bits may change, 3×3 convolutions of stride 1 take Winograd's way, with weights transformed here.
// With `pairs`, where the processor has them, convolutions are made for bfloat16 (conv_pairs), and what lies between
// them is bfloat16 too, each node rounded once; other nodes and outputs get float32.
#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "core/apply.h"
#include "core/dispatch.h"
#include "core/pass.h"
#include "core/pool.h"

namespace suan {
namespace {

constexpr int64_t lanes = 16;

int64_t blocks(int64_t channels) { return (channels + lanes - 1) / lanes; }

// What packed_pairs makes of [out, in, ...]: pairs of inputs, or single ones of a depthwise window.
Shape paired_shape(const Shape& w) {
  const int64_t two = w[1] == 1 ? 1 : 2;
  return {blocks(w[0]), (w[1] + two - 1) / two * (numel(w) / (w[0] * w[1])), lanes, two};
}

// [out, in, 3, 3] as [36, blocks, in, 16] or [16, ...]: G w Gᵀ with a row of G for each of 0, ±√½, ±√2 (of 0, ±1) and
// infinity.
Tensor in_tiles(const Tensor& w, int tile) {
  const int64_t out = w.dim(0), in = w.dim(1), n = blocks(out), side = tile + 2, numbers = side * side;
  const TensorType type{w.dtype(), {numbers, n, in, lanes}, {}};
  if (context().dry) return Tensor::over(Storage::dry({}, type.bytes()), Layout(type.shape), type.dtype);
  const double a = std::sqrt(0.5), b = std::sqrt(2.0);
  const double six[6][3] = {{1, 0, 0}, {-1 / 1.5, -a / 1.5, -.5 / 1.5}, {-1 / 1.5, a / 1.5, -.5 / 1.5},
                            {1. / 6, b / 6, 2. / 6}, {1. / 6, -b / 6, 2. / 6}, {0, 0, 1}};
  const double four[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
  const auto* rows = tile == 4 ? six : four;
  double g[36][9];
  for (int64_t j = 0; j < numbers; ++j)
    for (int64_t k = 0; k < 9; ++k) g[j][k] = rows[j / side][k / 3] * rows[j % side][k % 3];
  const Tensor from = w.is_contiguous() ? w : apply(op("copy"), {w});
  Tensor made = Tensor::empty(type);
  const float* read = from.data<float>();
  float* write = made.data<float>();
  parallel_for(n, [&](int64_t block) {
    const int64_t filled = std::min(lanes, out - block * lanes);
    for (int64_t i = 0; i < in; ++i) {
      double taps[9][lanes] = {};
      for (int64_t lane = 0; lane < filled; ++lane)
        for (int64_t k = 0; k < 9; ++k) taps[k][lane] = double(read[((block * lanes + lane) * in + i) * 9 + k]);
      for (int64_t j = 0; j < numbers; ++j) {
        double sums[lanes] = {};
        for (int64_t k = 0; k < 9; ++k)
          for (int64_t lane = 0; lane < lanes; ++lane) sums[lane] += g[j][k] * taps[k][lane];
        float* to = write + ((j * n + block) * in + i) * lanes;
        for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = float(sums[lane]);
      }
    }
  });
  return made;
}

class Layouts {
 public:
  Layouts(const Graph& g, ConstantCache& cache, const LayoutOptions& options)
      : g_(g), b_(g), cache_(cache), exact_(options.exact), pairs_(options.pairs), compared_(options.compared),
        uses_(g.use_counts()) {}

  int run(Graph& out) {
    int n = 0;
    for (const Node& node : g_.nodes) {
      if (convolution(node) || pooling(node) || whole_mean(node) || rows(node) || channels_joined(node)) ++n;
      else copy(node);
    }
    for (ValueId v : g_.outputs) plain(v);
    out = b_.finish();
    return n;
  }

 private:
  const TensorType& type(ValueId v) const { return g_.values[size_t(v)].type; }
  bool is_blocked(ValueId v) const { return v != no_value && blocked_.count(v); }
  bool is_constant(ValueId v) const { return v != no_value && g_.constants.count(v); }
  // As an image: [..., size] as [..., 1, size], for values of three dimensions.
  static Shape with_height(Shape s, int rank) {
    if (rank == 3 && s.size() >= 2) s.insert(s.size() - 1, 1);
    return s;
  }
  Shape image(ValueId v) const { return with_height(type(v).shape, type(v).shape.size()); }
  static bool has_images(const Shape& s) { return s.size() == 3 || s.size() == 4; }
  static Dims two_of(const Dims& d) { return d.size() == 1 ? Dims{1, d[0]} : d; }
  static Dims padded_height(const Dims& d) { return d.size() == 2 ? Dims{0, d[0], 0, d[1]} : d; }
  // Of a convolution: strides, padding and dilation of two dimensions.
  struct Window {
    Dims strides, padding, dilation;
    explicit Window(const Attrs& a)
        : strides(two_of(a.dims(0))), padding(padded_height(a.dims(1))), dilation(two_of(a.dims(2))) {}
  };

  static Shape blocked_shape(const Shape& s) { return {s[0], blocks(s[1]), s[2], s[3], lanes}; }

  ValueId append(const OpDef& op, std::vector<ValueId> in, const Attrs& attrs, SourceMark source = {}) {
    const int k = b_.to.append(op, std::move(in), attrs, source);
    return b_.to.nodes[size_t(k)].out[0];
  }

  DType dtype_now(ValueId x) const { return b_.to.values[size_t(x)].type.dtype; }
  // A value of the new graph in another dtype.
  ValueId cast(ValueId x, DType to) {
    if (dtype_now(x) == to) return x;
    auto [it, fresh] = casts_.try_emplace({x, to}, no_value);
    if (fresh) {
      if (auto c = b_.to.constants.find(x); c != b_.to.constants.end()) {
        const Tensor from = c->second;
        it->second = b_.to.add_constant(cache_.find(from, brief(to).data(), [from, to] { return apply(op("cast"), {from}, {to}); }));
      } else {
        it->second = append(op("cast"), {x}, {to});
      }
    }
    return it->second;
  }

  // The value in its own shape, made from blocks if it only exists in these.
  ValueId plain(ValueId v) {
    if (v == no_value || b_[v] != no_value) return b_[v];
    static const OpDef &reshape = op("reshape"), &permute = op("permute"), &copy = op("copy"), &slice = op("slice");
    const Shape s = image(v);
    ValueId x = blocked_.at(v);
    const int64_t padded = blocks(s[1]) * lanes;
    if (s[2] * s[3] != 1) x = append(copy, {append(permute, {x}, {Dims{0, 1, 4, 2, 3}})}, {});
    x = append(reshape, {x}, {Shape{s[0], padded, s[2], s[3]}});
    if (padded != s[1]) x = append(copy, {append(slice, {x}, {int64_t(1), int64_t(0), s[1], int64_t(1)})}, {});
    if (type(v).shape.size() == 3) x = append(reshape, {x}, {type(v).shape});
    x = cast(x, type(v).dtype);
    b_.replace(v, x);
    return x;
  }

  bool narrow(ValueId v) const { return is_blocked(v) && dtype_now(blocked_.at(v)) != type(v).dtype; }

  // Its blocks, as bf16 or in its own dtype.
  ValueId blocked(ValueId v, bool as_bf16 = false) {
    const DType dtype = as_bf16 ? DType::bf16 : type(v).dtype;
    if (auto it = blocked_.find(v); it != blocked_.end()) return cast(it->second, dtype);
    static const OpDef &reshape = op("reshape"), &permute = op("permute"), &copy = op("copy"), &pad = op("pad_constant");
    const Shape s = image(v);
    ValueId x = cast(plain(v), dtype);
    const int64_t padded = blocks(s[1]) * lanes;
    if (type(v).shape.size() == 3 && padded != s[1]) x = append(reshape, {x}, {s});
    if (padded != s[1]) x = append(pad, {x}, {std::vector<int64_t>{0, 0, 0, 0, 0, padded - s[1]}});
    if (s[2] * s[3] == 1) {
      x = append(reshape, {x}, {blocked_shape(s)});
    } else {
      x = append(reshape, {x}, {Shape{s[0], blocks(s[1]), lanes, s[2], s[3]}});
      x = append(copy, {append(permute, {x}, {Dims{0, 1, 3, 4, 2}})}, {});
    }
    blocked_[v] = x;
    return x;
  }

  void set(ValueId v, ValueId x) { blocked_[v] = x; }

  void copy(const Node& n) {
    for (ValueId v : n.in) plain(v);
    b_.copy(n);
  }

  // [out, k...] as [blocks, k, 16], zeros beyond the last output; [out] as [blocks, 16].
  ValueId packed(ValueId v) {
    const Tensor& w = g_.constants.at(v);
    const Tensor made = cache_.find(w, "blocks of 16", [w] {
      const int64_t out = w.dim(0), k = w.numel() / out, n = blocks(out);
      Tensor x = apply(op("reshape"), {w}, {Shape{out, k}});
      if (n * lanes != out) x = apply(op("pad_constant"), {x, Tensor()}, {std::vector<int64_t>{0, 0, 0, n * lanes - out}});
      x = apply(op("reshape"), {x}, {Shape{n, lanes, k}});
      x = apply(op("copy"), {apply(op("permute"), {x}, {Dims{0, 2, 1}})});
      return w.rank() == 1 ? apply(op("reshape"), {x}, {Shape{n, lanes}}) : x;
    });
    return b_.to.add_constant(made);
  }

  // [out, in, h, w] as bf16 [blocks, pairs of inputs × h × w, 16, 2], of depthwise windows [blocks, h × w, 16, 1].
  Tensor packed_pairs(ValueId v) {
    const Tensor& w = g_.constants.at(v);
    return cache_.find(w, "pairs", [w] {
      const int64_t out = w.dim(0), in = w.dim(1), taps = w.numel() / (out * in), n = blocks(out);
      const int64_t two = in == 1 ? 1 : 2, even = (in + two - 1) / two * two;
      Tensor x = apply(op("cast"), {w}, {DType::bf16});
      if (w.rank() == 3) x = apply(op("reshape"), {x}, {Shape{out, in, 1, taps}});
      if (n * lanes != out || even != in)
        x = apply(op("pad_constant"), {x, Tensor()}, {std::vector<int64_t>{0, 0, 0, 0, 0, even - in, 0, n * lanes - out}});
      x = apply(op("reshape"), {x}, {Shape{n, lanes, even / two, two, taps}});
      x = apply(op("copy"), {apply(op("permute"), {x}, {Dims{0, 2, 4, 1, 3}})});
      return apply(op("reshape"), {x}, {paired_shape(w.shape())});
    });
  }

  // The weights of in_tiles as [16 or 36, blocks, pairs of inputs, 16, 2].
  Tensor transformed_pairs(ValueId v, int tile) {
    const Tensor& w = g_.constants.at(v);
    return cache_.find(w, tile == 4 ? "pairs in tiles of 4" : "pairs in tiles of 2", [w, tile] {
      const Tensor x = in_tiles(w, tile);
      const Tensor y = apply(op("reshape"), {apply(op("cast"), {x}, {DType::bf16})}, {Shape{x.dim(0), x.dim(1), x.dim(2) / 2, 2, lanes}});
      return apply(op("copy"), {apply(op("permute"), {y}, {Dims{0, 1, 2, 4, 3}})});
    });
  }

  // As conv_pairs, if the processor is fast at it. An input without its neighbour would meet a lane that is none.
  bool in_pairs(const Node& n, bool as_is, bool depthwise, int64_t groups) {
    static const OpDef& conv_pairs = op("conv_pairs");
    const Shape x = image(n.in[0]), w = image(n.in[1]), y = image(n.out[0]);
    const Window window(n.attrs);
    const Device device = type(n.in[0]).device;
    const int64_t per = w[1];
    if (!pairs_ || (!as_is && !depthwise && per % 2)) return false;
    if (per == 1 && !depthwise) return false;   // its weights would look like a depthwise window's
    const Attrs attrs{Dims{w[2], w[3]}, window.strides, window.padding, window.dilation, groups};
    std::vector<TensorType> in{{DType::bf16, as_is ? x : blocked_shape(x), device}, {DType::bf16, paired_shape(w), {}}};
    const bool biased = n.in.size() > 2 && n.in[2] != no_value;
    const ValueId bias = biased ? packed(n.in[2]) : no_value;
    if (biased) in.push_back(b_.to.values[size_t(bias)].type);
    const TensorType out{DType::bf16, blocked_shape(y), device};
    if (!kernel_takes(conv_pairs, attrs, in, {&out, 1})) return false;
    if (const int tile = exact_ || as_is ? 0 : winograd_tile(w, y, window, groups)) {
      std::vector<ValueId> from{blocked(n.in[0], true), b_.to.add_constant(transformed_pairs(n.in[1], tile))};
      if (biased) from.push_back(bias);
      set(n.out[0], append(op("conv_winograd_pairs"), from, {window.padding}, n.source));
      return true;
    }
    std::vector<ValueId> from{as_is ? cast(as_image(n.in[0]), DType::bf16) : blocked(n.in[0], true), b_.to.add_constant(packed_pairs(n.in[1]))};
    if (biased) from.push_back(bias);
    set(n.out[0], append(conv_pairs, from, attrs, n.source));
    return true;
  }

  ValueId transformed(ValueId v, int tile) {
    const Tensor& w = g_.constants.at(v);
    return b_.to.add_constant(cache_.find(w, tile == 4 ? "tiles of 4" : "tiles of 2", [w, tile] { return in_tiles(w, tile); }));
  }

  // The side of Winograd's tiles for such weights and results, 0 for none. Four times the weights are read for tiles of
  // 4, 16/9 for tiles of 2: a small picture would wait for many.
  int winograd_tile(const Shape& w, const Shape& y, const Window& window, int64_t groups) {
    const auto ones = [](const Dims& d) { return std::all_of(d.begin(), d.end(), [](int64_t v) { return v == 1; }); };
    constexpr int64_t few = 128 * 128, most = 512 * 512, small = 7, large = 20;
    const int64_t pairs = w[0] * w[1];
    if (w[2] != 3 || w[3] != 3 || w[1] < lanes || w[0] < lanes || pairs > most || groups != 1 ||
        !ones(window.strides) || !ones(window.dilation))
      return 0;
    if (pairs <= few) return 4;
    if (compared_) compared_->insert(compared_->end(), {{y[2], small}, {y[3], small}, {y[2], large}, {y[3], large}});
    if (y[2] < small || y[3] < small) return 0;
    return y[2] < large && y[3] < large ? 2 : 4;
  }

  ValueId as_image(ValueId v) {
    const ValueId x = plain(v);
    return type(v).shape.size() == 3 ? append(op("reshape"), {x}, {image(v)}) : x;
  }

  bool convolution(const Node& n) {
    static const OpDef &conv = op("conv"), &conv_blocked = op("conv_blocked");
    if (n.op != &conv || !is_constant(n.in[1])) return false;
    const bool biased = n.in.size() > 2 && n.in[2] != no_value;
    if (biased && !is_constant(n.in[2])) return false;
    if (type(n.in[0]).dtype != DType::f32 || !has_images(type(n.in[0]).shape) || numel(type(n.out[0]).shape) == 0) return false;
    const Shape w = image(n.in[1]), y = image(n.out[0]);
    const Window window(n.attrs);
    int64_t groups = n.attrs.integer(3);
    const int64_t out = w[0], per = w[1], taps = w[2] * w[3];
    constexpr int64_t most_taps = 64;
    if (taps > most_taps) return false;
    const bool depthwise = groups > 1 && per == 1 && out == groups;
    const bool filled = 5 * out >= 3 * lanes * blocks(out);   // lanes, as conv's own kernels ask
    if (groups == 1 ? !filled : !depthwise && (per % lanes || out / groups % lanes)) return false;
    // An image of a few channels is read as it is.
    const bool as_is = groups == 1 && !is_blocked(n.in[0]) && 5 * per < 3 * lanes;
    if (depthwise) groups = blocks(groups) * lanes;
    if (in_pairs(n, as_is, depthwise, groups)) return true;
    if (const int tile = exact_ || as_is ? 0 : winograd_tile(w, y, window, groups)) {
      std::vector<ValueId> in{blocked(n.in[0]), transformed(n.in[1], tile)};
      if (biased) in.push_back(packed(n.in[2]));
      set(n.out[0], append(op("conv_winograd"), in, {window.padding}, n.source));
      return true;
    }
    std::vector<ValueId> in{as_is ? as_image(n.in[0]) : blocked(n.in[0]), packed(n.in[1])};
    if (biased) in.push_back(packed(n.in[2]));
    set(n.out[0], append(conv_blocked, in,
                         {Dims{w[2], w[3]}, window.strides, window.padding, window.dilation, groups}, n.source));
    return true;
  }

  // Windows of one lane.
  bool pooling(const Node& n) {
    static const OpDef &max_pool = op("max_pool"), &avg_pool = op("avg_pool");
    if ((n.op != &max_pool && n.op != &avg_pool) || !is_blocked(n.in[0])) return false;
    if (n.op == &max_pool && uses_[size_t(n.out[1])] > 0) return false;
    const auto with = [](const Dims& given, int64_t last) {
      const Dims d = two_of(given);
      return d.empty() ? d : Dims{d[0], d[1], last};
    };
    const Dims p = padded_height(n.attrs.dims(2));
    std::vector<Attr> attrs = n.attrs.values();
    attrs[0] = with(n.attrs.dims(0), 1);
    attrs[1] = with(n.attrs.dims(1), 1);
    attrs[2] = p.empty() ? p : Dims{p[0], p[1], 0, p[2], p[3], 0};
    if (n.op == &max_pool) attrs[3] = with(n.attrs.dims(3), 1);
    set(n.out[0], append(*n.op, {blocked(n.in[0], narrow(n.in[0]))}, Attrs(std::move(attrs)), n.source));
    return true;
  }

  // The mean of each channel, where values are rounded anyway: blocks add up in another order.
  bool whole_mean(const Node& n) {
    static const OpDef& mean = op("mean");
    if (n.op != &mean || !narrow(n.in[0]) || type(n.out[0]).shape.size() != 4) return false;
    Dims over = n.attrs.dims(0);
    for (int64_t& d : over) d = d < 0 ? d + 4 : d;
    if (!(over == Dims{2, 3} || over == Dims{3, 2})) return false;
    std::vector<Attr> attrs = n.attrs.values();
    attrs[0] = Dims{2, 3};
    set(n.out[0], append(mean, {blocked(n.in[0], true)}, Attrs(std::move(attrs)), n.source));
    return true;
  }

  bool rows(const Node& n) {
    if (!(n.op->flags & op_elementwise) || n.out.size() != 1 || !mergeable(*n.op)) return false;
    if (std::none_of(n.in.begin(), n.in.end(), [&](ValueId v) { return is_blocked(v); })) return false;
    if (!has_images(type(n.out[0]).shape)) return false;
    const int rank = type(n.out[0]).shape.size();
    const Shape out = image(n.out[0]);
    // Whole values, one for each channel (of an image), or one in all.
    const auto per_channel = [&](const Shape& s) {
      const int at = s.size() - 3;
      return at >= 0 && s[at] == out[1] && s[at + 1] * s[at + 2] == 1 && (at == 0 || s[0] == 1 || s[0] == out[0]);
    };
    for (ValueId v : n.in) {
      if (v == no_value) continue;
      const Shape s = with_height(type(v).shape, rank);
      if (s == out || numel(s) == 1) continue;
      if (!per_channel(s) || (!is_blocked(v) && out[1] % lanes)) return false;
    }
    const auto is_f32 = [&](ValueId v) { return v == no_value || type(v).dtype == DType::f32; };
    const bool as_bf16 = std::any_of(n.in.begin(), n.in.end(), [&](ValueId v) { return narrow(v); }) &&
                         std::all_of(n.in.begin(), n.in.end(), is_f32) && is_f32(n.out[0]);
    const auto given = [&](ValueId v) { return as_bf16 ? cast(plain(v), DType::bf16) : plain(v); };
    std::vector<ValueId> in;
    for (ValueId v : n.in) {
      if (v == no_value) { in.push_back(v); continue; }
      const Shape s = with_height(type(v).shape, rank);
      if (s == out || is_blocked(v)) in.push_back(blocked(v, as_bf16));
      else if (numel(s) == 1) in.push_back(given(v));
      else in.push_back(append(op("reshape"), {given(v)}, {Shape{s.size() == 4 ? s[0] : 1, out[1] / lanes, 1, 1, lanes}}));
    }
    set(n.out[0], append(*n.op, in, n.attrs, n.source));
    return true;
  }

  bool channels_joined(const Node& n) {
    static const OpDef& cat = op("cat");
    if (n.op != &cat) return false;
    const int rank = type(n.out[0]).shape.size();
    if (!has_images(type(n.out[0]).shape) || normalize_axis("cat", n.attrs.integer(0), rank) != 1) return false;
    for (ValueId v : n.in)
      if (!is_blocked(v) || type(v).shape[1] % lanes) return false;
    const bool as_bf16 = std::all_of(n.in.begin(), n.in.end(), [&](ValueId v) { return narrow(v); });
    std::vector<ValueId> in;
    for (ValueId v : n.in) in.push_back(blocked(v, as_bf16));
    set(n.out[0], append(cat, in, n.attrs, n.source));
    return true;
  }

  const Graph& g_;
  Rebuild b_;
  ConstantCache& cache_;
  bool exact_, pairs_;
  Compared* compared_;
  std::vector<int> uses_;
  std::map<std::pair<ValueId, DType>, ValueId> casts_;   // of the new graph's values
  std::unordered_map<ValueId, ValueId> blocked_;   // value of the graph -> its blocks in the new one
};

}  // namespace

int layout_pass(Graph& g, ConstantCache& cache, const LayoutOptions& options) {
  Layouts l(g, cache, options);
  Graph out;
  const int n = l.run(out);
  g = std::move(out);
  return n;
}

}  // namespace suan
