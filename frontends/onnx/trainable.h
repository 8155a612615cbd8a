// A model whose weights come from outside at every call, so that gradients reach them.
#pragma once

#include "frontends/onnx/session.h"

namespace suan::onnx {

struct Initializer {
  std::string name;
  Value value;             // in the mapped file where it lies well
  bool weight = false;     // what training may change: floating, more than one number, not read as a setting
};

class SUAN_ONNX_API TrainableModel {
 public:
  // Errors as Session's.
  explicit TrainableModel(const std::filesystem::path& path);
  explicit TrainableModel(std::string_view bytes);
  ~TrainableModel();

  const std::vector<Port>& inputs() const;
  const std::vector<Port>& outputs() const;
  const std::vector<Initializer>& initializers() const;   // in the file's order
  // From now on run() is given these initializers, by position.
  void open(const std::vector<int>& which);
  // Node by node in the caller's context: recorded or run at once, with a tape or without. What depends on
  // shapes alone is computed outside of both.
  std::vector<Value> run(std::vector<Value> inputs, std::vector<Value> weights) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace suan::onnx
