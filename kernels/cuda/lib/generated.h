// Kernels made while the program runs, from text: by NVRTC on a card, by the host's C++ compiler in the emulation.
// Compiled code is kept on disk by a hash of text, compiler and architecture.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/lib/device.h"

namespace suan::cuda {

// `text` in the namespace suan::cuda::prelude, after those pieces of values.cuh and prelude.cuh that it names or that
// they name: a compiler's time goes with what it reads.
std::string with_prelude(const std::string& text);

// A kernel "suan_generated" of one parameter, a structure passed by value. Each thread takes the element of its number,
// if there is one, and knows nothing of the others.
class Generated {
 public:
  virtual ~Generated() = default;
  virtual void launch(int64_t elements, void* parameter) const = 0;
};
constexpr unsigned generated_threads = 256;   // of a block

// Why there is no compiler; empty when there is one.
std::string why_no_generator();
std::string generator_library();   // its name and version, or why there is none
// Compiled, or taken from memory or disk. DeviceError with the compiler's message.
std::shared_ptr<const Generated> generate(const std::string& text);

// ---- shared by both compilers --------------------------------------------------------------------------------

// Where compiled code is kept ($SUAN_CACHE, else the user's cache folder); empty when it cannot be made.
std::string cache_folder();
std::string cache_name(const std::string& text, const std::string& compiler, const char* extension);
bool read_file(const std::string& path, std::string& content);
void write_file(const std::string& path, const std::string& content);   // at once or not at all; no error if it cannot

}  // namespace suan::cuda
