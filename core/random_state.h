// The process's generator for random nodes that name no seed: a seed, and counters 2^40 apart.
#pragma once

#include <cstdint>

namespace suan {

// The next {seed, offset} for random_bits. Any thread; the seed is the system's unless one was set.
void next_random_state(uint64_t out[2]);
// Restarts: what is drawn from now on follows from the seed, in the order in which it is drawn.
void seed_random_state(uint64_t seed);

}  // namespace suan
