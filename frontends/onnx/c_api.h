/* ONNX models from C, and from whatever calls C. Link libsuan_onnx.
 *
 * Handles are opaque and there are no structs, so a program built against one version of this header runs with every
 * later library of the same ABI number (suan_abi_version() == SUAN_ABI_VERSION). Functions are only ever added within it.
 *
 * A function that can fail returns a status; 0 is success, and suan_last_error() then still holds the text of the failure
 * before. No exception leaves the library. A null handle, an index out of range and a null pointer that must not be one
 * are SUAN_ERROR_VALUE (the few functions that return no status give NULL, -1 or 0 for them). Strings are UTF-8 and
 * belong to the handle they were asked of.
 *
 * A session serves any number of threads. A call is for one thread at a time, except suan_call_cancel().
 */
#ifndef SUAN_ONNX_C_API_H
#define SUAN_ONNX_C_API_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SUAN_ABI_VERSION 1
#define SUAN_C_API __attribute__((visibility("default")))

typedef int32_t suan_status;
enum {
  SUAN_OK = 0,
  SUAN_ERROR_VALUE = 1,         /* no valid model or argument; shapes that do not fit */
  SUAN_ERROR_TYPE = 2,          /* an operator or type that is not supported; a tensor of another type than declared */
  SUAN_ERROR_IO = 3,            /* the file */
  SUAN_ERROR_MEMORY = 4,        /* exhausted, or past memory_limit */
  SUAN_ERROR_TIMEOUT = 5,
  SUAN_ERROR_CANCELLED = 6,
  SUAN_ERROR_STATE = 7,         /* a valid request at the wrong time */
  SUAN_ERROR_INTERNAL = 8       /* a defect of Suan */
};

/* Element types are ONNX's own numbers (TensorProto.DataType): 1 float, 2 uint8, 3 int8, 6 int32, 7 int64, 9 bool,
 * 10 float16, 11 double, 16 bfloat16, and so on. Elements stand in row-major order. 0: not a tensor of numbers. */

typedef struct suan_options suan_options;
typedef struct suan_session suan_session;
typedef struct suan_call suan_call;

SUAN_C_API int32_t suan_abi_version(void);
SUAN_C_API const char* suan_version(void);
/* What went wrong last on this thread; "" when nothing did. Valid until the thread's next failure. */
SUAN_C_API const char* suan_last_error(void);

/* "threads", "max_plans", "memory_limit" (bytes), "exact" (0, 1), "bf16" (0, 1), "prepacked_read_only" (0, 1). */
SUAN_C_API suan_status suan_options_create(suan_options** options);
SUAN_C_API suan_status suan_options_set(suan_options* options, const char* name, int64_t value);
/* "prepacked": path of a file of packed weights, which the first session writes and later ones map (docs/onnx.md); "" for
 * none. With the number "prepacked_read_only" (0, 1) set to 1 it is never written: one that does not fit is
 * SUAN_ERROR_VALUE then, none at all SUAN_ERROR_IO. Damaged ones are SUAN_ERROR_VALUE always. */
SUAN_C_API suan_status suan_options_set_text(suan_options* options, const char* name, const char* value);
/* The size of a dimension by its name in the model. */
SUAN_C_API suan_status suan_options_set_size(suan_options* options, const char* dimension, int64_t size);
SUAN_C_API void suan_options_free(suan_options* options);

/* options may be NULL, and may be freed afterwards, as may the bytes of a model. */
SUAN_C_API suan_status suan_session_open(const char* path, const suan_options* options, suan_session** session);
SUAN_C_API suan_status suan_session_open_bytes(const void* data, size_t size, const suan_options* options,
                                               suan_session** session);
SUAN_C_API void suan_session_free(suan_session* session);

/* What the model declares. A rank of -1 says that no shape is declared; a dimension of -1 that it may have any size,
 * its name is then "" or what the model calls it. */
SUAN_C_API int32_t suan_session_inputs(const suan_session* session);
SUAN_C_API const char* suan_session_input_name(const suan_session* session, int32_t input);
SUAN_C_API int32_t suan_session_input_type(const suan_session* session, int32_t input);
SUAN_C_API int32_t suan_session_input_rank(const suan_session* session, int32_t input);
SUAN_C_API int64_t suan_session_input_dim(const suan_session* session, int32_t input, int32_t dim);
SUAN_C_API const char* suan_session_input_dim_name(const suan_session* session, int32_t input, int32_t dim);
/* Initializers that the file lists as inputs too. They are numbered after the inputs, and a call may set them. */
SUAN_C_API int32_t suan_session_defaults(const suan_session* session);
SUAN_C_API int32_t suan_session_outputs(const suan_session* session);
SUAN_C_API const char* suan_session_output_name(const suan_session* session, int32_t output);
SUAN_C_API int32_t suan_session_output_type(const suan_session* session, int32_t output);
SUAN_C_API int32_t suan_session_output_rank(const suan_session* session, int32_t output);
SUAN_C_API int64_t suan_session_output_dim(const suan_session* session, int32_t output, int32_t dim);
SUAN_C_API const char* suan_session_output_dim_name(const suan_session* session, int32_t output, int32_t dim);

/* A call holds inputs and outputs of runs; make it once and run it often. Free it before its session. */
SUAN_C_API suan_status suan_call_create(suan_session* session, suan_call** call);
/* The data is read in place by every run until another is set. */
SUAN_C_API suan_status suan_call_set_input(suan_call* call, int32_t input, int32_t type, const int64_t* dims, int32_t rank,
                                           const void* data);
/* Optional: the result is written there. Its type and dims have to be the result's. data NULL: no longer. */
SUAN_C_API suan_status suan_call_set_output(suan_call* call, int32_t output, int32_t type, const int64_t* dims, int32_t rank,
                                            void* data);
SUAN_C_API suan_status suan_call_set_timeout(suan_call* call, double seconds);  /* 0: none */
SUAN_C_API suan_status suan_call_run(suan_call* call);
/* From any thread: the run in progress ends with SUAN_ERROR_CANCELLED; without one, the next. */
SUAN_C_API suan_status suan_call_cancel(suan_call* call);
/* Of the last run that succeeded; all four are optional. Pointers are valid until the next run or suan_call_free().
 * Outputs that are no tensors of numbers are SUAN_ERROR_TYPE. */
SUAN_C_API suan_status suan_call_output(const suan_call* call, int32_t output, int32_t* type, int32_t* rank,
                                        const int64_t** dims, const void** data);
SUAN_C_API void suan_call_free(suan_call* call);

/* Bytes that a run with inputs of these shapes takes: `dims` holds the dims of all inputs one after the other. */
SUAN_C_API suan_status suan_session_memory(const suan_session* session, const int64_t* dims, size_t n_dims, int64_t* bytes);
/* Gives working memory back to the system; later runs take it anew. */
SUAN_C_API suan_status suan_session_trim(const suan_session* session);

#ifdef __cplusplus
}
#endif
#endif
