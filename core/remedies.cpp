#include "core/remedies.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace suan {

Precision (*autocast_precision)(const OpDef&) = nullptr;

namespace {

constexpr const char* heading = "\nTo need less (from what this step holds for its backward pass, ";
constexpr double flops_per_byte = 8;   // machine balance: how many flops cost as much as moving one byte

// Something kept for the backward pass: made by one node, read last by another.
struct Kept {
  size_t made = 0, last = 0;
  int64_t bytes = 0;
  TensorType type;
  bool leaf = false;    // a weight: no remedy frees it
  bool given = false;   // no node made it: data, or a mask
};

struct Step {
  std::vector<const TapeNode*> nodes;   // as they ran
  std::vector<Kept> kept;
  std::vector<double> work;             // by node, in bytes moved
  int64_t bytes = 0;                    // of what is kept, without weights
  double all_work = 0;
};

double work_of(const TapeNode& n) {
  double bytes = 0;
  std::vector<const TensorType*> in;
  for (const auto& t : n.in_types) {
    in.push_back(t ? &*t : nullptr);
    if (t) bytes += double(t->bytes());
  }
  if (!n.op || n.op->view) return 0;
  for (const TensorType& t : n.out_types) bytes += double(t.bytes());
  return bytes + (n.op->cost ? n.op->cost(InferContext{*n.op, in, n.attrs}).flops / flops_per_byte : 0);
}

Step read(std::span<const Ref<TapeNode>> roots) {
  Step s;
  std::unordered_set<const TapeNode*> seen;
  std::vector<const TapeNode*> stack;
  const auto visit = [&](const TapeNode* n) {
    if (n && seen.insert(n).second) stack.push_back(n);
  };
  for (const Ref<TapeNode>& r : roots) visit(r.get());
  while (!stack.empty()) {
    s.nodes.push_back(stack.back());
    stack.pop_back();
    for (const Edge& e : s.nodes.back()->edges) visit(e.node.get());
  }
  std::sort(s.nodes.begin(), s.nodes.end(), [](auto* a, auto* b) { return a->sequence < b->sequence; });
  std::unordered_map<const TapeNode*, size_t> index;
  for (size_t i = 0; i < s.nodes.size(); ++i) index[s.nodes[i]] = i;
  std::unordered_map<const Storage*, size_t> by_storage;
  const auto keep = [&](const Tensor& t, size_t made, size_t reader, bool given) {
    auto [at, fresh] = by_storage.try_emplace(t.storage().get(), s.kept.size());
    if (fresh) s.kept.push_back({made, reader, t.storage()->bytes(), t.type(), t.impl()->requires_grad, given});
    Kept& k = s.kept[at->second];
    k.made = std::min(k.made, made);
    k.last = std::max(k.last, reader);
    k.given &= given;
    k.leaf |= t.impl()->requires_grad;
  };
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    const TapeNode& n = *s.nodes[i];
    for (size_t k = 0; k < n.saved_in.size(); ++k) {
      if (!n.saved_in[k].value.defined()) continue;
      const TapeNode* from = k < n.edges.size() ? n.edges[k].node.get() : nullptr;
      // A view has the storage of what it looks at.
      while (from && from->op && from->op->view && !from->edges.empty() && from->edges[0].node) from = from->edges[0].node.get();
      keep(n.saved_in[k].value, from ? index[from] : i, i, !from);
    }
    for (const Saved& o : n.saved_out)
      if (o.value.defined()) keep(o.value, i, i, false);
    s.work.push_back(work_of(n));
    s.all_work += s.work.back();
  }
  for (const Kept& k : s.kept)
    if (!k.leaf) s.bytes += k.bytes;
  return s;
}

std::string size_text(int64_t n) {
  if (n >= 1 << 30) return fmt::format("{:.2f} GiB", double(n) / (1 << 30));
  return n >= 1 << 20 ? fmt::format("{:.1f} MiB", double(n) / (1 << 20)) : fmt::format("{:.1f} KiB", double(n) / (1 << 10));
}

