// Matrix products of strided tensors: finds how a layout's matrices can be handed to the GEMM
// without a copy, joins batches into rows where one matrix serves them all, and copies only what no
// stride fits.
#pragma once

#include "kernels/cpu/lib/gemm.h"
#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {

struct ProductPlan {
  GemmPlan gemm;
  bool copy_a = false, copy_b = false;   // through the workspace, contiguous
  Move move_a, move_b;
  int64_t at_b = 0, at_gemm = 0;         // bytes into the workspace
  Odometer<2> outer;                     // batches that no single stride reaches, one product each
  int64_t n_outer = 1, outer_c = 0;      // C's step per outer batch, in elements
  int64_t n_out = 0, item_a = 4, item_b = 4, item_c = 4;
  int64_t workspace = 0;
};

// a [batch..., m, k] and b [batch..., k, n] of one dtype, each at least 2-D, batches broadcast to
// `batch`; C is contiguous [batch..., m, n].
ProductPlan plan_product(DType dtype, DType out_dtype, const Layout& a, const Layout& b,
                         const Shape& batch);

// The epilogue's columns count from the left of C; its rows and batch are the plan's own.
void run_product(const ProductPlan& p, const void* a, const void* b, void* c, void* workspace,
                 TileEpilogue epilogue = {});

}  // namespace suan::cpu::SUAN_ISA
