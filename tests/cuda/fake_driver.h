// A driver without a card, for tests of the runtime: libcuda.so.1 and libcublasLt.so.13 with the entry points that
// kernels/cuda/runtime calls. Work waits in its stream until something waits for it, as late as a card may run it;
// device memory is closed to the host meanwhile. It shows what the runtime asks for, not what a card does.
#pragma once

#include <cstddef>
#include <functional>

// Puts work into a stream, or into what the stream captures. 0, or an error of the driver's.
int fake_enqueue(void* stream, const char* what, std::function<void()> work);
