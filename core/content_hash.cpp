#include "core/content_hash.h"

#include <bit>
#include <cstring>
#include <vector>

#include "core/hash.h"
#include "core/pool.h"

namespace suan {
namespace {

static_assert(std::endian::native == std::endian::little, "hashes are of bytes in little-endian order");

constexpr int n_lanes = 8, block = 16 * n_lanes;
// Odd, half of the bits set, no two alike: successive outputs of mix().
struct Keys {
  uint64_t lane[n_lanes];
};
constexpr Keys keys_from(uint64_t x) {
  Keys k{};
  for (uint64_t& v : k.lane) {
    x += 0x9e3779b97f4a7c15ull;
    v = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    v = (v ^ (v >> 27)) * 0x94d049bb133111ebull | 1;
  }
  return k;
}
constexpr Keys start = keys_from(1), factor = keys_from(2);

inline uint64_t folded(uint64_t a, uint64_t b) {
  const unsigned __int128 p = static_cast<unsigned __int128>(a) * b;
  return uint64_t(p) ^ uint64_t(p >> 64);
}

// Beside the product the words are added: a factor of zero would forget what was before.
inline void absorb(uint64_t (&lane)[n_lanes], const char* p) {
  for (int i = 0; i < n_lanes; ++i) {
    uint64_t w[2];
    std::memcpy(w, p + 16 * i, 16);
    lane[i] = folded(lane[i] ^ w[0], factor.lane[i] ^ w[1]) + std::rotl(lane[i], 23) + w[0];
  }
}

}  // namespace

Hash128 content_hash(std::string_view bytes, Hash128 seed) {
  uint64_t lane[n_lanes];
  for (int i = 0; i < n_lanes; ++i) lane[i] = start.lane[i] ^ (i % 2 ? seed.high : seed.low);
  const char* p = bytes.data();
  size_t left = bytes.size();
  for (; left >= size_t(block); left -= size_t(block), p += block) absorb(lane, p);
  if (left) {
    char last[block] = {};
    std::memcpy(last, p, left);
    absorb(lane, last);
  }
  Hash128 h{mix(seed.low, bytes.size()), mix(~seed.high, bytes.size())};
  for (int i = 0; i < n_lanes; ++i) {
    h.low = mix(h.low, lane[i]);
    h.high = mix(h.high, folded(lane[i] ^ factor.lane[i], start.lane[n_lanes - 1 - i]) + lane[i]);
  }
  return h;
}

Hash128 content_hash_parallel(std::string_view bytes, const std::function<void(std::string_view)>& read) {
  constexpr size_t part = 1 << 20;   // fixed: the value depends on it
  std::vector<Hash128> of((bytes.size() + part - 1) / part);
  parallel_for(int64_t(of.size()), [&](int64_t i) {
    const std::string_view now = bytes.substr(size_t(i) * part, part);
    of[size_t(i)] = content_hash(now);
    if (read) read(now);
  });
  return content_hash({reinterpret_cast<const char*>(of.data()), of.size() * sizeof(Hash128)}, {bytes.size(), part});
}

}  // namespace suan