struct Checkpoints {
  std::vector<size_t> begin;   // first node of each part
  int64_t saves = 0;
  double work = 0;             // done again: all parts but the last
};

// Parts of about equal bytes, cut where little crosses.
Checkpoints checkpoints(const Step& s, size_t parts) {
  const size_t n = s.nodes.size();
  std::vector<int64_t> made(n), crossing(n + 1);
  for (const Kept& k : s.kept) {
    if (k.leaf || k.given) continue;
    made[k.made] += k.bytes;
    crossing[k.made + 1] += k.bytes;
    crossing[k.last + 1] -= k.bytes;
  }
  for (size_t i = 1; i <= n; ++i) crossing[i] += crossing[i - 1];   // kept bytes that a cut before node i goes through
  int64_t total = 0;
  for (int64_t b : made) total += b;
  Checkpoints c;
  c.begin.push_back(0);
  const double share = double(total) / double(parts);
  double held = 0;
  for (size_t i = 0; i < n && c.begin.size() < parts; ++i) {
    held += double(made[i]);
    if (held < 0.75 * share) continue;
    size_t best = i + 1;
    double ahead = held;
    for (size_t j = i + 1; j < n && ahead < 1.25 * share; ++j) {
      if (crossing[j] < crossing[best]) best = j;
      ahead += double(made[j]);
    }
    if (best >= n) break;
    c.begin.push_back(best);
    i = best - 1;
    held = 0;
  }
  // Kept: what a later part reads. Made again, one part at a time: all that the part makes.
  std::vector<size_t> part(n);
  for (size_t p = 0; p < c.begin.size(); ++p)
    for (size_t i = c.begin[p]; i < (p + 1 < c.begin.size() ? c.begin[p + 1] : n); ++i) part[i] = p;
  std::vector<int64_t> again(c.begin.size());
  for (const Kept& k : s.kept) {
    if (k.leaf || k.given) continue;
    again[part[k.made]] += k.bytes;
    if (part[k.made] == part[k.last]) c.saves += k.bytes;
  }
  c.saves -= *std::max_element(again.begin(), again.end());
  for (size_t i = 0; i < n; ++i)
    if (part[i] + 1 < c.begin.size()) c.work += s.work[i];
  return c;
}

std::string checkpoint_line(const Step& s) {
  Checkpoints best;
  double best_value = 0;
  for (size_t parts = 2; parts <= 32; ++parts) {
    Checkpoints c = checkpoints(s, parts);
    const double value = double(c.saves) / (s.all_work * 3 + c.work);   // what is saved by what the step then costs
    if (c.begin.size() > 1 && value > best_value * 1.02) {
      best_value = value;
      best = std::move(c);
    }
  }
  if (best.saves <= 0) return "\n  checkpoints: save nothing here, where no part of the step keeps values of its own";
  std::vector<std::string> lines;
  for (size_t b : best.begin) {
    std::string line = to_string(s.nodes[b]->source);
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(std::move(line));
  }
  constexpr size_t most_lines = 4;
  std::string where;
  for (size_t i = 0; i < std::min(lines.size(), most_lines); ++i) where += (i ? "; " : "") + lines[i];
  if (lines.size() > most_lines) where += fmt::format("; {} more lines", lines.size() - most_lines);
  return fmt::format("\n  suan.utils.checkpoint in {} parts: saves {}, takes {:.0f} % more time (the forward work of all but the "
                     "last again; by operations and bytes). The parts begin at {}",
                     best.begin.size(), size_text(best.saves), 100 * best.work / (3 * s.all_work), where);
}

