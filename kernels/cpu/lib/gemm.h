// Matrix product C[b] = op(A[b]) · op(B[b]) for every arithmetic dtype, tile by tile on the pool.
// Own register-blocked kernels: they need no primitive to be created, make small products cheap, and
// give AVX2 and AVX-512 the same bits. tools/bench/gemm_bench.cpp measures them beside oneDNN's.
//
// Numerics: an element is the sum, in order, of partial sums over equal blocks of at most
// gemm_k_block(dtype) values of k, each partial sum one chain of fma from zero. Where m·n is too small to fill the pool
// and k is long, k is first cut into `splits` ranges whose sums are then added in order. Everything
// is a function of the shape alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/pool.h"

namespace suan::cpu {

// Row-major operands: A is [m, k] (trans_a: [k, m]), B is [k, n] (trans_b: [n, k]), C is [m, n];
// ld* are the elements from one stored row to the next, stride_* from one batch to the next (0
// broadcasts).
struct GemmShape {
  int64_t m = 0, n = 0, k = 0;
  bool trans_a = false, trans_b = false;
  int64_t lda = 0, ldb = 0, ldc = 0;
  int64_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0;
  DType dtype = DType::f32;      // of A and B: any integer, f16, bf16, f32, f64
  DType out_dtype = DType::f32;  // of C: dtype, or f32 for f16 and bf16
  bool accumulate = false;       // C += instead of C =
};

// Called on each finished tile, still in cache, on the thread that made it. c_tile is the address
// of C[batch, row0, col0]; it must not use thread_scratch().
using TileEpilogue = FunctionRef<void(void* c_tile, int64_t batch, int64_t row0, int64_t rows,
                                      int64_t col0, int64_t cols, int64_t ldc)>;

struct GemmPlan {
  GemmShape shape;
  int64_t tile_rows = 0, tile_cols = 0;  // of C, one task's part
  int64_t row_tiles = 0, col_tiles = 0;
  int64_t panel_rows = 0;           // of the register kernel; tile_rows is a multiple of it
  int64_t k_block = 0;              // values of k per partial sum
  int64_t group = 1;                // batches per task, when one is too small to be a task
  int64_t splits = 1, split_k = 0;  // ranges of k, and the length of one
  int64_t tasks = 0;
  bool prepack_b = false;           // packed once, into the workspace
  bool pairs = false;  // bf16 goes through vdpbf16ps: where that is fast, the bits are the same
  size_t workspace = 0;                       // bytes that gemm_run needs, 64-byte aligned
};

// Pure in the shape, about 100 ns. Throws TypeError for a dtype without a product (bool, complex,
// 8-bit floats, packed) and ShapeError for impossible sizes.
// gemm_run allocates nothing. `c` must not overlap `a` or `b`.
#define SUAN_DECLARE_GEMM(ISA)                                                                \
  namespace ISA {                                                                             \
  GemmPlan gemm_prepare(const GemmShape& shape);                                              \
  void gemm_run(const GemmPlan& plan, const void* a, const void* b, void* c, void* workspace, \
                TileEpilogue epilogue = {});                                                  \
  }
SUAN_DECLARE_GEMM(avx2)
SUAN_DECLARE_GEMM(avx512)
#undef SUAN_DECLARE_GEMM

// Most values of k per partial sum: 1 KiB of the compute type.
constexpr int64_t gemm_k_block(DType t) { return 1024 / item_size(compute_type(t)); }

}  // namespace suan::cpu
