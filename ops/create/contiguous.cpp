// contiguous: row-major memory, copied only if needed.
#include "ops/api.h"

namespace suan {

OpDef op_def_contiguous() {
  OpDef d{.name = "contiguous",
          .doc = "The input itself when it is contiguous, else a contiguous copy.",
          .inputs = {{"input"}}};
  d.compose = [](const ComposeContext& c) -> Tensors { return {ops::contiguous(c[0])}; };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}}}, {{{{}}}, {}, "0-d"}, {{{{0, 4}}}, {}, "no elements"}};
  };
  return d;
}

}  // namespace suan
