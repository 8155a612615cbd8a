// Microsoft's contributed operators on 8-bit values and 4-bit weights: their values are made real, the operator is
// ONNX's own, and the result is rounded again. Right to a quantum; the speed of 8-bit products is not in it.
#include "frontends/onnx/int8.h"

namespace suan::onnx {
namespace {

using namespace ops;

using Attrs = std::map<std::string, Attribute, std::less<>>;

// ONNX's own operator on other values, with this node's attributes or the given ones.
Tensor other(Call& c, const char* op, int version, std::vector<Value> in, const Attrs* attrs = nullptr) {
  Node n = c.node;
  n.version = version;
  if (attrs) n.attrs = *attrs;
  Call own(n, std::move(in), c.eval, c.env);
  return find_builder("", op, version)(own)[0].tensor();
}

Value given(const Call& c, int i) { return c.has(i) ? c.value(i) : Value(); }

// Input i with its scale and zero point; those of more than one element lie along `axis`.
Tensor real(Call& c, int i, int scale, int zero, int64_t axis) {
  const Attrs along{{"axis", {axis}}};
  return other(c, "DequantizeLinear", 13, {c.value(i), c.value(scale), given(c, zero)}, &along);
}
Tensor real(Call& c, int i) { return real(c, i, i + 1, i + 2, 0); }

Value quantized(Call& c, const Tensor& y, int scale, DType like) {
  const Attrs along{{"axis", {int64_t(0)}}};
  const Value zero = c.has(scale + 1) ? c.value(scale + 1) : Value(full(Shape{}, 0, like));
  return other(c, "QuantizeLinear", 13, {y, c.value(scale), zero}, &along);
}

void need(const Call& c, int n) {
  if (c.n_in() < n) c.fail<ValueError>("wrong number of inputs: expected {} or more, got {}", n, c.n_in());
}

Tensor dynamic(Call& c, const Tensor& x) {   // rounded to 8 bits and real again
  Node n = c.node;
  n.version = 11;
  Call own(n, {x}, c.eval, c.env);
  const Values q = find_builder("", "DynamicQuantizeLinear", 11)(own);
  return other(c, "DequantizeLinear", 13, {q[0], q[1], q[2]});
}

// x times w (input 1) as integers, with scales, zero points and a bias in floats; nothing where that is no case for it.
std::optional<Tensor> product_of_bytes(Call& c, const Tensor& x, const Tensor& x_scale, const Tensor& x_zero, int scale, int zero, int bias) {
  const Tensor &w = c[1], &w_scale = c[scale];
  const bool each = w.rank() > 1 && w_scale.shape() == Shape{w.dim(-1)};
  if (!int8_multiplies(x, x_zero, w, c.optional(zero)) || x_scale.numel() != 1 || (!each && w_scale.numel() != 1)) return {};
  auto number = [](const Tensor& t) { return t.numel() == 1 && t.rank() ? reshape(t, {}) : t; };
  const Tensor b = c.optional(bias);
  const bool inside = b && w.rank() > 1 && b.shape() == Shape{w.dim(-1)};
  const Tensor y = int8_product(x, w, x_zero, c.optional(zero), inside ? b : Tensor(), number(x_scale) * number(w_scale), {}, DType::f32);
  return b && !inside ? y + b : y;
}

Values build_dynamic_quantize_matmul(Call& c) {
  need(c, 3);
  const Tensors q = apply_all(SUAN_OP("dynamic_quantize"), {c[0]});
  if (const auto y = product_of_bytes(c, q[0], q[1], q[2], 2, 3, 4)) return {*y};
  Tensor y = matmul(dynamic(c, c[0]), real(c, 1, 2, 3, c[1].rank() - 1));
  if (c.has(4)) y = y + c[4];
  return {y};
}
Values build_matmul_integer_to_float(Call& c) {
  need(c, 4);
  if (const auto y = product_of_bytes(c, c[0], c[2], c.optional(4), 3, 5, 6)) return {*y};
  Tensor y = matmul(real(c, 0, 2, 4, std::max(c[0].rank() - 2, 0)), real(c, 1, 3, 5, c[1].rank() - 1));
  if (c.has(6)) y = y + c[6];
  return {y};
}

template <class F>
Values binary(Call& c, F f) {
  need(c, 7);
  return {quantized(c, f(real(c, 0), real(c, 3)), 6, c[0].dtype())};
}
template <class F>
Values unary(Call& c, F f) {
  need(c, 4);
  return {quantized(c, f(real(c, 0)), 3, c[0].dtype())};
}

// f on channels first, whatever the node has.
template <class F>
Tensor channels_first(Call& c, const Tensor& x, F f) {
  if (!c.integer("channels_last", 0)) return f(x);
  if (x.rank() < 3) c.fail<ShapeError>("wrong rank: expected [batch, size..., channels], got {}", to_string(x.type()));
  const Tensor y = f(apply(SUAN_OP("movedim"), {x}, {Dims{x.rank() - 1}, Dims{1}}));
  return apply(SUAN_OP("movedim"), {y}, {Dims{1}, Dims{x.rank() - 1}});
}
Attrs without(const Call& c, std::initializer_list<const char*> names) {
  Attrs attrs = c.node.attrs;
  for (const char* name : names) attrs.erase(name);
  return attrs;
}

Values build_average_pool(Call& c) {
  const Attrs attrs = without(c, {"channels_last"});
  return unary(c, [&](const Tensor& x) {
    return channels_first(c, x, [&](const Tensor& v) { return other(c, "AveragePool", 19, {v}, &attrs); });
  });
}
Values build_global_average_pool(Call& c) {
  return unary(c, [&](const Tensor& x) {
    return channels_first(c, x, [&](const Tensor& v) { return other(c, "GlobalAveragePool", 1, {v}); });
  });
}
Values build_softmax(Call& c) {
  const int version = int(c.integer("opset")) < 13 ? 1 : 13;
  const Attrs attrs = without(c, {"opset"});
  return unary(c, [&](const Tensor& x) { return other(c, "Softmax", version, {x}, &attrs); });
}
Values build_concat(Call& c) {
  need(c, 5);
  if ((c.n_in() - 2) % 3) c.fail<ValueError>("wrong number of inputs: expected 2 and 3 for each part, got {}", c.n_in());
  std::vector<Value> parts;
  for (int i = 2; i < c.n_in(); i += 3) parts.push_back(real(c, i));
  return {quantized(c, other(c, "Concat", 13, std::move(parts)), 0, c[2].dtype())};
}
Values build_reduce_mean(Call& c) {
  return unary(c, [&](const Tensor& x) { return other(c, "ReduceMean", 13, {x}); });
}
Values build_where(Call& c) {
  need(c, 8);
  return {quantized(c, where(c[0], real(c, 1), real(c, 4)), 7, c[1].dtype())};
}

// a, b: [m, k] and [k, n], or turned; a bias of 32-bit integers in the scale of their product.
Values build_gemm(Call& c) {
  need(c, 6);
  const bool turned_a = c.integer("transA", 0), turned_b = c.integer("transB", 0);
  const Tensor &w = c[3], scale = c[4].numel() == 1 ? reshape(c[4], {}) : c[4];
  if (!turned_a && w.rank() == 2 && (scale.rank() == 0 || scale.shape() == Shape{w.dim(turned_b ? 0 : 1)}) && c[1].numel() == 1 &&
      (!c.has(7) || (c[7].numel() == 1 && is_byte(c[0].dtype())))) {
    const bool kept = turned_b && is_concrete(c.in[3]) && c.eval.tracing();
    auto turned = [&] { return contiguous(transpose(w, 0, 1)); };
    const Tensor b = !turned_b ? w : kept ? *c.prepared<Tensor>([&] { return Eval::eagerly(turned); }) : turned();
    const Tensor zero = c.has(8) ? c[8] : Tensor();
    Tensor bias = c.optional(6);
    if (bias && bias.rank() == 2 && bias.dim(0) == 1) bias = reshape(bias, {bias.dim(1)});
    if (int8_multiplies(c[0], c.optional(2), b, c.optional(5)) && (!bias || bias.shape() == Shape{b.dim(1)})) {
      Tensor all = reshape(c[1], {}) * scale;
      if (const double alpha = c.real("alpha", 1.0); alpha != 1) all = all * alpha;
      if (c.has(7)) all = all / reshape(c[7], {});
      return {int8_product(c[0], b, c.optional(2), c.optional(5), bias, all, zero, c.has(7) ? c[0].dtype() : DType::f32)};
    }
  }
  Tensor a = real(c, 0), b = real(c, 3, 4, 5, turned_b ? 0 : 1);
  if (turned_a) a = transpose(a, 0, 1);
  if (turned_b) b = transpose(b, 0, 1);
  Tensor y = matmul(a, b);
  if (c.has(6)) y = y + cast(c[6], DType::f32) * (reshape(c[1], {}) * (c[4].numel() == 1 ? reshape(c[4], {}) : c[4]));
  y = y * c.real("alpha", 1.0);
  if (!c.has(7)) return {y};
  return {quantized(c, y, 7, c[0].dtype())};
}

// x, weight, bias, scales of both, mask, zero points of both, past
Values build_attention(Call& c) {
  need(c, 5);
  const auto projected = product_of_bytes(c, c[0], c[3], c.optional(6), 4, 7, 2);
  std::vector<Value> in{{}, {}, {}, given(c, 5), given(c, 8)};
  if (!projected) in = {real(c, 0, 3, 6, 0), real(c, 1, 4, 7, 1), given(c, 2), given(c, 5), given(c, 8)};
  Node n = c.node;
  Call own(n, std::move(in), c.eval, c.env);
  return projected ? attention_of(own, *projected) : find_builder("com.microsoft", "Attention", 1)(own);
}

// A constant weight of 4 bits as int4_matmul reads it: columns in groups of 16, zeros beyond the last.
struct FourBits {
  Tensor values, scale, zero;
};
FourBits four_bits(const Call& c, int64_t n, int64_t blocks, int64_t block) {
  const int64_t groups = (n + 15) / 16, bytes = block / 2, point_bytes = (blocks + 1) / 2;
  auto expect = [&](int i, int64_t count) {
    if (c[i].numel() != count)
      c.fail<ShapeError>("{} do not fit: expected {} for {} blocks of {} rows, got {}", i == 1 ? "packed values" : i == 2 ? "scales" : "zero points",
                         count, blocks, n, to_string(c[i].type()));
  };
  expect(1, n * blocks * bytes);
  expect(2, n * blocks);
  if (c.has(3)) expect(3, n * point_bytes);
  if (c[1].dtype() != DType::u8) c.fail<TypeError>("wrong weight: expected u8, got {}", to_string(c[1].type()));
  auto padded = [&](const Tensor& t) {   // rows of a column each
    return n % 16 ? apply(SUAN_OP("cat"), {t, full(Shape{groups * 16 - n, t.dim(1)}, 0, t.dtype())}, {int64_t(0)}) : t;
  };
  auto by_block = [&](const Tensor& t) { return contiguous(permute(reshape(padded(t), {groups, 16, blocks}), {0, 2, 1})); };
  FourBits w;
  w.values = contiguous(permute(reshape(padded(reshape(c[1], {n, blocks * bytes})), {groups, 16, blocks * bytes / 4, 4}), {0, 2, 1, 3}));
  w.scale = by_block(reshape(cast(c[2], DType::f32), {n, blocks}));
  if (c.has(3)) {
    const Tensor both = cast(reshape(c[3], {n, point_bytes, 1}), DType::f32), high = apply(SUAN_OP("floor"), {both * (1 / 16.0)});
    const Tensor points = apply(SUAN_OP("cat"), {both - high * 16.0, high}, {int64_t(2)});
    w.zero = by_block(slice(reshape(points, {n, point_bytes * 2}), 1, 0, blocks));
  } else {
    w.zero = full(Shape{groups, blocks, 16}, 8, DType::f32);
  }
  return w;
}

// Bytes [rows, packed] of several values each, the first in the low bits, as whole numbers [rows, columns].
Tensor from_bits(const Tensor& bytes, int64_t bits, int64_t columns) {
  const int64_t each = 8 / bits, rows = bytes.dim(0), packed = bytes.dim(1);
  Tensor rest = cast(reshape(bytes, {rows, packed, 1}), DType::f32);
  if (each == 1) return reshape(rest, {rows, columns});
  Tensors values;
  const double base = double(1 << bits);
  for (int64_t i = 0; i < each; ++i) {
    const Tensor above = apply(SUAN_OP("floor"), {rest * (1 / base)});
    values.push_back(rest - above * base);
    rest = above;
  }
  return slice(reshape(apply(SUAN_OP("cat"), values, {int64_t(2)}), {rows, packed * each}), 1, 0, columns);
}

// Rows of a table whose blocks along one axis have a scale (and a zero point) each: data, indices, scales, zero points.
Values build_gather_blocks(Call& c) {
  need(c, 3);
  const int rank = c[0].rank(), from = c.axis(c.integer("gather_axis", 0), rank), along = c.axis(c.integer("quantize_axis", 1), rank);
  const int64_t block = c.integer("block_size", 128), bits = c.integer("bits", 4);
  const bool bytes = c[0].dtype() == DType::u8, packed = bytes && bits < 8;
  if (block < 1) c.fail<ValueError>("bad block_size: expected 1 or more, got {}", block);
  if (bytes && bits != 2 && bits != 4 && bits != 8) c.fail<ValueError>("bad bits: expected 2, 4 or 8, got {}", bits);
  if (from == along) c.fail<ValueError>("bad axes: expected values from another axis than the blocks', got {} for both", along);
  if (packed && along != rank - 1) c.fail<ValueError>("bad quantize_axis: expected the last one of packed bytes, got {}", along);
  if (c[2].rank() != rank || (c.has(3) && c[3].rank() != rank))
    c.fail<ShapeError>("scales and zero points do not fit: expected {} dimensions, got {}", rank, to_string((c.has(3) ? c[3] : c[2]).type()));
  const int64_t each = packed ? 8 / bits : 1, size = c[0].dim(along) * each, blocks = (size + block - 1) / block;
  const Attrs at{{"axis", {int64_t(from)}}};
  auto rows = [&](int i, int64_t length) {   // chosen, as numbers, `length` of them along the axis of blocks
    if (c[i].dim(along) != (packed && i != 2 ? (length + each - 1) / each : length))
      c.fail<ShapeError>("input {} does not fit: expected {} values of {} in a block along axis {}, got {}", i, length, block, along, to_string(c[i].type()));
    const Tensor t = other(c, "Gather", 13, {c.value(i), c.value(1)}, &at);
    if (i == 2 || !packed) return cast(t, DType::f32);
    const int64_t bytes_of_row = t.dim(-1);
    Shape shape = t.shape();
    shape[shape.size() - 1] = length;
    return reshape(from_bits(reshape(t, {t.numel() / std::max<int64_t>(bytes_of_row, 1), bytes_of_row}), bits, length), shape);
  };
  const int axis = along + (from < along ? c[1].rank() - 1 : 0);
  auto spread = [&](const Tensor& t) {   // each for its block
    Shape wide, whole = t.shape();
    for (int i = 0; i < t.rank(); ++i) {
      wide.push_back(t.dim(i));
      if (i == axis) wide.push_back(block);
    }
    whole[axis] = blocks * block;
    return slice(reshape(expand(apply(SUAN_OP("unsqueeze"), {t}, {int64_t(axis + 1)}), wide), whole), axis, 0, size);
  };
  Tensor y = rows(0, size);
  if (c.has(3)) y = y - spread(rows(3, blocks));
  else if (bytes) y = y - double(1 << (bits - 1));
  return {cast(y * spread(rows(2, blocks)), c[2].dtype())};
}

// Weights [n, blocks of k, bytes]: values of 8, 4 or 2 bits, the first in the low bits, each block with its scale.
Values build_matmul_bits(Call& c) {
  need(c, 3);
  const int64_t k = c.integer("K"), n = c.integer("N"), bits = c.integer("bits", 4), block = c.integer("block_size");
  if (bits != 2 && bits != 4 && bits != 8) c.fail<ValueError>("unsupported bits: expected 2, 4 or 8, got {}", bits);
  if (k < 1 || n < 1 || block < 16 || (block & (block - 1)) || k > longest_axis || n > longest_axis || block > longest_axis)
    c.fail<ValueError>("sizes out of range: expected K and N from 1, block_size a power of two from 16, got {}, {} and {}", k, n, block);
  if (c.has(4)) c.fail<TypeError>("unsupported input: expected no g_idx, got one");
  const int64_t blocks = (k + block - 1) / block, each = 8 / bits;
  if (bits == 4 && (!c.has(3) || c[3].dtype() == DType::u8) && (!c.has(5) || c[5].dtype() == DType::f32) && c[0].dtype() == DType::f32 &&
      c[0].rank() > 0 && c[0].dim(-1) == k && std::all_of(c.in.begin() + 1, c.in.begin() + std::min<size_t>(4, c.in.size()), is_concrete)) {
    auto made = [&] { return Eval::eagerly([&] { return four_bits(c, n, blocks, block); }); };
    const auto w = c.eval.tracing() ? c.prepared<FourBits>(made) : std::make_shared<const FourBits>(made());
    return {apply(SUAN_OP("int4_matmul"), {c[0], w->values, w->scale, w->zero, c.optional(5)}, {n})};
  }
  auto unpacked = [&](const Tensor& bytes, int64_t rows, int64_t columns) {   // [rows, columns] of whole numbers
    const int64_t packed = (columns + each - 1) / each;
    if (bytes.dtype() != DType::u8 || bytes.numel() != rows * packed)
      c.fail<ShapeError>("packed values do not fit: expected {} bytes for {}x{} of {} bits, got {}", rows * packed, rows, columns, bits,
                         to_string(bytes.type()));
    return from_bits(reshape(bytes, {rows, packed}), bits, columns);
  };
  if (c[2].numel() != n * blocks)
    c.fail<ShapeError>("scales do not fit: expected {} for {} blocks of {} rows, got {}", n * blocks, blocks, n, to_string(c[2].type()));
  const Tensor scale = reshape(cast(c[2], DType::f32), {n, blocks, 1});
  Tensor zero = full(Shape{}, double(1 << (bits - 1)), DType::f32);
  if (c.has(3)) zero = c[3].dtype() == DType::u8 ? reshape(unpacked(c[3], n, blocks), {n, blocks, 1})
                                                : reshape(cast(c[3], DType::f32), {n, blocks, 1});
  const Tensor w = (reshape(unpacked(c[1], n, blocks * block), {n, blocks, block}) - zero) * scale;
  const Tensor whole = slice(reshape(w, {n, blocks * block}), 1, 0, k);
  const DType t = c[0].dtype();
  Tensor y = matmul(cast(c[0], DType::f32), transpose(whole, 0, 1));
  if (c.has(5)) y = y + cast(c[5], DType::f32);
  return {cast(y, t)};
}

Values build_nhwc_max_pool(Call& c) {
  if (c[0].rank() < 3) c.fail<ShapeError>("wrong rank: expected [batch, size..., channels], got {}", to_string(c[0].type()));
  const int last = c[0].rank() - 1;
  const Tensor y = other(c, "MaxPool", 12, {apply(SUAN_OP("movedim"), {c[0]}, {Dims{last}, Dims{1}})});
  return {apply(SUAN_OP("movedim"), {y}, {Dims{1}, Dims{last}})};
}
Values build_conv(Call& c) {
  const Attrs attrs = without(c, {"channels_last"});
  std::vector<Value> in = c.in;
  return {channels_first(c, c[0], [&](const Tensor& x) {
    in[0] = x;
    return other(c, "QLinearConv", 10, in, &attrs);
  })};
}

template <int version>
Values as_linear(Call& c, const char* op) {
  return {other(c, op, version, c.in)};
}

}  // namespace

#define SUAN_MS(name, build) {"com.microsoft." name, 1, build}
std::vector<Mapping> contrib_quantized_ops() {
  return {
      SUAN_MS("DequantizeLinear", [](Call& c) { return as_linear<21>(c, "DequantizeLinear"); }),
      SUAN_MS("DynamicQuantizeLSTM", build_dynamic_quantize_lstm),
      SUAN_MS("DynamicQuantizeMatMul", build_dynamic_quantize_matmul),
      SUAN_MS("GatherBlockQuantized", build_gather_blocks),
      SUAN_MS("MatMulIntegerToFloat", build_matmul_integer_to_float),
      SUAN_MS("MatMulNBits", build_matmul_bits),
      SUAN_MS("NhwcMaxPool", build_nhwc_max_pool),
      SUAN_MS("QAttention", build_attention),
      SUAN_MS("QGemm", build_gemm),
      SUAN_MS("QLinearAdd", [](Call& c) { return binary(c, [](const Tensor& a, const Tensor& b) { return a + b; }); }),
      SUAN_MS("QLinearAveragePool", build_average_pool),
      SUAN_MS("QLinearConcat", build_concat),
      SUAN_MS("QLinearConv", build_conv),
      SUAN_MS("QLinearGlobalAveragePool", build_global_average_pool),
      SUAN_MS("QLinearLeakyRelu", [](Call& c) {
        return unary(c, [&](const Tensor& x) { return other(c, "LeakyRelu", 6, {x}); });
      }),
      SUAN_MS("QLinearMul", [](Call& c) { return binary(c, [](const Tensor& a, const Tensor& b) { return a * b; }); }),
      SUAN_MS("QLinearReduceMean", build_reduce_mean),
      SUAN_MS("QLinearSigmoid", [](Call& c) { return unary(c, [](const Tensor& x) { return sigmoid(x); }); }),
      SUAN_MS("QLinearSoftmax", build_softmax),
      SUAN_MS("QLinearWhere", build_where),
      SUAN_MS("QuantizeLinear", [](Call& c) { return as_linear<21>(c, "QuantizeLinear"); }),
  };
}

}  // namespace suan::onnx
