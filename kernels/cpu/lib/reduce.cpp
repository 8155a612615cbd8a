// The reduction tree, in two forms: rows (the last axis group is reduced) and columns (it is kept).
#include "kernels/cpu/lib/reduce.h"

#include <algorithm>

namespace suan::cpu::SUAN_ISA {

namespace {

constexpr int64_t block_elements = 1024;
constexpr int64_t chunk_elements = 64 * block_elements;
constexpr int64_t block_rows = 64;
constexpr int64_t chunk_rows = 16 * block_rows;
constexpr int max_levels = 44;

void add_axis(Odometer<1>& o, int64_t size, int64_t stride) {
  o.size[o.rank] = size;
  o.stride[0][o.rank++] = stride;
}

}  // namespace

ReducePlan plan_reduce(DType dtype, const Shape& shape, const Dims& axes) {
  ReducePlan p;
  p.dtype = dtype;
  p.elements = numel(shape);
  struct Group { int64_t size, stride; bool reduced; };
  Group groups[max_rank];
  int n = 0;
  const Dims strides = contiguous_strides(shape);
  p.n_out = 1;
  for (int i = 0; i < shape.size(); ++i) {
    const bool reduced = axes.empty() || std::find(axes.begin(), axes.end(), i) != axes.end();
    if (!reduced) p.n_out *= shape[i];
    if (shape[i] == 1) continue;
    if (n && groups[n - 1].reduced == reduced) groups[n - 1] = {groups[n - 1].size * shape[i], strides[i], reduced};
    else groups[n++] = {shape[i], strides[i], reduced};
  }
  if (p.elements == 0) return p;
  if (n) {
    p.inner = groups[--n].size;
    p.inner_reduced = groups[n].reduced;
  }
  if (!p.inner_reduced && n) p.rows = groups[--n].size;
  for (int i = 0; i < n; ++i) {
    add_axis(groups[i].reduced ? p.reduced : p.kept, groups[i].size, groups[i].stride);
    (groups[i].reduced ? p.n_reduced : p.n_kept) *= groups[i].size;
  }
  const int64_t length = p.inner_reduced ? p.inner : p.rows;
  const int64_t chunk = p.inner_reduced ? chunk_elements : chunk_rows;
  p.chunks = (length + chunk - 1) / chunk;
  const int64_t tasks = p.inner_reduced ? p.n_kept : p.n_kept * ((p.inner + 63) / 64);
  p.split = tasks < 16 && p.elements >= 2 * inline_elements && p.n_reduced * p.chunks > 1;
  return p;
}

namespace {

// Pairwise combination of a stream of values: like carrying in a binary counter.
template <class Op, class T>
struct Cascade {
  T level[max_levels];
  uint64_t count = 0;

  void push(T v) {
    int l = 0;
    for (uint64_t c = count++; c & 1; c >>= 1) v = Op::combine(level[l++], v);
    level[l] = v;
  }
  T finish() const {
    T r = Op::template identity<T>();
    bool first = true;
    for (int l = 0; count >> l; ++l) {
      if (!(count >> l & 1)) continue;
      r = first ? level[l] : Op::combine(level[l], r);
      first = false;
    }
    return r;
  }
};

// The same for strips of columns; a level is one strip.
template <class Op, class T>
struct StripCascade {
  static constexpr int strip = 4 * lanes_of<T>;
  alignas(64) T level[max_levels][strip];
  uint64_t count = 0;

