// int8_lstm: the steps of an LSTM in each of its directions, with a recurrent weight of 8 bits; the state is rounded
// to 8 bits before each product, row by row.
#include "ops/quant/int8.h"

namespace suan {
namespace {

using namespace ops;

// Columns lie in groups: the input gates of 16 units, their forget gates, cell gates, output gates.
constexpr int64_t group_units = 16, group_columns = 64;

enum { gates_in, h_in, c_in, weight_in, scale_in, zero_in };

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(gates_in), &h = c.shape(h_in);
  if (x.size() != 4 || x[0] < 1 || x[3] % group_columns || h.size() != 3 || h[2] < 1)
    c.fail<ShapeError>("wrong rank: expected gates [steps >= 1, batch, directions, 64 * groups] and h [directions, batch, hidden], got {} "
                       "and {}", to_string(c[gates_in]), to_string(c[h_in]));
  const int64_t directions = x[2], columns = x[3], hidden = h[2];
  if (h != Shape{directions, x[1], hidden} || c.shape(c_in) != h || columns != (hidden + group_units - 1) / group_units * group_columns)
    c.fail<ShapeError>("states do not fit: expected twice {} and gates of {} columns, got {}, {} and {}",
                       to_string(Shape{directions, x[1], hidden}), (hidden + group_units - 1) / group_units * group_columns, to_string(c[h_in]),
                       to_string(c[c_in]), to_string(c[gates_in]));
  const Shape packed{directions, columns / int8_panel_columns, (hidden + 3) / 4 + 1, int8_panel_columns, 4}, each{directions, columns};
  if (c.shape(weight_in) != packed || c.shape(scale_in) != each || c.shape(zero_in) != each)
    c.fail<ShapeError>("weight does not fit: expected {} with scale and zero {}, got {}, {} and {}", to_string(packed), to_string(each),
                       to_string(c[weight_in]), to_string(c[scale_in]), to_string(c[zero_in]));
  const Device device = c[gates_in].device;
  return {{DType::f32, {x[0], directions, x[1], hidden}, device}, {DType::f32, h, device}, {DType::f32, h, device}};
}

Tensors compose(const ComposeContext& c) {
  const Tensor& gates = c[gates_in];
  const int64_t steps = gates.dim(0), batch = gates.dim(1), directions = gates.dim(2), columns = gates.dim(3), hidden = c[h_in].dim(2);
  const int64_t groups = columns / group_columns;
  auto of = [](const Tensor& t, int axis, int64_t k) { return squeeze(slice(t, axis, k, k + 1), axis); };
  auto joined = [](const Tensors& t) { return apply(SUAN_OP("cat"), t, {int64_t(0)}); };
  Tensors ys, hs, cs;
  for (int64_t d = 0; d < directions; ++d) {
    const Tensor packed = of(c[weight_in], 0, d);
    const int64_t quads = packed.dim(1) - 1;
    Tensor w = reshape(permute(slice(packed, 1, 0, quads), {1, 3, 0, 2}), {quads * 4, columns});
    w = cast(slice(w, 0, 0, hidden), DType::i32) - cast(of(c[zero_in], 0, d), DType::i32);
    Tensor h = of(c[h_in], 0, d), state = of(c[c_in], 0, d);
    Tensors y(size_t(steps), h);
    for (int64_t k = 0; k < steps; ++k) {
      const int64_t t = c.attrs.boolean(0) || d == 1 ? steps - 1 - k : k;
      const Tensor zero = number(0, h);
      const Tensor hi = maximum(apply(SUAN_OP("max"), {h}, {Dims{1}, true}), zero), lo = minimum(apply(SUAN_OP("min"), {h}, {Dims{1}, true}), zero);
      Tensor scale = (hi - lo) / 255.0;
      scale = where(eq(scale, zero), number(1, h), scale);
      const Tensor point = minimum(maximum(apply(SUAN_OP("round"), {neg(lo) / scale}), zero), number(255, h));
      const Tensor q = minimum(maximum(apply(SUAN_OP("round"), {h / scale}) + point, zero), number(255, h)) - point;
      const Tensor sums = cast(matmul(cast(q, DType::i32), w), DType::f32) * (scale * of(c[scale_in], 0, d));
      const Tensor all = reshape(sums + of(of(gates, 0, t), 1, d), {batch, groups, 4, group_units});
      auto gate = [&](int64_t g) { return slice(reshape(of(all, 2, g), {batch, groups * group_units}), 1, 0, hidden); };
      state = sigmoid(gate(1)) * state + sigmoid(gate(0)) * tanh(gate(2));
      h = sigmoid(gate(3)) * tanh(state);
      y[size_t(t)] = unsqueeze(h, 0);
    }
    ys.push_back(unsqueeze(joined(y), 1));
    hs.push_back(unsqueeze(h, 0));
    cs.push_back(unsqueeze(state, 0));
  }
  return {apply(SUAN_OP("cat"), ys, {int64_t(1)}), joined(hs), joined(cs)};
}

std::vector<Sample> samples() {
  const auto real = [](Shape s, double lo, double hi) {
    return SampleInput{.shape = s, .fill = Fill::uniform, .lo = lo, .hi = hi, .dtype = DType::f32, .grad = false};
  };
  const auto whole = [](Shape s, double lo, double hi) {
    return SampleInput{.shape = s, .fill = Fill::integers, .lo = lo, .hi = hi, .dtype = DType::i8};
  };
  // What is rounded to 8 bits may fall to either side of a half: a scale so small that a quantum stays below tolerances.
  const auto sample = [&](int64_t steps, int64_t batch, int64_t directions, int64_t hidden, bool reverse, const char* note) {
    const int64_t groups = (hidden + group_units - 1) / group_units;
    return Sample{{real({steps, batch, directions, groups * 64}, -2, 2), real({directions, batch, hidden}, -1, 1),
                   real({directions, batch, hidden}, -1, 1), whole({directions, groups * 2, (hidden + 3) / 4 + 1, 32, 4}, -128, 128),
                   real({directions, groups * 64}, 1e-6, 2e-6), whole({directions, groups * 64}, -3, 4)},
                  {reverse}, note};
  };
  Sample bad = sample(1, 1, 1, 5, false, "");
  bad.in[h_in].shape = {1, 2, 5};
  bad.error = "states do not fit";
  return {sample(3, 2, 2, 19, false, ""), sample(2, 17, 1, 4, true, "backwards, many rows"), bad};
}

}  // namespace

