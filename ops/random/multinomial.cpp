// multinomial: indices drawn by weight.
#include "ops/random/generator.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_multinomial() {
  OpDef d{.name = "multinomial",
          .doc =
              "num_samples positions per row of p (weights >= 0, rank 1 or 2), drawn by weight; "
              "without replacement by the largest of weight / exponential noise; moves the state "
              "on.",
          .inputs = {{"state", dtype_bit(DType::u64), Arity::required, 0}, {"p", floating_types}}};
  d.attrs = {{"num_samples", AttrKind::integer}, {"replacement", AttrKind::boolean, false}};
  d.flags = op_random;
  d.no_grad = "a random draw";
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const int64_t n = c.attrs.integer(0);
    if (c[1].rank() < 1 || c[1].rank() > 2)
      fail<ShapeError>("multinomial", "weights of another rank: expected 1 or 2, got {}",
                       to_string(c[1].shape()));
    const DType work = c[1].dtype() == DType::f64 ? DType::f64 : DType::f32;
    const Tensor p = cast(c[1], work);
    const int64_t classes = p.dim(-1);
    if (n < 0 || classes == 0 || (!c.attrs.boolean(1) && n > classes))
      fail<ValueError>("multinomial", "cannot draw: expected 0 to {} samples, got {}", classes, n);
    if (!c.attrs.boolean(1)) {
      const Tensor noise = neg(log(1.0 - draw_uniform(c[0], p.shape(), work)));
      return {apply_all(SUAN_OP("topk"), {p / (noise + 1e-30)}, {n})[1]};
    }
    // Inverse of the running sum: how many classes end at or before the draw.
    Shape s = p.shape();
    s.back() = n;
    const Tensor ends = apply(SUAN_OP("cumsum"), {p}, {int64_t(-1)});
    const Tensor draws =
        draw_uniform(c[0], s, work) * slice(ends, ends.rank() - 1, classes - 1, classes);
    const Tensor passed = sum(le(unsqueeze(ends, -2), unsqueeze(draws, -1)), {-1});
    return {minimum(passed, number(double(classes - 1), passed))};
  };
  d.samples = [] { return std::vector<Sample>{}; };
  return d;
}

}  // namespace suan
