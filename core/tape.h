// Eager autograd. Every differentiable apply() leaves a ref-counted TapeNode that dies with its outputs.
// It keeps exactly the values that one dry run of the op's vjp asked for.
#pragma once

#include <functional>

#include "core/op.h"
#include "core/source.h"

namespace suan {

struct TapeNode;

// Where a gradient goes: an output of a node, or a leaf.
struct Edge {
  Ref<TapeNode> node;
  int port = 0;
  Ref<TensorImpl> leaf;
  bool defined() const { return node || leaf; }
};

using Hook = std::function<Tensor(const Tensor&)>;  // an undefined result leaves the gradient as it is

struct AutogradState {
  Tensor grad;
  Ref<TapeNode> node;        // null for leaves
  int port = 0;
  bool retain_grad = false;
  // A differentiable view: its root, and the root's history when `node` was made.
  Tensor base;
  uint32_t history = 0;      // on a root: counts in-place rebases; on a view: the root's count it matches
  std::vector<std::pair<int, Hook>> hooks;             // on the gradient of this tensor
  std::vector<std::pair<int, std::function<void(const Tensor&)>>> after_accumulate;  // leaves only
};

struct Saved {
  Tensor value;              // history-free alias; undefined when the vjp does not need it
  uint32_t version = 0;
};

struct TapeNode : RefCounted<TapeNode> {
  const OpDef* op = nullptr;   // null for custom functions
  Attrs attrs;
  uint64_t sequence = 0;
  std::vector<Edge> edges;     // per input; undefined when no gradient flows there
  std::vector<std::optional<TensorType>> in_types;
  std::vector<TensorType> out_types;
  std::vector<Saved> saved_in, saved_out;
  SourceMark source;
  bool freed = false;
  std::vector<std::pair<int, std::pair<int, Hook>>> hooks;  // (port, (handle, hook))
  std::vector<std::pair<int, Ref<TensorImpl>>> retained;    // (port, tensor that keeps its gradient)
  // A Python autograd.Function, or a compiled module's backward: gradients of the outputs to those of the inputs.
  std::function<Tensors(std::span<const Tensor> grads)> custom;
  std::function<void()> release;   // drops what `custom` holds

  static void destroy(TapeNode* n);  // iterative: a long chain must not exhaust the stack
};

AutogradState& autograd_state(TensorImpl& t);      // makes it on first use
uint64_t next_tape_sequence();
// After an in-place write: `out` (and its base and their views) flow to `node`, or nowhere when it is null.
void rebase_history(const Tensor& out, const Ref<TapeNode>& node);
// The node a tensor's gradient flows to (views of a rewritten base get theirs anew).
Edge gradient_edge(const Tensor& t);

// Runs the tape. `grads` may hold undefined entries for scalars (gradient 1).
struct BackwardOptions {
  bool retain_graph = false;
  bool create_graph = false;
};
void backward(std::span<const Tensor> roots, std::span<const Tensor> grads, BackwardOptions options);
// Gradients of roots with respect to `inputs`; an unreachable input is an error unless allow_unused.
Tensors grad(std::span<const Tensor> roots, std::span<const Tensor> inputs, std::span<const Tensor> grads,
             BackwardOptions options, bool allow_unused = false);

// Attaches a custom node: outputs are fresh tensors whose gradient `backward` maps to the inputs'.
void attach_custom(std::span<const Tensor> inputs, std::span<const Tensor> outputs,
                   std::function<Tensors(std::span<const Tensor>)> backward, std::function<void()> release);

// Saved bytes reachable from a tensor's tape, each storage once (proofs and `suan.debug`).
int64_t saved_bytes(const Tensor& root);

}  // namespace suan
