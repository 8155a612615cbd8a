// The cheap rows of one operand.
#include "kernels/cpu/lib/scalar_code.h"
#include "ops/scalar.h"

SUAN_ROW_TABLE(1, rows_unary_basic, SUAN_ROWS_UNARY_BASIC)
