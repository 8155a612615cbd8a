// Builds programs from rows and graphs, and runs them on rectangles.
#include "kernels/cpu/lib/elementwise.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/lib/scalar_code.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t scratch_bytes = 48 * 1024;   // on the stack; with the operands it stays within L1 and L2
constexpr int64_t max_tile = 1024;
constexpr int64_t min_tile = 64;

template <int size>
void copy_tile(const void* const* in, void* out, int64_t n) {
  std::memcpy(out, in[0], size_t(n) * size);
}

int64_t tile_size(DType t) { return item_size(compute_type(t)); }

class Builder {
 public:
  Builder() : p_(std::make_shared<Program>()) {}

  int16_t input(DType t) {
    p_->in_dtypes.push_back(t);
    p_->loads.push_back(load_fn(t));
    ++p_->n_in;
    return add_register(t);
  }

  // The register of the row's result; -1 when there is no such row or too many registers.
  int16_t row(const OpDef& op, std::span<const int16_t> in, DType out) {
    int types[3];
    for (size_t k = 0; k < in.size(); ++k)
      types[k] = in[k] >= 0 ? int(dtype_[size_t(in[k])]) : absent;
    const RowChoice row = choose_row(op, {types, in.size()}, out);
    if (!row.fn) return -1;
    Instruction i;
    i.fn = row.fn;
    for (int k = 0; k < 3; ++k)
      if (row.operand[k] >= 0) i.in[k] = in[size_t(row.operand[k])];
    p_->cost += row.cost;
    return emit(i, out);
  }

  void output(int16_t r, DType t, bool copies) {
    // What is an input or an earlier output already goes through a register of its own, so that no
    // output's memory is written while another still reads it.
    const bool taken = std::find(p_->out_register.begin(), p_->out_register.end(), r) !=
                       p_->out_register.end();
    if (copies && (r < p_->n_in || taken)) {
      Instruction i;
      i.fn = tile_size(t) == 8 ? copy_tile<8> : tile_size(t) == 4 ? copy_tile<4> : copy_tile<1>;
      i.in[0] = r;
      r = emit(i, t);
    }
    p_->out_register.push_back(r);
    p_->out_dtypes.push_back(t);
    p_->stores.push_back(store_fn(t));
  }

  ProgramPtr finish() {
    Program& p = *p_;
    const int n = int(dtype_.size()), n_code = int(p.code.size());
    if (n > max_program_registers) return nullptr;
    std::vector<int> last(size_t(n), -1);
    for (int k = 0; k < n_code; ++k)
      for (int16_t r : p.code[size_t(k)].in)
        if (r >= 0) last[size_t(r)] = k;
    for (int16_t r : p.out_register) {
      const int k = r - p.n_in;
      const DType t = p.out_dtypes[p.out_in_place.size()];
      p.out_in_place.push_back(k >= 0 && is_direct(t));
      uint32_t late = 0;
      for (int i = 0; i < p.n_in; ++i) late |= uint32_t(last[size_t(i)] > k) << i;
      p.late_inputs.push_back(late);
    }
    for (int16_t r : p.out_register) last[size_t(r)] = n_code;
    // A result that nothing but an output reads is rounded by the store.
    for (int k = 0; k < n_code; ++k) {
      bool read = false;
      for (int j = k + 1; j < n_code; ++j)
        for (int16_t r : p.code[size_t(j)].in) read |= r == p.code[size_t(k)].out;
      if (!read) p.code[size_t(k)].round = nullptr;
    }
    return place(last) ? p_ : nullptr;
  }

