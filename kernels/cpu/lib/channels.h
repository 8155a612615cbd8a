// Per-channel statistics of [batch, channels, size] tensors: sums in a fixed order, one channel
// (or, when size is 1, one block of channels) per task.
#pragma once

#include <algorithm>

#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {

struct Channels {
  int64_t batch = 0, channels = 0, size = 1;
  int64_t count() const { return batch * size; }
  int64_t elements() const { return batch * channels * size; }
};
inline Channels channels_of(const Shape& s) { return {s[0], s[1], product(s, 2, s.size())}; }

// Calls fn(first, n) for blocks of channels.
inline constexpr int64_t channel_block = 16;
template <class F>
void for_channels(const Channels& c, F&& fn) {
  const int64_t block = c.size == 1 ? channel_block : 1;
  run_tasks((c.channels + block - 1) / block, c.elements(), [&](int64_t t) {
    fn(t * block, std::min(block, c.channels - t * block));
  });
}

// out[k] = sum over batch and size of f(element index, channel first + k), for n <= channel_block
// channels. Runs of a channel are added in T by fixed lanes, the runs in f64.
template <class T, class F>
void channel_sums(const Channels& c, int64_t first, int64_t n, double* out, F&& f) {
  for (int64_t k = 0; k < n; ++k) out[k] = 0;
  if (c.size == 1) {
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t k = 0; k < n; ++k) out[k] += double(f(b * c.channels + first + k, first + k));
    return;
  }
  constexpr int64_t lanes = lanes_of<T>, run = 1024;
  for (int64_t k = 0; k < n; ++k)
    for (int64_t b = 0; b < c.batch; ++b) {
      const int64_t from = (b * c.channels + first + k) * c.size;
      for (int64_t i = 0; i < c.size; i += run) {
        const int64_t end = std::min(c.size, i + run);
        T sum[lanes] = {};
        int64_t j = i;
        for (; j + lanes <= end; j += lanes)
          for (int64_t l = 0; l < lanes; ++l) sum[l] += f(from + j + l, first + k);
        for (int64_t l = 0; j + l < end; ++l) sum[l] += f(from + j + l, first + k);
        out[k] += double(sum_lanes(load(sum)));
      }
    }
}

// fn(element index, channel) for every element of the channels.
template <class F>
void for_elements(const Channels& c, int64_t first, int64_t n, F&& fn) {
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t k = 0; k < n; ++k) {
      const int64_t from = (b * c.channels + first + k) * c.size;
      for (int64_t i = 0; i < c.size; ++i) fn(from + i, k);
    }
}

}  // namespace suan::cpu::SUAN_ISA
