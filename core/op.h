// OpDef: the single source of truth about an op. Immutable, pure functions only. One file (or one row of
// ops/scalar.cpp) per op; kernels are looked up by name in the backend's table.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/attrs.h"
#include "core/tensor.h"

namespace suan {

struct OpDef;

// ---- schema ----------------------------------------------------------------------------------------

enum class Arity : uint8_t { required, optional, variadic };  // variadic only as the last input

struct InputSpec {
  const char* name;
  DTypeSet dtypes = moved_types;
  Arity arity = Arity::required;
  // Inputs with the same non-zero group must have one dtype (checked by apply, strict).
  int group = 1;
};

struct AttrSpec {
  const char* name;
  AttrKind kind;
  Attr fallback = {};       // monostate: required
  bool nullable = false;    // may be left out with no default (None in Python); has(i) is then false
};

// ---- inference --------------------------------------------------------------------------------------

// What inference, cost and prepare see: types only, never data. An absent optional input is null.
struct InferContext {
  const OpDef& op;
  std::span<const TensorType* const> in;
  const Attrs& attrs;

  int n_in() const { return int(in.size()); }
  bool has(int i) const { return i < n_in() && in[i]; }
  const TensorType& operator[](int i) const { return *in[i]; }
  const Shape& shape(int i) const { return in[i]->shape; }
  DType dtype(int i) const { return in[i]->dtype; }
  int axis(int attr, int input) const;  // integer attribute normalised against the input's rank
  // Integer-list attribute as a sorted list of distinct axes; empty or absent list = all axes.
  Dims axes(int attr, int input) const;
  template <class E = ShapeError, class... A>
  [[noreturn]] void fail(fmt::format_string<A...> text, A&&... a) const;
};

struct Cost {
  double flops = 0;
  double bytes = 0;  // read and written once each; 0 = derive from the types
};

// ---- execution of composites and gradients ----------------------------------------------------------

struct ComposeContext {
  const OpDef& op;
  std::span<const Tensor> in;
  const Attrs& attrs;
  bool has(int i) const { return i < int(in.size()) && in[i].defined(); }
  const Tensor& operator[](int i) const { return in[i]; }
};

// Written once; runs eagerly, records, or both, because every step goes through apply().
class VjpContext {
 public:
  VjpContext(const OpDef& op, const Attrs& attrs) : op(op), attrs(attrs) {}
  virtual ~VjpContext() = default;

  const OpDef& op;
  const Attrs& attrs;
  int n_in() const { return int(in_types.size()); }
  bool has(int i) const { return i < n_in() && in_types[i].has_value(); }
  // Types are free; asking for a value makes the tape keep it.
  std::vector<std::optional<TensorType>> in_types;
  std::vector<TensorType> out_types;
  const Shape& shape(int i) const { return in_types[i]->shape; }
  DType dtype(int i) const { return in_types[i]->dtype; }
  virtual const Tensor& in(int i) = 0;
  virtual const Tensor& out(int j) = 0;
  // Undefined when no gradient flows to output j.
  const Tensor& grad(int j = 0) const { return grads[j]; }
  Tensor grad_or_zeros(int j) const;
  bool needs(int i) const { return i < int(wanted.size()) && wanted[i]; }
  void set(int i, Tensor g) { result[i] = std::move(g); }

  std::vector<Tensor> grads;
  std::vector<bool> wanted;
  std::vector<Tensor> result;
};

// ---- samples: one list for tests, gradient checks, benchmarks ---------------------------------------

enum class Fill : uint8_t { normal, uniform, positive, integers, boolean, distinct, index };

struct SampleInput {
  Shape shape;
  Fill fill = Fill::normal;
  double lo = -1, hi = 1;                  // uniform, integers [lo, hi), index [lo, hi)
  std::optional<DType> dtype = {};         // fixed dtype (indices, masks); else the swept dtype
  bool absent = false;                     // optional input left out
  bool grad = true;                        // gradient checked when the dtype is floating
};

struct Sample {
  std::vector<SampleInput> in;
  Attrs attrs = {};
  const char* note = "";
  // Overrides of the op-wide behaviour for this sample.
  bool check_grad = true;
  std::string error = {};                  // non-empty: must fail with a message containing this
};

// ---- the definition ---------------------------------------------------------------------------------

enum OpFlags : uint32_t {
  op_none = 0,
  op_random = 1 << 0,       // never merged by CSE
  op_effect = 1 << 1,       // ordered, never removed
  op_elementwise = 1 << 2,  // a scalar row: out[i] = f(in[i]...), fusable
  op_opaque = 1 << 3,       // never folded or merged (clone)
  op_region = 1 << 4,       // owns sub-graphs: recorded as one node, run by its definition
};

struct OpDef {
  std::string name;
  std::string doc;                      // one paragraph: meaning, shapes, dtypes, source
  std::vector<InputSpec> inputs;
  std::vector<AttrSpec> attrs = {};
  std::vector<const char*> outputs = {"out"};
  uint32_t flags = op_none;

