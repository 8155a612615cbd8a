// matmul and linear through cuBLASLt, opened when a product is first prepared. A row-major matrix is the library's
// column-major one transposed, so out = a·b is asked for as outᵀ = bᵀ·aᵀ. Products of float32 stay float32 (no TF32);
// the ways of splitting a sum whose order is not fixed are not allowed, so that results are the same on every run.
#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>

#include "core/error.h"
#include "kernels/cuda/lib/copy.cuh"
#include "kernels/cuda/lib/product.h"
#include "kernels/cuda/runtime/cublaslt.h"
#include "kernels/cuda/runtime/driver.h"

namespace suan::cuda {
namespace {

struct Library {
#define SUAN_DECLARE(name, symbol, result, parameters) result(*name) parameters = nullptr;
  SUAN_CUBLASLT_CALLS(SUAN_DECLARE)
#undef SUAN_DECLARE
  void* handle = nullptr;
  std::string missing, text;   // why it cannot be used; else what it is
};

const Library& library() {
  static const Library found = [] {
    Library l;
    void* opened = nullptr;
    for (const char* name : {"libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.13"})
      if (!opened) opened = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!opened) {
      l.missing = "no libcublasLt.so.13";
      return l;
    }
#define SUAN_FIND(name, symbol, result, parameters)                                    \
  l.name = reinterpret_cast<decltype(l.name)>(dlsym(opened, symbol));                  \
  if (!l.name) {                                                                       \
    l.missing = std::string("libcublasLt.so.13 without ") + symbol;                    \
    return l;                                                                          \
  }
    SUAN_CUBLASLT_CALLS(SUAN_FIND)
#undef SUAN_FIND
    current_stream();
    if (const int status = l.create(&l.handle); status != 0) {
      l.missing = "cuBLASLt that does not start, status " + std::to_string(status);
      return l;
    }
    const size_t v = l.version();
    l.text = "cuBLASLt " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100);
    return l;
  }();
  return found;
}

void ask(int status, const char* op, const char* what) {
  if (status != 0)
    fail<DeviceError>(op, "cuBLASLt refuses {}: expected success, got status {}", what, status);
}

// A matrix as the library is to see it: column-major, perhaps transposed.
struct Side {
  bool transposed = false;
  int64_t rows = 0, columns = 0, ld = 0;   // column-major
};

// rows x columns with these strides, seen as its transpose. False: neither stride is 1.
bool see(int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride, Side& side) {
  if ((column_stride == 1 || columns == 1) && (rows == 1 || row_stride >= columns)) {
    side = {false, columns, rows, rows == 1 ? columns : row_stride};
    return true;
  }
  if ((row_stride == 1 || rows == 1) && (columns == 1 || column_stride >= rows)) {
    side = {true, rows, columns, columns == 1 ? rows : column_stride};
    return true;
  }
  return false;
}

struct Operand {
  Layout layout;                      // as the product reads it
  std::optional<Nest<2>> copied;      // into the workspace first, where its strides do not fit
  int64_t at = 0;                     // there
};

struct Way {   // how the library does it, for operands of some alignment
  cublaslt::Algorithm algorithm;
  size_t workspace;
};

struct Product {
  std::string op;
  DType dtype;
  int64_t m, n, k;
  Operand a, b, bias;
  bool has_bias = false;
  Side a_side, b_side;
  Nest<3> outer;                      // a, b, out: batches that one call does not cover
  int64_t batch = 1, a_step = 0, b_step = 0, out_step = 0;
  int64_t scratch_at = 0, scratch_bytes = 0;
  void *desc = nullptr, *a_layout = nullptr, *b_layout = nullptr, *out_layout = nullptr;
  mutable std::mutex mutex;           // of what follows, and of the description's bias
  mutable std::map<unsigned, Way> ways;

  ~Product() {
    const Library& l = library();
    for (void* layout : {a_layout, b_layout, out_layout})
      if (layout) l.layout_destroy(layout);
    if (desc) l.desc_destroy(desc);
  }
};

