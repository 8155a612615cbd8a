// Microsoft's contributed attention operators: with the projection inside (Attention), of projected values
// (MultiHeadAttention), with grouped heads, a cache and rotations (GroupQueryAttention).
#include <cmath>

#include "frontends/onnx/attend.h"
#include "frontends/onnx/int8.h"

namespace suan::onnx {
namespace {

using namespace ops;

bool wants(const Call& c, size_t i) { return c.node.out.size() > i && c.node.out[i] >= 0; }

// What masks of numbers mean: keys that are not there get `hidden` added to their score, so that a query whose keys
// are all masked still sees them, alike.
Tensor hidden_where(const Tensor& there, const Tensor& q, double hidden) {
  return where(there, number(0, q), number(hidden, q));
}

// A mask of int32 in its four forms: [batch, keys] or [batch, queries, keys] of 0 and 1, [batch] lengths, [2 * batch]
// ends and then beginnings.
Tensor padding_mask(const Call& c, const Tensor& m, const Tensor& q, int64_t keys) {
  const int64_t batch = q.dim(0);
  const double hidden = c.real("mask_filter_value", -10000.0);
  if (m.rank() == 1 && m.dim(0) == batch) return hidden_where(length_mask(m, keys), q, hidden);
  if (m.rank() == 1 && m.dim(0) == 2 * batch) {
    const Tensor end = length_mask(slice(m, 0, 0, batch), keys), before = length_mask(slice(m, 0, batch, 2 * batch), keys);
    return hidden_where(logical_and(end, logical_not(before)), q, hidden);
  }
  if ((m.rank() == 2 || m.rank() == 3) && m.dim(0) == batch && m.dim(-1) == keys) {
    const Tensor there = gt(m, scalar_like(0, m));
    return hidden_where(m.rank() == 2 ? unsqueeze(unsqueeze(there, 1), 1) : unsqueeze(there, 1), q, hidden);
  }
  c.fail<ShapeError>("unsupported mask: expected [batch], [2 * batch], [batch, keys] or [batch, queries, keys] with batch {} and "
                     "{} keys, got {}", batch, keys, to_string(m.type()));
}

// Both of a pair, or neither.
bool both(const Call& c, int i, int j, const char* what) {
  if (c.has(i) != c.has(j)) c.fail<ValueError>("half of {}: expected both inputs, got one", what);
  return c.has(i);
}
void none_of(const Call& c, std::initializer_list<int> inputs) {
  for (int i : inputs)
    if (c.has(i)) c.fail<ValueError>("unsupported input {}: expected it left out, got {}", i, describe(c.value(i)));
}

// What Attention and MultiHeadAttention do alike once q, k and v stand; `past` keys were there before.
Attended attend_to(const Call& c, const Tensor& q, const Tensor& k, const Tensor& v, int64_t past, Tensor mask,
                   const Tensor& bias, Attending::Give give = Attending::Give::nothing) {
  if (mask.defined()) mask = padding_mask(c, mask, q, k.dim(2));
  bool causal = c.integer("unidirectional", 0);
  if (causal && past > 0) {
    causal = false;
    if (q.dim(2) > 1) mask = both_masks(mask, causal_mask(q.dim(2), k.dim(2), past));
  }
  const double scale = c.real("scale", 0.0);
  return attend({.q = q, .k = k, .v = v, .mask = both_masks(mask, bias), .causal = causal,
                 .scale = scale != 0 ? scale : 1 / std::sqrt(double(q.dim(3))), .sink = {}, .give = give});
}

// Attention on what has been projected already: [batch, length, q and k and v].
Values attend_projected(Call& c, const Tensor& all) {
  none_of(c, {6});
  if (c.integer("do_rotary", 0) || c.integer("past_present_share_buffer", 0))
    c.fail<ValueError>("unsupported attribute: expected do_rotary and past_present_share_buffer 0, got another");
  const int64_t heads = c.integer("num_heads");
  if (all.rank() != 3) c.fail<ShapeError>("wrong rank: expected input [batch, length, width], got {} after its projection", to_string(all.type()));
  std::vector<int64_t> sizes = c.ints("qkv_hidden_sizes", std::vector<int64_t>{});
  if (sizes.empty()) sizes.assign(3, all.dim(2) / 3);
  if (sizes.size() != 3 || sizes[0] < 1 || sizes[1] != sizes[0] || sizes[2] < 1 || sizes[0] + sizes[1] + sizes[2] != all.dim(2))
    c.fail<ShapeError>("sizes do not fit: expected three, the first two alike, that add up to {}, got {}", all.dim(2),
                       fmt::join(sizes, ", "));
  const Tensor q = split_heads(c, slice(all, 2, 0, sizes[0]), heads);
  Tensor k = split_heads(c, slice(all, 2, sizes[0], 2 * sizes[0]), heads),
         v = split_heads(c, slice(all, 2, 2 * sizes[0], all.dim(2)), heads);
  int64_t past = 0;
  if (c.has(4)) {
    if (c[4].rank() != 5 || c[4].dim(0) != 2)
      c.fail<ShapeError>("past does not fit: expected [2, batch, heads, length, width], got {}", to_string(c[4].type()));
    past = c[4].dim(3);
    k = cat({apply(SUAN_OP("select"), {c[4]}, {int64_t(0), int64_t(0)}), k}, 2);
    v = cat({apply(SUAN_OP("select"), {c[4]}, {int64_t(0), int64_t(1)}), v}, 2);
  }
  Value present;
  if (wants(c, 1)) present = cat({unsqueeze(k, 0), unsqueeze(v, 0)}, 0);
  return {join_heads(attend_to(c, q, k, v, past, c.optional(3), c.optional(5)).out), present};
}

Values build_attention(Call& c) {
  const Tensor all = matmul(c[0], c[1]);
  return attend_projected(c, c.has(2) ? all + c[2] : all);
}

Values build_multi_head_attention(Call& c) {
  none_of(c, {8, 9});
  const int64_t heads = c.integer("num_heads");
  const bool cached = both(c, 6, 7, "the cache");
  Tensor q = c[0], k, v;
  // One part of [batch, length, heads, parts, width].
  auto part = [&](const Tensor& x, int64_t i) {
    return permute(apply(SUAN_OP("select"), {x}, {int64_t(3), i}), {0, 2, 1, 3});
  };
  // A bias holds those of q, k and v one after another.
  auto biased = [&](const Tensor& x, int64_t from) {
    if (!c.has(3)) return x;
    if (c[3].rank() != 1 || from + x.dim(2) > c[3].dim(0))
      c.fail<ShapeError>("bias does not fit: expected those of query, key and value, got {}", to_string(c[3].type()));
    return x + slice(c[3], 0, from, from + x.dim(2));
  };
  if (q.rank() == 5) {
    if (q.dim(2) != heads || q.dim(3) != 3 || c.has(1) || c.has(2))
      c.fail<ShapeError>("packed query does not fit: expected [batch, length, {}, 3, width] alone, got {}", heads,
                         to_string(q.type()));
    if (c.has(3)) {
      const int64_t w = q.dim(4);
      q = q + permute(reshape(c[3], {3, heads, w}), {1, 0, 2});
    }
    k = part(q, 1);
    v = part(q, 2);
    q = part(q, 0);
  } else {
    const int64_t width = q.rank() == 3 ? q.dim(2) : 0;
    const Tensor &key = c[1];
    q = split_heads(c, biased(q, 0), heads);
    if (key.rank() == 5) {
      if (key.dim(2) != heads || key.dim(3) != 2 || c.has(2))
        c.fail<ShapeError>("packed key does not fit: expected [batch, length, {}, 2, width] and no value, got {}", heads,
                           to_string(key.type()));
      k = part(key, 0);
      v = part(key, 1);
    } else if (key.rank() == 4) {   // keys and values of another sequence, split and biased before
      k = key;
      v = c[2];
    } else {
      k = split_heads(c, biased(key, width), heads);
      v = split_heads(c, biased(c[2], 2 * width), heads);
    }
  }
  int64_t past = 0;
  if (cached) {
    past = c[6].rank() == 4 ? c[6].dim(2) : 0;
    k = cat({c[6], k}, 2);
    v = cat({c[7], v}, 2);
  }
  const Attended y = attend_to(c, q, k, v, past, c.optional(4), c.optional(5),
                               wants(c, 3) ? Attending::Give::masked : Attending::Give::nothing);
  return {join_heads(y.out), k, v, y.scores};
}

// Positions [batch, length] counted from `first` [batch].
Tensor counted_from(const Tensor& first, int64_t length) { return unsqueeze(first, 1) + positions(length); }

Values build_rotary(Call& c) {
  if (c.integer("is_packed_batching", 0)) c.fail<ValueError>("unsupported attribute: expected is_packed_batching 0, got 1");
  Tensor x = c[0], at = c[1];
  const Tensor &cos = c[2], &sin = c[3];
  const bool flat = x.rank() == 3;
  if (cos.rank() != 2 || sin.rank() != 2 || cos.dim(1) < 1)
    c.fail<ShapeError>("wrong rank: expected caches [positions, half a width], got {} and {}", to_string(cos.type()),
                       to_string(sin.type()));
  if (flat) {
    const int64_t heads = c.integer("num_heads", 0);
    x = split_heads(c, x, heads > 0 ? heads : std::max<int64_t>(1, x.dim(2) / (2 * cos.dim(1))));
  }
  if (x.rank() != 4) c.fail<ShapeError>("wrong rank: expected input of rank 3 or 4, got {}", to_string(c[0].type()));
  if (at.rank() == 1) at = counted_from(at, x.dim(2));
  const Tensor y = rotate(c, x, rows_of(cos, at), rows_of(sin, at), c.integer("interleaved", 0));
  return {flat ? join_heads(y) : y};
}

Values build_group_query_attention(Call& c) {
  none_of(c, {12, 13, 14, 15, 16});
  if (c.integer("sliding_window_cache", 0) || c.string("k_quant_type", "NONE") != "NONE" || c.string("v_quant_type", "NONE") != "NONE")
    c.fail<ValueError>("unsupported cache: expected a whole one of floats, got a window or a quantised one");
  const int64_t heads = c.integer("num_heads"), kv_heads = c.integer("kv_num_heads");
  const bool causal = c.integer("causal", 1), cached = both(c, 3, 4, "the cache");
  if (heads < 1 || kv_heads < 1 || heads % kv_heads)
    c.fail<ValueError>("heads do not group: expected kv_num_heads that divides {}, got {}", heads, kv_heads);
  Tensor q, k, v;
  if (c.has(1)) {
    q = split_heads(c, c[0], heads);
    k = split_heads(c, c[1], kv_heads);
    v = split_heads(c, c[2], kv_heads);
  } else {
    const Tensor all = split_heads(c, c[0], heads + 2 * kv_heads);
    q = slice(all, 1, 0, heads);
    k = slice(all, 1, heads, heads + kv_heads);
    v = slice(all, 1, heads + kv_heads, heads + 2 * kv_heads);
  }
  const int64_t batch = q.dim(0), queries = q.dim(2), total = c.host_int(6), held = cached && c[3].rank() == 4 ? c[3].dim(2) : 0;
  if (total < queries || (held == 0 && total != queries))
    c.fail<ShapeError>("lengths do not fit: expected total_sequence_length {} or more (with a cache), got {}", queries, total);
  // Where the new tokens of each row begin: a number where all rows agree, as a first prompt or a batch of one does.
  const bool prompt = total == queries, alike = prompt || batch == 1;
  const int64_t first = total - queries;
  const Tensor lengths = cast(reshape(c[5], {c[5].numel()}), DType::i64) + 1.0;
  const Tensor begins = alike ? full({batch}, double(first), DType::i64) : lengths - double(queries);
  if (c.integer("do_rotary", 0)) {
    Tensor at = counted_from(begins, queries);
    // Of a first prompt only the first position counts, for all rows.
    if (c.has(9)) at = prompt ? counted_from(slice(reshape(cast(c[9], DType::i64), {c[9].numel()}), 0, 0, 1), queries) : c[9];
    const Tensor cos = rows_of(c[7], at), sin = rows_of(c[8], at);
    q = rotate(c, q, cos, sin, c.integer("rotary_interleaved", 0));
    k = rotate(c, k, cos, sin, c.integer("rotary_interleaved", 0));
  }
  auto joined = [&](const Tensor& past, const Tensor& now) {
    if (!cached) return now;
    if (past.rank() != 4 || past.dim(0) != batch || past.dim(1) != kv_heads || past.dim(3) != now.dim(3))
      c.fail<ShapeError>("cache does not fit: expected [{}, {}, length, {}], got {}", batch, kv_heads, now.dim(3), to_string(past.type()));
    if (alike) {
      if (held < first) c.fail<ShapeError>("cache too short: expected {} positions or more, got {}", first, held);
      Tensors parts;
      if (first) parts.push_back(slice(past, 2, 0, first));
      parts.push_back(now);
      if (held > total) parts.push_back(slice(past, 2, total, held));
      return parts.size() == 1 ? now : cat(parts, 2);
    }
    Tensor room = past;
    if (held < total) room = cat({past, full({batch, kv_heads, total - held, now.dim(3)}, 0, past.dtype())}, 2);
    const Tensor at = expand(reshape(counted_from(begins, queries), {batch, 1, queries, 1}), now.shape());
    return apply(SUAN_OP("scatter"), {room, at, now}, {int64_t(2)});
  };
  k = joined(c.optional(3), k);
  v = joined(c.optional(4), v);
  const int64_t keys = std::min(total, k.dim(2)), window = c.integer("local_window_size", -1);
  Tensor mask = c.optional(10);
  bool upto = false;   // the kernel's own causal mask serves
  if (!causal) {
    mask = both_masks(length_mask(lengths, keys), mask);
  } else if (alike) {
    upto = first == 0 && (window < 0 || window >= keys);
    if (!upto && (queries > 1 || (window >= 0 && window < keys)))
      mask = both_masks(causal_mask(queries, keys, first, std::max<int64_t>(window, 0)), mask);
  } else {
    const Tensor own = unsqueeze(unsqueeze(counted_from(begins, queries), 2), 1), key = positions(keys);
    Tensor sees = le(key, own);
    if (window >= 0) sees = logical_and(sees, gt(key, own - double(window)));
    mask = both_masks(sees, mask);
  }
  Tensor sink = c.optional(11);
  if (!sink.defined() && c.integer("smooth_softmax", -1) == 1) sink = full({heads}, 0, q.dtype());
  const double scale = c.real("scale", 0.0);
  const Attended y = attend({.q = q, .k = keys < k.dim(2) ? slice(k, 2, 0, keys) : k, .v = keys < v.dim(2) ? slice(v, 2, 0, keys) : v,
                             .mask = mask, .causal = upto, .scale = scale != 0 ? scale : 1 / std::sqrt(double(q.dim(3))),
                             .softcap = c.real("softcap", 0.0), .sink = sink});
  return {join_heads(y.out), k, v};
}

// Newer than ONNX's own of that name by attributes that none but GPUs knows; these must be as if left out.
Values plain(Call& c, const char* op, std::initializer_list<std::pair<const char*, int64_t>> attributes) {
  for (auto [name, none] : attributes)
    if (const int64_t given = c.integer(name, none); given != none)
      c.fail<ValueError>("unsupported attribute: expected {} {}, got {}", name, none, given);
  return as_onnx(c, op, 27);
}
Values build_linear_attention(Call& c) { return plain(c, "LinearAttention", {{"state_window", 0}}); }
Values build_causal_conv(Call& c) {
  return plain(c, "CausalConvWithState",
               {{"ndim", 1}, {"dilation", 1}, {"channels_last", 0}, {"state_window", 0}, {"state_length", 0},
                {"state_channels_last", -1}, {"input_channels", 0}, {"input_channel_offset", 0}, {"state_update_capacity", 0}});
}

}  // namespace

Values attention_of(Call& c, const Tensor& projected) { return attend_projected(c, projected); }

std::vector<Mapping> contrib_attention_ops() {
  return {
      {"com.microsoft.Attention", 1, build_attention},
      {"com.microsoft.CausalConvWithState", 1, build_causal_conv},
      {"com.microsoft.GroupQueryAttention", 1, build_group_query_attention},
      {"com.microsoft.LinearAttention", 1, build_linear_attention},
      {"com.microsoft.MultiHeadAttention", 1, build_multi_head_attention},
      {"com.microsoft.RotaryEmbedding", 1, build_rotary},
  };
}

}  // namespace suan::onnx