 private:
  int16_t add_register(DType t) {
    dtype_.push_back(t);
    return int16_t(dtype_.size() - 1);
  }
  int16_t emit(Instruction i, DType out) {
    i.round = round_fn(out);
    i.out = add_register(out);
    p_->code.push_back(i);
    return i.out;
  }
  // Tiles for inputs are kept for the whole run (a broadcast one is filled once); the others are
  // reused as soon as their value is dead.
  bool place(const std::vector<int>& last) {
    Program& p = *p_;
    std::vector<int64_t> at(dtype_.size());
    std::vector<std::pair<int64_t, int64_t>> free;   // size, offset, per element
    int64_t end = 0;
    for (int r = 0; r < p.n_in; ++r) {
      at[size_t(r)] = end;
      end += tile_size(dtype_[size_t(r)]);
    }
    for (int k = 0; k < int(p.code.size()); ++k) {
      const int r = p.code[size_t(k)].out;
      const int64_t size = tile_size(dtype_[size_t(r)]);
      auto f = std::find_if(free.begin(), free.end(), [&](auto& s) { return s.first == size; });
      if (f != free.end()) {
        at[size_t(r)] = f->second;
        free.erase(f);
      } else {
        at[size_t(r)] = end;
        end += size;
      }
      for (int q = p.n_in; q <= r; ++q)
        if (last[size_t(q)] == k || (q == r && last[size_t(q)] < 0))
          free.push_back({tile_size(dtype_[size_t(q)]), at[size_t(q)]});
    }
    p.tile = std::min(max_tile, scratch_bytes / std::max<int64_t>(end, 1) / min_tile * min_tile);
    if (p.tile < min_tile) return false;
    for (int64_t a : at) p.slot.push_back(int32_t(a * p.tile));
    return true;
  }

  std::shared_ptr<Program> p_;
  std::vector<DType> dtype_;
};

// The stride that walks the whole rectangle in row-major order, or no such stride.
struct Flat {
  bool exists;
  int64_t stride;
};
Flat flat_stride(const Operand& o, int64_t rows, int64_t cols) {
  if (rows == 1) return {true, o.col_stride};
  if (cols == 1) return {true, o.row_stride};
  return {o.row_stride == cols * o.col_stride, o.col_stride};
}

// The first `bytes` of the tile again and again, `rows` times in all.
void repeat_row(std::byte* tile, int64_t bytes, int64_t rows) {
  const int64_t end = bytes * rows;
  for (int64_t done = bytes; done < end; done *= 2)
    std::memcpy(tile + done, tile, size_t(std::min(done, end - done)));
}

struct TileShape {
  int64_t rows, cols;
};
TileShape tile_shape(const Program& p, const Operand* in, const Operand* out, int64_t rows,
                     int64_t cols) {
  auto transposed = [](const Operand& o) {
    return o.row_stride != 0 && std::abs(o.row_stride) < std::abs(o.col_stride);
  };
  bool square = std::any_of(in, in + p.n_in, transposed) ||
                std::any_of(out, out + p.out_register.size(), transposed);
  // A transposed operand is read in squares, so that its cache lines are used whole.
  if (square && rows >= 8 && cols > 32) return {std::min(rows, p.tile / 32), 32};
  // Results whose rows are apart, as in a product's tile: one row at a time is written where it lies.
  auto apart = [&](const Operand& o) { return o.row_stride != cols * o.col_stride; };
  if (rows > 1 && cols >= 128 && cols <= p.tile &&
      std::any_of(out, out + p.out_register.size(), apart))
    return {1, cols};
  if (cols * 2 <= p.tile) return {std::min(rows, p.tile / std::max<int64_t>(cols, 1)), cols};
  const int64_t pieces = (cols + p.tile - 1) / p.tile;
  const int64_t width = ((cols + pieces - 1) / pieces + 15) / 16 * 16;
  return {1, std::min(width, p.tile)};
}

}  // namespace

