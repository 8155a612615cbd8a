#include "frontends/onnx/prepacked.h"

#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "core/backend.h"

namespace suan::onnx {
namespace {

constexpr char magic[8] = {'S', 'U', 'A', 'N', 'P', 'A', 'C', 'K'};
constexpr uint32_t format = 1;
constexpr uint64_t page = 4096, stamp_at = page, table_at = 2 * page, alignment = 64, most_entries = 1 << 20;

// As they lie in the file, little-endian.
struct Header {
  char magic[8];
  uint32_t format, reserved;
  uint64_t file_bytes, n_entries, data_at;
  Hash128 table, model;
  char made_by[64], processor[64];
  Hash128 header;   // of what stands before
};
struct Stamp {
  Hash128 stamp, check;
};
struct Record {
  Hash128 key, data;
  uint64_t offset, bytes;
  int64_t dims[max_rank];
  uint8_t dtype, rank, has_data, reserved[5];
};
static_assert(sizeof(Header) <= page && sizeof(Record) == 120 && std::is_trivially_copyable_v<Record>);

template <class T>
std::string_view bytes_of(const T& t, size_t n = sizeof(T)) { return {reinterpret_cast<const char*>(&t), n}; }
Hash128 hash_of(const Header& h) { return content_hash(bytes_of(h, offsetof(Header, header))); }
Hash128 hash_of(const Stamp& s) { return content_hash(bytes_of(s.stamp), {1, 1}); }

// Version, and the identity that the linker gave the library with the kernels: how they pack may change without a version.
std::string made_by() {
  struct Found {
    uintptr_t inside = reinterpret_cast<uintptr_t>(&cpu_isa);
    std::string id;
  } found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& f = *static_cast<Found*>(data);
        bool ours = false;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& h = info->dlpi_phdr[i];
          const uintptr_t begin = info->dlpi_addr + h.p_vaddr;
          ours = ours || (h.p_type == PT_LOAD && f.inside >= begin && f.inside < begin + h.p_memsz);
        }
        for (int i = 0; ours && i < info->dlpi_phnum; ++i) {
          const auto& h = info->dlpi_phdr[i];
          if (h.p_type != PT_NOTE) continue;
          const char* at = reinterpret_cast<const char*>(info->dlpi_addr + h.p_vaddr);
          for (const char* end = at + h.p_memsz; at + sizeof(ElfW(Nhdr)) <= end;) {
            const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
            const char *name = at + sizeof(*note), *content = name + (note->n_namesz + 3) / 4 * 4;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0)
              for (uint32_t k = 0; k < std::min<uint32_t>(note->n_descsz, 16); ++k) f.id += fmt::format("{:02x}", uint8_t(content[k]));
            at = content + (note->n_descsz + 3) / 4 * 4;
          }
        }
        return int(ours);
      },
      &found);
  return fmt::format("{} {}", SUAN_VERSION, found.id);
}

