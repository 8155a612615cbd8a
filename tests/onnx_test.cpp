// The C++ Session on models written byte by byte: no file, no Python.
#include <gtest/gtest.h>

#include <thread>

#include "core/open_program.h"
#include "frontends/onnx/session.h"
#include "ops/api.h"

namespace suan {
namespace {

// Fields of Protocol Buffers messages, all shorter than 128 bytes.
std::string field(int number, const std::string& body) {
  return std::string{char(number << 3 | 2), char(body.size())} + body;
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
