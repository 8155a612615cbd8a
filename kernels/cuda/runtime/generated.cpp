// Generated kernels on a card.
#include <mutex>
#include <unordered_map>

#include "kernels/cuda/lib/generated.h"
#include "kernels/cuda/runtime/driver.h"
#include "kernels/cuda/runtime/nvrtc.h"

namespace suan::cuda {
namespace {

// What CUDA's headers would have given.
constexpr const char* card_prelude = R"(typedef signed char int8_t; typedef short int16_t; typedef int int32_t;
typedef long int64_t; typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned uint32_t;
typedef unsigned long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
)";

class CardKernel : public Generated {
 public:
  explicit CardKernel(void* function) : function_(function) {}
  void launch(int64_t elements, void* parameter) const override {
    void* arguments[] = {parameter};
    const unsigned blocks = unsigned((elements + generated_threads - 1) / generated_threads);
    launch_function(function_, "fused_elementwise", {{blocks, 1, 1}, {generated_threads, 1, 1}}, 0, arguments);
  }

 private:
  void* function_;
};

}  // namespace

std::string why_no_generator() { return why_no_nvrtc(); }
std::string generator_library() { return nvrtc_version(); }

std::shared_ptr<const Generated> generate(const std::string& rows) {
  static std::mutex mutex;
  static auto* known = new std::unordered_map<std::string, std::shared_ptr<const Generated>>;
  std::lock_guard lock(mutex);
  auto& kept = (*known)[rows];
  if (kept) return kept;
  const std::string text = card_prelude + rows;
  current_stream();
  const std::string folder = cache_folder();
  const std::vector<std::string> options = nvrtc_options(architecture());
  std::string compiler = nvrtc_version();
  for (const std::string& option : options) compiler += " " + option;
  const std::string path = folder + "/" + cache_name(text, compiler, ".cubin");
  std::string code;
  void *module = nullptr, *function = nullptr;
  // What lies there may be damaged: then it is made again.
  if (folder.empty() || !read_file(path, code) || driver().module_load(&module, code.data()) != cu::success) {
    code = nvrtc_compile(text, options);
    check(driver().module_load(&module, code.data()), "loading a generated kernel");
    if (!folder.empty()) {
      write_file(path, code);
      write_file(path + ".cu", "// " + compiler + "\n" + text);   // for whoever wants to read it
    }
  }
  check(driver().module_function(&function, module, "suan_generated"), "finding a generated kernel");
  kept = std::make_shared<CardKernel>(function);
  return kept;
}

}  // namespace suan::cuda
