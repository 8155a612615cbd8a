// What the scheduler and the checker share.
#pragma once

#include "kernels/cuda/emulation/emulation.h"

namespace emu {

struct Running {
  uint32_t thread = 0;            // in its block
  uint32_t epoch = 0;             // barriers of the block so far
  uint32_t warp_epoch = 0;        // warp barriers of the thread's warp so far
  const char *stack_low = nullptr, *stack_high = nullptr;
  const char* kernel = "";
  const char* launch_frame = nullptr;   // above it: the launch's arguments
  size_t shared_bytes = 0;
};
extern Running running;

void hopper_thread_ends();
void hopper_block_ends();

std::string source_line(const void* site);
bool is_scheduler_memory(uintptr_t address);

// The checker's hooks (checker.cpp, or no_checker.cpp in the fast build).
void checker_begin(void* shared, size_t shared_bytes, void* fixed, size_t fixed_bytes);
void checker_next_block();
void checker_shared_array(void* p, size_t bytes);
void checker_end();

}  // namespace emu
