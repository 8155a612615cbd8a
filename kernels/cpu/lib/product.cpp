// Strided matrix products on top of the GEMM.
#include "kernels/cpu/lib/product.h"

#include <algorithm>
#include <cstring>

namespace suan::cpu::SUAN_ISA {
namespace {

// One matrix as the GEMM sees it; false when neither orientation has unit stride.
bool orient(int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride, bool& trans,
            int64_t& ld) {
  if ((cols == 1 || col_stride == 1) && (rows == 1 || row_stride >= cols)) {
    trans = false;
    ld = rows == 1 ? std::max<int64_t>(cols, 1) : row_stride;
    return true;
  }
  if ((rows == 1 || row_stride == 1) && (cols == 1 || col_stride >= rows)) {
    trans = true;
    ld = cols == 1 ? std::max<int64_t>(rows, 1) : col_stride;
    return true;
  }
  return false;
}

// Stride of batch dimension d (of `rank` dimensions) in a layout that may have fewer or broadcast
// ones.
int64_t batch_stride(const Layout& l, int rank, int d) {
  const int at = d - (rank - (l.rank() - 2));
  return at < 0 || l.shape[at] == 1 ? 0 : l.strides[at];
}

// Where one B serves all batches, A's batches and rows become rows of one matrix [rows, k]: as they lie, or copied
// first where there are few in each batch, since B would be packed for each. False: they stay.
bool join_rows(Layout& a, const Layout& b, const Shape& batch, ProductPlan& p) {
  constexpr int64_t few = 32;
  const int r = a.rank();
  if (batch.empty() || b.rank() != 2 || r != batch.size() + 2) return false;
  int64_t rows = 1, step = 0;
  bool even = true;
  for (int d = r - 1; d-- > 0;) {
    if (a.shape[d] == 1) continue;
    if (rows == 1) step = a.strides[d];
    even = even && a.strides[d] == step * rows;
    rows *= a.shape[d];
  }
  const int64_t k = a.shape[r - 1], k_step = a.strides[r - 1];
  Layout joined(Shape{rows, k});
  bool trans = false;
  int64_t ld = 0;
  even = even && orient(rows, k, rows == 1 ? k : step, k_step, trans, ld);
  if (even) {
    joined.strides[0] = rows == 1 ? k : step;
    joined.strides[1] = k_step;
  } else {
    if (a.shape[r - 2] >= few) return false;
    p.copy_a = true;
    p.move_a = plan_contiguous_move(a.shape, a.strides, int(p.item_a));
  }
  a = joined;
  return true;
}

}  // namespace

ProductPlan plan_product(DType dtype, DType out_dtype, const Layout& a_in, const Layout& b_in,
                         const Shape& batch_in) {
  ProductPlan p;
  Layout a = a_in, b = b_in;
  GemmShape s;
  s.dtype = dtype;
  s.out_dtype = out_dtype;
  s.m = a.shape[a.rank() - 2];
  s.k = a.shape[a.rank() - 1];
  s.n = b.shape[b.rank() - 1];
  s.ldc = std::max<int64_t>(s.n, 1);
  p.item_a = p.item_b = item_size(dtype);
  p.item_c = item_size(out_dtype);
  p.n_out = numel(batch_in) * s.m * s.n;
  if (p.n_out == 0 || s.k == 0) {
    p.gemm.shape = s;
    return p;
  }
  Shape batch = batch_in;
  if (join_rows(a, b, batch, p)) {
    s.m = a.shape[0];
    batch = {};
  }
  auto fit = [&](Layout& l, bool& trans, int64_t& ld, bool& copied, Move& move, int64_t item) {
    const int r = l.rank();
    if (orient(l.shape[r - 2], l.shape[r - 1], l.strides[r - 2], l.strides[r - 1], trans, ld))
      return;
    move = plan_contiguous_move(l.shape, l.strides, int(item));
    copied = true;
    l = Layout(l.shape);
    orient(l.shape[r - 2], l.shape[r - 1], l.strides[r - 2], l.strides[r - 1], trans, ld);
  };
  fit(a, s.trans_a, s.lda, p.copy_a, p.move_a, p.item_a);
  fit(b, s.trans_b, s.ldb, p.copy_b, p.move_b, p.item_b);
  auto aligned = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  if (p.copy_a) p.at_b = aligned(a.numel() * p.item_a);
  p.at_gemm = p.at_b + (p.copy_b ? aligned(b.numel() * p.item_b) : 0);

  // Batch dimensions, merged where one stride walks both operands.
  Dims size, sa, sb;
  for (int d = 0; d < batch.size(); ++d) {
    if (batch[d] == 1) continue;
    const int64_t ta = batch_stride(a, batch.size(), d), tb = batch_stride(b, batch.size(), d);
    if (!size.empty() && sa.back() == ta * batch[d] && sb.back() == tb * batch[d]) {
      size.back() *= batch[d];
      sa.back() = ta;
      sb.back() = tb;
    } else {
      size.push_back(batch[d]);
      sa.push_back(ta);
      sb.push_back(tb);
    }
  }
  if (!size.empty()) {
    // The last one joins A's rows, if one B serves it and A's rows go on evenly; else it is the
    // batch.
    const int64_t n = size.back(), step = sa.back();
    const bool one_row = s.m == 1 && step >= s.k && a.strides[a.rank() - 1] == 1;
    if (sb.back() == 0 && !s.trans_a && (step == s.m * s.lda || one_row)) {
      if (s.m == 1) s.lda = step;
      s.m *= n;
    } else {
      s.batch = n;
      s.stride_a = step;
      s.stride_b = sb.back();
      s.stride_c = s.m * s.n;
    }
    p.outer.rank = size.size() - 1;
    for (int d = 0; d < p.outer.rank; ++d) {
      p.outer.size[d] = size[d];
      p.outer.stride[0][d] = sa[d];
      p.outer.stride[1][d] = sb[d];
      p.n_outer *= size[d];
    }
    p.outer_c = p.n_out / p.n_outer;
  }
  p.gemm = gemm_prepare(s);
  p.workspace = p.at_gemm + int64_t(p.gemm.workspace);
  return p;
}

void run_product(const ProductPlan& p, const void* a, const void* b, void* c, void* workspace,
                 TileEpilogue epilogue) {
  if (p.n_out == 0) return;
  if (p.gemm.shape.k == 0) {
    std::memset(c, 0, size_t(p.n_out * p.item_c));
    if (epilogue) {
      const int64_t n = p.gemm.shape.n;
      epilogue(c, 0, 0, p.n_out / n, 0, n, n);
    }
    return;
  }
  auto* scratch = static_cast<std::byte*>(workspace);
  if (p.copy_a) {
    run_move(p.move_a, scratch, a);
    a = scratch;
  }
  if (p.copy_b) {
    run_move(p.move_b, scratch + p.at_b, b);
    b = scratch + p.at_b;
  }
  if (p.n_outer == 1) {
    gemm_run(p.gemm, a, b, c, scratch + p.at_gemm, epilogue);
    return;
  }
  Odometer<2> at = p.outer;
  at.seek(0);
  for (int64_t i = 0; i < p.n_outer; ++i, at.next())
    gemm_run(p.gemm, element(a, at.offset[0], p.item_a), element(b, at.offset[1], p.item_b),
             element(c, i * p.outer_c, p.item_c), scratch + p.at_gemm, epilogue);
}

}  // namespace suan::cpu::SUAN_ISA