// The library's own scratch: partial sums of at most 16 parts, within 32 MiB. It must begin at a multiple of 256 bytes
// (on Hopper), and a workspace begins at one of 64.
int64_t scratch_for(int64_t elements) {
  return std::clamp<int64_t>(elements * 16 * 4, int64_t(256) << 10, int64_t(32) << 20);
}
int64_t rounded(int64_t bytes) { return (bytes + 255) / 256 * 256; }
constexpr int64_t scratch_slack = 256 - 64;

// The strides of matrix dimensions; vectors are a row (left) or a column (right).
Layout as_matrix(const Layout& l, bool left) {
  if (l.rank() > 1) return l;
  Layout m;
  m.shape = left ? Shape{1, l.shape[0]} : Shape{l.shape[0], 1};
  m.strides = left ? Dims{0, l.strides[0]} : Dims{l.strides[0], 0};
  return m;
}
Layout batches(const Layout& l) {
  Layout b = l;
  for (int i = 0; i < 2; ++i) {
    b.shape.erase(b.shape.size() - 1);
    b.strides.erase(b.strides.size() - 1);
  }
  return b;
}

// Where strides do not fit the library, a contiguous copy goes to the workspace.
void make_fit(Operand& o, bool fits, int64_t item, int64_t& workspace) {
  if (fits) return;
  const Layout from = o.layout;
  o.layout = Layout(from.shape);
  const Layout* both[2] = {&from, &o.layout};
  o.copied = make_nest<2>(from.shape, both);
  o.at = workspace;
  workspace += rounded(from.numel() * item);
}

void* layout_of(int type, const Side& s, int64_t batch, int64_t step, const char* op) {
  const Library& l = library();
  void* made = nullptr;
  ask(l.layout_create(&made, type, uint64_t(s.rows), uint64_t(s.columns), s.ld), op, "a matrix");
  if (batch > 1) {
    const int32_t count = int32_t(batch);
    ask(l.layout_set(made, cublaslt::layout_batch_count, &count, sizeof count), op, "a batch");
    ask(l.layout_set(made, cublaslt::layout_batch_step, &step, sizeof step), op, "a batch's step");
  }
  return made;
}

unsigned alignment_of(std::initializer_list<const void*> pointers) {
  uintptr_t all = 16;
  for (const void* p : pointers) all |= reinterpret_cast<uintptr_t>(p);
  return unsigned(all & ~(all - 1));
}

const Way& way_for(const Product& p, unsigned alignment) {
  auto at = p.ways.find(alignment);
  if (at != p.ways.end()) return at->second;
  const Library& l = library();
  void* preference = nullptr;
  ask(l.preference_create(&preference), p.op.c_str(), "a preference");
  const uint64_t most = uint64_t(p.scratch_bytes);
  const uint32_t ordered = cublaslt::reduction_compute_type, aligned = alignment;
  l.preference_set(preference, cublaslt::preference_workspace, &most, sizeof most);
  l.preference_set(preference, cublaslt::preference_reduction, &ordered, sizeof ordered);
  for (int which : {cublaslt::preference_alignment_a, cublaslt::preference_alignment_b, cublaslt::preference_alignment_c,
                    cublaslt::preference_alignment_d})
    l.preference_set(preference, which, &aligned, sizeof aligned);
  cublaslt::Found found{};
  int n = 0;
  const int status = l.heuristic(l.handle, p.desc, p.b_layout, p.a_layout, p.out_layout, p.out_layout, preference, 1, &found, &n);
  l.preference_destroy(preference);
  ask(status, p.op.c_str(), "this product");
  if (n == 0 || found.state != 0)
    fail<DeviceError>(p.op, "cuBLASLt has no way to do it: expected one for {}x{}x{} {}, got none", p.m, p.n, p.k, name(p.dtype));
  return p.ways.emplace(alignment, Way{found.algorithm, found.workspace}).first->second;
}

