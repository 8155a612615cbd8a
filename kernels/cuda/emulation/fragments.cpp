// Matrix instructions of a warp. Each lane's operands are gathered, and each lane's results computed, from the
// fragment layouts of the PTX ISA, so that a kernel that holds an element in the wrong lane or register gets
// wrong numbers, as on a card.
#include <cmath>

#include "kernels/cuda/emulation/internal.h"

namespace emu {
namespace {

// The ISA leaves the rounding of the accumulation open. This is the least that a card may do: products and
// sums are kept exactly, and one result is cut off, not rounded.
float cut(double x) {
  const float near = float(x);
  return std::isfinite(near) && std::fabs(double(near)) > std::fabs(x) ? std::nextafterf(near, 0.0f) : near;
}

struct Operands { uint32_t a[4], b[2]; };
static_assert(sizeof(Operands) <= slot_bytes);

float as_float(uint32_t bits) { return __builtin_bit_cast(float, bits); }

// depth: columns of a; per_register: elements in 32 bits. Registers of a hold rows g, g + 8, then the second
// half of the columns; those of b the first and the second half of its rows. value(bits, k): element k of a
// register.
template <int depth, int per_register, class Value>
void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const void* site, Value value) {
  Operands mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  const unsigned char* slots = exchange(~0u, Collective::mma, &mine, sizeof mine, site);
  const int g = int(lane_id) / 4, t = int(lane_id) % 4;
  double left[2][depth], right[2][depth];
  for (int k = 0; k < depth; ++k) {
    const int half = k / (depth / 2), column = k % (depth / 2) / per_register, part = k % per_register;
    for (int i = 0; i < 2; ++i) {
      uint32_t bits;
      std::memcpy(&bits, slots + (g * 4 + column) * slot_bytes + size_t(2 * half + i) * 4, 4);
      left[i][k] = double(value(bits, part));
      std::memcpy(&bits, slots + ((2 * t + i) * 4 + column) * slot_bytes + sizeof mine.a + size_t(half) * 4, 4);
      right[i][k] = double(value(bits, part));
    }
  }
  for (int i = 0; i < 4; ++i) {
    double sum = double(c[i]);
    for (int k = 0; k < depth; ++k) sum += left[i / 2][k] * right[i % 2][k];
    c[i] = cut(sum);
  }
}

}  // namespace

void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const void* site) {
  multiply<8, 1>(c, a, b, site, [](uint32_t bits, int) { return as_float(bits & ~0x1fffu); });
}
void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const void* site) {
  multiply<16, 2>(c, a, b, site, [](uint32_t bits, int part) { return as_float(part ? bits & 0xffff0000u : bits << 16); });
}

void ldmatrix(uint32_t* r, int matrices, const void* row, bool transposed, const void* site) {
  const unsigned char* slots = exchange(~0u, Collective::ldmatrix, &row, sizeof row, site);
  if (int(lane_id) < 8 * matrices) check_aligned(row, 16, site);
  const int g = int(lane_id) / 4, t = int(lane_id) % 4;
  for (int m = 0; m < matrices; ++m) {
    const auto element = [&](int at_row, int column, void* to, size_t bytes) {
      const char* p = lane_value<const char*>(slots, 8 * m + at_row) + 2 * column;
      checked_access(p, bytes, false, false, site);
      std::memcpy(to, p, bytes);
    };
    uint16_t pair[2];
    if (transposed) {
      element(2 * t, g, &pair[0], 2);
      element(2 * t + 1, g, &pair[1], 2);
    } else {
      element(g, 2 * t, pair, 4);
    }
    std::memcpy(&r[m], pair, 4);
  }
}

}  // namespace emu
