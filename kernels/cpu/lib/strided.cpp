// Strided copies: axes are sorted by the output's strides and merged; then rows go by memcpy, fill or a
// strided loop, and a pair of crossed axes (a transpose) goes by 8x8 blocks inside 64x64 tiles.
#include "kernels/cpu/lib/strided.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace suan::cpu::SUAN_ISA {

Move plan_move(const Shape& shape, const Dims& out_strides, const Dims& in_strides, int item) {
  Move m;
  m.item = item;
  m.total = numel(shape);
  struct Axis { int64_t size, out, in; };
  Axis axes[max_rank];
  int n = 0;
  for (int i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) axes[n++] = {shape[i], out_strides[i], in_strides[i]};
  // Descending output stride, so that writes walk through memory; ties keep their order.
  std::stable_sort(axes, axes + n, [](const Axis& a, const Axis& b) {
    return std::abs(a.out) > std::abs(b.out);
  });
  int k = 0;
  for (int i = 0; i < n; ++i) {
    if (k && axes[k - 1].out == axes[i].size * axes[i].out &&
        axes[k - 1].in == axes[i].size * axes[i].in) {
      axes[k - 1] = {axes[k - 1].size * axes[i].size, axes[i].out, axes[i].in};
    } else {
      axes[k++] = axes[i];
    }
  }
  if (k == 0) axes[k++] = {1, 1, 1};
  // A transpose: the axis that reads side by side goes next to the last.
  if (axes[k - 1].out == 1 && axes[k - 1].in != 1 && axes[k - 1].in != 0) {
    for (int i = 0; i + 1 < k; ++i) {
      if (axes[i].in != 1) continue;
      std::rotate(axes + i, axes + i + 1, axes + k - 1);
      break;
    }
  }
  m.rank = k;
  for (int i = 0; i < k; ++i) {
    m.size[i] = axes[i].size;
    m.out[i] = axes[i].out;
    m.in[i] = axes[i].in;
  }
  return m;
}

