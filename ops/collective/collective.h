// What the collective ops share. `world` is part of the op, so that a recording says for how many ranks it
// was made; a world of one is the identity.
#pragma once

#include "core/communicator.h"
#include "ops/api.h"

namespace suan {

inline constexpr DTypeSet reducible_types =
    floating_types | dtype_bit(DType::i32) | dtype_bit(DType::i64);

inline int64_t world_of(const InferContext& c, int attr) {
  const int64_t n = c.attrs.integer(attr);
  if (n < 1) c.fail<ValueError>("wrong world: expected at least 1, got {}", n);
  return n;
}

inline void check_mean(const InferContext& c, int attr) {
  const Reduce r = parse_reduce(c.op.name, c.attrs.string(attr));
  if (r == Reduce::mean && !is_floating(c.dtype(0)))
    c.fail<TypeError>("no mean of integers: expected a float, got {}", to_string(c[0]));
}

}  // namespace suan
