// A model whose weights come from outside at every call, so that gradients reach them.
#pragma once

#include "frontends/onnx/session.h"

namespace suan::onnx {

// A tensor that the file holds: an initializer of its graph or of one inside it, or what a node of Constant gives.
struct Initializer {
  enum class Role : uint8_t {
    weight,        // what training changes
    statistics,    // of a batch norm
    constant,      // everything else
  };
  std::string name;
  std::string where;   // the graph around it: "" or, for each level, "node's position:attribute/"
  Value value;     // in the mapped file where it lies well
  Role role = Role::constant;
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
  // From now on run() is given these initializers, by position. Called once.
  void open(const std::vector<int>& which);
  // Node by node in the caller's context: recorded or run at once, with a tape or without; what depends on shapes alone
  // is computed outside of both. `dropout`: a generator's state, or undefined for none. TypeError where a gradient
  // would be lost at an operator that has none.
  std::vector<Value> run(std::vector<Value> inputs, std::span<const Tensor> weights, Tensor dropout) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace suan::onnx
