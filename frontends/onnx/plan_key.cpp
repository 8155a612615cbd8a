// What plans are known by, and which inputs' content belongs to it.
#include "frontends/onnx/plan_key.h"

#include <algorithm>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

bool is_few(const TensorType& t) {
  constexpr int64_t most = 8;
  const int64_t n = numel(t.shape);
  return n >= 1 && n <= most;
}

}  // namespace

std::vector<int> DecidingInputs::candidates(const std::vector<TensorType>& types) {
  std::vector<int> found;
  for (size_t i = 0; i < types.size(); ++i)
    if ((is_integer(types[i].dtype) || types[i].dtype == DType::boolean) && is_few(types[i])) found.push_back(int(i));
  return found;
}

bool DecidingInputs::choose(const std::vector<TensorType>& types, const std::function<bool()>& enough) try {
  inputs_ = candidates(types);
  if (inputs_.empty() || !enough()) {
    inputs_.clear();
    return false;
  }
  for (size_t k = inputs_.size(); k-- > 0 && inputs_.size() > 1;) {
    const int dropped = inputs_[k];
    inputs_.erase(inputs_.begin() + int64_t(k));
    if (!enough()) inputs_.insert(inputs_.begin() + int64_t(k), dropped);
  }
  chosen_ = true;
  return true;
} catch (...) {   // these numbers do not fit the model
  inputs_.clear();
  throw;
}

bool DecidingInputs::fit(const std::vector<TensorType>& types) const {
  return std::all_of(inputs_.begin(), inputs_.end(), [&](int i) { return is_few(types[size_t(i)]); });
}

PlanKey DecidingInputs::key_of(std::vector<TensorType> types, std::span<const Value> in) const {
  PlanKey key{std::move(types), {}};
  for (int i : inputs_) {
    const std::vector<int64_t> held = read_ints(in[size_t(i)].tensor());
    key.numbers.insert(key.numbers.end(), held.begin(), held.end());
  }
  return key;
}

std::string DecidingInputs::names(std::span<const Port> ports) const {
  std::string text;
  for (int i : inputs_) text += fmt::format("{}'{}'", text.empty() ? "" : ", ", ports[size_t(i)].name);
  return text;
}

bool Recurrence::enough(const std::vector<int64_t>& numbers, size_t rounds) {
  constexpr size_t most_missed = 64;
  auto it = std::find_if(missed_.begin(), missed_.end(), [&](const auto& m) { return m.first == numbers; });
  if (it == missed_.end()) missed_.emplace_front(numbers, 0);
  else missed_.splice(missed_.begin(), missed_, it);
  if (missed_.size() > most_missed) missed_.pop_back();
  if (++missed_.front().second < int64_t(1) << std::min<size_t>(rounds, 30)) return false;
  missed_.pop_front();
  return true;
}

}  // namespace suan::onnx
