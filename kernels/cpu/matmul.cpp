// Matrix product, batches and strides as they come.
#include "kernels/cpu/lib/product.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_matmul() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.prepare = [](const KernelDesc& d) {
    Layout a = d.in[0]->layout, b = d.in[1]->layout;
    Shape batch = d.out[0]->layout.shape;
    if (a.rank() > 1) batch.erase(batch.size() - 1);
    if (b.rank() > 1) batch.erase(batch.size() - 1);
    if (a.rank() == 1) a.shape.insert(0, 1), a.strides.insert(0, 0);
    if (b.rank() == 1) b.shape.insert(1, 1), b.strides.insert(1, 0);
    const DType t = d.in[0]->dtype;
    auto plan = std::make_shared<ProductPlan>(plan_product(t, t, a, b, batch));
    const int64_t workspace = plan->workspace, row = b.shape.back();
    return Prepared{[](const void* s, const KernelArgs& x) {
                      run_product(*static_cast<const ProductPlan*>(s), x.in[0], x.in[1], x.out[0],
                                  x.workspace, x.epilogue ? *x.epilogue : TileEpilogue{});
                    },
                    std::move(plan), workspace, row};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
