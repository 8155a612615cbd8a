// Source marks that are names (of a model's nodes) instead of lines.
#pragma once

#include <string_view>

#include "core/source.h"

namespace suan {

// A mark whose text is `name`. Names are kept for the life of the process, each once.
SourceMark named_mark(std::string_view name);
bool is_named(const SourceMark& mark);

}  // namespace suan
