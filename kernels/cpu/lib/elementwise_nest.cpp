// A program over tensors: collapses dimensions to outer loops around a rectangle, cuts big work for the
// pool by shape alone, and takes a short way where one row meets contiguous memory.
#include <algorithm>
#include <cstring>

#include "core/pool.h"
#include "kernels/cpu/lib/elementwise.h"
#include "kernels/cpu/lib/scalar_code.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t inline_work = 32 * 1024;   // element operations below which the pool is not worth it
constexpr int64_t grain = 16 * 1024;         // elements of one task, at least
constexpr int max_operands = max_program_inputs + max_program_outputs;

// Dimensions after collapsing: outer ones, then rows and columns. Strides in elements per operand,
// inputs first.
struct Nest {
  ProgramPtr program;
  int n_in = 0, n_out = 0, n_outer = 0;
  int64_t slabs = 1, rows = 1, cols = 1;
  int64_t outer[max_rank];
  std::vector<int8_t> position;          // where each program input is among the kernel's inputs
  std::vector<int64_t> item;             // bytes of an element
  std::vector<int64_t> row_stride, col_stride;
  std::vector<int64_t> outer_stride;     // [operand][outer dim]
  // Cutting: a task is a block of slabs, of rows or of columns.
  int64_t slab_block = 1, row_block = 1, col_block = 1, tasks = 1;
};

void run_slabs(const Nest& s, const KernelArgs& args, int64_t slab0, int64_t slab1, int64_t r0,
               int64_t r1, int64_t c0, int64_t c1) {
  const int n = s.n_in + s.n_out;
  Operand o[max_operands];
  for (int64_t slab = slab0; slab < slab1; ++slab) {
    int64_t index[max_rank];
    int64_t left = slab;
    for (int d = s.n_outer - 1; d >= 0; --d) {
      index[d] = left % s.outer[d];
      left /= s.outer[d];
    }
    for (int i = 0; i < n; ++i) {
      int64_t at = r0 * s.row_stride[size_t(i)] + c0 * s.col_stride[size_t(i)];
      for (int d = 0; d < s.n_outer; ++d) at += index[d] * s.outer_stride[size_t(i * s.n_outer + d)];
      const void* base = i < s.n_in ? args.in[s.position[size_t(i)]] : args.out[i - s.n_in];
      o[i] = {static_cast<std::byte*>(const_cast<void*>(base)) + at * s.item[size_t(i)],
              s.row_stride[size_t(i)], s.col_stride[size_t(i)]};
    }
    rows_run(*s.program, o, o + s.n_in, r1 - r0, c1 - c0);
  }
}

void run_nest(const void* state, const KernelArgs& args) {
  const Nest& s = *static_cast<const Nest*>(state);
  if (s.tasks == 1) return run_slabs(s, args, 0, s.slabs, 0, s.rows, 0, s.cols);
  const int64_t row_parts = (s.rows + s.row_block - 1) / s.row_block;
  const int64_t col_parts = (s.cols + s.col_block - 1) / s.col_block;
  parallel_for(s.tasks, [&](int64_t t) {
    const int64_t c = t % col_parts * s.col_block, r = t / col_parts % row_parts * s.row_block;
    const int64_t b = t / col_parts / row_parts * s.slab_block;
    run_slabs(s, args, b, std::min(s.slabs, b + s.slab_block), r, std::min(s.rows, r + s.row_block),
              c, std::min(s.cols, c + s.col_block));
  });
}

void run_nothing(const void*, const KernelArgs&) {}

// One row on contiguous memory in its compute type; 0-d operands are spread over a tile once.
struct FlatRow {
  RowFn fn;
  int64_t n, task;                 // elements, elements per task
  int n_in;
  int8_t position[3];
  bool scalar[3];
  int64_t item[3], out_item;
};
constexpr int64_t splat_tile = 1024;

void splat(const void* value, int64_t item, std::byte* tile, int64_t n) {
  if (item == 4) {
    std::fill_n(reinterpret_cast<uint32_t*>(tile), n, *static_cast<const uint32_t*>(value));
  } else if (item == 8) {
    std::fill_n(reinterpret_cast<uint64_t*>(tile), n, *static_cast<const uint64_t*>(value));
  } else {
    std::memset(tile, *static_cast<const uint8_t*>(value), size_t(n));
  }
}

void flat_part(const FlatRow& s, const KernelArgs& args, int64_t from, int64_t to) {
  const void* in[3];
  for (int i = 0; i < s.n_in; ++i)
    in[i] = static_cast<const std::byte*>(args.in[s.position[i]]) + from * s.item[i];
  s.fn(in, static_cast<std::byte*>(args.out[0]) + from * s.out_item, to - from);
}
void scalar_part(const FlatRow& s, const KernelArgs& args, int64_t from, int64_t to) {
  alignas(64) std::byte tiles[3][splat_tile * 8];
  const int64_t width = std::min(splat_tile, to - from);
  for (int i = 0; i < s.n_in; ++i)
    if (s.scalar[i]) splat(args.in[s.position[i]], s.item[i], tiles[i], width);
  for (int64_t at = from; at < to; at += width) {
    const void* in[3];
    for (int i = 0; i < s.n_in; ++i)
      in[i] = s.scalar[i] ? tiles[i]
                          : static_cast<const std::byte*>(args.in[s.position[i]]) + at * s.item[i];
    s.fn(in, static_cast<std::byte*>(args.out[0]) + at * s.out_item, std::min(width, to - at));
  }
}
template <void (*part)(const FlatRow&, const KernelArgs&, int64_t, int64_t)>
void run_flat(const void* state, const KernelArgs& args) {
  const FlatRow& s = *static_cast<const FlatRow*>(state);
  if (s.task >= s.n) return part(s, args, 0, s.n);
  parallel_for((s.n + s.task - 1) / s.task, [&](int64_t t) {
    part(s, args, t * s.task, std::min(s.n, (t + 1) * s.task));
  });
}

