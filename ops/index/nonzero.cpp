// nonzero: where the elements that are not zero stand.
#include <cstring>

#include "core/backend.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_nonzero() {
  OpDef d{.name = "nonzero",
          .doc =
              "One int64 row per non-zero element with its position along every axis, in row-major "
              "order; the number of rows depends on the data.",
          .inputs = {{"input", all_types | complex_types}}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{DType::i64, Shape{-1, c.shape(0).size()}, c[0].device}};
  };
  d.no_grad = "the result is positions";
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const Tensor x = ops::contiguous(c[0]);
    const int rank = x.rank(), parts = is_complex(x.dtype()) ? 2 : 1,
              item = int(item_size(x.dtype())) / parts;
    const int64_t n = x.numel();
    const std::byte* p = n ? host_bytes("nonzero", x) : nullptr;
    // Zero is all bits clear, but for the sign of a floating one.
    uint64_t value_bits = item == 8 ? ~uint64_t(0) : (uint64_t(1) << (8 * item)) - 1;
    if (is_floating(x.dtype()) || parts == 2) value_bits >>= 1;
    auto is_set = [&](int64_t i) {
      bool set = false;
      for (int64_t k = i * parts; k < (i + 1) * parts; ++k) {
        uint64_t word = 0;
        std::memcpy(&word, p + k * item, size_t(item));
        set |= (word & value_bits) != 0;
      }
      return set;
    };
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) count += is_set(i);
    Tensor out = Tensor::empty({DType::i64, {count, rank}, x.device()});
    int64_t* to = count && rank ? out.data<int64_t>() : nullptr;
    for (int64_t i = 0; to && i < n; ++i) {
      if (!is_set(i)) continue;
      int64_t flat = i;
      for (int d = rank - 1; d >= 0; --d) {
        to[d] = flat % x.dim(d);
        flat /= x.dim(d);
      }
      to += rank;
    }
    return {out};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}, Fill::integers, 0, 2}}},
                               {{{{6}, Fill::integers, 0, 2}}, {}, "a list"},
                               {{{{0, 4}}}, {}, "no elements"},
                               {{{{}, Fill::integers, 1, 2}}, {}, "0-d"}};
  };
  return d;
}

}  // namespace suan
