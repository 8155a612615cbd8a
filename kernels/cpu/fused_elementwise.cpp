// fused_elementwise: the body as one program over tiles.
#include "kernels/cpu/lib/elementwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

// What is no program (constants, other ops, too many values) runs by its definition.
Prepared prepare(const KernelDesc& d) {
  const ProgramPtr program = graph_program(*d.attrs.graph(0));
  return program ? prepare_program(program, d.in, d.out) : Prepared{};
}

}  // namespace

Kernel kernel_fused_elementwise() {
  return {prepare, kernel_strided_in | kernel_strided_out | kernel_in_place};
}

}  // namespace suan::cpu::SUAN_ISA
