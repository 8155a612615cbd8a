// Operators that only move elements, on strings: they move numbers that stand for these.
#include <algorithm>
#include <functional>
#include <string_view>
#include <unordered_map>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

// Which inputs hold the elements: -1 for all of them.
const std::unordered_map<std::string_view, std::vector<int>> movers = {
    {"CenterCropPad", {0}}, {"Compress", {0}}, {"Concat", {-1}}, {"ConcatFromSequence", {0}}, {"DepthToSpace", {0}}, {"Equal", {0, 1}}, {"Expand", {0}},
    {"Flatten", {0}}, {"Gather", {0}}, {"GatherElements", {0}}, {"GatherND", {0}}, {"NonZero", {0}}, {"OneHot", {2}}, {"Pad", {0, 2}},
    {"Reshape", {0}}, {"ReverseSequence", {0}}, {"Scatter", {0, 2}}, {"ScatterElements", {0, 2}}, {"ScatterND", {0, 2}}, {"Slice", {0}},
    {"SpaceToDepth", {0}}, {"Split", {0}}, {"SplitToSequence", {0}}, {"Squeeze", {0}}, {"TensorScatter", {0, 1}}, {"Tile", {0}},
    {"Transpose", {0}}, {"Unique", {0}}, {"Unsqueeze", {0}}, {"Where", {1, 2}}};

bool holds_strings(const Value& v) {
  if (!v.is_sequence()) return v.is_strings();
  return std::any_of(v.sequence().begin(), v.sequence().end(), holds_strings);
}

// Strings by rank, the empty one first: so equal numbers are equal strings, sorted as these, and 0 fills with "".
class Ranks {
 public:
  void add(const Value& v) {
    if (v.is_strings()) known_.insert(known_.end(), v.strings().data.begin(), v.strings().data.end());
    if (v.is_sequence())
      for (const Value& item : v.sequence()) add(item);
  }
  void settle() {
    known_.emplace_back();
    std::sort(known_.begin(), known_.end());
    known_.erase(std::unique(known_.begin(), known_.end()), known_.end());
  }
  Value numbers(const Value& v) const {
    if (v.is_sequence()) {
      Sequence out;
      for (const Value& item : v.sequence()) out.push_back(numbers(item));
      return out;
    }
    if (!v.is_strings()) fail<TypeError>("onnx", "strings beside numbers: expected one of them, got {}", describe(v));
    std::vector<int64_t> at;
    at.reserve(v.strings().data.size());
    for (const std::string& s : v.strings().data) at.push_back(std::lower_bound(known_.begin(), known_.end(), s) - known_.begin());
    return Tensor::from<int64_t>(at, v.strings().shape);
  }
  Value strings(const Value& v) const {
    if (v.is_sequence()) {
      Sequence out;
      for (const Value& item : v.sequence()) out.push_back(strings(item));
      return out;
    }
    Strings out{v.tensor().shape(), {}};
    StringRoom room;
    for (int64_t i : read_ints(v.tensor())) {
      if (i < 0 || i >= int64_t(known_.size())) fail<TypeError>("onnx", "strings are not computed with: expected one that was there, got a number");
      room.add(known_[size_t(i)].size());
      out.data.emplace_back(known_[size_t(i)]);
    }
    return out;
  }

 private:
  std::vector<std::string_view> known_;
};

}  // namespace

bool moves_strings(const Node& n, const Values& in) {
  if (!std::any_of(in.begin(), in.end(), holds_strings)) return false;
  return n.domain.empty() ? movers.contains(n.op) : n.domain == "ai.onnx.ml" && n.op == "ArrayFeatureExtractor";
}

Values move_strings(const Node& n, const Values& in, const std::function<Values(Values)>& build) {
  for (const Value& v : in)
    if (!is_concrete(v)) throw NeedsData{n.name};
  const auto listed = movers.find(n.op);
  auto is_element = [&](int i) {
    if (listed == movers.end()) return i == 0;
    return std::any_of(listed->second.begin(), listed->second.end(), [&](int k) { return k == i || k < 0; });
  };
  return Eval::eagerly([&] {
    Ranks ranks;
    for (const Value& v : in) ranks.add(v);
    ranks.settle();
    Values numbers = in;
    for (size_t i = 0; i < in.size(); ++i)
      if (!in[i].absent() && is_element(int(i))) numbers[i] = ranks.numbers(in[i]);
    Values out = build(std::move(numbers));
    if (n.op == "NonZero" || n.op == "Equal") return out;
    for (size_t k = 0; k < (n.op == "Unique" ? 1 : out.size()); ++k)
      if (!out[k].absent()) out[k] = ranks.strings(out[k]);
    return out;
  });
}

}  // namespace suan::onnx
