// The comparisons.
#include "kernels/cuda/lib/elementwise.cuh"
#include "ops/scalar.h"

namespace suan::cuda {

namespace {
SUAN_ROWS_BINARY_COMPARE(SUAN_CUDA_ROW2)
}  // namespace

void add_scalar_binary_compare(RowList& list) { SUAN_ROWS_BINARY_COMPARE(SUAN_CUDA_ADD2) }

}  // namespace suan::cuda