RowChoice choose_row(const OpDef& op, std::span<const int> types, DType out) {
  RowChoice row;
  if (types.size() > 3) return row;
  if (op.name == "cast") {
    row.fn = cast_fn(DType(types[0]), out);
    row.cost = 1;
    row.operand[0] = 0;
    return row;
  }
  int n = 0;
  for (size_t i = 0; i < types.size(); ++i)
    if (types[i] != absent) row.operand[n++] = int8_t(i);
  const RowCode* code = n == 2 && op.name == "clamp"
                            ? find_row(row.operand[1] == 1 ? "maximum" : "minimum")
                            : find_row(op.name);
  const int c = compute_index(DType(types[op.name == "where" ? 1 : 0]));
  if (!code || c < 0) return row;
  row.fn = code->fn[c];
  // Cheap rows move memory; f64 transcendental functions go lane by lane.
  row.cost = code->cost < 8 ? 1 : c == 1 ? code->cost : code->cost / 4;
  return row;
}

ProgramPtr row_program(const OpDef& op, const Attrs&, std::span<const TensorDesc* const> in,
                       DType out) {
  Builder b;
  int16_t registers[3] = {-1, -1, -1};
  for (size_t i = 0; i < in.size(); ++i)
    if (in[i]) registers[i] = b.input(in[i]->dtype);
  // Between dtypes of one compute type a cast is only the load and the store.
  if (op.name == "cast" && compute_type(in[0]->dtype) == compute_type(out)) {
    b.output(registers[0], out, false);
    return b.finish();
  }
  const int16_t r = b.row(op, {registers, in.size()}, out);
  if (r < 0) return nullptr;
  b.output(r, out, true);
  return b.finish();
}

ProgramPtr graph_program(const Graph& body) { return graph_program(body, body.inputs, 0, body.outputs); }

ProgramPtr graph_program(const Graph& body, std::span<const ValueId> inputs, size_t first,
                         std::span<const ValueId> outputs) {
  if (!body.constants.empty() || inputs.size() > size_t(max_program_inputs) ||
      outputs.size() > size_t(max_program_outputs) || outputs.empty()) {
    return nullptr;
  }
  auto type = [&](ValueId v) -> const TensorType& { return body.values[size_t(v)].type; };
  for (ValueId v : outputs)
    if (!(type(v).shape == type(outputs[0]).shape)) return nullptr;
  if (body.nodes.size() - first + inputs.size() + outputs.size() > size_t(max_program_registers))
    return nullptr;

  Builder b;
  std::vector<int16_t> where(body.values.size(), -1);
  for (ValueId v : inputs) where[size_t(v)] = b.input(type(v).dtype);
  for (size_t k = first; k < body.nodes.size(); ++k) {
    const Node& n = body.nodes[k];
    if (!(n.op->flags & op_elementwise) || n.in.size() > 3) return nullptr;
    int16_t in[3] = {-1, -1, -1};
    for (size_t i = 0; i < n.in.size(); ++i)
      if (n.in[i] != no_value) in[i] = where[size_t(n.in[i])];
    const int16_t r = b.row(*n.op, {in, n.in.size()}, type(n.out[0]).dtype);
    if (r < 0) return nullptr;
    where[size_t(n.out[0])] = r;
  }
  for (ValueId v : outputs) b.output(where[size_t(v)], type(v).dtype, true);
  return b.finish();
}

