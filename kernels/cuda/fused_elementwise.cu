// A group of scalar rows as one kernel, written as text from the rows' own text (ops/scalar.h) and compiled when a
// plan first needs it. Values stay in registers between the rows, each rounded to its dtype as separate rows would.
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

// How a dtype is kept, what it computes in, and the way to and fro ({} is the value); as load_as and store_as of
// storage.cuh.
struct Kind { const char *stored, *compute, *load, *store; };
const Kind* kind_of(DType t) {
  static const Kind boolean{"uint8_t", "Truth", "Truth({} != 0)", "uint8_t(Truth({}).v)"};
  static const Kind u8{"uint8_t", "int64_t", "int64_t({})", "uint8_t(int64_t({}))"};
  static const Kind u16{"uint16_t", "int64_t", "int64_t({})", "uint16_t(int64_t({}))"};
  static const Kind u32{"uint32_t", "int64_t", "int64_t({})", "uint32_t(int64_t({}))"};
  static const Kind i8{"int8_t", "int64_t", "int64_t({})", "int8_t(int64_t({}))"};
  static const Kind i16{"int16_t", "int64_t", "int64_t({})", "int16_t(int64_t({}))"};
  static const Kind i32{"int32_t", "int64_t", "int64_t({})", "int32_t(int64_t({}))"};
  static const Kind i64{"int64_t", "int64_t", "{}", "int64_t({})"};
  static const Kind f16{"uint16_t", "float", "half_value({})", "half_bits(float({}))"};
  static const Kind bf16{"uint16_t", "float", "bfloat_value({})", "bfloat_bits(float({}))"};
  static const Kind f32{"float", "float", "{}", "float({})"};
  static const Kind f64{"double", "double", "{}", "double({})"};
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

bool has_text(const Graph& body) {
  if (!body.constants.empty() || body.outputs.empty() || body.inputs.size() + body.outputs.size() > most_operands)
    return false;
  for (const Value& v : body.values)
    if (!kind_of(v.type.dtype)) return false;
  const Shape& shape = body.values[size_t(body.outputs[0])].type.shape;
  for (const Node& n : body.nodes)
    if (n.out.size() != 1 || !(body.values[size_t(n.out[0])].type.shape == shape) || !row_text(n.op->name) ||
        n.in.size() > 3)
      return false;
  return true;
}

// The kernel of a body over a nest of `rank` dimensions (nest.cuh), written out: no loop is left to a compiler. All of
// its parameter is eight bytes wide, so the host writes it as a list of numbers: addresses, elements, strides in bytes,
// and how to divide by each size.
std::string kernel_text(const Graph& body, int rank) {
  const size_t operands = body.inputs.size() + body.outputs.size();
  const auto type = [&](ValueId v) { return body.values[size_t(v)].type.dtype; };
  const auto kind = [&](ValueId v) -> const Kind& { return *kind_of(type(v)); };
  const auto filled = [](const char* form, const std::string& value) { return fmt::format(fmt::runtime(form), value); };

  std::string s = fmt::format(
      "struct Divisor {{ uint64_t size, factor, shift; }};\n"
      "struct Parameter {{ char* at[{0}]; int64_t n, stride[{0}][{1}]; Divisor by[{1}]; }};\n"
      "extern \"C\" __global__ void __launch_bounds__({2}) suan_generated(const Parameter __grid_constant__ p) {{\n"
      "  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;\n"
      "  if (i >= p.n) return;\n",
      operands, rank, generated_threads);
  std::string rest = "i";
  for (int d = rank - 1; d > 0; --d) {
    s += fmt::format("  const int64_t q{0} = __umul64hi({1}, p.by[{0}].factor) >> p.by[{0}].shift, "
                     "i{0} = {1} - q{0} * p.by[{0}].size;\n", d, rest);
    rest = "q" + std::to_string(d);
  }
  s += "  const int64_t i0 = " + rest + ";\n";
  const auto place = [&](size_t k, const Kind& as) {
    std::string bytes;
    for (int d = 0; d < rank; ++d) bytes += fmt::format(" + i{1} * p.stride[{0}][{1}]", k, d);
    return fmt::format("*reinterpret_cast<{}*>(p.at[{}]{})", as.stored, k, bytes);
  };
  for (size_t k = 0; k < body.inputs.size(); ++k) {
    const ValueId v = body.inputs[k];
    s += fmt::format("  const {} v{} = {};\n", kind(v).compute, v, filled(kind(v).load, place(k, kind(v))));
  }
  for (const Node& n : body.nodes) {
    std::string expression = row_text(n.op->name);
    const bool bounded = n.op->name == "clamp";
    const bool low = n.in.size() > 1 && n.in[1] != no_value, high = n.in.size() > 2 && n.in[2] != no_value;
    if (bounded && !high) expression = low ? "max(x, y)" : "x";
    if (bounded && high && !low) expression = "min(x, z)";
    s += fmt::format("  {} v{};\n  {{\n", kind(n.out[0]).compute, n.out[0]);
    const char* compute = "";
    for (size_t k = 0; k < n.in.size(); ++k) {
      if (n.in[k] == no_value) continue;
      compute = kind(n.in[k]).compute;
      s += fmt::format("    const {} {} = v{};\n", compute, "xyz"[k], n.in[k]);
    }
    if (expression.find("k(") != expression.npos) s += fmt::format("    constexpr Constant<{}> k;\n", compute);
    s += fmt::format("    v{} = {};\n  }}\n", n.out[0],
                     filled(kind(n.out[0]).load, filled(kind(n.out[0]).store, expression)));
  }
  for (size_t k = 0; k < body.outputs.size(); ++k) {
    const ValueId v = body.outputs[k];
    s += fmt::format("  {} = {};\n", place(body.inputs.size() + k, kind(v)),
                     filled(kind(v).store, "v" + std::to_string(v)));
  }
  return with_prelude(s + "}\n");
}

// i / size = (i * factor >> 64) >> shift for 0 <= i < 2^63: with 2^bits the least power of two that is not below size,
// factor is 2^(63 + bits) / size and a bit, an error of less than 1 / size in the quotient (Granlund and Montgomery, 1994).
void write_divisor(int64_t size, int64_t* by) {
  int bits = 1;
  while (bits < 63 && int64_t(1) << bits < size) ++bits;
  by[0] = size;
  by[1] = int64_t(uint64_t((static_cast<unsigned __int128>(1) << (63 + bits)) / uint64_t(size)) + 1);
  by[2] = bits - 1;
}

struct Params {
  std::shared_ptr<const Generated> kernel;
  std::vector<int64_t> parameter;   // addresses are filled in by each launch
  size_t inputs, outputs;
  int64_t n;
};

void run(const Params& p, const KernelArgs& a) {
  if (p.n == 0) return;
  int64_t parameter[most_operands + 1 + (most_operands + 3) * max_rank];
  std::copy(p.parameter.begin(), p.parameter.end(), parameter);
  for (size_t i = 0; i < p.inputs; ++i) parameter[i] = reinterpret_cast<int64_t>(a.in[i]);
  for (size_t j = 0; j < p.outputs; ++j) parameter[p.inputs + j] = reinterpret_cast<int64_t>(a.out[j]);
  p.kernel->launch(p.n, parameter);
}

Prepared prepare(const KernelDesc& d) {
  Params p{{}, {}, d.in.size(), d.out.size(), 0};
  std::vector<const TensorDesc*> operands(d.in.begin(), d.in.end());
  operands.insert(operands.end(), d.out.begin(), d.out.end());
  std::vector<const Layout*> layouts;
  for (const TensorDesc* t : operands) layouts.push_back(&t->layout);
  int64_t rank = 0, size[max_rank] = {}, stride[most_operands * max_rank] = {};
  fill_nest(d.out[0]->layout.shape, layouts.data(), int(operands.size()), rank, p.n, size, stride);
  rank = std::max<int64_t>(rank, 1);
  p.kernel = generate(kernel_text(*d.attrs.graph(0), int(rank)));
  p.parameter.resize(operands.size());
  p.parameter.push_back(p.n);
  for (size_t k = 0; k < operands.size(); ++k)
    for (int64_t j = 0; j < rank; ++j)
      p.parameter.push_back(stride[k * max_rank + size_t(j)] * item_size(operands[k]->dtype));
  p.parameter.resize(p.parameter.size() + size_t(3 * rank));
  for (int64_t j = 1; p.n != 0 && j < rank; ++j) write_divisor(size[j], p.parameter.data() + p.parameter.size() - 3 * (rank - j));
  return prepared<Params>(std::move(p), run);
}

bool supports(const KernelDesc& d) { return why_no_generator().empty() && has_text(*d.attrs.graph(0)); }

}  // namespace

Kernel kernel_fused_elementwise() {
  return {prepare, kernel_strided_in | kernel_strided_out | kernel_in_place, supports};
}

}  // namespace suan::cuda
