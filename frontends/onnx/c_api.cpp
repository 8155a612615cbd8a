// The C interface: handles around Session, and a border that no exception crosses.
#include "frontends/onnx/c_api.h"

#include <new>

#include "core/interrupt.h"
#include "frontends/onnx/build.h"

using namespace suan;

struct suan_options {
  onnx::SessionOptions options;
};
struct suan_session {
  onnx::Session session;
};
struct suan_call {
  const onnx::Session* session = nullptr;
  std::vector<onnx::Value> inputs, places, outputs;
  std::vector<std::vector<int64_t>> dims;   // of outputs
  std::atomic<bool> cancel{false};
  double timeout = 0;
};

namespace {

thread_local std::string last_error;

suan_status failed(suan_status status, const char* text) noexcept {
  try {
    last_error = text;
  } catch (...) {
    last_error.clear();
  }
  return status;
}

suan_status caught() noexcept {
  try {
    throw;
  } catch (const TimedOut& e) {
    return failed(SUAN_ERROR_TIMEOUT, e.what());
  } catch (const Cancelled& e) {
    return failed(SUAN_ERROR_CANCELLED, e.what());
  } catch (const ValueError& e) {
    return failed(SUAN_ERROR_VALUE, e.what());
  } catch (const IndexError& e) {
    return failed(SUAN_ERROR_VALUE, e.what());
  } catch (const TypeError& e) {
    return failed(SUAN_ERROR_TYPE, e.what());
  } catch (const IoError& e) {
    return failed(SUAN_ERROR_IO, e.what());
  } catch (const OutOfMemory& e) {
    return failed(SUAN_ERROR_MEMORY, e.what());
  } catch (const std::bad_alloc&) {
    return failed(SUAN_ERROR_MEMORY, "[c_api] out of memory");
  } catch (const StateError& e) {
    return failed(SUAN_ERROR_STATE, e.what());
  } catch (const std::exception& e) {
    return failed(SUAN_ERROR_INTERNAL, e.what());
  } catch (...) {
    return failed(SUAN_ERROR_INTERNAL, "[c_api] unknown exception");
  }
}

template <class F>
suan_status guarded(F&& f) noexcept {
  try {
    f();
    return SUAN_OK;
  } catch (...) {
    return caught();
  }
}

// What a function without a status gives, where it fails.
template <class T, class F>
T or_else(T fallback, F&& f) noexcept {
  try {
    return f();
  } catch (...) {
    caught();
    return fallback;
  }
}

template <class T>
T& need(T* p, const char* what) {
  if (!p) fail<ValueError>("c_api", "null pointer: expected {}, got NULL", what);
  return *p;
}

const onnx::Port& port(const std::vector<onnx::Port>& ports, int32_t i, const char* what) {
  if (i < 0 || size_t(i) >= ports.size())
    fail<ValueError>("c_api", "no such {}: expected 0 to {}, got {}", what, int64_t(ports.size()) - 1, i);
  return ports[size_t(i)];
}
// Defaults follow the inputs.
const onnx::Port& input_of(const onnx::Session& s, int32_t i) {
  const int32_t n = int32_t(s.inputs().size());
  return i < n || s.defaults().empty() ? port(s.inputs(), i, "input") : port(s.defaults(), i - n, "default after the inputs");
}
const onnx::Port& input_port(const suan_session* s, int32_t i) { return input_of(need(s, "a session").session, i); }
const onnx::Port& output_port(const suan_session* s, int32_t i) { return port(need(s, "a session").session.outputs(), i, "output"); }

// ONNX's number of a type: the importer's table read backwards.
int32_t code_of(DType t) {
  static const std::vector<int32_t> codes = [] {
    std::vector<int32_t> out(256, 0);
    constexpr int last_known = 64;
    for (int code = last_known; code > 0; --code) {
      try {
        out[size_t(onnx::dtype_of_onnx(code))] = code;
      } catch (const Error&) {
      }
    }
    return out;
  }();
  return codes[size_t(t)];
}
int32_t type_of(const onnx::Port& p) { return p.kind == onnx::Port::Kind::tensor ? code_of(p.dtype) : 0; }

int64_t dim_of(const onnx::Port& p, int32_t d) {
  if (d < 0 || size_t(d) >= p.dims.size())
    fail<ValueError>("c_api", "no such dimension of '{}': expected 0 to {}, got {}", p.name, int64_t(p.dims.size()) - 1, d);
  return p.dims[size_t(d)];
}
const char* dim_name_of(const onnx::Port& p, int32_t d) {
  dim_of(p, d);
  return p.dim_names[size_t(d)].c_str();
}

Tensor over(int32_t type, const int64_t* dims, int32_t rank, const void* data, const std::string& name) {
  if (rank < 0 || rank > max_rank) fail<ValueError>("c_api", "bad rank for '{}': expected 0 to {}, got {}", name, max_rank, rank);
  if (rank) need(dims, "dims");
  Shape shape;
  for (int32_t i = 0; i < rank; ++i) {
    if (dims[i] < 0) fail<ValueError>("c_api", "negative dimension of '{}': expected 0 or more, got {}", name, dims[i]);
    shape.push_back(dims[i]);
  }
  const TensorType t{onnx::dtype_of_onnx(type), shape, {}};
  if (t.bytes()) need(static_cast<const char*>(data), "data");
  if (t.bytes() && reinterpret_cast<uintptr_t>(data) % uintptr_t(item_size(t.dtype)) != 0)
    fail<ValueError>("c_api", "data of '{}' is not aligned: expected a multiple of {} bytes, got another address", name, item_size(t.dtype));
  static std::byte nothing[1];
  void* at = t.bytes() ? const_cast<void*>(data) : nothing;
  return Tensor::over(Storage::external({}, static_cast<std::byte*>(at), t.bytes(), [] {}), Layout(shape), t.dtype);
}

}  // namespace

