// Tensors from their messages, from the mapped model and from external files.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "frontends/onnx/model.h"
#include "frontends/onnx/reader.h"
#include "onnx-ml.pb.h"

namespace suan::onnx {

using ::onnx::TensorProto;

namespace {
struct Descriptor {
  int fd = -1;
  explicit Descriptor(int fd) : fd(fd) {}
  Descriptor(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};
[[noreturn]] void cannot_open(const std::string& path, const std::string& why) {
  fail<IoError>("onnx", "cannot open '{}': expected a regular file, got {}", path, why);
}
constexpr int open_flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;   // a FIFO would wait for its writer
}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  Descriptor file(::open(path.c_str(), open_flags));
  if (file.fd < 0) cannot_open(path.string(), std::strerror(errno));
  map(file.fd, path.string());
}

MappedFile::MappedFile(const std::filesystem::path& folder, const std::string& below) {
  auto at = std::make_unique<Descriptor>(::open(folder.c_str(), open_flags | O_DIRECTORY));
  if (at->fd < 0) cannot_open(folder.string(), std::strerror(errno));
  const std::filesystem::path path(below);
  for (auto part = path.begin(); part != path.end(); ++part) {
    const bool last = std::next(part) == path.end();
    auto next = std::make_unique<Descriptor>(::openat(at->fd, part->c_str(), open_flags | O_NOFOLLOW | (last ? 0 : O_DIRECTORY)));
    if (next->fd < 0) {
      const int error = errno;
      struct stat st;
      const bool link = fstatat(at->fd, part->c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
      cannot_open((folder / path).string(), link ? "a symbolic link" : std::strerror(error));
    }
    at = std::move(next);
  }
  struct stat st;
  if (fstat(at->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink > 1)
    cannot_open((folder / path).string(), fmt::format("one of {} hard links to it (a copy would do)", st.st_nlink));
  map(at->fd, (folder / path).string());
}

void MappedFile::map(int file, const std::string& path) {
  struct stat st;
  if (fstat(file, &st) < 0) cannot_open(path, std::strerror(errno));
  if (!S_ISREG(st.st_mode)) cannot_open(path, S_ISDIR(st.st_mode) ? "a folder, not a regular file" : "not a regular file");
  size_ = size_t(st.st_size);
  if (size_) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    fail<IoError>("onnx", "cannot map '{}': {}", path, std::strerror(errno));
  }
  path_ = path;
  file_ = ::fcntl(file, F_DUPFD_CLOEXEC, 0);   // without one it cannot be watched, and all else goes on
}

void MappedFile::require_whole() const {
  struct stat st;
  if (file_ >= 0 && ::fstat(file_, &st) == 0 && uint64_t(st.st_size) < size_)
    fail<IoError>("onnx", "file was cut while a session reads it: expected '{}' of {} bytes, got {} (to replace a model write another file "
                          "and rename it)", path_, size_, st.st_size);
}

std::optional<FileStamp> MappedFile::stamp() const {
  struct stat st;
  if (file_ < 0 || ::fstat(file_, &st) != 0) return std::nullopt;
  return FileStamp{st.st_dev, st.st_ino, uint64_t(st.st_size), st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ctim.tv_sec, st.st_ctim.tv_nsec};
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
  if (file_ >= 0) ::close(file_);
}

void MappedFile::let_go(std::string_view part) const {
  const uintptr_t page = uintptr_t(::sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + part.size()) / page * page;
  if (last > first) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

namespace {
constexpr std::pair<int, DType> types[] = {
    {TensorProto::FLOAT, DType::f32}, {TensorProto::UINT8, DType::u8}, {TensorProto::INT8, DType::i8},
    {TensorProto::UINT16, DType::u16}, {TensorProto::INT16, DType::i16}, {TensorProto::INT32, DType::i32},
    {TensorProto::INT64, DType::i64}, {TensorProto::BOOL, DType::boolean}, {TensorProto::FLOAT16, DType::f16},
    {TensorProto::DOUBLE, DType::f64}, {TensorProto::UINT32, DType::u32}, {TensorProto::UINT64, DType::u64},
    {TensorProto::BFLOAT16, DType::bf16}, {TensorProto::FLOAT8E4M3FN, DType::f8e4m3},
    {TensorProto::FLOAT8E4M3FNUZ, DType::f8e4m3fnuz}, {TensorProto::FLOAT8E5M2, DType::f8e5m2},
    {TensorProto::FLOAT8E5M2FNUZ, DType::f8e5m2fnuz}, {TensorProto::UINT4, DType::u4}, {TensorProto::INT4, DType::i4},
    {TensorProto::FLOAT4E2M1, DType::f4e2m1}, {TensorProto::FLOAT8E8M0, DType::f8e8m0},
    {TensorProto::UINT2, DType::u2}, {TensorProto::INT2, DType::i2}, {TensorProto::COMPLEX64, DType::c64},
    {TensorProto::COMPLEX128, DType::c128}};
}  // namespace

DType dtype_of_onnx(int t) {
  for (auto [code, dtype] : types)
    if (code == t) return dtype;
  fail<TypeError>("onnx", "unsupported data type: expected bool, an integer of 2 to 64 bits, a float of 4 to 64 bits or a complex one, got {}",
                  TensorProto::DataType_IsValid(t) ? TensorProto::DataType_Name(TensorProto::DataType(t)) : std::to_string(t));
}
int onnx_of_dtype(DType t) {
  for (auto [code, dtype] : types)
    if (dtype == t) return code;
  fail<TypeError>("onnx", "data type not in ONNX: expected one of its own, got {}", name(t));
}
int onnx_type_named(const std::string& name) {
  TensorProto::DataType t;
  if (!TensorProto::DataType_Parse(name, &t)) fail<ValueError>("onnx", "unknown data type: expected a name such as FLOAT, got '{}'", name);
  return t;
}
bool is_string_type(int t) { return t == TensorProto::STRING; }

namespace {

Shape shape_of(const TensorProto& t) {
  if (t.dims_size() > max_rank)
    fail<ShapeError>("onnx", "too many dimensions in tensor '{}': expected at most {}, got {}", t.name(), max_rank,
                     t.dims_size());
  Shape s;
  for (int64_t d : t.dims()) {
    if (d < 0) fail<ShapeError>("onnx", "negative dimension in tensor '{}': expected 0 or more, got {}", t.name(), d);
    s.push_back(d);
  }
  numel(s);  // refuses what overflows
  return s;
}

[[noreturn]] void wrong_size(const TensorProto& t, int64_t want, int64_t got) {
  fail<ValueError>("onnx", "tensor '{}' has the wrong amount of data: expected {} bytes or numbers, got {}", t.name(), want,
                   got);
}

template <class To, class Field>
void fill(Tensor& out, const Field& from) {
  To* p = out.numel() ? reinterpret_cast<To*>(out.raw()) : nullptr;
  for (auto v : from) *p++ = To(v);
}

std::string_view entry(const TensorProto& t, std::string_view key) {
  for (const auto& e : t.external_data())
    if (e.key() == key) return e.value();
  return {};
}

void check_entries(const TensorProto& t) {
  for (int i = 0; i < t.external_data_size(); ++i) {
    const std::string& key = t.external_data(i).key();
    if (key != "location" && key != "offset" && key != "length" && key != "checksum")
      fail<ValueError>("onnx", "external data of '{}' has an unknown entry: expected location, offset, length or checksum, got '{}'",
                       t.name(), key);
    for (int j = 0; j < i; ++j)
      if (t.external_data(j).key() == key)
        fail<ValueError>("onnx", "external data of '{}' says '{}' twice: expected it once, got it again", t.name(), key);
  }
}

// One field holds a tensor's content. `cut`: raw data was cut out of the message.
void check_fields(const TensorProto& t, bool cut) {
  const bool fields[] = {cut, !t.raw_data().empty(), t.float_data_size() > 0, t.int32_data_size() > 0, t.string_data_size() > 0,
                         t.int64_data_size() > 0, t.double_data_size() > 0, t.uint64_data_size() > 0,
                         t.data_location() == TensorProto::EXTERNAL};
  const auto set = std::count(std::begin(fields), std::end(fields), true);
  if (set > 1) fail<ValueError>("onnx", "tensor '{}' is ambiguous: expected one field of data, got {}", t.name(), set);
}

int64_t entry_number(const TensorProto& t, std::string_view key, int64_t fallback) {
  std::string_view s = entry(t, key);
  if (s.empty()) return fallback;
  int64_t v = 0;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (error != std::errc{} || end != s.data() + s.size() || v < 0)
    fail<ValueError>("onnx", "external data of '{}' has a bad {}: expected a number, 0 or more, got '{}'", t.name(), key, s);
  return v;
}

// Bytes in a file, where values of 4 and 2 bits lie two and four to a byte, the first in the low bits.
int64_t file_bytes(DType t, int64_t n) { return is_sub_byte(t) ? n / (8 / info(t).bits) + (n % (8 / info(t).bits) != 0) : bytes_for(t, n); }

template <class Bytes>
Tensor unpacked(const Bytes& bytes, DType t, const Shape& shape) {
  const int bits = info(t).bits, each = 8 / bits, mask = (1 << bits) - 1;
  Tensor out = Tensor::empty({t, shape, {}});
  uint8_t* to = out.numel() ? reinterpret_cast<uint8_t*>(out.raw()) : nullptr;
  for (int64_t i = 0; i < out.numel(); ++i) to[i] = uint8_t(int(bytes[i / each]) >> (i % each * bits) & mask);
  return out;
}

}  // namespace

// A tensor may begin at any byte of a model file, and kernels want elements aligned.
Tensor TensorReader::in_place_or_copied(std::string_view bytes, DType t, const Shape& shape,
                                        std::shared_ptr<MappedFile> owner) {
  counted_.all += int64_t(bytes.size());
  if (is_sub_byte(t)) return unpacked(bytes, t, shape);
  if (owner && !bytes.empty() && reinterpret_cast<uintptr_t>(bytes.data()) % uintptr_t(item_size(t)) == 0) {
    counted_.mapped += int64_t(bytes.size());
    Tensor out = Tensor::over(Storage::external({}, const_cast<char*>(bytes.data()), int64_t(bytes.size()), [owner] {},
                                                [file = owner.get(), bytes] { file->let_go(bytes); }), Layout(shape), t);
    mapped_.push_back({out.storage()->id(), bytes, owner});
    return out;
  }
  constexpr size_t least_deferred = 64 << 10;
  if (owner && bytes.size() >= least_deferred) {
    const auto part = [owner, bytes](std::byte* to, int64_t from, int64_t n) {
      std::memcpy(to, bytes.data() + from, size_t(n));
      owner->let_go(bytes.substr(size_t(from), size_t(n)));
    };
    Ref<Storage> storage = Storage::deferred(int64_t(bytes.size()),
                                             [part, n = int64_t(bytes.size())](std::byte* to) { part(to, 0, n); }, part);
    deferred_.push_back(storage);
    return Tensor::over(std::move(storage), Layout(shape), t);
  }
  Tensor out = Tensor::empty({t, shape, {}});
  if (!bytes.empty()) std::memcpy(out.raw(), bytes.data(), bytes.size());
  if (owner) owner->let_go(bytes);
  return out;
}

std::vector<std::shared_ptr<const MappedFile>> TensorReader::files() const {
  std::vector<std::shared_ptr<const MappedFile>> all;
  if (file_) all.push_back(file_);
  for (const auto& [name, external] : external_) all.push_back(external.file);
  return all;
}

Value TensorReader::read_external(const TensorProto& t, DType dtype, const Shape& shape) {
  std::string location(entry(t, "location"));
  if (!file_) fail<ValueError>("onnx", "tensor '{}' is in another file: expected a model read from its folder, got bytes", t.name());
  check_entries(t);
  const std::filesystem::path relative(location);
  const bool plain = std::find(relative.begin(), relative.end(), "..") == relative.end() && location.find('\0') == std::string::npos;
  if (location.empty() || relative.is_absolute() || !plain)
    fail<ValueError>("onnx", "external data of '{}' leaves the model's folder: expected a path inside it, got '{}'", t.name(),
                     location);
  External& external = external_[relative.lexically_normal().string()];
  std::shared_ptr<MappedFile>& file = external.file;
  if (!file) file = std::make_shared<MappedFile>(folder_, location);
  const int64_t want = file_bytes(dtype, numel(shape)), offset = entry_number(t, "offset", 0),
                length = entry_number(t, "length", want), size = int64_t(file->bytes().size());
  if (length != want) wrong_size(t, want, length);
  if (offset > size || length > size - offset)
    fail<ValueError>("onnx", "external data of '{}' ends early: expected {} bytes from {}, got a file of {}", t.name(), length,
                     offset, size);
  // Tensors may be the same bytes, as tied weights are, but not parts of one another.
  if (length > 0) {
    const auto next = external.used.lower_bound(offset);
    const auto* hit = next != external.used.end() && next->first < offset + length ? &*next : nullptr;
    if (!hit && next != external.used.begin() && std::prev(next)->second.first > offset) hit = &*std::prev(next);
    if (hit && (hit->first != offset || hit->second.first != offset + length))
      fail<ValueError>("onnx", "external data of '{}' overlaps: expected bytes of its own, got {} to {} where '{}' has {} to {}", t.name(),
                       offset, offset + length, hit->second.second, hit->first, hit->second.first);
    external.used.try_emplace(offset, offset + length, t.name());
  }
  return in_place_or_copied(file->bytes().substr(size_t(offset), size_t(length)), dtype, shape, file);
}

Value TensorReader::read(const TensorProto& t, std::string_view raw) {
  if (t.has_segment()) fail<TypeError>("onnx", "tensor '{}' is segmented: expected a whole one", t.name());
  check_fields(t, !raw.empty());
  const Shape shape = shape_of(t);
  if (is_string_type(t.data_type())) {
    if (int64_t(t.string_data_size()) != numel(shape)) wrong_size(t, numel(shape), t.string_data_size());
    return Strings{shape, {t.string_data().begin(), t.string_data().end()}};
  }
  const DType dtype = dtype_of_onnx(t.data_type());
  if (t.data_location() == TensorProto::EXTERNAL) return read_external(t, dtype, shape);
  const int64_t want = file_bytes(dtype, numel(shape));
  if (!raw.empty() || t.has_raw_data()) {
    std::string_view bytes = raw.empty() ? std::string_view(t.raw_data()) : raw;
    if (int64_t(bytes.size()) != want) wrong_size(t, want, int64_t(bytes.size()));
    return in_place_or_copied(bytes, dtype, shape, raw.empty() ? nullptr : file_);
  }
  // The message holds as much as the tensor takes: checked before anything is allocated.
  const int64_t numbers = dtype == DType::f32 || dtype == DType::c64    ? t.float_data_size()
                          : dtype == DType::f64 || dtype == DType::c128 ? t.double_data_size()
                          : dtype == DType::i64 ? t.int64_data_size()
                          : dtype == DType::u64 || dtype == DType::u32 ? t.uint64_data_size() : t.int32_data_size();
  if (const int64_t expected = is_sub_byte(dtype) ? want : numel(shape) * (is_complex(dtype) ? 2 : 1); numbers != expected) wrong_size(t, expected, numbers);
  if (is_sub_byte(dtype)) return in_place_or_copied(std::string(t.int32_data().begin(), t.int32_data().end()), dtype, shape, nullptr);
  Tensor out = Tensor::empty({dtype, shape, {}});
  counted_.all += want;
  switch (dtype) {
    case DType::f32: case DType::c64: fill<float>(out, t.float_data()); break;
    case DType::f64: case DType::c128: fill<double>(out, t.double_data()); break;
    case DType::i64: fill<int64_t>(out, t.int64_data()); break;
    case DType::u64: fill<uint64_t>(out, t.uint64_data()); break;
    case DType::u32: fill<uint32_t>(out, t.uint64_data()); break;
    case DType::i32: fill<int32_t>(out, t.int32_data()); break;
    case DType::i16: case DType::u16: case DType::f16: case DType::bf16: fill<uint16_t>(out, t.int32_data()); break;
    case DType::boolean: fill<bool>(out, t.int32_data()); break;
    default: fill<uint8_t>(out, t.int32_data()); break;
  }
  return out;
}

}  // namespace suan::onnx
