// The element-wise engine. A program is a list of scalar rows over virtual registers; it runs tile by
// tile, so that intermediate values stay in L1. Memory already in compute type and contiguous is used
// in place; narrow dtypes, strides and broadcasts pass through tiles. Every value is rounded to its own
// dtype, so a fused program gives the bits of its rows run one by one.
#pragma once

#include <memory>
#include <vector>

#include "core/graph.h"
#include "kernels/cpu/lib/tiles.h"

namespace suan::cpu::SUAN_ISA {

inline constexpr int max_program_inputs = 24;
inline constexpr int max_program_outputs = 8;
inline constexpr int max_program_registers = 96;

struct Instruction {
  void (*fn)(const void* const* in, void* out, int64_t n);
  void (*round)(void* tile, int64_t n);   // null when the result needs none
  int16_t in[3] = {-1, -1, -1};
  int16_t out = -1;
};

// Immutable. Registers are the inputs, then one per instruction.
struct Program {
  int n_in = 0;
  std::vector<Instruction> code;
  std::vector<DType> in_dtypes, out_dtypes;
  std::vector<LoadFn> loads;              // per input
  std::vector<StoreFn> stores;            // per output
  std::vector<int16_t> out_register;
  std::vector<uint8_t> out_in_place;      // the defining instruction may write the output's memory
  std::vector<uint32_t> late_inputs;      // inputs still read after that instruction (bit per input)
  std::vector<int32_t> slot;              // per register, byte offset of its tile in the scratch
  int64_t tile = 0;                       // elements
  int64_t cost = 0;                       // operations per element
};
using ProgramPtr = std::shared_ptr<const Program>;

// A row's function for its operands' dtypes, and which of the op's inputs they are. Without a function
// there is no such row. A clamp with one bound is a maximum or a minimum.
struct RowChoice {
  void (*fn)(const void* const* in, void* out, int64_t n) = nullptr;
  int cost = 0;
  int8_t operand[3] = {-1, -1, -1};
};
inline constexpr int absent = -1;
// types: the DType of each input, or absent.
RowChoice choose_row(const OpDef& op, std::span<const int> types, DType out);

// One op that is a row; `in` has null where an optional input is absent.
ProgramPtr row_program(const OpDef& op, const Attrs& attrs, std::span<const TensorDesc* const> in,
                       DType out);
// A body whose nodes are all rows. Null when it holds something else, constants, or too much.
ProgramPtr graph_program(const Graph& body);
// Its nodes from `first` on, as a program of its own.
ProgramPtr graph_program(const Graph& body, std::span<const ValueId> inputs, size_t first,
                         std::span<const ValueId> outputs);

// A 2-D operand: strides in elements, 0 where it is broadcast, negative allowed.
struct Operand {
  void* data;
  int64_t row_stride;
  int64_t col_stride;
};

// Evaluates the program on a rectangle, on the calling thread. An output may be exactly an input: a
// matmul's tile is in[0] and out[0], the other inputs are full, row, column or scalar operands already
// moved to the tile's corner.
void rows_run(const Program& program, const Operand* in, const Operand* out, int64_t rows,
              int64_t cols);

// The short way: one row, every operand contiguous in its compute type with out's shape, or of one
// element. Empty `run` when that does not hold.
Prepared prepare_flat(const RowChoice& row, std::span<const TensorDesc* const> in,
                      const TensorDesc& out);

// A kernel made of a program whose present inputs are `in` (broadcast against out[0]'s shape).
Prepared prepare_program(ProgramPtr program, std::span<const TensorDesc* const> in,
                         std::span<const TensorDesc* const> out);

}  // namespace suan::cpu::SUAN_ISA