extern "C" {

int32_t suan_abi_version(void) { return SUAN_ABI_VERSION; }
const char* suan_version(void) { return SUAN_VERSION; }
const char* suan_last_error(void) { return last_error.c_str(); }

suan_status suan_options_create(suan_options** options) {
  return guarded([&] { need(options, "a place for the handle") = new suan_options; });
}
suan_status suan_options_set(suan_options* options, const char* name, int64_t value) {
  return guarded([&] {
    onnx::SessionOptions& o = need(options, "options").options;
    const std::string_view key = &need(name, "a name");
    const auto within = [&](int64_t low, int64_t high) {
      if (value < low || value > high) fail<ValueError>("c_api", "bad {}: expected {} to {}, got {}", key, low, high, value);
      return value;
    };
    if (key == "threads") o.threads = int(within(0, 1024));
    else if (key == "max_plans") o.max_plans = size_t(within(1, 1 << 20));
    else if (key == "memory_limit") o.memory_limit = within(0, INT64_MAX);
    else if (key == "exact") o.exact = within(0, 1);
    else if (key == "bf16") o.bf16 = within(0, 1);
    else if (key == "prepacked_read_only") o.prepacked_read_only = within(0, 1);
    else fail<ValueError>("c_api", "unknown option: expected threads, max_plans, memory_limit, exact, bf16 or prepacked_read_only, got '{}'", key);
  });
}
suan_status suan_options_set_text(suan_options* options, const char* name, const char* value) {
  return guarded([&] {
    onnx::SessionOptions& o = need(options, "options").options;
    const std::string_view key = &need(name, "a name");
    if (key != "prepacked") fail<ValueError>("c_api", "unknown option: expected prepacked, got '{}'", key);
    o.prepacked = &need(value, "a path");
  });
}
suan_status suan_options_set_size(suan_options* options, const char* dimension, int64_t size) {
  return guarded([&] { need(options, "options").options.sizes[&need(dimension, "a name")] = size; });
}
void suan_options_free(suan_options* options) { delete options; }

suan_status suan_session_open(const char* path, const suan_options* options, suan_session** session) {
  return guarded([&] {
    need(session, "a place for the handle") =
        new suan_session{onnx::Session(std::filesystem::path(&need(path, "a path")), options ? options->options : onnx::SessionOptions{})};
  });
}
suan_status suan_session_open_bytes(const void* data, size_t size, const suan_options* options, suan_session** session) {
  return guarded([&] {
    const char& first = need(static_cast<const char*>(data), "data");
    need(session, "a place for the handle") =
        new suan_session{onnx::Session(std::string_view(&first, size), options ? options->options : onnx::SessionOptions{})};
  });
}
void suan_session_free(suan_session* session) { delete session; }

#define SUAN_PORTS(side)                                                                                                     \
  int32_t suan_session_##side##s(const suan_session* s) {                                                                    \
    return or_else(-1, [&] { return int32_t(need(s, "a session").session.side##s().size()); });                              \
  }                                                                                                                          \
  const char* suan_session_##side##_name(const suan_session* s, int32_t i) {                                                 \
    return or_else<const char*>(nullptr, [&] { return side##_port(s, i).name.c_str(); });                                    \
  }                                                                                                                          \
  int32_t suan_session_##side##_type(const suan_session* s, int32_t i) {                                                     \
    return or_else(0, [&] { return type_of(side##_port(s, i)); });                                                           \
  }                                                                                                                          \
  int32_t suan_session_##side##_rank(const suan_session* s, int32_t i) {                                                     \
    return or_else(-1, [&] { return side##_port(s, i).has_shape ? int32_t(side##_port(s, i).dims.size()) : -1; });           \
  }                                                                                                                          \
  int64_t suan_session_##side##_dim(const suan_session* s, int32_t i, int32_t d) {                                           \
    return or_else<int64_t>(-1, [&] { return dim_of(side##_port(s, i), d); });                                               \
  }                                                                                                                          \
  const char* suan_session_##side##_dim_name(const suan_session* s, int32_t i, int32_t d) {                                  \
    return or_else<const char*>(nullptr, [&] { return dim_name_of(side##_port(s, i), d); });                                 \
  }
SUAN_PORTS(input)
SUAN_PORTS(output)
#undef SUAN_PORTS

int32_t suan_session_defaults(const suan_session* s) {
  return or_else(-1, [&] { return int32_t(need(s, "a session").session.defaults().size()); });
}

suan_status suan_call_create(suan_session* session, suan_call** call) {
  return guarded([&] {
    const onnx::Session& s = need(session, "a session").session;
    suan_call*& made = need(call, "a place for the handle");
    made = new suan_call;
    made->session = &s;
    made->inputs.resize(s.inputs().size() + s.defaults().size());
    made->places.resize(s.outputs().size());
  });
}
suan_status suan_call_set_input(suan_call* call, int32_t input, int32_t type, const int64_t* dims, int32_t rank, const void* data) {
  return guarded([&] {
    suan_call& c = need(call, "a call");
    const onnx::Port& p = input_of(*c.session, input);
    c.inputs[size_t(input)] = over(type, dims, rank, data, p.name);
  });
}
suan_status suan_call_set_output(suan_call* call, int32_t output, int32_t type, const int64_t* dims, int32_t rank, void* data) {
  return guarded([&] {
    suan_call& c = need(call, "a call");
    const onnx::Port& p = port(c.session->outputs(), output, "output");
    c.places[size_t(output)] = data ? onnx::Value(over(type, dims, rank, data, p.name)) : onnx::Value();
  });
}
suan_status suan_call_set_timeout(suan_call* call, double seconds) {
  return guarded([&] {
    if (!(seconds >= 0)) fail<ValueError>("c_api", "bad timeout: expected 0 or more seconds, got {}", seconds);
    need(call, "a call").timeout = seconds;
  });
}
suan_status suan_call_run(suan_call* call) {
  return guarded([&] {
    suan_call& c = need(call, "a call");
    struct Lower {   // a request to stop is for one run
      std::atomic<bool>& flag;
      ~Lower() { flag = false; }
    } lower{c.cancel};
    c.outputs = c.session->run(c.inputs, {.timeout = c.timeout, .cancel = &c.cancel, .into = c.places});
    c.dims.clear();
    for (const onnx::Value& v : c.outputs) {
      c.dims.emplace_back();
      if (v.is_tensor()) c.dims.back().assign(v.tensor().shape().begin(), v.tensor().shape().end());
    }
  });
}
suan_status suan_call_cancel(suan_call* call) {
  return guarded([&] { need(call, "a call").cancel = true; });
}
suan_status suan_call_output(const suan_call* call, int32_t output, int32_t* type, int32_t* rank, const int64_t** dims,
                             const void** data) {
  return guarded([&] {
    const suan_call& c = need(call, "a call");
    const onnx::Port& p = port(c.session->outputs(), output, "output");
    if (c.outputs.empty()) fail<StateError>("c_api", "no result: expected a run that succeeded before, got none");
    const onnx::Value& v = c.outputs[size_t(output)];
    if (!v.is_tensor()) fail<TypeError>("c_api", "output '{}': expected a tensor of numbers, got {}", p.name, onnx::describe(v));
    const Tensor& t = v.tensor();
    if (type) *type = code_of(t.dtype());
    if (rank) *rank = t.rank();
    if (dims) *dims = c.dims[size_t(output)].data();
    if (data) *data = t.raw();
  });
}
void suan_call_free(suan_call* call) { delete call; }

suan_status suan_session_memory(const suan_session* session, const int64_t* dims, size_t n_dims, int64_t* bytes) {
  return guarded([&] {
    const onnx::Session& s = need(session, "a session").session;
    std::vector<TensorType> types;
    size_t at = 0;
    for (const onnx::Port& p : s.inputs()) {
      if (p.kind != onnx::Port::Kind::tensor || !p.has_shape)
        fail<TypeError>("c_api", "input '{}': expected a tensor with a declared rank, got another", p.name);
      Shape shape;
      for (size_t d = 0; d < p.dims.size(); ++d, ++at) {
        if (at >= n_dims) fail<ValueError>("c_api", "too few dims: expected more than {} for input '{}'", n_dims, p.name);
        const int64_t size = (&need(dims, "dims"))[at];
        if (size < 0) fail<ValueError>("c_api", "negative dimension of '{}': expected 0 or more, got {}", p.name, size);
        shape.push_back(size);
      }
      types.push_back({p.dtype, shape, {}});
    }
    if (at != n_dims) fail<ValueError>("c_api", "too many dims: expected {}, got {}", at, n_dims);
    const onnx::MemoryNeed need_of = s.memory(types);
    need(bytes, "a place for the answer") = need_of.arena + need_of.outputs;
  });
}
suan_status suan_session_trim(const suan_session* session) {
  return guarded([&] { need(session, "a session").session.trim(); });
}

}  // extern "C"