void run(const Product& p, const KernelArgs& a) {
  const int64_t item = item_size(p.dtype);
  if (p.m == 0 || p.n == 0 || p.outer.n * p.batch == 0) return;
  auto* workspace = static_cast<char*>(a.workspace);
  const auto place = [&](const Operand& o, int i) -> const char* {
    if (!o.copied) return static_cast<const char*>(a.in[i]);
    copy_strided(workspace + o.at, a.in[i], *o.copied, item);
    return workspace + o.at;
  };
  if (p.k == 0) {   // an empty sum
    if (p.has_bias) {
      Nest<2> spread;
      spread.rank = 2;
      spread.n = p.outer.n * p.batch * p.m * p.n;
      spread.size[0] = spread.n / p.n, spread.size[1] = p.n;
      spread.stride[0][1] = p.bias.layout.strides[0];
      spread.stride[1][0] = p.n, spread.stride[1][1] = 1;
      copy_strided(a.out[0], a.in[2], spread, item);
    } else {
      set_zero(a.out[0], p.outer.n * p.batch * p.m * p.n * item);
    }
    return;
  }
  const char *left = place(p.a, 0), *right = place(p.b, 1), *bias = p.has_bias ? place(p.bias, 2) : nullptr;
  if (reinterpret_cast<uintptr_t>(bias) % 16) {   // the library asks for it, though its preferences do not say so
    copy_within(workspace + p.bias.at, bias, p.n * item);
    bias = workspace + p.bias.at;
  }
  const float one = 1, zero = 0;
  const double one_wide = 1, zero_wide = 0;
  const bool wide = p.dtype == DType::f64;
  auto* scratch = reinterpret_cast<char*>(rounded(reinterpret_cast<int64_t>(workspace + p.scratch_at)));
  const Library& l = library();
  std::lock_guard lock(p.mutex);
  if (bias) ask(l.desc_set(p.desc, cublaslt::desc_bias, &bias, sizeof bias), p.op.c_str(), "a bias");
  for (int64_t i = 0; i < p.outer.n; ++i) {
    int64_t at[3] = {}, rest = i;
    for (int d = p.outer.rank - 1; d >= 0; --d) {
      const int64_t here = rest % p.outer.size[d];
      rest /= p.outer.size[d];
      for (int t = 0; t < 3; ++t) at[t] += here * p.outer.stride[t][d];
    }
    const char *x = left + at[0] * item, *w = right + at[1] * item;
    char* out = static_cast<char*>(a.out[0]) + at[2] * item;
    const Way& way = way_for(p, alignment_of({x, w, out}));
    ask(l.multiply(l.handle, p.desc, wide ? static_cast<const void*>(&one_wide) : &one, w, p.b_layout, x, p.a_layout,
                   wide ? static_cast<const void*>(&zero_wide) : &zero, out, p.out_layout, out, p.out_layout, &way.algorithm,
                   scratch, size_t(p.scratch_bytes), current_stream()),
        p.op.c_str(), "this product");
  }
}

int library_type(DType t) {
  switch (t) {
    case DType::f16: return cublaslt::r16f;
    case DType::bf16: return cublaslt::r16bf;
    case DType::f64: return cublaslt::r64f;
    default: return cublaslt::r32f;
  }
}

}  // namespace

std::string product_library() { return library().missing.empty() ? library().text : "none (" + library().missing + ")"; }

bool supports_product(const KernelDesc& d) { return is_floating(d.out[0]->dtype) && item_size(d.out[0]->dtype) >= 2; }

