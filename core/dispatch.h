// Kernel selection, shared by eager calls and plans: one kernel for one signature, ready to run.
#pragma once

#include "core/op.h"

namespace suan {

struct Selected {
  const Kernel* kernel = nullptr;  // null: no kernel takes this signature
  Prepared prepared;
  uint64_t copy_mask = 0;          // inputs that must be made contiguous first (bit 63 speaks for the rest)
  bool needs_copy(int i) const { return copy_mask >> (i < 63 ? i : 63) & 1; }
};

// A kernel refuses a signature by its `supports`, or by a Prepared without `run` where finding out is most of the
// work. `out_layouts` other than contiguous need a kernel that writes strided outputs.
Selected select_kernel(const OpDef& op, const Attrs& attrs, Device device, std::span<const Layout> in,
                       std::span<const DType> in_dtypes, const std::vector<bool>& present,
                       std::span<const TensorType> out, std::span<const Layout> out_layouts,
                       uint64_t constant_mask = 0);

// Whether the device of the outputs has a kernel for contiguous operands of these types.
bool kernel_takes(const OpDef& op, const Attrs& attrs, std::span<const TensorType> in,
                  std::span<const TensorType> out);

// The input that output k of a node overwrites, or -1 (a call may have left that input out, too). `updates` of
// an op with a variadic last input speaks of the first of equal rounds of it; outputs come round by round.
int updated_input(const OpDef& op, size_t k, size_t n_in, size_t n_out);

std::string describe(DTypeSet s);  // "float16, float32"

}  // namespace suan
