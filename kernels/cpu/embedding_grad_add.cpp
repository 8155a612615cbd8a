// embedding_grad added to a table in place, with the bits of the two steps: each row's sum is rounded, then
// added. Rows never met add zero, which turns -0 into 0.
#include <cstring>

#include "kernels/cpu/lib/table_rows.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
void run(const void* state, const KernelArgs& a) {
  const TableRows& s = *static_cast<const TableRows*>(state);
  const int64_t bytes = s.width * item_size(s.dtype);
  s.each("embedding_grad_add", static_cast<const int64_t*>(a.in[2]), a.workspace,
         [&](int64_t row, const int64_t* order, int64_t count) {
    T table[TableRows::tile], sum[TableRows::tile];
    if (a.out[0] != a.in[0])
      std::memcpy(element(a.out[0], row, bytes), element(a.in[0], row, bytes), size_t(bytes));
    for (int64_t c = 0; c < s.width; c += TableRows::tile) {
      const int64_t m = std::min(TableRows::tile, s.width - c);
      if (count) {
        s.sum(a.in[1], order, count, c, m, sum);
        if (s.dtype != dtype_of<T>) {
          T rounded[TableRows::tile];  // room for any narrower type
          store_tile(s.dtype, rounded, 0, m, sum);
          load_tile(s.dtype, rounded, 0, m, sum);
        }
      } else {
        std::fill_n(sum, m, T(0));
      }
      load_tile(s.dtype, a.out[0], row * s.width + c, m, table);
      for (int64_t j = 0; j < m; ++j) table[j] += sum[j];
      store_tile(s.dtype, a.out[0], row * s.width + c, m, table);
    }
  });
}

}  // namespace

Kernel kernel_embedding_grad_add() {
  return {[](const KernelDesc& d) {
    auto s = std::make_shared<TableRows>(*d.in[1], *d.in[2], *d.out[0]);
    return with_compute(s->dtype, [&](auto t) { return Prepared{run<decltype(t)>, s, s->workspace()}; });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
