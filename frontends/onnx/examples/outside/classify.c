/* The same through the C interface, into memory of its own: classify_c MODEL BATCH */
#include <stdio.h>
#include <stdlib.h>

#include "frontends/onnx/c_api.h"

static void need(suan_status status) {
  if (status == SUAN_OK) return;
  fprintf(stderr, "%s\n", suan_last_error());
  exit(status);
}

int main(int argc, char** argv) {
  enum { float_type = 1 };
  if (argc != 3) return 2;
  if (suan_abi_version() != SUAN_ABI_VERSION) return 3;
  const int64_t batch = atoll(argv[2]);
  suan_options* options;
  suan_session* session;
  suan_call* call;
  need(suan_options_create(&options));
  need(suan_options_set(options, "threads", 2));
  need(suan_session_open(argv[1], options, &session));
  suan_options_free(options);

  const int64_t features = suan_session_input_dim(session, 0, 1), classes = suan_session_output_dim(session, 0, 1);
  const int64_t in[] = {batch, features}, out[] = {batch, classes};
  float* x = malloc((size_t)(batch * features) * sizeof *x);
  float* y = malloc((size_t)(batch * classes) * sizeof *y);
  int64_t bytes;
  need(suan_session_memory(session, in, 2, &bytes));
  printf("a call takes %lld bytes\n", (long long)bytes);
  for (int64_t i = 0; i < batch * features; ++i) x[i] = (float)(i % 7) - 3;

  need(suan_call_create(session, &call));
  need(suan_call_set_input(call, 0, float_type, in, 2, x));
  need(suan_call_set_output(call, 0, float_type, out, 2, y));
  need(suan_call_set_timeout(call, 10));
  need(suan_call_run(call));
  for (int64_t i = 0; i < batch; ++i) {
    int64_t best = 0;
    for (int64_t k = 1; k < classes; ++k)
      if (y[i * classes + k] > y[i * classes + best]) best = k;
    printf("row %lld: class %lld\n", (long long)i, (long long)best);
  }
  suan_call_free(call);
  suan_session_free(session);
  free(x);
  free(y);
  return 0;
}
