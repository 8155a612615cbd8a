// Graph: SSA over typed values. Nodes stand in execution order; effects keep that order by explicit tokens.
// A node may own sub-graphs (attributes of kind graph), whose captures are explicit inputs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/op.h"
#include "core/source.h"

namespace suan {

using ValueId = int32_t;
inline constexpr ValueId no_value = -1;

struct Value {
  TensorType type;
  int32_t producer = -1;   // node index; -1 for inputs and constants
  int32_t port = 0;        // output position of the producer
};

struct Node {
  const OpDef* op = nullptr;
  Attrs attrs;
  std::vector<ValueId> in;   // no_value where an optional input is absent
  std::vector<ValueId> out;
  SourceMark source;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::map<ValueId, Tensor> constants;   // contiguous, on the host; where a program wants one its type says

  ValueId add_input(const TensorType& type);
  ValueId add_constant(const Tensor& value, Device device = {});
  // Infers the output types and appends; returns the node's index.
  int append(const OpDef& op, std::vector<ValueId> in, const Attrs& attrs, SourceMark source = {});
  int append_typed(const OpDef& op, std::vector<ValueId> in, const Attrs& attrs,
                   std::span<const TensorType> out, SourceMark source = {});

  // Every invariant, in release too; InternalError naming the pass and the value.
  void verify(std::string_view after) const;
  std::string print() const;
  // Structure, attributes, dtypes, shapes, constants' bits: two equal graphs compute the same.
  std::pair<uint64_t, uint64_t> hash() const;
  bool operator==(const Graph& o) const;
  // How many nodes (outputs included) read each value.
  std::vector<int> use_counts() const;
};

// Runs node by node through apply(): the reference for every pass (SUAN_INTERPRET=1).
Tensors interpret(const Graph& g, std::span<const Tensor> inputs);

}  // namespace suan