int64_t task_elements(int64_t n, int64_t cost) {
  if (n * std::max<int64_t>(cost, 1) < inline_work || n < 2048) return n;
  // Dear rows in smaller pieces, huge tensors in at most about 256.
  const int64_t least = std::max<int64_t>(grain / std::max<int64_t>(cost, 1), 1024);
  return (std::max(least, n / 256) + 1023) / 1024 * 1024;
}

}  // namespace

Prepared prepare_flat(const RowChoice& row, std::span<const TensorDesc* const> in,
                      const TensorDesc& out) {
  if (!is_direct(out.dtype) || !out.layout.is_contiguous()) return {};
  const int64_t n = out.layout.numel();
  if (n == 0) return {run_nothing, nullptr, 0};
  FlatRow f{row.fn, n, task_elements(n, row.cost), 0, {}, {}, {}, item_size(out.dtype)};
  bool scalars = false;
  for (int8_t i : row.operand) {
    if (i < 0) break;
    const TensorDesc& d = *in[size_t(i)];
    const bool whole = d.layout.shape == out.layout.shape && d.layout.is_contiguous();
    if (!is_direct(d.dtype) || !(whole || d.layout.numel() == 1)) return {};
    f.position[f.n_in] = i;
    f.scalar[f.n_in] = !whole;
    f.item[f.n_in++] = item_size(d.dtype);
    scalars |= !whole;
  }
  return {scalars ? run_flat<scalar_part> : run_flat<flat_part>, std::make_shared<FlatRow>(f), 0};
}

Prepared prepare_program(ProgramPtr program, std::span<const TensorDesc* const> in,
                         std::span<const TensorDesc* const> out) {
  const Program& p = *program;
  const Shape& shape = out[0]->layout.shape;
  const int64_t total = numel(shape);
  if (total == 0) return {run_nothing, nullptr, 0};

  // Non-trivial dimensions, innermost first, with every operand's stride; merged where all allow it.
  const TensorDesc* operands[max_operands];
  int8_t position[max_operands];
  int n = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i]) continue;
    position[n] = int8_t(i);
    operands[n++] = in[i];
  }
  const int n_in = n;
  for (const TensorDesc* o : out) operands[n++] = o;
  int64_t sizes[max_rank], strides[max_rank][max_operands];
  int rank = 0;
  for (int d = shape.size() - 1; d >= 0; --d) {
    if (shape[d] == 1) continue;
    bool merges = rank > 0;
    for (int i = 0; i < n; ++i) {
      const Layout& l = operands[i]->layout;
      const int own = d - (shape.size() - l.rank());
      const int64_t stride = own < 0 || l.shape[own] == 1 ? 0 : l.strides[own];
      strides[rank][i] = stride;
      if (merges) merges = stride == strides[rank - 1][i] * sizes[rank - 1];
    }
    if (merges) {
      sizes[rank - 1] *= shape[d];
    } else {
      sizes[rank++] = shape[d];
    }
  }

  const int64_t task = task_elements(total, p.cost);
  auto s = std::make_shared<Nest>();
  s->n_in = n_in;
  s->n_out = n - n_in;
  s->cols = rank > 0 ? sizes[0] : 1;
  s->rows = rank > 1 ? sizes[1] : 1;
  s->n_outer = std::max(0, rank - 2);
  for (int d = 0; d < s->n_outer; ++d) {
    s->outer[d] = sizes[rank - 1 - d];
    s->slabs *= s->outer[d];
  }
  s->position.assign(position, position + n_in);
  for (int i = 0; i < n; ++i) {
    s->item.push_back(item_size(operands[i]->dtype));
    s->col_stride.push_back(rank > 0 ? strides[0][i] : 0);
    s->row_stride.push_back(rank > 1 ? strides[1][i] : 0);
    for (int d = 0; d < s->n_outer; ++d) s->outer_stride.push_back(strides[rank - 1 - d][i]);
  }
  if (task < total) {
    s->slab_block = std::clamp<int64_t>(task / (s->rows * s->cols), 1, s->slabs);
    s->row_block = std::clamp<int64_t>(task / s->cols, 1, s->rows);
    s->col_block = std::min(task, s->cols);
    auto parts = [](int64_t whole, int64_t block) { return (whole + block - 1) / block; };
    s->tasks = parts(s->slabs, s->slab_block) * parts(s->rows, s->row_block) *
               parts(s->cols, s->col_block);
  }
  s->program = std::move(program);
  return {run_nest, s, 0};
}

}  // namespace suan::cpu::SUAN_ISA
