// fused_elementwise: the body as one program over tiles.
#include "kernels/cpu/lib/elementwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

Prepared prepare(const KernelDesc& d) {
  return prepare_program(graph_program(*d.attrs.graph(0)), d.in, d.out);
}
// What is no program (constants, other ops, too many values) runs by its definition.
bool supports(const KernelDesc& d) { return graph_program(*d.attrs.graph(0)) != nullptr; }

}  // namespace

Kernel kernel_fused_elementwise() {
  return {prepare, kernel_strided_in | kernel_strided_out | kernel_in_place, supports};
}

}  // namespace suan::cpu::SUAN_ISA
