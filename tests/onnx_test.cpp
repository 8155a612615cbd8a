// The C++ Session on models written byte by byte: no file, no Python.
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "core/content_hash.h"
#include "core/open_program.h"
#include "core/pool.h"
#include "frontends/onnx/session.h"
#include "ops/api.h"

namespace suan {
namespace {

// Fields of Protocol Buffers messages; numbers are below 128.
std::string field(int number, const std::string& body) {
  std::string head{char(number << 3 | 2)};
  size_t size = body.size();
  for (; size > 127; size >>= 7) head += char((size & 127) | 128);
  return head + char(size) + body;
}
std::string field(int number, int value) { return std::string{char(number << 3), char(value)}; }

std::string node(const std::string& op, const std::string& in, const std::string& out) {
  return field(1, field(1, in) + field(2, out) + field(4, op));
}
// A float tensor [n, 3].
std::string port(int number, const std::string& name) {
  const std::string shape = field(1, field(2, "n")) + field(1, field(1, 3));
  return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, shape))));
}
std::string model(const std::string& op) {
  const std::string graph = node(op, "x", "y") + field(2, "g") + port(11, "x") + port(12, "y");
  return field(1, 8) + field(8, field(2, 17)) + field(7, graph);
}

TEST(Onnx, SessionRunsAtEveryShape) {
  onnx::Session s{std::string_view(model("Neg"))};
  ASSERT_EQ(s.inputs().size(), 1u);
  EXPECT_EQ(s.inputs()[0].dims, (std::vector<int64_t>{-1, 3}));
  EXPECT_EQ(s.inputs()[0].dim_names[0], "n");
  for (int64_t n : {1, 4, 1, 0}) {
    std::vector<onnx::Value> in{ops::full(Shape{n, 3}, 2, DType::f32)};
    std::vector<onnx::Value> out = s.run(in);
    ASSERT_EQ(out.size(), 1u);
    const Tensor& y = out[0].tensor();
    EXPECT_EQ(y.shape(), (Shape{n, 3}));
    for (int64_t i = 0; i < y.numel(); ++i) EXPECT_EQ(y.data<float>()[i], -2);
  }
  EXPECT_EQ(s.stats().translated, 1u + OpenProgram::n_samples + 1u);  // 1, what serves 4, and 0
  EXPECT_EQ(s.stats().laid_out, 1u);
}

TEST(Onnx, ErrorsAreTypedAndTheSessionGoesOn) {
  EXPECT_THROW(onnx::Session{std::string_view("not a model")}, ValueError);
  EXPECT_THROW(onnx::Session{std::string_view()}, ValueError);
  EXPECT_THROW(onnx::Session{std::string_view(model("NoSuch"))}, TypeError);
  EXPECT_THROW(onnx::Session{std::filesystem::path("/nowhere/m.onnx")}, IoError);
  onnx::Session s{std::string_view(model("Abs"))};
  std::vector<onnx::Value> bad{ops::full(Shape{1, 4}, -1, DType::f32)}, good{ops::full(Shape{1, 3}, -1, DType::f32)};
  EXPECT_THROW(s.run(bad), ShapeError);
  EXPECT_EQ(s.run(good)[0].tensor().data<float>()[2], 1);
}

// y = x [n, 3] times a weight [3, 512], which is packed.
std::string product(float first) {
  std::vector<float> w(3 * 512, 0.25f);
  w[0] = first;
  const std::string raw(reinterpret_cast<const char*>(w.data()), w.size() * sizeof(float));
  const std::string shape = std::string{char(1 << 3), 3, char(1 << 3), char(0x80), 4};   // 3, 512
  const std::string weight = shape + field(2, 1) + field(8, "w") + field(9, raw);
  const std::string multiply = field(1, field(1, "x") + field(1, "w") + field(2, "y") + field(4, "MatMul"));
  const std::string any = field(12, field(1, "y") + field(2, field(1, field(1, 1))));
  const std::string graph = multiply + field(2, "g") + field(5, weight) + port(11, "x") + any;
  return field(1, 8) + field(8, field(2, 17)) + field(7, graph);
}

