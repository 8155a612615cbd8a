// What would make a step need less memory, priced: read off the tape that the step has made so far, when an
// allocation fails. Nothing is computed or kept before.
#pragma once

#include <span>
#include <string>

#include "core/tape.h"

namespace suan {

// How an op computes under autocast; the binding, which has the table, sets this. Null: no remedy of that kind is named.
enum class Precision : uint8_t { as_given, low, full, widest };
extern Precision (*autocast_precision)(const OpDef&);

// Lines of text on what the nodes behind `roots` hold for the backward pass: checkpoints, bfloat16, smaller batches, each
// with the bytes it saves and its price. Empty where they hold nothing.
std::string remedies(std::span<const Ref<TapeNode>> roots);

// Called while an OutOfMemory is handled: throws it again, with remedies for the step that the tensors (or nodes) are
// part of, once.
[[noreturn]] void rethrow_with_remedies(const Error& e, std::span<const Tensor> tensors);
[[noreturn]] void rethrow_with_remedies(const Error& e, std::span<const Ref<TapeNode>> nodes);

}  // namespace suan
