// Runs a model of one float input [batch, features] and prints the class of each row: classify MODEL BATCH
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "frontends/onnx/session.h"

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL BATCH\n", argv[0]);
    return 2;
  }
  const int64_t batch = std::atoll(argv[2]);
  const suan::onnx::Session session{std::filesystem::path(argv[1]), {.threads = 2}};
  const int64_t features = session.inputs().at(0).dims.at(1);

  std::vector<float> data(size_t(batch * features));
  for (size_t i = 0; i < data.size(); ++i) data[i] = float(i % 7) - 3;
  const suan::Tensor x = suan::Tensor::from<float>(data, {batch, features});
  const suan::onnx::MemoryNeed need = session.memory(std::vector{x.type()});
  std::printf("a call takes %lld bytes\n", static_cast<long long>(need.arena + need.outputs));

  const suan::onnx::Values inputs{x};
  const suan::onnx::Values outputs = session.run(inputs, {.timeout = 10});
  const suan::Tensor& y = outputs[0].tensor();
  const float* row = y.data<float>();
  for (int64_t i = 0; i < batch; ++i, row += y.dim(1))
    std::printf("row %lld: class %lld\n", static_cast<long long>(i), static_cast<long long>(std::max_element(row, row + y.dim(1)) - row));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
