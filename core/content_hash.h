// 128 bits that tell contents apart, at the speed of memory: 8 lanes of 64-bit products, so that the processor works on
// several at once. Finds mistakes, not attacks: whoever wants two contents of one hash can make them.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string_view>

namespace suan {

struct Hash128 {
  uint64_t low = 0, high = 0;
  auto operator<=>(const Hash128&) const = default;
};

Hash128 content_hash(std::string_view bytes, Hash128 seed = {});
// Of large contents, on all threads; another value than content_hash's. `read` is told which parts are done with.
Hash128 content_hash_parallel(std::string_view bytes, const std::function<void(std::string_view)>& read = {});

}  // namespace suan
