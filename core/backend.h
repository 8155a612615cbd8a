// A backend is one table: kernels by op, and the memory calls of its device. The CPU's is in the core
// library; others are loaded on first use.
#pragma once

#include <vector>

#include "core/op.h"

namespace suan {

class Backend {
 public:
  explicit Backend(const char* name, std::vector<std::pair<const char*, Kernel>> kernels);
  const char* name() const { return name_; }
  const Kernel* kernel(const OpDef& op) const {
    return by_op_[op.id].prepare ? &by_op_[op.id] : nullptr;
  }

 private:
  const char* name_;
  std::vector<Kernel> by_op_;
};

const Backend& backend(DeviceType type);   // DeviceError when it is not there

// "avx512" or "avx2": what the CPU kernels run as. SUAN_ISA=avx2 in the environment asks for the smaller.
const char* cpu_isa();

}  // namespace suan