  // Exactly one of infer / view / compose-only decides the outputs' types. A composite without infer
  // gets its types by running compose dry.
  std::vector<TensorType> (*infer)(const InferContext&) = nullptr;
  // A view: the layout of the output over the input's storage; nullopt = a contiguous copy is needed first.
  std::optional<Layout> (*view)(const InferContext&, const Layout& in) = nullptr;
  // Definition in terms of other ops; used where no kernel exists and for higher derivatives.
  Tensors (*compose)(const ComposeContext&) = nullptr;

  void (*vjp)(VjpContext&) = nullptr;   // null with compose: differentiated through the definition
  const char* no_grad = nullptr;        // why there is no gradient
  // Output k overwrites input updates[k]'s storage (optimizer steps, running statistics); empty = none.
  std::vector<int> updates = {};
  Cost (*cost)(const InferContext&) = nullptr;
  std::vector<Sample> (*samples)() = nullptr;

  const char* onnx_name = nullptr;
  int onnx_since = 0;

  int id = -1;                          // position in the table, set when it is built

  int find_attr(std::string_view attr) const;  // -1 when unknown
};

// The table: built once from op_definitions() (generated) and scalar_op_definitions() (ops/scalar.cpp).
const OpDef& op(std::string_view name);       // ValueError naming the nearest known name
const OpDef* find_op(std::string_view name);
const std::vector<const OpDef*>& all_ops();

template <class E, class... A>
void InferContext::fail(fmt::format_string<A...> text, A&&... a) const {
  suan::fail<E>(op.name, text, std::forward<A>(a)...);
}

// ---- kernels ----------------------------------------------------------------------------------------

struct TensorDesc {
  DType dtype;
  Layout layout;  // offset is always 0 here: pointers already include it
  bool constant = false;  // same bytes on every run of a plan: may be prepacked
};

struct KernelDesc {
  const OpDef& op;
  const Attrs& attrs;
  std::span<const TensorDesc* const> in;  // absent optional inputs are null
  std::span<const TensorDesc* const> out;
  bool has(int i) const { return i < int(in.size()) && in[i]; }
};

template <class Signature>
class FunctionRef;  // core/pool.h

// Called on each finished tile of output 0, still in cache, on the thread that made it. `tile` is the
// address of element [row0, col0] of the batch's matrix, whose rows are `ld` elements apart.
using TileFn = FunctionRef<void(void* tile, int64_t batch, int64_t row0, int64_t rows, int64_t col0,
                                int64_t cols, int64_t ld)>;

struct KernelArgs {
  const void* const* in;  // one pointer per input, null when absent
  void* const* out;
  void* workspace;        // 64-byte aligned, as many bytes as Prepared asked for
  const TileFn* epilogue = nullptr;  // given only where Prepared::epilogue_row is not 0
};

// Pure in shapes: made once per signature, run many times from any thread. run allocates nothing.
struct Prepared {
  void (*run)(const void* state, const KernelArgs&) = nullptr;
  std::shared_ptr<const void> state;
  int64_t workspace = 0;
  // Elements in a row of the tiles that run hands to KernelArgs::epilogue; 0: it takes no epilogue.
  int64_t epilogue_row = 0;
};

enum KernelFlags : uint32_t {
  kernel_contiguous = 0,         // inputs are made contiguous first, outputs are contiguous
  kernel_strided_in = 1 << 0,    // any input strides (also 0 and negative)
  kernel_strided_out = 1 << 1,   // any output strides without self-overlap
  kernel_in_place = 1 << 2,      // an output may be exactly one of the inputs (same pointer and layout)
  kernel_optional_out = 1 << 3,  // outputs that nobody reads, but the first, are null in a plan
};

struct Kernel {
  Prepared (*prepare)(const KernelDesc&) = nullptr;
  uint32_t flags = kernel_contiguous;
  // Null: all that the schema admits. False sends the op to its composite definition, else a TypeError.
  bool (*supports)(const KernelDesc&) = nullptr;
};

const Kernel* find_kernel(const OpDef& op, Device device);  // null slot when the backend has none

}  // namespace suan