// What the layout of packed weights may depend on.
std::string processor() {
  std::string text = cpu_isa();
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni")) text += " avx512vnni";
  if (__builtin_cpu_supports("avx512bf16")) text += " avx512bf16";
  unsigned a, b, c, d;   // leaf 7.1: GCC 12 has no name for AVX-VNNI
  asm("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(1));
  if (a & 1u << 4) text += " avxvnni";
#endif
  if (const char* asked = std::getenv("SUAN_INT8")) text += fmt::format(" int8={:.8}", asked);
  return text;
}

// Text of a header: ends with zeros, and is shown in messages.
std::string text_of(const char (&field)[64]) {
  std::string text(field, strnlen(field, sizeof field));
  for (char& c : text)
    if (uint8_t(c) < 32 || uint8_t(c) >= 127) c = '?';
  return text;
}
void set_text(char (&field)[64], const std::string& text) { std::memcpy(field, text.data(), std::min(text.size(), sizeof(field) - 1)); }

std::string short_hash(const Hash128& h) { return fmt::format("{:08x}", uint32_t(h.low)); }

// A file that is written beside its place, and gone unless it got there.
class Beside {
 public:
  explicit Beside(const std::filesystem::path& path) : path_(path) {
    std::random_device random;
    do {
      name_ = fmt::format("{}.{:08x}{:08x}", path.string(), random(), random());
      fd_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    } while (fd_ < 0 && errno == EEXIST);
    if (fd_ < 0) fail("create");
  }
  Beside(const Beside&) = delete;
  ~Beside() {
    ::close(fd_);
    if (!renamed_) ::unlink(name_.c_str());
  }
  void write(std::string_view bytes, uint64_t at) {
    while (!bytes.empty()) {
      constexpr size_t most = 64 << 20;
      const ssize_t n = ::pwrite(fd_, bytes.data(), std::min(bytes.size(), most), off_t(at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("write");
      bytes.remove_prefix(size_t(n));
      at += uint64_t(n);
    }
  }
  void finish(uint64_t bytes) {
    if (::ftruncate(fd_, off_t(bytes)) != 0 || ::fsync(fd_) != 0) fail("write");
    if (::rename(name_.c_str(), path_.c_str()) != 0) fail("rename");
    renamed_ = true;
  }

 private:
  [[noreturn]] void fail(const char* what) const { suan::fail<IoError>("onnx", "cannot {} '{}': {}", what, name_, std::strerror(errno)); }
  std::filesystem::path path_;
  std::string name_;
  int fd_ = -1;
  bool renamed_ = false;
};

}  // namespace

// ---- whose weights -----------------------------------------------------------------------------------

Hash128 ModelIdentity::content() const {
  if (content_) return *content_;
  Hash128 h = other_;
  for (const auto& file : files_) {
    file->require_whole();
    const Hash128 one = content_hash_parallel(file->bytes(), [&](std::string_view part) { file->let_go(part); });
    h = content_hash(bytes_of(one), h);
  }
  return *(content_ = h);
}

std::optional<Hash128> ModelIdentity::stamp(bool settled) const {
  if (settled && files_.empty()) return std::nullopt;
  Hash128 h = other_;
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  for (const auto& file : files_) {
    const std::optional<FileStamp> s = file->stamp();
    // A change within the clock's grain of another has its time: what is that young may yet change unseen.
    constexpr int64_t old = 2;
    if (!s || (settled && now.tv_sec - std::max(s->modified_seconds, s->changed_seconds) < old)) return std::nullopt;
    h = content_hash(bytes_of(*s), h);
  }
  return h;
}

// ---- the file ----------------------------------------------------------------------------------------

struct Prepacked::Content {
  Header header{};
  std::optional<Hash128> stamp;
  std::map<Hash128, Entry> entries;
};

Prepacked::Prepacked(std::filesystem::path path, bool read_only, ModelIdentity model, std::string options, Log log)
    : path_(std::move(path)), read_only_(read_only), model_(std::move(model)), stamp_(model_.stamp()),
      opened_(model_.stamp(false)), options_(std::move(options)), log_(std::move(log)) {
  std::error_code error;
  if (!read_only_ && std::filesystem::status(path_, error).type() == std::filesystem::file_type::not_found) return;
  const auto file = std::make_shared<MappedFile>(path_);
  Content content = read(file);
  bool by_stamp = false;
  if (const std::string why = misfit(content, by_stamp); !why.empty()) {
    if (read_only_) fail<ValueError>("onnx", "prepacked weights '{}' do not fit: {}", path_.string(), why);
    say(2, "prepacked weights '{}' do not fit and will be written anew: {}", path_.string(), why);
    return;
  }
  file_ = file;
  entries_ = std::move(content.entries);
  for (const auto& [key, e] : entries_)
    if (e.has_data) stored_.insert(key);
  if (!by_stamp) restamp();
  say(1, "prepacked weights: {} in '{}', {} bytes; model known by {}", stored_.size(), path_.string(), file->bytes().size(),
      by_stamp ? "its files' stamps" : "its content");
}

// All that can be known without reading data. ValueError in one line.
Prepacked::Content Prepacked::read(const std::shared_ptr<MappedFile>& file) const {
  const std::string_view bytes = file->bytes();
  const auto damaged = [&](const std::string& what) {
    fail<ValueError>("onnx", "prepacked weights '{}' are damaged: {} (delete the file to have it written anew)", path_.string(), what);
  };
  Content c;
  Header& h = c.header;
  if (bytes.size() < sizeof magic || std::memcmp(bytes.data(), magic, sizeof magic) != 0)
    fail<ValueError>("onnx", "not a file of prepacked weights: expected one that Suan wrote, or none, got '{}'", path_.string());
  std::memcpy(&h, bytes.data(), std::min(bytes.size(), sizeof h));
  if (bytes.size() >= 16 && h.format != format) return c;   // all else may be laid out otherwise
  if (bytes.size() < table_at) damaged(fmt::format("expected at least {} bytes, got {}", table_at, bytes.size()));
  if (hash_of(h) != h.header) damaged("expected the header's checksum, got another");
  if (h.file_bytes != bytes.size()) damaged(fmt::format("expected {} bytes, got {}", h.file_bytes, bytes.size()));
  const uint64_t room = bytes.size() - table_at;
  if (h.n_entries > most_entries || h.n_entries * sizeof(Record) > room)
    damaged(fmt::format("expected a table of at most {} entries, got {}", std::min(most_entries, room / sizeof(Record)), h.n_entries));
  const std::string_view table = bytes.substr(table_at, h.n_entries * sizeof(Record));
  if (content_hash(table) != h.table) damaged("expected the table's checksum, got another");
  if (h.data_at % alignment || h.data_at < table_at + table.size() || h.data_at > bytes.size())
    damaged(fmt::format("expected data behind the table, got {}", h.data_at));
  uint64_t end = h.data_at;
  for (uint64_t i = 0; i < h.n_entries; ++i) {
    Record r;
    std::memcpy(&r, table.data() + i * sizeof r, sizeof r);
    const auto bad = [&](const std::string& what) { damaged(fmt::format("entry {}: {}", i, what)); };
    if (r.dtype >= uint8_t(n_dtypes) || r.rank > max_rank || r.has_data > 1) bad("expected a tensor's type, got another");
    Entry e;
    e.dtype = DType(r.dtype);
    constexpr int64_t most_items = int64_t(1) << 48;   // no sizes that overflow as bytes
    int64_t items = 1;
    for (int d = 0; d < r.rank; ++d) {
      const int64_t n = r.dims[d];
      if (n < 0 || (n > 0 && items > most_items / n)) bad(fmt::format("expected a size, got {}", n));
      items *= n;
      e.shape.push_back(n);
    }
    const uint64_t size = uint64_t(bytes_for(e.dtype, items));
    if (r.bytes != size) bad(fmt::format("expected {} bytes, got {}", size, r.bytes));
    if (r.has_data) {
      if (r.offset % alignment || r.offset < end || r.offset > bytes.size() || size > bytes.size() - r.offset)
        bad(fmt::format("expected bytes of its own within the file, got {} from {}", size, r.offset));
      end = r.offset + size;
      e.data = bytes.substr(r.offset, size);
      e.has_data = true;
      e.hash = r.data;
    }
    e.owner = file;
    if (!c.entries.emplace(r.key, std::move(e)).second) bad("expected a key of its own, got another's");
  }
  Stamp s;
  std::memcpy(&s, bytes.data() + stamp_at, sizeof s);
  if (hash_of(s) == s.check) c.stamp = s.stamp;
  return c;
}

// Why the content is not for this session, in words; empty if it is.
std::string Prepacked::misfit(const Content& content, bool& by_stamp) const {
  const Header& h = content.header;
  if (h.format != format) return fmt::format("expected format {}, got {}", format, h.format);
  if (const std::string maker = made_by(), got = text_of(h.made_by); got != maker) return fmt::format("expected those of Suan {}, got {}", maker, got);
  if (const std::string here = processor(), got = text_of(h.processor); got != here) return fmt::format("expected those for {}, got {}", here, got);
  by_stamp = stamp_ && content.stamp == stamp_;
  if (!by_stamp && model_.content() != h.model)
    return fmt::format("expected those of model {}, got {}", short_hash(model_.content()), short_hash(h.model));
  return {};
}

// So that the model need not be read next time. Where that cannot be written it will be.
void Prepacked::restamp() {
  if (read_only_ || !stamp_ || model_.stamp() != stamp_) return;
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  struct stat now;
  const std::optional<FileStamp> mapped = file_->stamp();
  if (fd >= 0 && mapped && ::fstat(fd, &now) == 0 && now.st_ino == mapped->inode && now.st_dev == mapped->device) {
    Stamp s{*stamp_, {}};
    s.check = hash_of(s);
    if (::pwrite(fd, &s, sizeof s, stamp_at) != ssize_t(sizeof s)) say(0, "prepacked weights: no stamp written");
  }
  if (fd >= 0) ::close(fd);
}

// ---- while plans are made ----------------------------------------------------------------------------

void Prepacked::add_root(const Tensor& constant, const std::string& name) {
  // With its place in the storage: folding under another memory limit may leave it elsewhere.
  roots_.try_emplace(constant.storage()->id(), fmt::format("{} {} {} at {} of {}", name, to_string(constant.type()), to_string(constant.strides()),
                                          constant.offset(), constant.storage()->bytes()));
}

std::optional<Hash128> Prepacked::key_of(uint64_t storage, const std::string& way) const {
  const auto it = roots_.find(storage);
  if (it == roots_.end()) return std::nullopt;
  return content_hash(way, content_hash(it->second, content_hash(options_)));
}

Tensor Prepacked::find(uint64_t storage, const std::string& way, const std::function<Tensor()>& make) const {
  const std::optional<Hash128> key = key_of(storage, way);
  const auto it = key ? entries_.find(*key) : entries_.end();
  if (it == entries_.end()) return {};
  const Entry& e = it->second;
  TensorType want;
  {   // what kernels rely on is not taken from a file
    ContextScope scope;
    context() = Context{.grad_enabled = false, .dry = true};
    want = make().type();
  }
  if (!(want == TensorType{e.dtype, e.shape, {}}))
    fail<ValueError>("onnx", "prepacked weights '{}' are damaged: expected {}, got {} (delete the file to have it written anew)",
                     path_.string(), to_string(want), to_string(TensorType{e.dtype, e.shape, {}}));
  if (e.has_data) {
    if (!way.starts_with(as_is) && content_hash_parallel(e.data) != e.hash)
      fail<ValueError>("onnx", "prepacked weights '{}' are damaged: expected the checksum of {}, got another (delete the file to have it "
                               "written anew)", path_.string(), to_string(want));
    return Tensor::over(Storage::external({}, const_cast<char*>(e.data.data()), int64_t(e.data.size()), [owner = e.owner] {}),
                        Layout(e.shape), e.dtype);
  }
  // A step on the way to others: made only if somebody reads it after all.
  Ref<Storage> step = Storage::deferred(want.bytes(), [make](std::byte* to) {
    ContextScope scope;
    context() = Context{.grad_enabled = false};
    Tensor t = make();
    if (!t.is_contiguous()) t = apply(op("copy"), {t});
    std::memcpy(to, t.raw(), size_t(t.type().bytes()));
  });
  return Tensor::over(std::move(step), Layout(e.shape), e.dtype);
}

void Prepacked::update(const ConstantCache& cache, const std::set<uint64_t>& used) {
  if (gave_up_) return;
  std::map<Hash128, Entry> entries;
  int64_t fresh = 0;
  cache.for_each([&](uint64_t storage, const std::string& way, const Tensor& t) {
    const std::optional<Hash128> key = key_of(storage, way);
    if (!key || stored_.count(*key) || !t.is_contiguous() || t.type().bytes() == 0 || t.type().bytes() != t.storage()->bytes()) return;
    Entry e{t.dtype(), t.shape(), {}, used.count(t.storage()->id()) > 0, {}, {}};
    if (e.has_data) {
      e.data = {reinterpret_cast<const char*>(t.raw()), size_t(t.type().bytes())};
      fresh += t.type().bytes();
    }
    entries.emplace(*key, std::move(e));
  });
  if (!fresh && (file_ || wrote_)) return;
  if (read_only_) {
    for (const auto& [key, e] : entries) stored_.insert(key);   // told once
    return say(1, "prepacked weights: {} bytes were packed that '{}' lacks", fresh, path_.string());
  }
  try {
    write(entries);
  } catch (const IoError& error) {
    gave_up_ = true;
    say(2, "prepacked weights are not kept: {}", error.what());
  }
}

// With what is there already, also from other writers.
void Prepacked::write(const std::map<Hash128, Entry>& given) {
  std::map<Hash128, Entry> entries = given;
  const auto add = [&](const std::map<Hash128, Entry>& others) {
    for (const auto& [key, e] : others)
      if (auto [it, is_new] = entries.emplace(key, e); !is_new && e.has_data && !it->second.has_data) it->second = e;
  };
  add(entries_);
  try {
    const auto now = std::make_shared<MappedFile>(path_);
    const Content there = read(now);
    bool by_stamp = false;
    if (misfit(there, by_stamp).empty()) add(there.entries);
  } catch (const Error&) {   // none yet, or not worth keeping
  }
  Header h{};
  std::memcpy(h.magic, magic, sizeof magic);
  h.format = format;
  h.n_entries = entries.size();
  if (h.n_entries > most_entries) fail<IoError>("onnx", "too many packed weights: expected at most {}, got {}", most_entries, h.n_entries);
  h.model = model_.content();
  // What was packed may be of the content before: such a file would be believed.
  if (model_.stamp(false) != opened_)
    fail<IoError>("onnx", "model changed while a session reads it: expected its files as they were, got others");
  set_text(h.made_by, made_by());
  set_text(h.processor, processor());
  const auto aligned = [](uint64_t x, uint64_t to) { return (x + to - 1) / to * to; };
  uint64_t end = h.data_at = aligned(table_at + h.n_entries * sizeof(Record), page);
  Beside file(path_);
  std::vector<Record> table;
  std::set<Hash128> stored;
  for (const auto& [key, e] : entries) {
    Record& r = table.emplace_back(Record{});
    r.key = key;
    r.dtype = uint8_t(e.dtype);
    r.rank = uint8_t(e.shape.size());
    for (int d = 0; d < e.shape.size(); ++d) r.dims[d] = e.shape[d];
    r.bytes = uint64_t(bytes_for(e.dtype, numel(e.shape)));
    if (!e.has_data) continue;
    r.has_data = 1;
    r.data = content_hash_parallel(e.data);
    r.offset = end = aligned(end, alignment);
    file.write(e.data, end);
    end += r.bytes;
    stored.insert(key);
  }
  h.file_bytes = end;
  const std::string_view bytes{reinterpret_cast<const char*>(table.data()), table.size() * sizeof(Record)};
  h.table = content_hash(bytes);
  h.header = hash_of(h);
  file.write(bytes, table_at);
  file.write(bytes_of(h), 0);
  Stamp s{};
  // Only if nobody has changed the model since this session began to read it.
  if (const auto now = model_.stamp(); now && now == stamp_) {
    s.stamp = *now;
    s.check = hash_of(s);
  }
  file.write(bytes_of(s), stamp_at);
  file.finish(end);
  stored_ = std::move(stored);
  wrote_ = true;
  say(1, "prepacked weights: wrote {} to '{}', {} bytes", stored_.size(), path_.string(), end);
}

}  // namespace suan::onnx