Prepared prepare_product(const KernelDesc& d) {
  const char* op = d.op.name.c_str();
  const Library& l = library();
  if (!l.missing.empty()) fail<DeviceError>(op, "no library for products: expected libcublasLt.so.13, got {}", l.missing);
  auto made = std::make_shared<Product>();
  Product& p = *made;
  p.op = d.op.name;
  p.dtype = d.out[0]->dtype;
  const int64_t item = item_size(p.dtype);
  p.a.layout = as_matrix(d.in[0]->layout, true);
  p.b.layout = as_matrix(d.in[1]->layout, false);
  if (p.op == "linear") {   // the weight is the right side, transposed
    std::swap(p.b.layout.shape[0], p.b.layout.shape[1]);
    std::swap(p.b.layout.strides[0], p.b.layout.strides[1]);
  }
  const auto last = [](const Layout& x, int back) { return std::pair(x.shape[x.rank() - back], x.strides[x.rank() - back]); };
  const auto seen = [&](const Layout& x, Side& side) {
    const auto [rows, row_stride] = last(x, 2);
    const auto [columns, column_stride] = last(x, 1);
    return see(rows, columns, row_stride, column_stride, side);
  };
  int64_t workspace = 0;
  make_fit(p.a, seen(p.a.layout, p.a_side), item, workspace);
  make_fit(p.b, seen(p.b.layout, p.b_side), item, workspace);
  seen(p.a.layout, p.a_side);
  seen(p.b.layout, p.b_side);
  p.m = last(p.a.layout, 2).first;
  p.k = last(p.a.layout, 1).first;
  p.n = last(p.b.layout, 1).first;
  p.has_bias = d.has(2);
  if (p.has_bias) {
    p.bias.layout = d.in[2]->layout;
    if (p.k > 0) make_fit(p.bias, p.bias.layout.strides[0] == 1 || p.n == 1, item, workspace);
    if (!p.bias.copied) {   // for a copy, where its address does not fit
      p.bias.at = workspace;
      workspace += rounded(p.n * item);
    }
  }

  // Batches: as the result has them, [batches, m, n].
  Layout left = batches(p.a.layout), right = batches(p.b.layout), out;
  const Shape& from = left.rank() >= right.rank() ? left.shape : right.shape;
  out.shape = from;
  for (int i = 0; i < out.shape.size(); ++i) {
    const auto at = [&](const Layout& x) -> int64_t {
      const int own = i - (out.shape.size() - x.rank());
      return own < 0 ? 1 : x.shape[own];
    };
    out.shape[i] = at(left) == 1 ? at(right) : at(left);
  }
  out.strides = Layout(out.shape).strides;
  for (int64_t& s : out.strides) s *= p.m * p.n;
  const Layout* three[3] = {&left, &right, &out};
  p.outer = make_nest<3>(out.shape, three);
  if (p.outer.rank > 0) {   // the innermost batch goes into one call
    const int d0 = --p.outer.rank;
    p.batch = p.outer.size[d0];
    p.outer.n = p.batch ? p.outer.n / p.batch : 0;
    p.a_step = p.outer.stride[0][d0], p.b_step = p.outer.stride[1][d0], p.out_step = p.outer.stride[2][d0];
    // Rows of many batches against one matrix are one tall product.
    if (p.b_step == 0 && !p.a_side.transposed && (p.m == 1 ? p.a_step >= p.k : p.a_step == p.m * p.a_side.ld)) {
      if (p.m == 1) p.a_side.ld = p.a_step;
      p.a_side.columns *= p.batch;
      p.m *= p.batch;
      p.batch = 1;
    }
  }
  if (p.k > 0 && p.m > 0 && p.n > 0 && p.batch > 0) {
    const bool wide = p.dtype == DType::f64;
    ask(l.desc_create(&p.desc, wide ? cublaslt::compute_64f : cublaslt::compute_32f, wide ? cublaslt::r64f : cublaslt::r32f),
        op, "a product's description");
    const int32_t b_op = p.b_side.transposed, a_op = p.a_side.transposed;
    ask(l.desc_set(p.desc, cublaslt::desc_transpose_a, &b_op, sizeof b_op), op, "a transpose");
    ask(l.desc_set(p.desc, cublaslt::desc_transpose_b, &a_op, sizeof a_op), op, "a transpose");
    if (p.has_bias) {
      const uint32_t epilogue = cublaslt::epilogue_bias;
      ask(l.desc_set(p.desc, cublaslt::desc_epilogue, &epilogue, sizeof epilogue), op, "a bias");
    }
    const int type = library_type(p.dtype);
    p.b_layout = layout_of(type, p.b_side, p.batch, p.b_step, op);
    p.a_layout = layout_of(type, p.a_side, p.batch, p.a_step, op);
    p.out_layout = layout_of(type, {false, p.n, p.m, p.n}, p.batch, p.out_step, op);
  }
  p.scratch_at = workspace;
  p.scratch_bytes = rounded(scratch_for(p.batch * p.m * p.n));
  return {[](const void* s, const KernelArgs& args) { run(*static_cast<const Product*>(s), args); }, made,
          workspace + p.scratch_bytes + scratch_slack};
}

}  // namespace suan::cuda
