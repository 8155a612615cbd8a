// Packed weights in a file: what the passes made of a model's constants (core/pass.h, ConstantCache), for other processes
// to map. A file serves one model, one version and build of Suan and one kind of processor.
//
//   0     header: magic, format, size of the file, where table and data lie, whose they are; its hash
//   4096  stamp: the model's files as the file system knew them when their content was hashed; may be rewritten alone
//   8192  table of entries, hashed by the header
//   ...   data, each entry's at a multiple of 64 bytes
//
// What is known by a hash only: the model (its files, given initializers) and, per entry, which
// constant of the model was packed, how, and under which numeric options. Files are made beside their place, synchronised
// and renamed, so that readers see a whole one or none.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "core/content_hash.h"
#include "core/pass.h"
#include "frontends/onnx/reader.h"

namespace suan::onnx {

// What a model is known by. Hashing its files reads them whole, so the stamp goes first: files that the file system says
// have not changed since they were hashed are not read.
class ModelIdentity {
 public:
  // `other`: what else belongs to the model.
  ModelIdentity(std::vector<std::shared_ptr<const MappedFile>> files, Hash128 other) : files_(std::move(files)), other_(other) {}
  Hash128 content() const;
  // Device, inode, size and times of the files now. `settled`: nothing where these say nothing of the content (no files, or
  // changed just now).
  std::optional<Hash128> stamp(bool settled = true) const;

 private:
  std::vector<std::shared_ptr<const MappedFile>> files_;
  Hash128 other_;
  mutable std::optional<Hash128> content_;
};

class Prepacked {
 public:
  using Log = std::function<void(int severity, const std::string&)>;
  // Opens what is there. A file that is damaged or none of prepacked weights is a ValueError. One that does not fit is a
  // ValueError if `read_only`, else it is as good as none, and a warning. None at all is an IoError if `read_only`.
  // `options`: numeric options, which packed weights of other sessions in the same file may have been made under.
  Prepacked(std::filesystem::path path, bool read_only, ModelIdentity model, std::string options, Log log);

  // A constant of the model, whose packed forms are kept, by a name that means the same values in every process.
  void add_root(const Tensor& constant, const std::string& name);
  // For ConstantCache::kept. ValueError where the file has another type than `make` gives, or bytes of another checksum: a
  // call is about to read them all. Not of what is kept as it is, such as tables that a call reads a few rows of.
  static constexpr std::string_view as_is = "as it is";
  Tensor find(uint64_t storage, const std::string& way, const std::function<Tensor()>& make) const;
  // Writes the file anew if a plan reads packed weights (`used`: its storages) that the file lacks, or there is none.
  void update(const ConstantCache& cache, const std::set<uint64_t>& used);
  // What tensors are mapped from; null for none.
  const std::shared_ptr<MappedFile>& file() const { return file_; }

 private:
  struct Entry {
    DType dtype;
    Shape shape;
    std::string_view data;        // in a mapped file or a tensor
    bool has_data = false;        // else only the type is known
    Hash128 hash;                 // of the data
    std::shared_ptr<const void> owner;
  };
  struct Content;
  Content read(const std::shared_ptr<MappedFile>& file) const;
  std::string misfit(const Content& content, bool& by_stamp) const;
  void write(const std::map<Hash128, Entry>& entries);
  void restamp();
  template <class... A>
  void say(int severity, fmt::format_string<A...> text, A&&... a) const {
    if (log_) log_(severity, fmt::format(text, std::forward<A>(a)...));
  }
  std::optional<Hash128> key_of(uint64_t storage, const std::string& way) const;

  std::filesystem::path path_;
  bool read_only_, wrote_ = false, gave_up_ = false;
  ModelIdentity model_;
  std::optional<Hash128> stamp_, opened_;      // of the model when the session was made: settled, as it was
  std::string options_;
  Log log_;
  std::shared_ptr<MappedFile> file_;
  std::map<uint64_t, std::string> roots_;      // by storage: a name that means the same bytes in every process
  std::map<Hash128, Entry> entries_;           // of file_
  std::set<Hash128> stored_;                   // with data, in the file as it was last written; or told of
};

}  // namespace suan::onnx
