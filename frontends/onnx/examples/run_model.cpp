// Loads an ONNX model, calls it with ones, prints each output: run_model MODEL [SIZE of symbolic dimensions].
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "frontends/onnx/session.h"
#include "ops/api.h"

using namespace suan;

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL [SIZE]\n", argv[0]);
    return 2;
  }
  const int64_t size = argc > 2 ? std::atoll(argv[2]) : 1;
  const onnx::Session session{std::filesystem::path(argv[1])};

  std::vector<onnx::Value> inputs;
  for (const onnx::Port& port : session.inputs()) {
    Shape shape;
    for (int64_t d : port.dims) shape.push_back(d < 0 ? size : d);
    inputs.emplace_back(ops::full(shape, 1, port.dtype));
  }

  const std::vector<onnx::Value> outputs = session.run(inputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    std::printf("%s: %s", session.outputs()[i].name.c_str(), describe(outputs[i]).c_str());
    if (outputs[i].is_tensor() && is_floating(outputs[i].tensor().dtype()))
      std::printf(", sum %.6g", ops::sum(ops::cast(outputs[i].tensor(), DType::f64)).item());
    std::printf("\n");
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
