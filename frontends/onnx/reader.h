// Tensors of a model file: in place where they lie in the mapped file, copied where they do not, large ones when they are read.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "frontends/onnx/value.h"

namespace onnx {
class TensorProto;
class SparseTensorProto;
}

namespace suan::onnx {

// What the file system says of a file: the same for files that nobody has written to, replaced or renamed in between.
struct FileStamp {
  uint64_t device = 0, inode = 0, bytes = 0;
  int64_t modified_seconds = 0, modified_nanoseconds = 0, changed_seconds = 0, changed_nanoseconds = 0;
};

// A file mapped read-only for as long as someone holds it.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);  // IoError
  // A file somewhere below the folder, reached without "..", links of any kind or anything but folders: IoError.
  MappedFile(const std::filesystem::path& folder, const std::string& below);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  // Takes the pages that lie wholly within a part of bytes() out of the process; whoever reads them gets them back.
  void let_go(std::string_view part) const;
  // IoError where someone has cut the file since: reading what is gone would end the process (SIGBUS).
  void require_whole() const;
  std::optional<FileStamp> stamp() const;

 private:
  void map(int file, const std::string& path);
  int file_ = -1;
  std::string path_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

// A weight that is used where it lies in its file.
struct MappedWeight {
  uint64_t storage = 0;   // its id
  std::string_view bytes;
  std::shared_ptr<const MappedFile> file;
};

struct ByteCount {
  int64_t all = 0, mapped = 0;
};

class TensorReader {
 public:
  TensorReader(std::string_view model, std::shared_ptr<MappedFile> file, std::filesystem::path folder)
      : model_(model), file_(std::move(file)), folder_(std::move(folder)) {}
  // `raw`: the tensor's bytes where they were cut out of the message, else empty.
  Value read(const ::onnx::TensorProto& t, std::string_view raw = {});
  // As a dense tensor. The caller's MemoryBudget bounds it: a few bytes of a file can ask for any size.
  Value read_sparse(const ::onnx::SparseTensorProto& t);
  ByteCount counted() const { return counted_; }
  std::vector<MappedWeight>& mapped() { return mapped_; }
  std::vector<Ref<Storage>>& deferred() { return deferred_; }
  std::vector<std::shared_ptr<const MappedFile>> files() const;   // the model's, then those it names, by name

 private:
  Tensor in_place_or_copied(std::string_view bytes, DType t, const Shape& shape, std::shared_ptr<MappedFile> owner);
  Value read_external(const ::onnx::TensorProto& t, DType dtype, const Shape& shape);
  std::string_view model_;
  std::shared_ptr<MappedFile> file_;
  std::filesystem::path folder_;
  struct External {
    std::shared_ptr<MappedFile> file;
    std::map<int64_t, std::pair<int64_t, std::string>> used;   // begin -> end, tensor
  };
  std::map<std::string, External> external_;
  ByteCount counted_;
  std::vector<MappedWeight> mapped_;
  std::vector<Ref<Storage>> deferred_;
};

}  // namespace suan::onnx
