// What is used of cuBLASLt; tests/cuda/abi.cu holds it against NVIDIA's header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace suan::cuda::cublaslt {

inline constexpr int r32f = 0, r64f = 1, r16f = 2, r16bf = 14;   // types of elements
inline constexpr int compute_32f = 68, compute_64f = 70;         // without TF32
inline constexpr int layout_batch_count = 5, layout_batch_step = 6;
inline constexpr int desc_transpose_a = 3, desc_transpose_b = 4, desc_epilogue = 7, desc_bias = 8;
inline constexpr uint32_t epilogue_bias = 4;
inline constexpr int preference_workspace = 1, preference_reduction = 3, preference_alignment_a = 5,
                     preference_alignment_b = 6, preference_alignment_c = 7, preference_alignment_d = 8;
inline constexpr uint32_t reduction_compute_type = 2;   // partial sums are added in their order

struct Algorithm { uint64_t data[8]; };
struct Found {
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

// name, symbol in the library, result, parameters
#define SUAN_CUBLASLT_CALLS(X)                                                                                       \
  X(version, "cublasLtGetVersion", size_t, ())                                                                       \
  X(create, "cublasLtCreate", int, (void** handle))                                                                  \
  X(desc_create, "cublasLtMatmulDescCreate", int, (void** desc, int compute, int scale_type))                        \
  X(desc_destroy, "cublasLtMatmulDescDestroy", int, (void* desc))                                                    \
  X(desc_set, "cublasLtMatmulDescSetAttribute", int, (void* desc, int which, const void* value, size_t size))        \
  X(layout_create, "cublasLtMatrixLayoutCreate", int,                                                                \
    (void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld))                                          \
  X(layout_destroy, "cublasLtMatrixLayoutDestroy", int, (void* layout))                                              \
  X(layout_set, "cublasLtMatrixLayoutSetAttribute", int, (void* layout, int which, const void* value, size_t size))  \
  X(preference_create, "cublasLtMatmulPreferenceCreate", int, (void** preference))                                   \
  X(preference_destroy, "cublasLtMatmulPreferenceDestroy", int, (void* preference))                                  \
  X(preference_set, "cublasLtMatmulPreferenceSetAttribute", int,                                                     \
    (void* preference, int which, const void* value, size_t size))                                                   \
  X(heuristic, "cublasLtMatmulAlgoGetHeuristic", int,                                                                \
    (void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference, int n, ::suan::cuda::cublaslt::Found* found, \
     int* n_found))                                                                                                  \
  X(multiply, "cublasLtMatmul", int,                                                                                 \
    (void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b, void* b_layout,      \
     const void* beta, const void* c, void* c_layout, void* d, void* d_layout, const ::suan::cuda::cublaslt::Algorithm* algorithm, \
     void* workspace, size_t workspace_bytes, void* stream))

}  // namespace suan::cuda::cublaslt
