// The strict part of a call: its inputs and attributes against what the op declares.
#pragma once

#include <span>

#include "core/op.h"

namespace suan {

// Throws an error that names the input or attribute: wrong number, missing, dtype, dtypes that differ
// within a group, two devices.
void check_arguments(const OpDef& def, std::span<const TensorType* const> in, const Attrs& attrs);

// Attributes left out take their defaults, so that equal calls have equal signatures. `storage` holds the
// result when it is not `attrs` itself.
const Attrs& with_defaults(const OpDef& def, const Attrs& attrs, Attrs& storage);

}  // namespace suan
