// What apply() remembers of calls: a signature is an op, its attributes, and its inputs' dtypes, devices,
// shapes and strides; its entry holds the kernel chosen for it. A direct-mapped table for each thread.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "core/dispatch.h"
#include "core/hash.h"
#include "core/op.h"

namespace suan {

constexpr size_t max_outputs = 8;   // of a call that allocates nothing for their list

struct Signature {
  std::vector<int64_t> words;   // the first n; grows with the longest call
  size_t n = 0;
  uint64_t hash = 0;
};

struct Entry {
  uint64_t hash = 0;
  const OpDef* def = nullptr;
  Attrs attrs;
  std::vector<int64_t> key;

  std::vector<TensorType> out_types;
  std::vector<Layout> out_layouts;
  std::vector<int64_t> out_bytes;
  Selected selected;              // empty kernel: run the composite definition
  bool masks_known = false;
  uint64_t wanted = 0, keep_in = 0, keep_out = 0;
  int pins = 0;                   // calls that use it right now
  bool evicted = false;           // out of the table: the last pin deletes it
};

// Keeps an entry through calls that may evict it (a dry gradient rule, a contiguous copy).
class Pin {
 public:
  explicit Pin(Entry* e) : e_(e) { ++e_->pins; }
  ~Pin() {
    if (--e_->pins == 0 && e_->evicted) delete e_;
  }
  Pin(const Pin&) = delete;
  Entry& operator*() const { return *e_; }

 private:
  Entry* e_;
};

// Writes a call down.
inline void sign(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs, uint64_t grad_mask,
                 Signature& s) {
  const size_t most = 1 + in.size() * (1 + 2 * max_rank);
  if (s.words.size() < most) s.words.resize(most);
  int64_t* const words = s.words.data();
  int64_t* w = words;
  *w++ = int64_t(grad_mask);
  for (const Tensor& t : in) {
    if (!t.defined()) { *w++ = -1; continue; }
    const Layout& l = t.layout();
    int rank = l.rank();
    *w++ = int64_t(t.dtype()) | (rank << 8) | (int64_t(t.device().type) << 16) |
           (int64_t(t.device().index) << 24);
    for (int i = 0; i < rank; ++i) { *w++ = l.shape[i]; *w++ = l.strides[i]; }
  }
  s.n = size_t(w - words);
  uint64_t h = mix(uint64_t(def.id), attrs.size() ? attrs.hash() : 0);
  for (const int64_t* at = words; at != w; ++at) h = (h ^ uint64_t(*at)) * 0x9ddfea08eb382d69ull, h ^= h >> 29;
  s.hash = h;
}

class SignatureTable {
 public:
  SignatureTable() = default;
  ~SignatureTable() {
    for (Entry* e : slots_) delete e;
  }
  SignatureTable(const SignatureTable&) = delete;

  // The entry of a call, made by `make` and counted as a miss when it is not there.
  template <class Make>
  Entry* lookup(const OpDef& def, std::span<const Tensor> in, const Attrs& attrs, uint64_t grad_mask,
                uint64_t& misses, Make&& make) {
    Signature& s = scratch_;
    sign(def, in, attrs, grad_mask, s);
    Entry*& slot = slots_[s.hash & (size - 1)];
    if (slot && slot->hash == s.hash && slot->def == &def && slot->key.size() == s.n &&
        std::memcmp(slot->key.data(), s.words.data(), s.n * 8) == 0 && slot->attrs == attrs)
      return slot;
    ++misses;
    uint64_t hash = s.hash;
    std::vector<int64_t> key(s.words.begin(), s.words.begin() + int64_t(s.n));  // make() may call apply again
    std::unique_ptr<Entry> made = make();
    made->hash = hash;
    made->key = std::move(key);
    if (slot) {
      if (slot->pins) slot->evicted = true;
      else delete slot;
    }
    return slot = made.release();
  }

 private:
  static constexpr size_t size = 2048;
  std::array<Entry*, size> slots_{};
  Signature scratch_;
};

}  // namespace suan