struct Kept {
  std::filesystem::path path = std::filesystem::temp_directory_path() / fmt::format("suan_prepacked_{}", ::getpid());
  std::vector<std::string> warned, said;
  ~Kept() { std::filesystem::remove(path); }
  std::vector<float> run(const std::string& model, bool read_only = false) {
    onnx::SessionOptions options;
    options.prepacked = path;
    options.prepacked_read_only = read_only;
    options.log = [this](int severity, const std::string& text) { (severity > 1 ? warned : said).push_back(text); };
    onnx::Session s(std::string_view(model), options);
    const std::vector<onnx::Value> in{ops::full(Shape{4, 3}, 2, DType::f32)}, out = s.run(in);
    const Tensor& y = out[0].tensor();
    return {y.data<float>(), y.data<float>() + y.numel()};
  }
  bool wrote() {
    bool found = false;
    for (const std::string& s : std::exchange(said, {})) found = found || s.find("wrote") != std::string::npos;
    return found;
  }
};

TEST(Prepacked, WrittenOnceAndReadAfterwards) {
  Kept kept;
  EXPECT_THROW(kept.run(product(1), true), IoError);
  const std::vector<float> first = kept.run(product(1));
  EXPECT_EQ(first[0], 3);
  EXPECT_TRUE(kept.wrote());
  EXPECT_EQ(kept.run(product(1)), first);
  EXPECT_FALSE(kept.wrote());
  EXPECT_EQ(kept.run(product(1), true), first);
  EXPECT_TRUE(kept.warned.empty());
}

TEST(Prepacked, AnotherModelsAreWrittenAnewOrRefused) {
  Kept kept;
  kept.run(product(1));
  EXPECT_THROW(kept.run(product(5), true), ValueError);
  EXPECT_EQ(kept.run(product(5))[0], 11);
  ASSERT_EQ(kept.warned.size(), 1u);
  EXPECT_NE(kept.warned[0].find("written anew"), std::string::npos);
  EXPECT_EQ(kept.run(product(5), true)[0], 11);
}

TEST(Prepacked, DamagedFilesAreRefusedAndStay) {
  Kept kept;
  kept.run(product(1));
  const auto size = std::filesystem::file_size(kept.path);
  for (const auto less : {size - 1, size / 2, uintmax_t{8192}, uintmax_t{100}, uintmax_t{0}}) {
    std::filesystem::resize_file(kept.path, less);
    EXPECT_THROW(kept.run(product(1)), ValueError);
    EXPECT_EQ(std::filesystem::file_size(kept.path), less);
  }
}

TEST(Prepacked, WritersAtOnceLeaveOneWholeFile) {
  Kept kept;
  std::vector<std::thread> writers;
  std::atomic<int> right{0};
  for (int k = 0; k < 4; ++k)
    writers.emplace_back([&] {
      Kept mine;
      for (int i = 0; i < 5; ++i) right += mine.run(product(1))[0] == 3 && mine.warned.empty();
      mine.path += ".none";   // the file stays
    });
  for (std::thread& t : writers) t.join();
  EXPECT_EQ(right, 20);
  EXPECT_EQ(kept.run(product(1), true)[0], 3);
}

TEST(ContentHash, EveryBitAndTheLengthCount) {
  std::string bytes(300, '\0');
  std::set<Hash128> seen;
  for (size_t n = 0; n <= bytes.size(); ++n) seen.insert(content_hash({bytes.data(), n}));
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= char(1 << bit % 8);
    seen.insert(content_hash(bytes));
    bytes[bit / 8] ^= char(1 << bit % 8);
  }
  seen.insert(content_hash(bytes, {1, 0}));
  seen.insert(content_hash(bytes, {0, 1}));
  EXPECT_EQ(seen.size(), 301 + 8 * 300 + 2u);
}

TEST(ContentHash, LargeContentsOnAnyNumberOfThreads) {
  std::string bytes((5 << 20) + 12345, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = char(i * i >> 7);
  std::atomic<size_t> read{0};
  const int before = num_threads();
  const Hash128 h = content_hash_parallel(bytes, [&](std::string_view part) { read += part.size(); });
  EXPECT_EQ(read, bytes.size());
  set_num_threads(1);
  EXPECT_EQ(content_hash_parallel(bytes), h);
  set_num_threads(before);
  bytes[4 << 20] ^= 1;
  EXPECT_NE(content_hash_parallel(bytes), h);
}

TEST(Onnx, ManyThreadsShareASession) {
  onnx::Session s{std::string_view(model("Exp"))};
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        std::vector<onnx::Value> in{ops::full(Shape{1 + (t + i) % 5, 3}, 0, DType::f32)};
        std::vector<onnx::Value> out = s.run(in);
        wrong += out[0].tensor().data<float>()[0] != 1;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace suan
