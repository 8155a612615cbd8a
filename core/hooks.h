// Watching every result of this thread: what suan.debug.nan_guard is made of.
#pragma once

#include "core/op.h"
#include "core/source.h"

namespace suan {

// Called after an op ran; may throw. Null switches it off. Returns the one before. While it is set, plans run
// node by node, so that it sees each.
using ResultHook = void (*)(const OpDef&, std::span<const Tensor> inputs, std::span<const Tensor> outputs);
ResultHook set_result_hook(ResultHook hook);
ResultHook result_hook();

// Throws StateError when the op made a NaN or an infinity: an output holds one and no input does. An input
// that the op overwrites does not count. The message names op, output, shape and element.
void require_finite(const OpDef& op, std::span<const Tensor> inputs, std::span<const Tensor> outputs);

// The line that the ops of this scope come from, where it is not the one being executed: the forward line of
// a gradient, the recorded line of a planned node.
class ResultSource {
 public:
  explicit ResultSource(const SourceMark& mark);
  ~ResultSource();
  ResultSource(const ResultSource&) = delete;

 private:
  const SourceMark* before_;
};
// The mark of the innermost such scope, else the line being executed.
SourceMark executing_source();

}  // namespace suan
