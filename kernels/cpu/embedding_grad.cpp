// Gradient of a table of rows: each row's gradients summed in order and rounded once. Rows never met are zero.
#include <cstring>

#include "kernels/cpu/lib/table_rows.h"

namespace suan::cpu::SUAN_ISA {
namespace {

template <class T>
void run(const void* state, const KernelArgs& a) {
  const TableRows& s = *static_cast<const TableRows*>(state);
  const int64_t bytes = s.width * item_size(s.dtype);
  s.each("embedding_grad", static_cast<const int64_t*>(a.in[1]), a.workspace,
         [&](int64_t row, const int64_t* order, int64_t count) {
    if (count == 0) {
      std::memset(element(a.out[0], row, bytes), 0, size_t(bytes));
      return;
    }
    T sum[TableRows::tile];
    for (int64_t c = 0; c < s.width; c += TableRows::tile) {
      const int64_t m = std::min(TableRows::tile, s.width - c);
      s.sum(a.in[0], order, count, c, m, sum);
      store_tile(s.dtype, a.out[0], row * s.width + c, m, sum);
    }
  });
}

}  // namespace

Kernel kernel_embedding_grad() {
  return {[](const KernelDesc& d) {
    auto s = std::make_shared<TableRows>(*d.in[0], *d.in[1], *d.out[0]);
    return with_compute(s->dtype, [&](auto t) { return Prepared{run<decltype(t)>, s, s->workspace()}; });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
