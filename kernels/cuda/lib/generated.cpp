// The disk cache of generated kernels.
#include "kernels/cuda/lib/generated.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/hash.h"

namespace suan::cuda {

// Only a folder of our own: what lies there is run.
std::string cache_folder() {
  static const std::string folder = [] {
    std::string path;
    if (const char* asked = std::getenv("SUAN_CACHE"); asked && *asked) path = asked;
    else if (const char* user = std::getenv("XDG_CACHE_HOME"); user && *user) path = std::string(user) + "/suan";
    else if (const char* home = std::getenv("HOME"); home && *home) path = std::string(home) + "/.cache/suan";
    else return path;
    std::error_code failed;
    std::filesystem::create_directories(path + "/kernels", failed);
    path += "/kernels";
    struct stat info {};
    if (lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != geteuid()) return std::string();
    if (info.st_mode & 077 && chmod(path.c_str(), 0700) != 0) return std::string();
    return path;
  }();
  return folder;
}

std::string cache_name(const std::string& text, const std::string& compiler, const char* extension) {
  uint64_t a = 0x243f6a8885a308d3ull, b = 0x13198a2e03707344ull;
  for (const std::string* part : {&text, &compiler}) {
    for (unsigned char c : *part) {
      a = mix(a, c);
      b = mix(b, c + 1);
    }
    a = mix(a, part->size());
    b = mix(b, part->size());
  }
  char name[64];
  std::snprintf(name, sizeof name, "%016llx%016llx", static_cast<unsigned long long>(a),
                static_cast<unsigned long long>(b));
  return name + std::string(extension);
}

bool read_file(const std::string& path, std::string& content) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return false;
  std::ostringstream all;
  all << in.rdbuf();
  content = all.str();
  return in.good() && !content.empty();
}

void write_file(const std::string& path, const std::string& content) {
  const std::string part = path + "." + std::to_string(getpid());
  {
    std::ofstream out(part, std::ios::binary);
    out.write(content.data(), std::streamsize(content.size()));
    if (!out) {
      unlink(part.c_str());
      return;
    }
  }
  if (rename(part.c_str(), path.c_str()) != 0) unlink(part.c_str());
}

}  // namespace suan::cuda
