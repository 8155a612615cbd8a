// arange: evenly spaced numbers.
#include <cmath>

#include "ops/api.h"

namespace suan {

OpDef op_def_arange() {
  OpDef d{.name = "arange",
          .doc =
              "start, start + step, ... up to but without end; each from its index. Integers take "
              "whole start and step.",
          .inputs = {}};
  d.attrs = {{"start", AttrKind::real, 0.0},
             {"end", AttrKind::real},
             {"step", AttrKind::real, 1.0},
             {"dtype", AttrKind::dtype, DType::i64}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const double start = c.attrs.real(0), end = c.attrs.real(1), step = c.attrs.real(2);
    if (!contains(arithmetic_types, c.attrs.dtype(3)))
      c.fail<TypeError>("dtype not supported: expected an integer or floating one, got {}",
                        name(c.attrs.dtype(3)));
    if (!(step != 0) || !std::isfinite(start) || !std::isfinite(end) || !std::isfinite(step))
      c.fail<ValueError>(
          "invalid range: expected finite bounds and a non-zero step, got {} to {} by {}", start,
          end, step);
    const double n = std::ceil((end - start) / step);
    if (n > 1e15) c.fail<ShapeError>("too many elements: expected at most 1e15, got {}", n);
    return {{c.attrs.dtype(3), Shape{n > 0 ? int64_t(n) : 0}, Device{}}};
  };
  d.no_grad = "no inputs";
  d.samples = [] {
    return std::vector<Sample>{{{}, {0.0, 7.0, 1.0, DType::i64}},
                               {{}, {-1.0, 2.0, 0.25, DType::f32}, "fractions"},
                               {{}, {5.0, -4.0, -3.0, DType::i32}, "downwards"},
                               {{}, {2.0, 2.0, 1.0, DType::f64}, "no elements"}};
  };
  return d;
}

}  // namespace suan
