// What a plan is made for: the inputs' types and, in models that cannot be planned without, what the inputs hold whose
// content decides shapes or branches.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "frontends/onnx/session.h"

namespace suan::onnx {

struct PlanKey {
  std::vector<TensorType> types;
  std::vector<int64_t> numbers;   // that the deciding inputs hold
  bool operator==(const PlanKey&) const = default;
};

// Inputs of a few integers whose content decides: found when a model cannot be planned without it.
class DecidingInputs {
 public:
  // Those that may: sizes, choices, lengths.
  static std::vector<int> candidates(const std::vector<TensorType>& types);
  // Which of them `enough` has to know; false where knowing them all is not enough. What `enough` throws is passed on, and
  // the next call chooses. One thread at a time; nothing is written once chosen() is true.
  bool choose(const std::vector<TensorType>& types, const std::function<bool()>& enough);
  bool chosen() const { return chosen_; }
  bool fit(const std::vector<TensorType>& types) const;   // they are few numbers in these types, too
  std::span<const int> inputs() const { return inputs_; }
  PlanKey key_of(std::vector<TensorType> types, std::span<const Value> in) const;
  std::string names(std::span<const Port> ports) const;   // "'n', 'mode'"

 private:
  std::vector<int> inputs_;
  std::atomic<bool> chosen_{false};
};

// Numbers may be others in every call. The first ones get plans; after that those that come again, and have to come the
// more often the more plans were made. One thread at a time.
class Recurrence {
 public:
  // Whether numbers without a plan have come often enough, after so many rounds of plans.
  bool enough(const std::vector<int64_t>& numbers, size_t rounds);

 private:
  std::list<std::pair<std::vector<int64_t>, int64_t>> missed_;   // and how often; last come first
};

}  // namespace suan::onnx