OpDef op_def_int8_lstm() {
  return {.name = "int8_lstm",
          .doc = "LSTM with a recurrent weight of 8 bits. gates [steps, batch, directions, 64 * groups] f32: the input's part with all "
                 "biases, in groups of 16 units: their input, forget, cell and output gates. h, c [directions, batch, hidden] f32. weight "
                 "[directions, 2 * groups, hidden / 4 + 1, 32, 4] i8: [hidden, 64 * groups] in that order, from int8_pack; its values "
                 "are (weight - zero) * scale by column. At each step a row of h is rounded to 8 bits over its own range (as "
                 "dynamic_quantize does), the product is exact, and c = sigmoid(forget) c + sigmoid(input) tanh(cell), h = "
                 "sigmoid(output) tanh(c). The second direction, or with reverse the first, goes from the last step to the first. Gives h "
                 "of all steps [steps, directions, batch, hidden] and the last h and c.",
          .inputs = {{"gates", f32_type},
                     {"h", f32_type},
                     {"c", f32_type},
                     {"weight", dtype_bit(DType::i8), Arity::required, 2},
                     {"scale", f32_type},
                     {"zero", dtype_bit(DType::i8), Arity::required, 2}},
          .attrs = {{"reverse", AttrKind::boolean, false}},
          .outputs = {"out", "last_h", "last_c"},
          .infer = infer,
          .compose = compose,
          .no_grad = "its weight is of integers",
          .cost = [](const InferContext& c) {
            const Shape& x = c.shape(gates_in);
            return Cost{2.0 * double(x[0] * x[1] * x[2]) * double(x[3]) * double(c.shape(h_in)[2])};
          },
          .samples = samples};
}

}  // namespace suan
