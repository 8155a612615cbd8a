// What the collective kernels share: the call as the communicator sees it, and the world of one.
#pragma once

#include <cstring>

#include "core/communicator.h"
#include "core/op.h"

namespace suan::cpu::SUAN_ISA {

struct CollectiveState {
  CollectiveCall call;
  int64_t world;
  int64_t bytes;  // of the input
};

// run(communicator, call, args) where there are several ranks, a copy where there is one.
template <auto run>
Prepared prepare_collective(const KernelDesc& d, CollectiveCall call, int64_t world, bool reduces = false) {
  call.shape = d.in[0]->layout.shape;
  call.dtype = d.in[0]->dtype;
  Prepared p;
  if (reduces) p.workspace = collective_scratch(call, world);
  p.state = std::make_shared<CollectiveState>(
      CollectiveState{call, world, bytes_for(call.dtype, numel(call.shape))});
  p.run = [](const void* state, const KernelArgs& a) {
    const CollectiveState& s = *static_cast<const CollectiveState*>(state);
    if (auto c = communicator_for(s.call.op, s.world)) run(*c, s.call, a);
    else if (s.bytes) std::memcpy(a.out[0], a.in[0], size_t(s.bytes));
  };
  return p;
}

}  // namespace suan::cpu::SUAN_ISA
