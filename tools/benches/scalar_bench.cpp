// Element-wise kernels called directly: ns per call for small tensors, ns per element in L2, GB/s in
// memory. Prints best times (on a shared host a median shows the neighbours); threads as asked.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "core/backend.h"
#include "core/graph.h"
#include "core/pool.h"
#include "ops/api.h"

namespace {

using namespace suan;
using Clock = std::chrono::steady_clock;

Tensor random_tensor(const Shape& shape, DType t = DType::f32) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Tensor x = Tensor::empty({DType::f32, shape, {}});
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = normal(random);
  return ops::cast(x, t);
}

// Best seconds of one call, the repetitions sized to about two milliseconds.
template <class F>
double best(F f) {
  double least = 1e9;
  int64_t repeat = 1;
  for (int round = 0; round < 40; ++round) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < repeat; ++i) f();
    const double each = std::chrono::duration<double>(Clock::now() - start).count() / double(repeat);
    least = std::min(least, each);
    repeat = std::max<int64_t>(1, int64_t(2e-3 / least));
  }
  return least;
}

double time_kernel(const OpDef& def, const Attrs& attrs, const Tensors& in, const Tensors& out) {
  std::vector<TensorDesc> descs;
  for (const Tensors* list : {&in, &out})
    for (const Tensor& t : *list) descs.push_back({t.dtype(), {t.shape(), t.strides(), 0}});
  std::vector<const TensorDesc*> pointers;
  for (auto& d : descs) pointers.push_back(&d);
  const std::span<const TensorDesc* const> all(pointers);
  const Prepared p =
      find_kernel(def, {})->prepare({def, attrs, all.first(in.size()), all.subspan(in.size())});
  std::vector<const void*> from;
  std::vector<void*> to;
  for (const Tensor& t : in) from.push_back(t.raw());
  for (const Tensor& t : out) to.push_back(t.raw());
  const KernelArgs args{from.data(), to.data(), nullptr};
  return best([&] { p.run(p.state.get(), args); });
}

double time_row(const char* name, const Tensors& in) {
  const Tensor out = suan::apply(op(name), in);  // std::apply would match too
  return time_kernel(op(name), {}, in, {out});
}

}  // namespace

int main(int argc, char** argv) {
  set_num_threads(argc > 1 ? std::atoi(argv[1]) : 1);
  std::printf("%s, %d thread(s), best of 40\n\n| work | ns/call | ns/element | GB/s |\n|---|---|---|---|\n",
              cpu_isa(), num_threads());
  auto line = [](const std::string& what, double seconds, double elements, double bytes) {
    std::printf("| %s | %.1f | %.4f | %.1f |\n", what.c_str(), seconds * 1e9, seconds * 1e9 / elements,
                bytes / seconds * 1e-9);
  };
  const Tensor number = Tensor::scalar(0.5, DType::f32);
  const Tensor small = random_tensor({8, 8});
  line("add 8x8", time_row("add", {small, small}), 64, 768);
  line("mul 8x8 by a number", time_row("mul", {small, number}), 64, 512);
  line("gelu 8x8", time_row("gelu", {small}), 64, 512);
  const Tensor hidden = random_tensor({32, 128}), bias = random_tensor({128});
  line("add 32x128 + row", time_row("add", {hidden, bias}), 4096, 32768);

  const double n = 65536;
  const Tensor l2 = random_tensor({256, 256});
  for (const char* name : {"gelu", "gelu_tanh", "tanh", "exp", "sigmoid", "silu", "log", "relu", "sin"})
    line(std::string(name) + " 64 Ki", time_row(name, {l2}), n, n * 8);
  for (const char* name : {"add", "gelu_grad", "gelu_tanh_grad", "div", "maximum", "lt", "pow"})
    line(std::string(name) + " 64 Ki", time_row(name, {l2, l2}), n, n * 12);
  const Tensor turned = Tensor::over(l2.storage(), Layout({256, 256}, {1, 256}, 0), DType::f32);
  const Tensor halves = random_tensor({256, 256}, DType::bf16);
  line("add 64 Ki bf16", time_row("add", {halves, halves}), n, n * 6);
  line("gelu 64 Ki bf16", time_row("gelu", {halves}), n, n * 4);
  line("add 64 Ki + column", time_row("add", {l2, random_tensor({256, 1})}), n, n * 8);
  line("add 64 Ki + transposed", time_row("add", {l2, turned}), n, n * 12);

  const int64_t big = 32 << 20;
  const Tensor x = random_tensor({big}), y = random_tensor({big});
  line("add 32 Mi", time_row("add", {x, y}), double(big), double(big) * 12);
  line("gelu 32 Mi", time_row("gelu", {x}), double(big), double(big) * 8);

  // gelu(x * y + row) + x: four rows in one pass.
  const TensorType full{DType::f32, {256, 256}, {}}, row{DType::f32, {256}, {}};
  auto body = std::make_shared<Graph>();
  const ValueId a = body->add_input(full), b = body->add_input(full), c = body->add_input(row);
  auto node = [&](const char* name, std::vector<ValueId> in) {
    return body->nodes[size_t(body->append_typed(op(name), std::move(in), {}, {&full, 1}))].out[0];
  };
  body->outputs = {node("add", {node("gelu", {node("add", {node("mul", {a, b}), c})}), a})};
  const Tensors in{l2, l2, random_tensor({256})};
  line("fused gelu(x*y+row)+x 64 Ki",
       time_kernel(op("fused_elementwise"), {GraphPtr(body)}, in, {Tensor::empty(full)}), n, n * 12);
}
