// NVRTC, opened when it is first needed.
#include <dlfcn.h>

#include "core/error.h"
#include "kernels/cuda/runtime/nvrtc.h"

namespace suan::cuda {
namespace {

#define SUAN_NVRTC_CALLS(X)                                                                                        \
  X(version, "nvrtcVersion", (int* major, int* minor))                                                             \
  X(create, "nvrtcCreateProgram", (void** program, const char* text, const char* name, int headers,                \
                                   const char* const* header_texts, const char* const* header_names))              \
  X(destroy, "nvrtcDestroyProgram", (void** program))                                                              \
  X(compile, "nvrtcCompileProgram", (void* program, int n, const char* const* options))                            \
  X(code_size, "nvrtcGetCUBINSize", (void* program, size_t* size))                                                 \
  X(code, "nvrtcGetCUBIN", (void* program, char* code))                                                            \
  X(log_size, "nvrtcGetProgramLogSize", (void* program, size_t* size))                                             \
  X(log, "nvrtcGetProgramLog", (void* program, char* log))

struct Nvrtc {
#define SUAN_DECLARE(name, symbol, parameters) int(*name) parameters = nullptr;
  SUAN_NVRTC_CALLS(SUAN_DECLARE)
#undef SUAN_DECLARE
  std::string missing, text;   // why it cannot be used; else what it is
};

const Nvrtc& nvrtc() {
  static const Nvrtc found = [] {
    Nvrtc n;
    void* library = nullptr;
    for (const char* name : {"libnvrtc.so.13", "/usr/local/cuda/lib64/libnvrtc.so.13"})
      if (!library) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      n.missing = "no libnvrtc.so.13";
      return n;
    }
#define SUAN_FIND(name, symbol, parameters)                                                       \
  n.name = reinterpret_cast<decltype(n.name)>(dlsym(library, symbol));                            \
  if (!n.name) {                                                                                  \
    n.missing = std::string("libnvrtc.so.13 without ") + symbol;                                  \
    return n;                                                                                     \
  }
    SUAN_NVRTC_CALLS(SUAN_FIND)
#undef SUAN_FIND
    int major = 0, minor = 0;
    n.version(&major, &minor);
    n.text = "NVRTC " + std::to_string(major) + "." + std::to_string(minor);
    return n;
  }();
  return found;
}

}  // namespace

// --minimal leaves out what small kernels never name, --Ofast-compile=mid the optimisers' dearest passes: a third of the
// time, for the same arithmetic in 8 % fewer to 14 % more instructions.
std::vector<std::string> nvrtc_options(int arch) {
  return {"--gpu-architecture=sm_" + std::to_string(arch) + (arch == 90 ? "a" : ""), "--std=c++20", "--fmad=false",
          "--device-as-default-execution-space", "--minimal", "--Ofast-compile=mid"};
}

std::string nvrtc_compile(const std::string& text, const std::vector<std::string>& options) {
  const Nvrtc& n = nvrtc();
  if (!n.missing.empty()) fail<DeviceError>("fused_elementwise", "cannot compile: expected NVRTC, got {}", n.missing);
  void* program = nullptr;
  if (n.create(&program, text.c_str(), "suan_generated.cu", 0, nullptr, nullptr) != 0)
    fail<DeviceError>("fused_elementwise", "cannot compile: expected NVRTC to take a program, got a refusal");
  std::vector<const char*> list;
  for (const std::string& option : options) list.push_back(option.c_str());
  const int result = n.compile(program, int(list.size()), list.data());
  size_t size = 0;
  std::string words, code;
  if (n.log_size(program, &size) == 0 && size > 1) {
    words.resize(size);
    n.log(program, words.data());
  }
  if (result == 0 && n.code_size(program, &size) == 0) {
    code.resize(size);
    n.code(program, code.data());
  }
  n.destroy(&program);
  if (result != 0 || code.empty())
    fail<DeviceError>("fused_elementwise", "NVRTC failed: expected it to take the kernel, got {}", words.substr(0, 600));
  return code;
}
std::string why_no_nvrtc() { return nvrtc().missing; }
std::string nvrtc_version() { return nvrtc().missing.empty() ? nvrtc().text : "none (" + nvrtc().missing + ")"; }

}  // namespace suan::cuda