namespace {

template <class W>
SUAN_INLINE void row(W* out, int64_t os, const W* in, int64_t is, int64_t n) {
  if (os == 1 && is == 1) {
    std::memcpy(out, in, size_t(n) * sizeof(W));
  } else if (os == 1 && is == 0) {
    std::fill_n(out, n, *in);
  } else if (os == 1) {
    for (int64_t j = 0; j < n; ++j) out[j] = in[j * is];
  } else {
    for (int64_t j = 0; j < n; ++j) out[j * os] = in[j * is];
  }
}

// 8 rows of 8 words: out[i * ldo + j] = in[j * ldi + i].
SUAN_INLINE void transpose_8x8(uint32_t* out, int64_t ldo, const uint32_t* in, int64_t ldi) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(reinterpret_cast<const float*>(in + i * ldi));
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int half = 0; half < 2; ++half) {
    const __m256* s = t + 4 * half;
    r[4 * half] = _mm256_shuffle_ps(s[0], s[2], 0x44);
    r[4 * half + 1] = _mm256_shuffle_ps(s[0], s[2], 0xee);
    r[4 * half + 2] = _mm256_shuffle_ps(s[1], s[3], 0x44);
    r[4 * half + 3] = _mm256_shuffle_ps(s[1], s[3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    float* o = reinterpret_cast<float*>(out);
    _mm256_storeu_ps(o + i * ldo, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(o + (i + 4) * ldo, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

// rows x cols: out[i * ldo + j] = in[j * ldi + i].
template <class W>
void transpose_tile(W* out, int64_t ldo, const W* in, int64_t ldi, int64_t rows, int64_t cols) {
  int64_t full_rows = 0, full_cols = 0;
  if constexpr (sizeof(W) == 4) {
    full_rows = rows & ~int64_t{7};
    full_cols = cols & ~int64_t{7};
    for (int64_t i = 0; i < full_rows; i += 8)
      for (int64_t j = 0; j < full_cols; j += 8)
        transpose_8x8(out + i * ldo + j, ldo, in + j * ldi + i, ldi);
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = i < full_rows ? full_cols : 0; j < cols; ++j) out[i * ldo + j] = in[j * ldi + i];
}

template <class W>
void move(const Move& m, W* out, const W* in) {
  const int last = m.rank - 1;
  const int64_t n = m.size[last];
  Odometer<2> o;
  if (m.rank >= 2 && m.out[last] == 1 && m.in[last] != 1 && m.in[last] != 0 && m.in[last - 1] == 1) {
    constexpr int64_t tile = 64;
    const int64_t rows = m.size[last - 1], tiles = (rows + tile - 1) / tile;
    o.rank = m.rank - 1;
    for (int d = 0; d + 2 < m.rank; ++d) {
      o.size[d] = m.size[d];
      o.stride[0][d] = m.out[d];
      o.stride[1][d] = m.in[d];
    }
    o.size[m.rank - 2] = tiles;
    o.stride[0][m.rank - 2] = tile * m.out[last - 1];
    o.stride[1][m.rank - 2] = tile;
    const int64_t n_tasks = m.total / (rows * n) * tiles;
    run_ranges(n_tasks, inline_elements / (tile * n) + 1, m.total, [&](int64_t begin, int64_t end) {
      Odometer<2> at = o;
      at.seek(begin);
      for (int64_t t = begin; t < end; ++t, at.next()) {
        const int64_t row0 = at.index[at.rank - 1] * tile;
        for (int64_t j = 0; j < n; j += tile)
          transpose_tile(out + at.offset[0] + j, m.out[last - 1], in + at.offset[1] + j * m.in[last],
                         m.in[last], std::min(tile, rows - row0), std::min(tile, n - j));
      }
    });
    return;
  }
  o.rank = last;
  for (int d = 0; d < last; ++d) {
    o.size[d] = m.size[d];
    o.stride[0][d] = m.out[d];
    o.stride[1][d] = m.in[d];
  }
  const int64_t rows = m.total / n;
  if (rows < 8 && m.total >= inline_elements) {  // few long rows: cut the rows themselves
    constexpr int64_t piece = inline_elements;
    const int64_t pieces = (n + piece - 1) / piece;
    parallel_for(rows * pieces, [&](int64_t t) {
      Odometer<2> at = o;
      at.seek(t / pieces);
      const int64_t j = t % pieces * piece;
      row(out + at.offset[0] + j * m.out[last], m.out[last], in + at.offset[1] + j * m.in[last],
          m.in[last], std::min(piece, n - j));
    });
    return;
  }
  run_ranges(rows, inline_elements / n, m.total, [&](int64_t begin, int64_t end) {
    Odometer<2> at = o;
    at.seek(begin);
    for (int64_t r = begin; r < end; ++r, at.next())
      row(out + at.offset[0], m.out[last], in + at.offset[1], m.in[last], n);
  });
}

}  // namespace

void run_move(const Move& m, void* out, const void* in) {
  if (m.total == 0) return;
  with_word(m.item, [&](auto word) {
    using W = decltype(word);
    move(m, static_cast<W*>(out), static_cast<const W*>(in));
  });
}

void fill_elements(void* out, const void* value, int64_t n, int item) {
  with_word(item, [&](auto word) {
    using W = decltype(word);
    W v;
    std::memcpy(&v, value, sizeof v);
    run_ranges(n, inline_elements, n, [&](int64_t begin, int64_t end) {
      std::fill(static_cast<W*>(out) + begin, static_cast<W*>(out) + end, v);
    });
  });
}

namespace {

template <class S, class T>
void convert(const void* p, int64_t at, int64_t n, T* out) {
  const S* s = static_cast<const S*>(p) + at;
  if constexpr (std::is_same_v<T, uint8_t>) {
    for (int64_t i = 0; i < n; ++i) out[i] = s[i] != S(0);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(s[i]);
  }
}

template <class S, class T>
void convert_back(void* p, int64_t at, int64_t n, const T* in) {
  S* s = static_cast<S*>(p) + at;
  for (int64_t i = 0; i < n; ++i) s[i] = static_cast<S>(in[i]);
}

template <auto F>
void widen_halves(const void* p, int64_t at, int64_t n, float* out) {
  const uint16_t* s = static_cast<const uint16_t*>(p) + at;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, F(load_u16(s + i)));
  if (i < n) store_partial(out + i, F(load_u16_partial(s + i, int(n - i))), int(n - i));
}

template <auto F>
void narrow_halves(void* p, int64_t at, int64_t n, const float* in) {
  uint16_t* s = static_cast<uint16_t*>(p) + at;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_u16(s + i, F(load(in + i)));
  if (i < n) store_u16_partial(s + i, F(load_partial(in + i, int(n - i))), int(n - i));
}

}  // namespace

template <class T>
void load_tile(DType t, const void* p, int64_t at, int64_t n, T* out) {
  if constexpr (std::is_same_v<T, float>) {
    if (t == DType::f16) return widen_halves<f16_to_f32>(p, at, n, out);
    if (t == DType::bf16) return widen_halves<bf16_to_f32>(p, at, n, out);
  } else if (t == DType::f16 || t == DType::bf16) {
    // Only truth is asked of a half in another type: the sign bit does not count.
    const uint16_t* s = static_cast<const uint16_t*>(p) + at;
    for (int64_t i = 0; i < n; ++i) out[i] = (s[i] & 0x7fff) != 0;
    return;
  }
  switch (t) {
    case DType::boolean: case DType::u8: return convert<uint8_t>(p, at, n, out);
    case DType::u16: return convert<uint16_t>(p, at, n, out);
    case DType::u32: return convert<uint32_t>(p, at, n, out);
    case DType::u64: return convert<uint64_t>(p, at, n, out);
    case DType::i8: return convert<int8_t>(p, at, n, out);
    case DType::i16: return convert<int16_t>(p, at, n, out);
    case DType::i32: return convert<int32_t>(p, at, n, out);
    case DType::i64: return convert<int64_t>(p, at, n, out);
    case DType::f64: return convert<double>(p, at, n, out);
    default: return convert<float>(p, at, n, out);
  }
}

template <class T>
void store_tile(DType t, void* p, int64_t at, int64_t n, const T* in) {
  if constexpr (std::is_same_v<T, float>) {
    if (t == DType::f16) return narrow_halves<f32_to_f16>(p, at, n, in);
    if (t == DType::bf16) return narrow_halves<f32_to_bf16>(p, at, n, in);
  }
  switch (t) {
    case DType::boolean: case DType::u8: return convert_back<uint8_t>(p, at, n, in);
    case DType::u16: return convert_back<uint16_t>(p, at, n, in);
    case DType::u32: return convert_back<uint32_t>(p, at, n, in);
    case DType::u64: return convert_back<uint64_t>(p, at, n, in);
    case DType::i8: return convert_back<int8_t>(p, at, n, in);
    case DType::i16: return convert_back<int16_t>(p, at, n, in);
    case DType::i32: return convert_back<int32_t>(p, at, n, in);
    case DType::i64: return convert_back<int64_t>(p, at, n, in);
    case DType::f64: return convert_back<double>(p, at, n, in);
    default: return convert_back<float>(p, at, n, in);
  }
}

#define SUAN_TILE(T)                                                            \
  template void load_tile<T>(DType, const void*, int64_t, int64_t, T*);         \
  template void store_tile<T>(DType, void*, int64_t, int64_t, const T*);
SUAN_TILE(float)
SUAN_TILE(double)
SUAN_TILE(int64_t)
SUAN_TILE(uint64_t)
SUAN_TILE(uint8_t)
#undef SUAN_TILE

}  // namespace suan::cpu::SUAN_ISA
