// The text that generated kernels begin with, and their cache on disk.
#include "kernels/cuda/lib/generated.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "core/hash.h"

namespace suan::cuda {

extern const char* const generated_prelude;   // written by tools/cmake/cuda.cmake

namespace {

struct Pieces {
  std::vector<std::string> texts;                 // in the order in which they may stand
  std::unordered_map<std::string, size_t> from;   // name to piece
};

const Pieces& pieces() {
  static const Pieces all = [] {
    Pieces p;
    std::istringstream lines(generated_prelude);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("//: ")) {
        std::istringstream names(line.substr(4));
        for (std::string name; names >> name;) p.from[name] = p.texts.size();
        p.texts.emplace_back();
      } else {
        p.texts.back() += line + "\n";
      }
    }
    return p;
  }();
  return all;
}

void mark_named(const std::string& text, std::vector<bool>& wanted) {
  constexpr const char* letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  for (size_t at = 0; (at = text.find_first_of(letters, at)) != text.npos;) {
    const size_t end = std::min(text.find_first_not_of(letters, at), text.size());
    const auto piece = pieces().from.find(text.substr(at, end - at));
    at = end;
    if (piece == pieces().from.end() || wanted[piece->second]) continue;
    wanted[piece->second] = true;
    mark_named(pieces().texts[piece->second], wanted);
  }
}

}  // namespace

std::string with_prelude(const std::string& text) {
  std::vector<bool> wanted(pieces().texts.size());
  mark_named(text, wanted);
  std::string all = "namespace suan::cuda::prelude {\n";
  for (size_t i = 0; i < wanted.size(); ++i)
    if (wanted[i]) all += pieces().texts[i];
  return all + text + "}  // namespace\n";
}

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
