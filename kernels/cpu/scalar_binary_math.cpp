// The dear rows of two operands: division, powers, activation gradients.
#include "kernels/cpu/lib/scalar_code.h"
#include "ops/scalar.h"

SUAN_ROW_TABLE(2, rows_binary_math, SUAN_ROWS_BINARY_MATH)
