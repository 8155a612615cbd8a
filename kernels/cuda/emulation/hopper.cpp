// Barriers in shared memory, the copy engine and a warpgroup's products. All of it happens as late as the rules
// allow: copies land when a barrier's phase is looked at and nothing else is missing, products run when their
// group is waited for. Not seen here: fences, and races of these accesses with ordinary ones.
#include <algorithm>
#include <map>

#include "kernels/cuda/emulation/internal.h"

namespace emu {
namespace {

constexpr int tile_row = 128;   // bytes

struct TileCopy { unsigned char* to; TileMap from; int column, row; const void* site; };
struct Barrier {
  uint32_t arrivals = 0, missing = 0;
  int64_t bytes = 0;              // expected and not there yet
  uint32_t phase = 0;
  std::vector<TileCopy> copies;
};
struct Product { float* d; uint64_t a, b; const void* site; };

std::map<const uint64_t*, Barrier> barriers;
std::map<uint32_t, std::vector<std::vector<Product>>> products;   // by thread; the last group is open
std::map<const unsigned char*, size_t> swizzled;                  // tiles that the copy engine wrote

// 16-byte pieces of a row change places with the row's number in its group of eight.
unsigned char* swizzle(unsigned char* p) {
  const auto at = size_t(p - shared_memory);
  return shared_memory + (at ^ (at >> 7 & 7) << 4);
}

void land(const TileCopy& c) {
  const TileMap& m = c.from;
  for (int r = 0; r < m.box_rows; ++r)
    for (int k = 0; k < m.box_columns; ++k) {
      const int64_t row = int64_t(c.row) + r, column = int64_t(c.column) + k;
      uint16_t value = 0;
      if (row >= 0 && row < m.rows && column >= 0 && column < m.columns) {
        const uint16_t* p = m.matrix + row * m.columns + column;
        checked_access(p, 2, false, false, c.site);
        std::memcpy(&value, p, 2);
      }
      std::memcpy(swizzle(c.to + r * tile_row + 2 * k), &value, 2);
    }
  know_written(c.to, size_t(m.box_rows) * tile_row);
  swizzled[c.to] = size_t(m.box_rows) * tile_row;
}

Barrier& known(const uint64_t* b, const void* site) {
  auto it = barriers.find(b);
  if (it == barriers.end()) {
    report("synccheck", "a barrier of %s is used before it is made (%s)", running.kernel, source_line(site).c_str());
    it = barriers.emplace(b, Barrier{1, 1, 0, 0, {}}).first;
  }
  return it->second;
}

// Ends the phase if all threads have come and all bytes with them.
void settle(Barrier& b) {
  if (b.missing) return;
  for (const TileCopy& c : b.copies) {
    land(c);
    b.bytes -= int64_t(c.from.box_rows) * c.from.box_columns * 2;
  }
  b.copies.clear();
  if (b.bytes) return;
  b.phase ^= 1;
  b.missing = b.arrivals;
}

float value_of(const unsigned char* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return __builtin_bit_cast(float, uint32_t(bits) << 16);
}

// Element (row, k) of an operand.
const unsigned char* element(uint64_t operand, int row, int k) {
  const auto field = [&](int shift) { return uint32_t(operand >> shift & 0x3fff) << 4; };
  const uint32_t start = field(0), leading = field(16), group = field(32);
  if (operand >> 62 == 1) return swizzle(shared_memory + start + uint32_t(row) / 8 * group + row % 8 * tile_row + 2 * k);
  return shared_memory + start + uint32_t(k) / 8 * leading + uint32_t(row) / 8 * group + row % 8 * 16 + k % 8 * 2;
}

void run(const Product& p) {
  for (const uint64_t operand : {p.a, p.b}) {
    const uint64_t mode = operand >> 62;
    const unsigned char* start = shared_memory + ((operand & 0x3fff) << 4);
    auto it = swizzled.upper_bound(start);
    const bool tile = it != swizzled.begin() && start < std::prev(it)->first + std::prev(it)->second;
    if (mode > 1 || (tile && mode != 1))
      report("asynccheck", "wgmma in %s reads a tile with swizzle %d that was written with 128-byte swizzle (%s)",
             running.kernel, int(mode), source_line(p.site).c_str());
  }
  const int warp = int(running.thread) % 128 / 32, lane = int(running.thread) % 32;
  for (int i = 0; i < 32; ++i) {
    const int row = 16 * warp + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + 2 * (lane % 4) + i % 2;
    float sum = p.d[i];
    for (int k = 0; k < 16; ++k) sum += value_of(element(p.a, row, k)) * value_of(element(p.b, column, k));
    p.d[i] = sum;
  }
}

}  // namespace

void barrier_init(uint64_t* b, uint32_t arrivals, const void* site) {
  check_aligned(b, 8, site);
  barriers[b] = Barrier{arrivals, arrivals, 0, 0, {}};
}
void barrier_arrive(uint64_t* at, uint32_t bytes, const void* site) {
  Barrier& b = known(at, site);
  b.bytes += bytes;
  if (b.missing) --b.missing;
  else report("synccheck", "more arrivals than the %u that a barrier of %s was made for (%s)", b.arrivals, running.kernel,
              source_line(site).c_str());
  if (b.copies.empty() && !b.bytes) settle(b);
}
void barrier_wait(uint64_t* at, uint32_t parity, const void* site) {
  Barrier& b = known(at, site);
  for (;;) {
    if (b.phase != parity) return;
    settle(b);
    if (b.phase != parity) return;
    spin(site);
  }
}
void copy_tile(void* to, const TileMap& map, int column, int row, uint64_t* b, const void* site) {
  check_aligned(to, 1024, site);
  check_aligned(map.matrix, 16, site);
  std::memset(to, 0xff, size_t(map.box_rows) * tile_row);   // in flight
  known(b, site).copies.push_back({static_cast<unsigned char*>(to), map, column, row, site});
}

void wgmma_64x64(float* d, uint64_t a, uint64_t b, const void* site) {
  char nothing = 0;
  exchange(~0u, Collective::mma, &nothing, 1, site);   // the whole warp, or a report
  auto& groups = products[running.thread];
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({d, a, b, site});
}
void wgmma_commit() {
  if (auto& groups = products[running.thread]; !groups.empty()) groups.emplace_back();
}
void wgmma_wait(int keep) {
  auto& groups = products[running.thread];
  const int committed = int(groups.size()) - 1;
  for (int i = 0; i < committed - keep; ++i)
    for (const Product& p : groups[size_t(i)]) run(p);
  if (committed > keep) groups.erase(groups.begin(), groups.begin() + (committed - keep));
  if (groups.size() == 1 && groups[0].empty()) groups.clear();
}

void hopper_thread_ends() {
  const auto it = products.find(running.thread);
  if (it == products.end()) return;
  for (const auto& group : it->second)
    if (!group.empty()) {
      report("asynccheck", "thread %u of %s exits with a wgmma that it never waited for (%s)", running.thread,
             running.kernel, source_line(group[0].site).c_str());
      break;
    }
  products.erase(it);
}
void hopper_block_ends() {
  for (const auto& [at, b] : barriers)
    if (!b.copies.empty()) {
      report("asynccheck", "a block of %s ends with %zu tiles on their way (%s)", running.kernel, b.copies.size(),
             source_line(b.copies[0].site).c_str());
      break;
    }
  barriers.clear();
  products.clear();
  swizzled.clear();
}

}  // namespace emu
