#include "core/random_state.h"

#include <mutex>
#include <optional>
#include <random>

namespace suan {
namespace {
std::mutex mutex;
std::optional<uint64_t> process_seed;
uint64_t runs = 0;
}  // namespace

void next_random_state(uint64_t out[2]) {
  std::lock_guard lock(mutex);
  if (!process_seed) {
    std::random_device device;
    process_seed = uint64_t(device()) << 32 | device();
  }
  // The high bits of the count change the seed: 2^24 runs share one.
  out[0] = *process_seed + (runs >> 24);
  out[1] = runs++ << 40;
}

void seed_random_state(uint64_t seed) {
  std::lock_guard lock(mutex);
  process_seed = seed;
  runs = 0;
}

}  // namespace suan
