// The rows of one operand that need functions.
#include "kernels/cuda/lib/elementwise.cuh"
#include "ops/scalar.h"

namespace suan::cuda {

namespace {
SUAN_ROWS_UNARY_MATH(SUAN_CUDA_ROW1)
}  // namespace

void add_scalar_unary_math(RowList& list) { SUAN_ROWS_UNARY_MATH(SUAN_CUDA_ADD1) }

}  // namespace suan::cuda
