// Generated kernels in the emulation: the host's C++ compiler makes a library of the same text. Its threads know
// nothing of one another, so a loop over them is as good as a grid.
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <unordered_map>

#include "core/error.h"
#include "kernels/cuda/emulation/launch.h"
#include "kernels/cuda/lib/generated.h"

extern char** environ;

namespace suan::cuda {
namespace {

constexpr const char* host_prelude = R"(#include <cmath>
#include <cstdint>
#include <cstring>
#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__ &
#define __launch_bounds__(...)
namespace {
struct Index { unsigned x; } threadIdx, blockIdx, blockDim;
inline uint64_t __umul64hi(uint64_t a, uint64_t b) { return uint64_t((unsigned __int128)a * b >> 64); }
}
)";

// $CXX, else c++, if there is such a program.
const std::string& compiler() {
  static const std::string found = [] {
    const char* asked = std::getenv("CXX");
    const std::string name = asked && *asked ? asked : "c++";
    if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : std::string();
    const char* path = std::getenv("PATH");
    const std::string all = path ? path : "";
    for (size_t from = 0; from <= all.size();) {
      size_t to = std::min(all.find(':', from), all.size());
      const std::string full = all.substr(from, to - from) + "/" + name;
      if (to > from && access(full.c_str(), X_OK) == 0) return full;
      from = to + 1;
    }
    return std::string();
  }();
  return found;
}

class HostKernel : public Generated {
 public:
  HostKernel(const void* run, size_t bytes)
      : bytes_{bytes, 0}, kernel_{"fused_elementwise", call, run, 1, bytes_} {}
  void launch(int64_t elements, void* parameter) const override {
    LaunchScope scope(kernel_.name);
    void* arguments[] = {parameter};
    const unsigned blocks = unsigned((elements + generated_threads - 1) / generated_threads);
    launch_emulated(kernel_, {{blocks, 1, 1}, {generated_threads, 1, 1}}, 0, arguments);
  }

 private:
  static void call(const EmulatedKernel& k, const LaunchShape& shape, size_t, void** arguments) {
    using Run = void (*)(const void*, unsigned, unsigned);
    reinterpret_cast<Run>(const_cast<void*>(k.kernel))(arguments[0], shape.grid[0], shape.block[0]);
  }
  size_t bytes_[2];
  EmulatedKernel kernel_;
};

void compile(const std::string& text, const std::string& source, const std::string& library) {
  write_file(source, text);
  const std::string log = source + ".log";
  std::string arguments[] = {compiler(), "-std=c++20", "-O2", "-ffp-contract=off", "-fwrapv", "-shared", "-fPIC",
                             "-o", library, source};
  char* argv[std::size(arguments) + 1] = {};
  for (size_t i = 0; i < std::size(arguments); ++i) argv[i] = arguments[i].data();
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t child = 0;
  int status = posix_spawn(&child, argv[0], &files, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&files);
  if (status == 0) waitpid(child, &status, 0);
  std::string message;
  if (status != 0) read_file(log, message);
  unlink(source.c_str());
  unlink(log.c_str());
  if (status != 0)
    fail<DeviceError>("fused_elementwise", "the compiler failed: expected {} to take the kernel, got {}", compiler(),
                      message.substr(0, 600));
}

}  // namespace

std::string why_no_generator() {
#ifdef SUAN_EMULATION_CHECKS
  return "the checker sees the rows one by one";
#else
  return compiler().empty() ? "no C++ compiler on the PATH" : "";
#endif
}
std::string generator_library() { return why_no_generator().empty() ? compiler() : "none (" + why_no_generator() + ")"; }

std::shared_ptr<const Generated> generate(const std::string& text) {
  static std::mutex mutex;
  static auto* known = new std::unordered_map<std::string, std::shared_ptr<const Generated>>;
  std::lock_guard lock(mutex);
  auto& kept = (*known)[text];
  if (kept) return kept;
  const std::string whole =
      host_prelude + text +
      "extern \"C\" void suan_run(const void* p, unsigned blocks, unsigned threads) {\n"
      "  blockDim.x = threads;\n"
      "  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)\n"
      "    for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x)\n"
      "      suan::cuda::prelude::suan_generated(*static_cast<const suan::cuda::prelude::Parameter*>(p));\n}\n"
      "extern \"C\" unsigned long suan_bytes() { return sizeof(suan::cuda::prelude::Parameter); }\n";
  std::string folder = cache_folder();
  const bool keep = !folder.empty();
  if (!keep) {
    char made[] = "/tmp/suan-kernels-XXXXXX";
    if (!mkdtemp(made)) fail<DeviceError>("fused_elementwise", "no place to compile: expected a folder, got a refusal");
    folder = made;
  }
  const std::string path = folder + "/" + cache_name(whole, compiler(), ".so");
  void* library = access(path.c_str(), R_OK) == 0 ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (!library) {   // absent, or not a whole library
    const std::string mine = path + "." + std::to_string(getpid());
    compile(whole, mine + ".cpp", mine);
    if (rename(mine.c_str(), path.c_str()) != 0) unlink(mine.c_str());
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  const void* run = library ? dlsym(library, "suan_run") : nullptr;
  auto bytes = library ? reinterpret_cast<unsigned long (*)()>(dlsym(library, "suan_bytes")) : nullptr;
  if (!keep) {
    unlink(path.c_str());
    rmdir(folder.c_str());
  }
  if (!run || !bytes) fail<DeviceError>("fused_elementwise", "compiled kernel does not load: expected a library, got {}", dlerror());
  kept = std::make_shared<HostKernel>(run, bytes());
  return kept;
}

}  // namespace suan::cuda
