// A group of scalar rows as one kernel, written as text from the rows' own text (ops/scalar.h) and compiled when a
// plan first needs it. Values stay in registers between the rows, each rounded to its dtype as separate rows would.
#include <mutex>
#include <unordered_map>

#include "core/graph.h"
#include "kernels/cuda/lib/generated.h"
#include "kernels/cuda/lib/nest.cuh"
#include "kernels/cuda/lib/prepare.h"
#include "ops/scalar.h"

namespace suan::cuda {
namespace {

constexpr size_t most_operands = 28;

#define SUAN_ROW_TEXT(name, types, result, cost, expr, ...) {#name, #expr},

// Null for what is no row.
const char* row_text(const std::string& op) {
  static const std::unordered_map<std::string, const char*> rows = {
      SUAN_ROWS_UNARY(SUAN_ROW_TEXT) SUAN_ROWS_BINARY(SUAN_ROW_TEXT)
      {"where", "x.v ? y : z"}, {"cast", "x"}, {"clamp", "min(max(x, y), z)"}};
  auto at = rows.find(op);
  return at == rows.end() ? nullptr : at->second;
}

// How a dtype is kept, what it computes in, and the way to and fro; as load_as and store_as of storage.cuh.
struct Kind { const char *stored, *compute, *load, *store; };
const Kind* kind_of(DType t) {
  static const Kind boolean{"uint8_t", "Truth", "Truth(s != 0)", "uint8_t(Truth(v).v)"};
  static const Kind u8{"uint8_t", "int64_t", "int64_t(s)", "uint8_t(int64_t(v))"};
  static const Kind u16{"uint16_t", "int64_t", "int64_t(s)", "uint16_t(int64_t(v))"};
  static const Kind u32{"uint32_t", "int64_t", "int64_t(s)", "uint32_t(int64_t(v))"};
  static const Kind i8{"int8_t", "int64_t", "int64_t(s)", "int8_t(int64_t(v))"};
  static const Kind i16{"int16_t", "int64_t", "int64_t(s)", "int16_t(int64_t(v))"};
  static const Kind i32{"int32_t", "int64_t", "int64_t(s)", "int32_t(int64_t(v))"};
  static const Kind i64{"int64_t", "int64_t", "s", "int64_t(v)"};
  static const Kind f16{"uint16_t", "float", "half_value(s)", "half_bits(float(v))"};
  static const Kind bf16{"uint16_t", "float", "bfloat_value(s)", "bfloat_bits(float(v))"};
  static const Kind f32{"float", "float", "s", "float(v)"};
  static const Kind f64{"double", "double", "s", "double(v)"};
  switch (t) {
    case DType::boolean: return &boolean;
    case DType::u8: return &u8;
    case DType::u16: return &u16;
    case DType::u32: return &u32;
    case DType::i8: return &i8;
    case DType::i16: return &i16;
    case DType::i32: return &i32;
    case DType::i64: return &i64;
    case DType::f16: return &f16;
    case DType::bf16: return &bf16;
    case DType::f32: return &f32;
    case DType::f64: return &f64;
    default: return nullptr;
  }
}

// The kernel's parameter: addresses, then the nest. Eight bytes each, so the host writes it as a list of numbers.
std::string parameter_text(size_t operands) {
  const std::string n = std::to_string(operands);
  return "struct Parameter {\n  void* at[" + n + "];\n  int64_t rank, n, size[8], stride[" + n + "][8];\n};\n";
}

// Empty where the body has no such kernel: constants, ops that are no rows, dtypes without arithmetic here.
std::string kernel_text(const Graph& body) {
  const size_t operands = body.inputs.size() + body.outputs.size();
  if (!body.constants.empty() || body.outputs.empty() || operands > most_operands) return {};
  const auto type = [&](ValueId v) -> const TensorType& { return body.values[size_t(v)].type; };
  for (const Value& v : body.values)
    if (!kind_of(v.type.dtype)) return {};
  const Shape& shape = type(body.outputs[0]).shape;
  for (const Node& n : body.nodes)
    if (n.out.size() != 1 || !(type(n.out[0]).shape == shape)) return {};

  std::string s = "namespace suan::cuda::prelude {\n";
  std::string used[n_dtypes];
  for (const Value& v : body.values) {
    const Kind& k = *kind_of(v.type.dtype);
    const std::string name(brief(v.type.dtype));
    used[int(v.type.dtype)] =
        "struct as_" + name + " {\n  using Stored = " + k.stored + ";\n  using Compute = " + k.compute +
        ";\n  __device__ static Compute load(Stored s) { return " + k.load +
        "; }\n  template <class V> __device__ static Stored store(V v) { return " + k.store + "; }\n};\n";
  }
  for (const std::string& text : used) s += text;
  s += parameter_text(operands);
  s += "extern \"C\" __global__ void __launch_bounds__(256) suan_generated(const __grid_constant__ Parameter p) {\n"
       "  const int64_t step = int64_t(gridDim.x) * blockDim.x;\n"
       "  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < p.n; i += step) {\n";
  s += fmt::format("    int64_t at[{}] = {{}}, rest = i;\n"
                   "    for (int d = int(p.rank) - 1; d > 0; --d) {{\n"
                   "      const int64_t q = rest / p.size[d], r = rest - q * p.size[d];\n"
                   "#pragma unroll\n"
                   "      for (int k = 0; k < {}; ++k) at[k] += r * p.stride[k][d];\n"
                   "      rest = q;\n    }}\n"
                   "#pragma unroll\n"
                   "    for (int k = 0; k < {}; ++k) at[k] += rest * p.stride[k][0];\n",
                   operands, operands, operands);
  for (size_t k = 0; k < body.inputs.size(); ++k) {
    const ValueId v = body.inputs[k];
    const std::string as = "as_" + std::string(brief(type(v).dtype));
    s += fmt::format("    const {0}::Compute v{1} = {0}::load(static_cast<const {0}::Stored*>(p.at[{2}])[at[{2}]]);\n", as,
                     v, k);
  }
  for (const Node& n : body.nodes) {
    const char* row = row_text(n.op->name);
    if (!row || n.in.size() > 3) return {};
    std::string expression = row;
    const bool bounded = n.op->name == "clamp";
    const bool low = n.in.size() > 1 && n.in[1] != no_value, high = n.in.size() > 2 && n.in[2] != no_value;
    if (bounded && !high) expression = low ? "max(x, y)" : "x";
    if (bounded && high && !low) expression = "min(x, z)";
    const std::string to = "as_" + std::string(brief(type(n.out[0]).dtype));
    s += fmt::format("    {}::Compute v{};\n    {{\n", to, n.out[0]);
    const char* names = "xyz";
    std::string compute;
    for (size_t k = 0; k < n.in.size(); ++k) {
      if (n.in[k] == no_value) continue;
      compute = kind_of(type(n.in[k]).dtype)->compute;
      s += fmt::format("      const {} {} = v{};\n", compute, names[k], n.in[k]);
    }
    s += fmt::format("      [[maybe_unused]] constexpr Constant<{}> k;\n"
                     "      v{} = {}::load({}::store({}));\n    }}\n",
                     compute, n.out[0], to, to, expression);
  }
  for (size_t k = 0; k < body.outputs.size(); ++k) {
    const ValueId v = body.outputs[k];
    const std::string as = "as_" + std::string(brief(type(v).dtype));
    s += fmt::format("    static_cast<{0}::Stored*>(p.at[{1}])[at[{1}]] = {0}::store(v{2});\n", as,
                     body.inputs.size() + k, v);
  }
  return generated_prelude + s + "  }\n}\n}  // namespace\n";
}

struct Params {
  std::shared_ptr<const Generated> kernel;
  std::vector<int64_t> parameter;   // addresses are filled in by each launch
  size_t inputs, outputs;
  int64_t n;
};

void run(const Params& p, const KernelArgs& a) {
  if (p.n == 0) return;
  int64_t parameter[most_operands + 10 + most_operands * max_rank];
  std::copy(p.parameter.begin(), p.parameter.end(), parameter);
  for (size_t i = 0; i < p.inputs; ++i) parameter[i] = reinterpret_cast<int64_t>(a.in[i]);
  for (size_t j = 0; j < p.outputs; ++j) parameter[p.inputs + j] = reinterpret_cast<int64_t>(a.out[j]);
  p.kernel->launch(blocks_for(p.n, 1024), 256, parameter);
}

Prepared prepare(const KernelDesc& d) {
  Params p{generate(kernel_text(*d.attrs.graph(0))), {}, d.in.size(), d.out.size(), 0};
  const size_t operands = p.inputs + p.outputs;
  std::vector<const Layout*> layouts;
  for (const TensorDesc* t : d.in) layouts.push_back(&t->layout);
  for (const TensorDesc* t : d.out) layouts.push_back(&t->layout);
  p.parameter.resize(operands + 2 + max_rank + operands * max_rank);
  int64_t* nest = p.parameter.data() + operands;
  fill_nest(d.out[0]->layout.shape, layouts.data(), int(operands), nest[0], nest[1], nest + 2, nest + 2 + max_rank);
  p.n = nest[1];
  return prepared<Params>(std::move(p), run);
}

bool supports(const KernelDesc& d) { return why_no_generator().empty() && !kernel_text(*d.attrs.graph(0)).empty(); }

}  // namespace

Kernel kernel_fused_elementwise() {
  return {prepare, kernel_strided_in | kernel_strided_out | kernel_in_place, supports};
}

}  // namespace suan::cuda
