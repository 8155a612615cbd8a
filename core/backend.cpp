// Backend lookup and the choice of CPU instruction set.
#include "core/backend.h"

#include <cstdlib>
#include <cstring>

namespace suan {

std::vector<std::pair<const char*, Kernel>> cpu_kernels(bool avx512);  // generated from kernels/cpu/

Backend::Backend(const char* name, std::vector<std::pair<const char*, Kernel>> kernels) : name_(name) {
  by_op_.resize(all_ops().size());
  for (auto& [op_name, kernel] : kernels) {
    const OpDef* def = find_op(op_name);
    if (!def)
      fail<InternalError>("backend", "kernel without an op: expected a name in the table, got '{}'", op_name);
    by_op_[def->id] = kernel;
  }
}

const char* cpu_isa() {
  static const char* isa = [] {
    const char* asked = std::getenv("SUAN_ISA");
    bool has512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
      fail<DeviceError>("cpu", "processor too old: expected AVX2 and FMA, got neither or one");
    if (asked && std::strcmp(asked, "avx2") == 0) return "avx2";
    if (asked && std::strcmp(asked, "avx512") == 0) {
      if (!has512) fail<DeviceError>("cpu", "SUAN_ISA: expected avx2 on this processor, got avx512");
      return "avx512";
    }
    if (asked && *asked) fail<ValueError>("cpu", "SUAN_ISA: expected avx2 or avx512, got '{}'", asked);
    return has512 ? "avx512" : "avx2";
  }();
  return isa;
}

const Backend& backend(DeviceType type) {
  if (type == DeviceType::cpu) {
    static const Backend* cpu = new Backend("cpu", cpu_kernels(std::strcmp(cpu_isa(), "avx512") == 0));
    return *cpu;
  }
  fail<DeviceError>("backend", "device not available: expected cpu, got {}", to_string(Device{type, 0}));
}

}  // namespace suan
