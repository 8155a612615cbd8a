// Watching every result of this thread: what suan.debug.nan_guard is made of.
#pragma once

#include "core/op.h"

namespace suan {

// Called after an op ran eagerly; may throw. Null switches it off. Returns the one before.
using ResultHook = void (*)(const OpDef&, std::span<const Tensor> outputs);
ResultHook set_result_hook(ResultHook hook);
bool watching_results();

// Throws StateError naming op, output and source line when a floating output holds a NaN or an infinity.
void require_finite(const OpDef& op, std::span<const Tensor> outputs);

}  // namespace suan
