// Tiles between storage and compute types: load (any stride), store, round in place, cast.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace suan::cpu::SUAN_ISA {

// n elements, strides in elements of the storage type; the tile side is contiguous.
using LoadFn = void (*)(const void* from, int64_t stride, void* tile, int64_t n);
using StoreFn = void (*)(const void* tile, void* to, int64_t stride, int64_t n);

LoadFn load_fn(DType t);    // null for a dtype without a compute type here
StoreFn store_fn(DType t);
// A cast between the compute types of two dtypes, as a row of one operand.
void (*cast_fn(DType from, DType to))(const void* const* in, void* out, int64_t n);
// Rounds a compute tile to the values that storage type t holds; null where t is its compute type.
void (*round_fn(DType t))(void* tile, int64_t n);

// Elements as they are stored are the compute type: such memory is used in place.
constexpr bool is_direct(DType t) { return compute_type(t) == t; }

}  // namespace suan::cpu::SUAN_ISA
