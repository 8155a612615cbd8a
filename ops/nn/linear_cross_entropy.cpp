// linear_cross_entropy: the loss of a language model's head without its [rows, classes] scores.
#include "ops/nn/common.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  const bool wanted = context().grad_enabled && !context().inference &&
                      (c[0].requires_grad() || c[1].requires_grad());
  return {apply_all(op("linear_cross_entropy_forward"), c.in,
                    {c.attrs.integer(0), c.attrs.string(1), wanted})[0]};
}

std::vector<Sample> samples() {
  auto labels = [](int64_t n, double classes) {
    return SampleInput{
        .shape = {n}, .fill = Fill::index, .lo = 0, .hi = classes, .dtype = DType::i64};
  };
  return {{{{{5, 6}}, {{9, 6}}, labels(5, 9)}, {int64_t(-100), std::string("mean")}},
          {{{{5, 6}}, {{9, 6}}, labels(5, 9)}, {int64_t(3), std::string("sum")}, "ignored class"},
          {{{{150, 8}}, {{70, 8}}, labels(150, 70)},
           {int64_t(-100), std::string("mean")},
           "several chunks"},
          {.in = {{{5, 6}}, {{9, 7}}, labels(5, 9)}, .error = "inner dimensions differ"}};
}

}  // namespace

OpDef op_def_linear_cross_entropy() {
  return {.name = "linear_cross_entropy",
          .doc = "cross_entropy(x · weightᵀ, targets) for x [rows, width], weight [classes, "
                 "width], by chunks of rows. Where a gradient will be wanted it is taken at once, "
                 "while a chunk's scores are in cache (Hsu et al. 2024, Liger), so they are never "
                 "computed twice nor kept. f16 and bf16 give a loss in f32.",
          .inputs = {{"x", floating_types},
                     {"weight", floating_types},
                     {"targets", dtype_bit(DType::i64), Arity::required, 2}},
          .attrs = {{"ignore_index", AttrKind::integer, int64_t(-100)},
                    {"reduction", AttrKind::string, std::string("mean")}},
          .outputs = {"loss"},
          .compose = compose,
          .samples = samples};
}

}  // namespace suan