void rows_run(const Program& p, const Operand* in, const Operand* out, int64_t rows, int64_t cols) {
  alignas(64) std::byte scratch[scratch_bytes];
  const int n_out = int(p.out_register.size());

  bool flat = rows > 1;
  for (int i = 0; i < p.n_in && flat; ++i) flat = in[i].row_stride == cols * in[i].col_stride;
  for (int j = 0; j < n_out && flat; ++j) flat = out[j].row_stride == cols * out[j].col_stride;
  if (flat) {
    cols *= rows;
    rows = 1;
  }
  const TileShape shape = tile_shape(p, in, out, rows, cols);

  std::byte* at[max_program_registers];
  for (size_t r = 0; r < p.slot.size(); ++r) at[r] = scratch + p.slot[r];
  bool aliased[max_program_outputs];   // the output's memory is an input that is read later
  for (int j = 0; j < n_out; ++j) {
    aliased[j] = false;
    for (int i = 0; i < p.n_in; ++i)
      aliased[j] |= (p.late_inputs[size_t(j)] >> i & 1) && in[i].data == out[j].data;
  }
  // What an input's tile holds: a broadcast operand is not loaded again.
  const std::byte* held[max_program_inputs];
  int64_t held_rows[max_program_inputs], held_cols[max_program_inputs];
  std::fill_n(held, p.n_in, nullptr);

  for (int64_t r0 = 0; r0 < rows; r0 += shape.rows) {
    const int64_t nr = std::min(shape.rows, rows - r0);
    for (int64_t c0 = 0; c0 < cols; c0 += shape.cols) {
      const int64_t nc = std::min(shape.cols, cols - c0), n = nr * nc;
      for (int i = 0; i < p.n_in; ++i) {
        const DType t = p.in_dtypes[size_t(i)];
        const int64_t item = item_size(t);
        const Operand& o = in[i];
        std::byte* from =
            static_cast<std::byte*>(o.data) + (r0 * o.row_stride + c0 * o.col_stride) * item;
        const Flat walk = flat_stride(o, nr, nc);
        if (walk.exists && walk.stride == 1 && is_direct(t)) {
          at[i] = from;
          continue;
        }
        at[i] = scratch + p.slot[size_t(i)];
        const bool scalar = o.row_stride == 0 && o.col_stride == 0;
        if (held[i] == from && (scalar ? held_rows[i] * held_cols[i] >= n
                                       : held_rows[i] == nr && held_cols[i] == nc)) {
          continue;
        }
        held[i] = from;
        held_rows[i] = nr;
        held_cols[i] = nc;
        if (walk.exists) {
          p.loads[size_t(i)](from, walk.stride, at[i], n);
        } else if (o.row_stride == 0) {
          p.loads[size_t(i)](from, o.col_stride, at[i], nc);
          repeat_row(at[i], tile_size(t) * nc, nr);
        } else {
          const int64_t size = tile_size(t) * nc;
          for (int64_t r = 0; r < nr; ++r)
            p.loads[size_t(i)](from + r * o.row_stride * item, o.col_stride, at[i] + r * size, nc);
        }
      }
      bool written[max_program_outputs];
      std::byte* to[max_program_outputs];
      for (int j = 0; j < n_out; ++j) {
        const Operand& o = out[j];
        to[j] = static_cast<std::byte*>(o.data) +
                (r0 * o.row_stride + c0 * o.col_stride) * item_size(p.out_dtypes[size_t(j)]);
        const Flat walk = flat_stride(o, nr, nc);
        written[j] = p.out_in_place[size_t(j)] && !aliased[j] && walk.exists && walk.stride == 1;
        const size_t r = size_t(p.out_register[size_t(j)]);
        if (written[j]) at[r] = to[j];
        else if (int(r) >= p.n_in) at[r] = scratch + p.slot[r];
      }
      for (const Instruction& i : p.code) {
        const void* args[3];
        for (int k = 0; k < 3; ++k) args[k] = i.in[k] >= 0 ? at[i.in[k]] : nullptr;
        i.fn(args, at[i.out], n);
        if (i.round) i.round(at[i.out], n);
      }
      for (int j = 0; j < n_out; ++j) {
        if (written[j]) continue;
        const Operand& o = out[j];
        const DType t = p.out_dtypes[size_t(j)];
        const std::byte* from = at[p.out_register[size_t(j)]];
        const Flat walk = flat_stride(o, nr, nc);
        if (walk.exists) {
          p.stores[size_t(j)](from, to[j], walk.stride, n);
        } else {
          for (int64_t r = 0; r < nr; ++r)
            p.stores[size_t(j)](from + r * nc * tile_size(t), to[j] + r * o.row_stride * item_size(t),
                      o.col_stride, nc);
        }
      }
    }
  }
}

}  // namespace suan::cpu::SUAN_ISA
