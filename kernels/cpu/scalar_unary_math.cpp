// The rows of one operand that call the prelude.
#include "kernels/cpu/lib/scalar_code.h"
#include "ops/scalar.h"

SUAN_ROW_TABLE(1, rows_unary_math, SUAN_ROWS_UNARY_MATH)
