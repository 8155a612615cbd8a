// The runtime's own declarations of NVIDIA's interfaces against NVIDIA's headers: symbols, and the number and sizes of
// parameters. Compiled, never run, by tests/python/test_cuda_nvcc.py.
#include <cublasLt.h>
#include <cuda.h>
#include <nvrtc.h>

#include <string_view>

#include "kernels/cuda/runtime/cublaslt.h"
#include "kernels/cuda/runtime/driver.h"

template <class F> struct Shape;
template <class R, class... P> struct Shape<R (*)(P...)> {
  template <class G> struct Like { static constexpr bool value = false; };
  template <class S, class... Q>
    requires(sizeof...(P) == sizeof...(Q))
  struct Like<S (*)(Q...)> { static constexpr bool value = sizeof(R) == sizeof(S) && ((sizeof(P) == sizeof(Q)) && ...); };
};
template <class F, class G> constexpr bool alike = Shape<F>::template Like<G>::value;

#define TEXT(x) TEXT_OF(x)
#define TEXT_OF(x) #x
namespace symbols {
#define SYMBOL(name, symbol, parameters) constexpr std::string_view name = symbol;
SUAN_DRIVER_CALLS(SYMBOL)
}  // namespace symbols
#define SAME(name, official)                                                                      \
  static_assert(symbols::name == TEXT(official), #name);                                          \
  static_assert(alike<decltype(suan::cuda::Driver::name), decltype(&official)>, #name);
SAME(init, cuInit) SAME(driver_version, cuDriverGetVersion) SAME(error_name, cuGetErrorName)
SAME(error_text, cuGetErrorString) SAME(device_count, cuDeviceGetCount) SAME(device_get, cuDeviceGet)
SAME(device_name, cuDeviceGetName) SAME(device_attribute, cuDeviceGetAttribute) SAME(device_memory, cuDeviceTotalMem)
SAME(retain_context, cuDevicePrimaryCtxRetain) SAME(set_context, cuCtxSetCurrent) SAME(stream_create, cuStreamCreate)
SAME(stream_wait, cuStreamSynchronize) SAME(capture_begin, cuStreamBeginCapture) SAME(capture_end, cuStreamEndCapture)
SAME(graph_instantiate, cuGraphInstantiate) SAME(graph_launch, cuGraphLaunch) SAME(graph_destroy, cuGraphDestroy)
SAME(exec_destroy, cuGraphExecDestroy) SAME(default_pool, cuDeviceGetDefaultMemPool) SAME(pool_set, cuMemPoolSetAttribute)
SAME(allocate, cuMemAllocAsync) SAME(free, cuMemFreeAsync) SAME(upload, cuMemcpyHtoDAsync)
SAME(download, cuMemcpyDtoHAsync) SAME(copy, cuMemcpyDtoDAsync) SAME(fill, cuMemsetD8Async)
SAME(host_allocate, cuMemHostAlloc) SAME(host_pointer, cuMemHostGetDevicePointer) SAME(module_load, cuModuleLoadData)
SAME(module_function, cuModuleGetFunction) SAME(function_set, cuFuncSetAttribute) SAME(launch, cuLaunchKernel)
SAME(event_create, cuEventCreate) SAME(event_record, cuEventRecord) SAME(event_wait, cuEventSynchronize)
SAME(event_elapsed, cuEventElapsedTime) SAME(event_destroy, cuEventDestroy)

namespace cu = suan::cuda::cu;
static_assert(cu::out_of_memory == CUDA_ERROR_OUT_OF_MEMORY && cu::deinitialized == CUDA_ERROR_DEINITIALIZED);
static_assert(cu::no_device == CUDA_ERROR_NO_DEVICE && cu::success == CUDA_SUCCESS);
static_assert(cu::attribute_major == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(cu::attribute_minor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(cu::attribute_memory_pools == CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
static_assert(cu::function_max_dynamic_shared == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(cu::stream_non_blocking == CU_STREAM_NON_BLOCKING && cu::host_portable == CU_MEMHOSTALLOC_PORTABLE);
static_assert(cu::host_device_map == CU_MEMHOSTALLOC_DEVICEMAP);
static_assert(cu::capture_thread_local == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(cu::pool_release_threshold == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD);

namespace lt = suan::cuda::cublaslt;
struct Calls {
#define DECLARE(name, symbol, result, parameters) result(*name) parameters;
  SUAN_CUBLASLT_CALLS(DECLARE)
};
namespace lt_symbols {
#define LT_SYMBOL(name, symbol, result, parameters) constexpr std::string_view name = symbol;
SUAN_CUBLASLT_CALLS(LT_SYMBOL)
}  // namespace lt_symbols
#define LT_SAME(name, official)                                   \
  static_assert(lt_symbols::name == TEXT(official), #name);       \
  static_assert(alike<decltype(Calls::name), decltype(&official)>, #name);
LT_SAME(version, cublasLtGetVersion) LT_SAME(create, cublasLtCreate) LT_SAME(desc_create, cublasLtMatmulDescCreate)
LT_SAME(desc_destroy, cublasLtMatmulDescDestroy) LT_SAME(desc_set, cublasLtMatmulDescSetAttribute)
LT_SAME(layout_create, cublasLtMatrixLayoutCreate) LT_SAME(layout_destroy, cublasLtMatrixLayoutDestroy)
LT_SAME(layout_set, cublasLtMatrixLayoutSetAttribute) LT_SAME(preference_create, cublasLtMatmulPreferenceCreate)
LT_SAME(preference_destroy, cublasLtMatmulPreferenceDestroy) LT_SAME(preference_set, cublasLtMatmulPreferenceSetAttribute)
LT_SAME(heuristic, cublasLtMatmulAlgoGetHeuristic) LT_SAME(multiply, cublasLtMatmul)
static_assert(sizeof(lt::Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(lt::Found) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(lt::Found, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(lt::Found, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(lt::r32f == CUDA_R_32F && lt::r64f == CUDA_R_64F && lt::r16f == CUDA_R_16F && lt::r16bf == CUDA_R_16BF);
static_assert(lt::compute_32f == CUBLAS_COMPUTE_32F && lt::compute_64f == CUBLAS_COMPUTE_64F);
static_assert(lt::layout_batch_count == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
static_assert(lt::layout_batch_step == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
static_assert(lt::desc_transpose_a == CUBLASLT_MATMUL_DESC_TRANSA && lt::desc_transpose_b == CUBLASLT_MATMUL_DESC_TRANSB);
static_assert(lt::desc_epilogue == CUBLASLT_MATMUL_DESC_EPILOGUE && lt::desc_bias == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(lt::epilogue_bias == CUBLASLT_EPILOGUE_BIAS);
static_assert(lt::preference_workspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(lt::preference_reduction == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(lt::preference_alignment_a == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(lt::preference_alignment_b == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(lt::preference_alignment_c == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(lt::preference_alignment_d == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(lt::reduction_compute_type == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
static_assert(CUBLAS_OP_N == 0 && CUBLAS_OP_T == 1 && CUBLASLT_ORDER_COL == 0);

static_assert(alike<int (*)(void**, const char*, const char*, int, const char* const*, const char* const*),
                    decltype(&nvrtcCreateProgram)>);
static_assert(alike<int (*)(void*, int, const char* const*), decltype(&nvrtcCompileProgram)>);
static_assert(alike<int (*)(void*, size_t*), decltype(&nvrtcGetCUBINSize)>);
static_assert(alike<int (*)(void*, char*), decltype(&nvrtcGetCUBIN)>);
