// where and clamp.
#include "kernels/cpu/lib/scalar_code.h"
#include "ops/scalar.h"

namespace suan::cpu::SUAN_ISA {
namespace {

#define SUAN_ROW3(name, types_, cost, expr)                                      \
  struct row_##name {                                                            \
    static constexpr int types = rows::types_;                                   \
    static constexpr bool masked = std::string_view(#name) == "where";           \
    template <class M, class V>                                                  \
    static SUAN_INLINE auto eval(M x, V y, V z) {                                \
      return expr;                                                               \
    }                                                                            \
  };
SUAN_ROWS_TERNARY(SUAN_ROW3)

#define SUAN_CODE3(name, types, cost, expr) rows::code<row_##name, 3>(#name, cost),
constexpr RowCode table[] = {SUAN_ROWS_TERNARY(SUAN_CODE3){}};

}  // namespace

const RowCode* rows_ternary() { return table; }

}  // namespace suan::cpu::SUAN_ISA