// The step's values as they would be under autocast.
std::string bfloat16_line(const Step& s) {
  if (!autocast_precision) return "";
  std::unordered_map<const TapeNode*, bool> narrow;   // by node: its results
  std::unordered_set<const TensorImpl*> weights;
  std::vector<char> product(s.nodes.size());
  int64_t casts = 0;
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    const TapeNode& n = *s.nodes[i];
    const Precision p = n.op ? autocast_precision(*n.op) : Precision::as_given;
    bool low = p == Precision::low;
    product[i] = low;
    if (p == Precision::as_given || p == Precision::widest) {
      bool any = false, all = true;
      for (size_t k = 0; k < n.edges.size(); ++k) {
        if (!n.in_types[k] || !is_floating(n.in_types[k]->dtype)) continue;
        const bool is = n.edges[k].node && narrow[n.edges[k].node.get()];
        any |= is;
        all &= is;
      }
      low = any && all;
    }
    narrow[&n] = low;
    for (const Edge& e : n.edges)
      if (product[i] && e.leaf && weights.insert(e.leaf.get()).second) {
        const Tensor leaf(e.leaf);
        if (leaf.dtype() == DType::f32) casts += leaf.type().bytes() / 2;
      }
  }
  int64_t halved = 0;
  for (const Kept& k : s.kept) {
    if (k.leaf || k.type.dtype != DType::f32) continue;
    if (k.given ? product[k.last] : narrow[s.nodes[k.made]] || product[k.last]) halved += k.bytes / 2;
  }
  if (halved <= casts)
    return fmt::format("\n  suan.autocast(\"cpu\") to bfloat16: saves nothing here (its casts of weights take {}, kept values "
                       "shrink by {})", size_text(casts), size_text(halved));
  return fmt::format("\n  suan.autocast(\"cpu\") to bfloat16: saves {} (casts of weights counted); time not known beforehand",
                     size_text(halved - casts));
}

std::string batch_line(const Step& s) {
  std::unordered_map<int64_t, int64_t> candidates;   // size of a first dimension -> bytes of values it divides
  for (const Kept& k : s.kept)
    if (!k.leaf && k.type.shape.size() > 0 && k.type.shape[0] > 1) candidates.emplace(k.type.shape[0], 0);
  int64_t most = 0, batch = 0;
  for (auto& [d, bytes] : candidates) {
    for (const Kept& k : s.kept)
      if (!k.leaf && k.type.shape.size() > 0 && k.type.shape[0] % d == 0) bytes += k.bytes;
    most = std::max(most, bytes);
  }
  for (const auto& [d, bytes] : candidates)
    if (double(bytes) >= 0.9 * double(most)) batch = std::max(batch, d);
  if (batch < 2) return "\n  smaller batches: not known here (no value has a first dimension above 1)";
  return fmt::format("\n  batches of {} instead of {}, gradients added up over {}: saves {}, the same operations in more calls", batch / 2,
                     batch, (batch + batch / 2 - 1) / (batch / 2),
                     size_text(int64_t(double(candidates[batch]) * (1 - double(batch / 2) / double(batch)))));
}

[[noreturn]] void rethrow(const Error& e, const std::string& more) {
  if (more.empty()) throw;
  throw OutOfMemory(e.what() + more);
}
bool told(const Error& e) { return std::string_view(e.what()).find(heading) != std::string_view::npos; }

}  // namespace

std::string remedies(std::span<const Ref<TapeNode>> roots) {
  const Step s = read(roots);
  if (s.bytes == 0) return "";
  return fmt::format("{}{} in {} ops until here):", heading, size_text(s.bytes), s.nodes.size()) + checkpoint_line(s) +
         bfloat16_line(s) + batch_line(s) +
         "\n  suan.compile(step, memory_limit=...) makes values again by itself; suan.plan(step, ...) says before a step what it "
         "takes, and what these would save of the whole";
}

void rethrow_with_remedies(const Error& e, std::span<const Ref<TapeNode>> nodes) {
  if (told(e)) throw;
  rethrow(e, remedies(nodes));
}

void rethrow_with_remedies(const Error& e, std::span<const Tensor> tensors) {
  if (told(e)) throw;
  std::vector<Ref<TapeNode>> roots;
  for (const Tensor& t : tensors)
    if (t.defined() && t.impl()->autograd && t.impl()->autograd->node) roots.push_back(t.impl()->autograd->node);
  rethrow_with_remedies(e, roots);
}

}  // namespace suan
