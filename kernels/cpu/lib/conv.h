// Convolution of 1 to 3 spatial dimensions, with groups, stride, padding and dilation, and both its
// gradients, on plain [batch, channels, size...] tensors, in two ways. Where there are channels to
// fill vectors, they are the vectors (conv_direct.h, conv_direct_weight.h); else it is a matrix
// product whose one operand is gathered from the image while it is packed (conv_gather.h), on the
// register kernels of gemm_tile.h. No blocked copy of a tensor is made: what is rearranged lives only
// in a task's scratch.
//
// Numerics: an element is the sum, in order, of partial sums over blocks of k = (channel, tap), each
// one chain of fma from zero; the weight gradient sums over blocks of pixels, then images, within a
// fixed number of ranges of the batch whose results are added in order. A function of the shape
// alone; the same bits on AVX2 and AVX-512.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "kernels/cpu/lib/gemm.h"

namespace suan::cpu {

enum class ConvKind : uint8_t { forward, input_grad, weight_grad };

// x is [batch, groups * in_per_group, in...], weight [groups * out_per_group, in_per_group,
// kernel...], y [batch, groups * out_per_group, out...]. Fewer than three dimensions: leading ones
// of size and kernel 1.
struct ConvShape {
  using Dims3 = std::array<int64_t, 3>;
  int64_t batch = 0, groups = 1, in_per_group = 0, out_per_group = 0;
  Dims3 in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1};
  Dims3 stride{1, 1, 1}, dilation{1, 1, 1};
  Dims3 pad_low{0, 0, 0};    // the high side follows from `out`
  DType dtype = DType::f32;  // f16, bf16, f32, f64
};

struct ConvPlan {
  ConvShape shape;
  ConvKind kind = ConvKind::forward;
  // Of forward and input_grad: the correlation they are, and its tiles.
  ConvShape::Dims3 in{}, out{}, stride{}, pad_low{};
  // Of a strided input_grad: how far apart its input's values lie.
  ConvShape::Dims3 spread{1, 1, 1};
  // Of the direct way: the phases (conv_direct.h) that meet a tap, ascending.
  std::vector<int64_t> phases;
  int64_t rows = 0, channels = 0;  // per group, of the result and of the gathered operand
  int64_t k = 0;                   // channels * taps
  int64_t panel_rows = 0, tile_rows = 0, row_tiles = 0;
  int64_t tile_cols = 0, col_tiles = 0;  // pixels of one plane
  int64_t group = 1;                     // images per task
  // Channels as vectors: boxes of tile_lines x tile_cols pixels, weight_grad's of group images.
  bool direct = false;
  int64_t tile_lines = 1;
  // Of weight_grad: channels and outputs per task, ranges of the batch, pixels per block.
  int64_t tile_channels = 0, tile_outputs = 0, ranges = 1, pixel_block = 0;
  int64_t tasks = 0;
  size_t workspace = 0;  // bytes, 64-byte aligned
};

// forward: a = x, b = weight, c = y. input_grad: a = dy, b = weight, c = dx. weight_grad: a = x, b
// = dy, c = dweight. The epilogue gets (address, image, first channel, channels, first pixel,
// pixels, pixels of the whole image) on forward and input_grad; weight_grad takes none. Throws
// TypeError or ShapeError in prepare; conv_run allocates nothing.
#define SUAN_DECLARE_CONV(ISA)                                                                \
  namespace ISA {                                                                             \
  ConvPlan conv_prepare(ConvKind kind, const ConvShape& shape);                               \
  void conv_run(const ConvPlan& plan, const void* a, const void* b, void* c, void* workspace, \
                TileEpilogue epilogue = {});                                                  \
  }
SUAN_DECLARE_CONV(avx2)
SUAN_DECLARE_CONV(avx512)
#undef SUAN_DECLARE_CONV

}  // namespace suan::cpu
