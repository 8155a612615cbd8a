#include "frontends/onnx/build.h"
namespace suan::onnx {
std::vector<Mapping> recurrent_ops() { return {}; }
}
