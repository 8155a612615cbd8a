// The serialised model with large raw_data fields of initializers and of nodes' attributes (Constant) cut out, so that
// Protocol Buffers never copies weights; where they lie is kept.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace suan::onnx {

struct Cut {
  size_t offset = 0, bytes = 0;   // into the model; bytes is 0 where nothing was cut
};
struct Skeleton {
  std::string bytes;              // a valid model
  std::vector<Cut> cuts;          // by initializer of the main graph
  std::map<std::pair<int, int>, Cut> of_nodes;   // by node of the main graph and its attribute
};
// ValueError on malformed bytes.
Skeleton cut_weights(std::string_view model);

}  // namespace suan::onnx