  static void combine(T* to, const T* a, const T* b) {
    for (int i = 0; i < strip; i += lanes_of<T>)
      store(to + i, Op::combine(load(a + i), load(b + i)));
  }
  void push(const T* v) {
    alignas(64) T carry[strip];
    std::memcpy(carry, v, sizeof carry);
    int l = 0;
    for (uint64_t c = count++; c & 1; c >>= 1) combine(carry, level[l++], carry);
    std::memcpy(level[l], carry, sizeof carry);
  }
  void finish(T* out) const {
    bool first = true;
    for (int l = 0; count >> l; ++l) {
      if (!(count >> l & 1)) continue;
      if (first) std::memcpy(out, level[l], sizeof level[l]);
      else combine(out, level[l], out);
      first = false;
    }
  }
};

// Squared distance from a center when there is one.
template <bool centered, class V>
SUAN_INLINE V distance(V x, V center) {
  if constexpr (centered) {
    const V d = x - center;
    return d * d;
  } else {
    return x;
  }
}

template <class Op, bool centered, class T>
T reduce_block(const T* p, int64_t n, T center) {
  using V = vec_of<T>;
  constexpr int L = lanes_of<T>;
  const V mid = splat<V>(center);
  V acc[4];
  for (V& a : acc) a = splat<V>(Op::template identity<T>());
  int64_t i = 0;
  if (n >= 4 * L) {
    for (; i + 4 * L <= n; i += 4 * L)
      for (int k = 0; k < 4; ++k)
        acc[k] = Op::combine(acc[k], distance<centered>(load(p + i + k * L), mid));
  }
  for (; i + L <= n; i += L) acc[0] = Op::combine(acc[0], distance<centered>(load(p + i), mid));
  alignas(64) T lanes[L];
  store(lanes, Op::combine(Op::combine(acc[0], acc[1]), Op::combine(acc[2], acc[3])));
  for (int k = 0; i < n; ++i, ++k) lanes[k] = Op::combine(lanes[k], distance<centered>(p[i], center));
  for (int w = L / 2; w > 0; w /= 2)
    for (int k = 0; k < w; ++k) lanes[k] = Op::combine(lanes[k], lanes[k + w]);
  return lanes[0];
}

// One piece of a row: at most chunk_elements.
template <class Op, bool centered, class T>
T reduce_chunk(DType dtype, const void* in, int64_t at, int64_t n, T center) {
  const bool direct = dtype == dtype_of<T>;
  alignas(64) T tile[block_elements];
  if (n <= block_elements) {
    if (direct) return reduce_block<Op, centered>(static_cast<const T*>(in) + at, n, center);
    load_tile(dtype, in, at, n, tile);
    return reduce_block<Op, centered>(tile, n, center);
  }
  Cascade<Op, T> sum;
  for (int64_t i = 0; i < n; i += block_elements) {
    const int64_t m = std::min(block_elements, n - i);
    if (!direct) load_tile(dtype, in, at + i, m, tile);
    sum.push(reduce_block<Op, centered>(direct ? static_cast<const T*>(in) + at + i : tile, m, center));
  }
  return sum.finish();
}

template <class Op, bool centered, class T>
void reduce_rows(const ReducePlan& p, const void* in, T* out, T* partials, const T* center) {
  auto chunk = [&](int64_t o, int64_t offset, int64_t c) {
    const int64_t from = c * chunk_elements;
    return reduce_chunk<Op, centered, T>(p.dtype, in, offset + from,
                                         std::min(chunk_elements, p.inner - from),
                                         centered ? center[o] : T(0));
  };
  if (p.n_out == 1 && p.n_reduced == 1 && p.chunks == 1) {
    out[0] = chunk(0, 0, 0);
    return;
  }
  if (p.split) {
    const int64_t per_out = p.n_reduced * p.chunks, n = p.n_kept * per_out;
    run_ranges(n, inline_elements * n / p.elements + 1, p.elements, [&](int64_t begin, int64_t end) {
      Odometer<1> k = p.kept, r = p.reduced;
      for (int64_t t = begin; t < end; ++t) {
        k.seek(t / per_out);
        r.seek(t % per_out / p.chunks);
        partials[t] = chunk(t / per_out, k.offset[0] + r.offset[0], t % p.chunks);
      }
    });
  }
  run_ranges(p.n_kept, p.split ? p.n_kept : inline_elements * p.n_kept / p.elements + 1, p.elements,
             [&](int64_t begin, int64_t end) {
    Odometer<1> k = p.kept, r = p.reduced;
    k.seek(begin);
    for (int64_t o = begin; o < end; ++o, k.next()) {
      if (p.n_reduced == 1 && p.chunks == 1) {
        out[o] = chunk(o, k.offset[0], 0);
        continue;
      }
      Cascade<Op, T> all;
      r.seek(0);
      for (int64_t j = 0; j < p.n_reduced; ++j, r.next()) {
        Cascade<Op, T> row;
        for (int64_t c = 0; c < p.chunks; ++c)
          row.push(p.split ? partials[(o * p.n_reduced + j) * p.chunks + c]
                           : chunk(o, k.offset[0] + r.offset[0], c));
        all.push(row.finish());
      }
      out[o] = all.finish();
    }
  });
}

// One strip of at most chunk_rows rows: blocks of rows in registers, blocks pairwise.
template <class Op, bool centered, class T>
void reduce_strip(DType dtype, const void* in, int64_t at, int64_t ld, int64_t rows, int width,
                  const T* center, T* out) {
  using V = vec_of<T>;
  constexpr int L = lanes_of<T>, strip = 4 * L;
  const bool direct = dtype == dtype_of<T>;
  V mid[4] = {};
  if constexpr (centered)
    for (int k = 0; k < 4; ++k) mid[k] = load_partial(center + k * L, std::clamp(width - k * L, 0, L));
  StripCascade<Op, T> sum;
  alignas(64) T tile[strip] = {};
  for (int64_t r = 0; r < rows; r += block_rows) {
    const int64_t end = std::min(rows, r + block_rows);
    V acc[4];
    for (V& a : acc) a = splat<V>(Op::template identity<T>());
    if (direct && width == strip) {
      const T* p = static_cast<const T*>(in) + at;
      for (int64_t i = r; i < end; ++i)
        for (int k = 0; k < 4; ++k)
          acc[k] = Op::combine(acc[k], distance<centered>(load(p + i * ld + k * L), mid[k]));
    } else {
      for (int64_t i = r; i < end; ++i) {
        if (direct)
          std::memcpy(tile, static_cast<const T*>(in) + at + i * ld, size_t(width) * sizeof(T));
        else
          load_tile(dtype, in, at + i * ld, width, tile);
        for (int k = 0; k < 4 && k * L < width; ++k)
          acc[k] = Op::combine(acc[k], distance<centered>(load(tile + k * L), mid[k]));
      }
    }
    alignas(64) T block[strip];
    for (int k = 0; k < 4; ++k) store(block + k * L, acc[k]);
    if (rows <= block_rows) {
      std::memcpy(out, block, sizeof block);
      return;
    }
    sum.push(block);
  }
  sum.finish(out);
}

template <class Op, bool centered, class T>
void reduce_columns(const ReducePlan& p, const void* in, T* out, T* partials, const T* center) {
  constexpr int strip = 4 * lanes_of<T>;
  const int64_t strips = (p.inner + strip - 1) / strip;
  auto chunk = [&](int64_t kept, int64_t offset, int64_t c, int64_t s, T* to) {
    const int64_t from = c * chunk_rows;
    reduce_strip<Op, centered, T>(p.dtype, in, offset + from * p.inner + s * strip, p.inner,
                                  std::min(chunk_rows, p.rows - from),
                                  int(std::min<int64_t>(strip, p.inner - s * strip)),
                                  centered ? center + kept * p.inner + s * strip : nullptr, to);
  };
  auto width = [&](int64_t s) { return size_t(std::min<int64_t>(strip, p.inner - s * strip)) * sizeof(T); };
  if (p.split) {
    const int64_t per_kept = p.n_reduced * p.chunks, n = p.n_kept * per_kept;
    run_ranges(n, inline_elements * n / p.elements + 1, p.elements, [&](int64_t begin, int64_t end) {
      Odometer<1> k = p.kept, r = p.reduced;
      alignas(64) T result[strip];
      for (int64_t t = begin; t < end; ++t) {
        k.seek(t / per_kept);
        r.seek(t % per_kept / p.chunks);
        for (int64_t s = 0; s < strips; ++s) {
          chunk(t / per_kept, k.offset[0] + r.offset[0], t % p.chunks, s, result);
          std::memcpy(partials + t * p.inner + s * strip, result, width(s));
        }
      }
    });
  }
  const int64_t n = p.n_kept * strips;
  run_ranges(n, p.split ? n : inline_elements * n / p.elements + 1, p.elements,
             [&](int64_t begin, int64_t end) {
    Odometer<1> k = p.kept, r = p.reduced;
    alignas(64) T result[strip] = {};
    for (int64_t t = begin; t < end; ++t) {
      const int64_t kept = t / strips, s = t % strips;
      k.seek(kept);
      if (p.n_reduced == 1 && p.chunks == 1) {
        chunk(kept, k.offset[0], 0, s, result);
      } else {
        StripCascade<Op, T> all;
        r.seek(0);
        for (int64_t j = 0; j < p.n_reduced; ++j, r.next()) {
          StripCascade<Op, T> row;
          for (int64_t c = 0; c < p.chunks; ++c) {
            if (p.split)
              std::memcpy(result, partials + ((kept * p.n_reduced + j) * p.chunks + c) * p.inner + s * strip,
                          width(s));
            else
              chunk(kept, k.offset[0] + r.offset[0], c, s, result);
            row.push(result);
          }
          row.finish(result);
          all.push(result);
        }
        all.finish(result);
      }
      std::memcpy(out + kept * p.inner + s * strip, result, width(s));
    }
  });
}

template <class Op, bool centered, class T>
void reduce(const ReducePlan& p, const void* in, T* out, T* partials, const T* center) {
  if (p.elements == 0) std::fill_n(out, p.n_out, Op::template identity<T>());
  else if (p.inner_reduced) reduce_rows<Op, centered, T>(p, in, out, partials, center);
  else reduce_columns<Op, centered, T>(p, in, out, partials, center);
}

struct ReduceState {
  ReducePlan plan;
  DType out;
  Finish finish;
  double count, divisor;
  int64_t result_at = 0, partials_at = 0;  // bytes into the workspace; the center comes first
};

template <class Op, class T>
void run(const void* state, const KernelArgs& a) {
  const auto& s = *static_cast<const ReduceState*>(state);
  std::byte* w = static_cast<std::byte*>(a.workspace);
  const bool direct = s.out == dtype_of<T>;
  T* out = direct ? static_cast<T*>(a.out[0]) : reinterpret_cast<T*>(w + s.result_at);
  T* partials = reinterpret_cast<T*>(w + s.partials_at);
  const int64_t n = s.plan.n_out;
  if (s.finish == Finish::variance) {
    T* center = reinterpret_cast<T*>(w);
    if constexpr (std::is_same_v<Op, SumOf> && std::is_floating_point_v<T>) {
      reduce<Op, false, T>(s.plan, a.in[0], center, partials, nullptr);
      for (int64_t i = 0; i < n; ++i) center[i] /= T(s.count);
      reduce<Op, true, T>(s.plan, a.in[0], out, partials, center);
    }
  } else {
    reduce<Op, false, T>(s.plan, a.in[0], out, partials, nullptr);
  }
  if (s.finish != Finish::none)
    for (int64_t i = 0; i < n; ++i) out[i] = T(out[i] / T(s.divisor));
  if (!direct) store_tile(s.out, a.out[0], 0, n, out);
}

}  // namespace

template <class Op, class T>
Prepared prepare_reduce_in(const KernelDesc& d, Finish finish, int64_t correction) {
  const Shape& shape = d.in[0]->layout.shape;
  Dims axes;
  for (int64_t a : d.attrs.dims(0)) axes.push_back(a < 0 ? a + std::max(shape.size(), 1) : a);
  ReduceState s;
  s.plan = plan_reduce(d.in[0]->dtype, shape, axes);
  s.out = d.out[0]->dtype;
  s.finish = finish;
  s.count = double(s.plan.n_out ? numel(shape) / s.plan.n_out : 0);
  s.divisor = finish == Finish::variance ? std::max(0.0, s.count - double(correction)) : s.count;
  auto bytes = [](int64_t n) { return (n * int64_t(sizeof(T)) + 63) / 64 * 64; };
  // Strips of one plan differ by T: partials hold whole rows of the inner axis.
  const int64_t partials = s.plan.partials();
  s.result_at = finish == Finish::variance ? bytes(s.plan.n_out) : 0;
  s.partials_at = s.result_at + (s.out == dtype_of<T> ? 0 : bytes(s.plan.n_out));
  const int64_t workspace = s.partials_at + bytes(partials);
  return {run<Op, T>, std::make_shared<ReduceState>(s), workspace};
}

#define SUAN_REDUCE(Op, T) template Prepared prepare_reduce_in<Op, T>(const KernelDesc&, Finish, int64_t);
SUAN_REDUCE(SumOf, float)
SUAN_REDUCE(SumOf, double)
SUAN_REDUCE(SumOf, int64_t)
SUAN_REDUCE(SumOf, uint64_t)
SUAN_REDUCE(ProductOf, float)
SUAN_REDUCE(ProductOf, double)
SUAN_REDUCE(ProductOf, int64_t)
SUAN_REDUCE(ProductOf, uint64_t)
SUAN_REDUCE(MaxOf, float)
SUAN_REDUCE(MaxOf, double)
SUAN_REDUCE(MaxOf, int64_t)
SUAN_REDUCE(MaxOf, uint64_t)
SUAN_REDUCE(MaxOf, uint8_t)
SUAN_REDUCE(MinOf, float)
SUAN_REDUCE(MinOf, double)
SUAN_REDUCE(MinOf, int64_t)
SUAN_REDUCE(MinOf, uint64_t)
SUAN_REDUCE(MinOf, uint8_t)
#undef SUAN_REDUCE

}  // namespace suan::cpu::SUAN_ISA
