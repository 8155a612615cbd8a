// The serialised model with large raw_data fields of initializers and of nodes' attributes (Constant) cut out, also in
// sub-graphs (not in functions), so that Protocol Buffers never copies weights; where they lie is kept.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace suan::onnx {

struct Cut {
  size_t offset = 0, bytes = 0;   // into the model; bytes is 0 where nothing was cut
};
struct Cuts {                     // of one graph
  std::vector<Cut> initializers;
  std::map<std::pair<int, int>, Cut> of_nodes;                      // by node and its attribute
  std::map<std::pair<int, int>, std::unique_ptr<Cuts>> of_graphs;   // likewise: in attributes that are graphs
};
struct Skeleton {
  std::string bytes;              // a valid model
  Cuts cuts;                      // of the main graph
};
// ValueError on malformed bytes.
Skeleton cut_weights(std::string_view model);

}  // namespace suan::onnx
