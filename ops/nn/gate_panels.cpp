// gate_panels: the recurrent weight of an LSTM or GRU in the order in which their steps read it.
#include "ops/nn/recurrent.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const int64_t gates = c.attrs.integer(0);
  if (c[0].rank() != 2 || gates < 1 || c[0].dim(0) % gates)
    fail<ShapeError>("gate_panels", "wrong weight: expected [{} * hidden, k], got {}", gates, to_string(c[0].type()));
  const int64_t hidden = c[0].dim(0) / gates, k = c[0].dim(1);
  const Shape out = panels_shape(gates, hidden, k);
  Tensor w = reshape(c[0], {gates, hidden, k});
  if (const int64_t more = out[0] * panel_units - hidden)
    w = apply(SUAN_OP("pad_constant"), {w, Tensor()}, {std::vector<int64_t>{0, 0, 0, more}});
  return {reshape(copy(permute(reshape(w, {gates, out[0], panel_units, k}), {1, 3, 0, 2})), out)};
}

std::vector<Sample> samples() {
  return {{{{{8, 3}}}, {int64_t(4)}, ""}, {{{{54, 5}}}, {int64_t(3)}, "more units than a panel has"},
          {.in = {{{7, 2}}}, .attrs = {int64_t(3)}, .error = "wrong weight"}};
}

}  // namespace

OpDef op_def_gate_panels() {
  return {.name = "gate_panels",
          .doc = "A weight [gates * hidden, k] as [hidden / 16 rounded up, k, gates * 16]: 16 units of every gate side by side, "
                 "zeros beyond the last one. lstm_layer and gru_layer take such a weight, which saves them making it "
                 "where it is constant.",
          .inputs = {{"weight", floating_types}},
          .attrs = {{"gates", AttrKind::integer}},
          .compose = compose,
          .samples = samples};
}

}  // namespace suan
