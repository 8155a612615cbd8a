// Comparisons and logic: rows with a bool result.
#include "kernels/cpu/lib/scalar_code.h"
#include "ops/scalar.h"

SUAN_ROW_TABLE(2, rows_binary_compare, SUAN_ROWS_BINARY_COMPARE)
