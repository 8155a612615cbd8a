// Recorder: turns the apply() calls of a thread into a Graph, with or without running them. Tensors are
// known by their storage; an in-place write becomes a functional update of the storage's graph value and
// views derive from it again.
#pragma once

#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "core/graph.h"

namespace suan {

class Recorder {
 public:
  // A tensor that exists outside the recording: parameters, optimizer state, buffers, arguments.
  struct Captured {
    Tensor root;              // the whole storage, contiguous; what the graph input is
    Tensor source;            // the tensor that was seen first, with its autograd identity
    ValueId input = no_value;
    bool argument = false;
    int argument_index = -1;  // position in the calls of add_argument
    SourceMark line = {};     // where it was used first
  };
  // A captured storage whose content the recording changed.
  struct Update {
    int captured;             // index into captured()
    ValueId value;
  };
  // A Python number seen as an operand, or numbers made a tensor, with the line that did so.
  struct Literal {
    ValueId constant;
    SourceMark source;
  };
  // An op of Python's own, whose gradient the recorded nodes do not show.
  struct Custom {
    std::vector<ValueId> inputs;
    SourceMark source;
  };

  Recorder() = default;
  // `within` an evaluation that goes on (vmap): the graph is run at once, eagerly or for the recording around this
  // one. So tensors without data are captured too; those with a history are inputs of their own, also where they
  // share a storage; each node says which of its inputs gradients may flow to; and composites are recorded, and
  // differentiated, as what they are made of.
  static std::unique_ptr<Recorder> within();
  bool is_within() const { return within_; }
  void note_leaf(const Tensor& t) { leaves_.push_back(t); }  // made to require a gradient inside
  void note_custom(std::span<const Tensor> inputs);
  bool gradient_leaves(const Tensor& t) const;  // a gradient of t would leave the recording
  // By node: bit i for input i (63 for those from there on).
  const std::vector<uint64_t>& tracked() const { return tracked_; }
  const std::vector<Custom>& customs() const { return customs_; }

  // Composites that the recording is to show as one node, if any.
  bool (*whole)(const OpDef& op, const Attrs& attrs) = nullptr;

  // Arguments become the first graph inputs, in order, whatever their use.
  ValueId add_argument(const Tensor& t);
  ValueId value_of(const Tensor& t);

  // A tensor just made from Python numbers: a constant if it is used, as the numbers would be.
  void note_numbers(const Tensor& t);

  // Called by apply() after the op ran (or was inferred).
  void record(const OpDef& op, std::span<const Tensor> in, const Attrs& attrs, std::span<const Tensor> out);
  void record_into(const OpDef& op, std::span<const Tensor> in, const Attrs& attrs, const Tensor& out);
  // Marks a tensor whose graph value is already known (outputs of nodes built by hand).
  void bind(const Tensor& t, ValueId value);
  // In a dry recording .grad is put back afterwards: what stood there before its first change.
  void note_grad_change(const Tensor& t);
  void restore_grads();
  // Those left with a .grad that has no data.
  std::vector<Tensor> leaves_with_dry_grad() const;

  // Graph so far, with `outputs` and then every update as its outputs.
  Graph finish(std::span<const Tensor> outputs);

  Graph& graph() { return graph_; }
  const std::vector<Captured>& captured() const { return captured_; }
  const std::vector<Update>& updates() const { return updates_; }
  const std::vector<Literal>& literals() const { return literals_; }

 private:
  struct View {
    Layout layout;
    ValueId value;
    uint32_t version;
  };
  struct Known {
    ValueId root = no_value;
    Layout root_layout;
    DType dtype = DType::f32;
    uint32_t version = 0;
    int captured = -1;
    bool changed = false;
    std::vector<View> views;
  };
  struct Numbers {
    Tensor copy;  // as they were: the tensor may be written to
    SourceMark line;
  };
  Known& capture(const Tensor& t, bool argument);
  bool has_outer_history(const Tensor& t) const;
  void refuse_own(const OpDef& def, const Tensor& out) const;
  void track(int node, std::span<const Tensor> in);
  void know(const Tensor& t, ValueId value);

  Graph graph_;
  std::unordered_map<uint64_t, Known> known_;
  std::unordered_map<uint64_t, Numbers> numbers_;
  std::vector<Captured> captured_;
  std::vector<Update> updates_;
  std::vector<Literal> literals_;
  std::vector<uint64_t> changed_order_;
  std::vector<std::pair<Tensor, Tensor>> grads_before_;
  bool within_ = false;
  uint64_t began_ = 0;                                     // tape nodes from there on are of this recording
  struct Own { Tensor tensor; ValueId value; };
  std::unordered_map<const TensorImpl*, Own> own_;         // with a history from outside, and views of them
  std::unordered_set<uint64_t> own_storages_;
  Tensors leaves_;
  std::vector<uint64_t> tracked_;
  std::vector<Custom> customs_;
  int arguments_ = 0;
};

}  // namespace suan
