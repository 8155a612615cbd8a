// The cheap rows of two operands.
#include "kernels/cpu/lib/scalar_code.h"
#include "ops/scalar.h"

SUAN_ROW_TABLE(2, rows_binary_basic, SUAN_ROWS_BINARY_BASIC)
