// cuBLASLt's few entry points over the fake driver: column-major products, in float64, one element at a time.
#include <cmath>
#include <cstring>
#include <vector>

#include "core/convert.h"
#include "kernels/cuda/runtime/cublaslt.h"
#include "tests/cuda/fake_driver.h"

namespace {
using namespace suan;
namespace lt = suan::cuda::cublaslt;

struct Desc {
  int compute, scale;
  int32_t ta = 0, tb = 0;
  uint32_t epilogue = 1;
  const void* bias = nullptr;
};
struct Matrix {
  int type;
  uint64_t rows, columns;
  int64_t ld;
  int32_t batch = 1;
  int64_t step = 0;
};
struct Preference { uint64_t workspace = 0; uint32_t reduction = 7, alignment[4] = {256, 256, 256, 256}; };

DType dtype(int type) {
  return type == lt::r64f ? DType::f64 : type == lt::r16f ? DType::f16 : type == lt::r16bf ? DType::bf16 : DType::f32;
}
}  // namespace

extern "C" {
size_t cublasLtGetVersion() { return 130100; }
int cublasLtCreate(void** h) { *h = new int(1); return 0; }
int cublasLtMatmulDescCreate(void** d, int compute, int scale) {
  if ((compute == lt::compute_64f) != (scale == lt::r64f)) return 7;
  *d = new Desc{compute, scale};
  return 0;
}
int cublasLtMatmulDescDestroy(void* d) { delete static_cast<Desc*>(d); return 0; }
int cublasLtMatmulDescSetAttribute(void* desc, int which, const void* value, size_t size) {
  auto& d = *static_cast<Desc*>(desc);
  void* at = which == lt::desc_transpose_a ? static_cast<void*>(&d.ta) : which == lt::desc_transpose_b ? static_cast<void*>(&d.tb)
           : which == lt::desc_epilogue ? static_cast<void*>(&d.epilogue) : which == lt::desc_bias ? static_cast<void*>(&d.bias) : nullptr;
  if (!at || size != (which == lt::desc_bias ? 8 : 4)) return 7;
  std::memcpy(at, value, size);
  return 0;
}
int cublasLtMatrixLayoutCreate(void** l, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  if (!rows || !columns || ld < int64_t(rows)) return 7;
  *l = new Matrix{type, rows, columns, ld};
  return 0;
}
int cublasLtMatrixLayoutDestroy(void* l) { delete static_cast<Matrix*>(l); return 0; }
int cublasLtMatrixLayoutSetAttribute(void* layout, int which, const void* value, size_t size) {
  auto& m = *static_cast<Matrix*>(layout);
  if (which == lt::layout_batch_count && size == 4) std::memcpy(&m.batch, value, 4);
  else if (which == lt::layout_batch_step && size == 8) std::memcpy(&m.step, value, 8);
  else return 7;
  return 0;
}
int cublasLtMatmulPreferenceCreate(void** p) { *p = new Preference; return 0; }
int cublasLtMatmulPreferenceDestroy(void* p) { delete static_cast<Preference*>(p); return 0; }
int cublasLtMatmulPreferenceSetAttribute(void* preference, int which, const void* value, size_t size) {
  auto& p = *static_cast<Preference*>(preference);
  if (which == lt::preference_workspace && size == 8) std::memcpy(&p.workspace, value, 8);
  else if (which == lt::preference_reduction && size == 4) std::memcpy(&p.reduction, value, 4);
  else if (which >= lt::preference_alignment_a && which <= lt::preference_alignment_d && size == 4)
    std::memcpy(&p.alignment[which - lt::preference_alignment_a], value, 4);
  else return 7;
  return 0;
}
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void* preference, int, lt::Found* found, int* n) {
  const auto& p = *static_cast<Preference*>(preference);
  if (p.reduction & ~2u || p.alignment[0] > 16) return 7;   // a sum without a fixed order; addresses nobody promised
  *found = {};
  found->algorithm.data[0] = p.alignment[0] | p.alignment[1] << 8;
  *n = 1;
  return 0;
}
int cublasLtMatmul(void*, void* desc, const void* alpha, const void* a, void* a_layout, const void* b, void* b_layout,
                   const void*, const void*, void*, void* out, void* out_layout, const lt::Algorithm* algorithm, void* workspace,
                   size_t workspace_bytes, void* stream) {
  const Desc d = *static_cast<Desc*>(desc);
  const Matrix A = *static_cast<Matrix*>(a_layout), B = *static_cast<Matrix*>(b_layout), D = *static_cast<Matrix*>(out_layout);
  const uint64_t m = d.ta ? A.columns : A.rows, k = d.ta ? A.rows : A.columns;
  const uint64_t kb = d.tb ? B.columns : B.rows, n = d.tb ? B.rows : B.columns;
  const uint64_t aligned = algorithm->data[0] & 255;
  for (const void* p : {a, b, static_cast<const void*>(out)})
    if (reinterpret_cast<uintptr_t>(p) % aligned) return 13;
  if (reinterpret_cast<uintptr_t>(d.bias) % 16) return 13;   // no preference speaks of it
  if (k != kb || m != D.rows || n != D.columns || A.batch != B.batch || A.batch != D.batch || !workspace || !workspace_bytes ||
      reinterpret_cast<uintptr_t>(workspace) % 256)   // which Hopper's ways ask for
    return 7;
  const double scale = d.scale == lt::r64f ? *static_cast<const double*>(alpha) : double(*static_cast<const float*>(alpha));
  return fake_enqueue(stream, "product", [=] {
    const DType t = dtype(D.type);
    const int64_t item = item_size(t);
    const auto get = [&](const void* p, int64_t i) { return load_as(static_cast<const std::byte*>(p) + i * item, t); };
    for (int32_t batch = 0; batch < D.batch; ++batch)
      for (uint64_t j = 0; j < n; ++j)
        for (uint64_t i = 0; i < m; ++i) {
          double sum = 0;
          for (uint64_t l = 0; l < k; ++l) {
            const int64_t at_a = int64_t(d.ta ? i * uint64_t(A.ld) + l : l * uint64_t(A.ld) + i) + batch * A.step;
            const int64_t at_b = int64_t(d.tb ? l * uint64_t(B.ld) + j : j * uint64_t(B.ld) + l) + batch * B.step;
            sum += get(a, at_a) * get(b, at_b);
          }
          sum *= scale;
          if (d.epilogue == lt::epilogue_bias) sum += get(d.bias, int64_t(i));
          store_as(static_cast<std::byte*>(out) + (int64_t(j) * D.ld + int64_t(i) + batch * D.step) * item, t, sum);
        }
  });
}
}
