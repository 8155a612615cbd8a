// TfIdfVectorizer: how often each of a list of n-grams occurs, with gaps where asked.
#include <algorithm>
#include <map>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

// A tree of n-grams over tokens numbered from 0.
struct Grams {
  std::map<std::pair<int64_t, int64_t>, int64_t> next;   // (node, token) -> node
  std::vector<int64_t> ends{-1};                         // by node: which n-gram ends there

  template <class Tokens>
  void add(const Tokens& tokens, size_t first, size_t size, int64_t which) {
    int64_t node = 0;
    for (size_t i = first; i < first + size; ++i) {
      auto [it, fresh] = next.try_emplace({node, tokens[i]}, int64_t(ends.size()));
      if (fresh) ends.push_back(-1);
      node = it->second;
    }
    ends[size_t(node)] = which;
  }
  int64_t after(int64_t node, int64_t token) const {
    const auto it = next.find({node, token});
    return it == next.end() ? -1 : it->second;
  }
};

template <class T>
std::vector<int64_t> numbered(const std::vector<T>& words, std::map<T, int64_t>& known, bool grow) {
  std::vector<int64_t> out;
  for (const T& w : words) {
    if (grow) known.try_emplace(w, int64_t(known.size()));
    const auto it = known.find(w);
    out.push_back(it == known.end() ? -1 : it->second);
  }
  return out;
}

Values build_tfidf(Call& c) {
  const bool text = c.value(0).is_strings();
  const Shape shape = text ? c.strings(0).shape : c[0].shape();
  const std::vector<int64_t> counts = c.ints("ngram_counts"), indexes = c.ints("ngram_indexes");
  const std::string mode = c.string("mode");
  const int64_t shortest = c.integer("min_gram_length"), longest = c.integer("max_gram_length"), skips = c.integer("max_skip_count");
  const std::vector<double> weights = c.reals("weights", std::vector<double>{});
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF") c.fail<ValueError>("unknown mode: expected TF, IDF or TFIDF, got '{}'", mode);
  if (shape.size() < 1 || shape.size() > 2) c.fail<ShapeError>("expected 1 or 2 dimensions, got {}", to_string(shape));
  if (shortest < 1 || longest < shortest || longest > 1024 || skips < 0 || (!weights.empty() && weights.size() != indexes.size()))
    c.fail<ValueError>("wrong attributes: expected 1 <= min_gram_length <= max_gram_length <= 1024, max_skip_count of 0 or more and a "
                       "weight for each n-gram, got {}, {}, {} and {}", shortest, longest, skips, weights.size());
  std::vector<int64_t> pool, tokens;
  if (text) {
    std::map<std::string, int64_t> known;
    pool = numbered(c.texts("pool_strings"), known, true);
    tokens = numbered(c.strings(0).data, known, false);
  } else {
    std::map<int64_t, int64_t> known;
    pool = numbered(c.ints("pool_int64s"), known, true);
    tokens = numbered(c.host_ints(0), known, false);
  }
  // The pool lists all 1-grams, then all 2-grams, ...; ngram_counts says where each kind begins.
  Grams grams;
  size_t which = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    const int64_t from = counts[k], to = k + 1 < counts.size() ? counts[k + 1] : int64_t(pool.size());
    if (from < 0 || to < from || to > int64_t(pool.size()) || (to - from) % int64_t(k + 1))
      c.fail<ValueError>("ngram_counts do not fit: expected rising positions of whole n-grams up to {}, got {} to {}", pool.size(), from, to);
    for (int64_t at = from; at < to; at += int64_t(k + 1), ++which)
      if (int64_t(k + 1) >= shortest && int64_t(k + 1) <= longest) grams.add(pool, size_t(at), k + 1, int64_t(which));
  }
  int64_t width = 0;
  for (int64_t i : indexes) {
    if (i < 0 || i > longest_axis) c.fail<ValueError>("ngram_indexes out of range: expected 0 to {}, got {}", longest_axis, i);
    width = std::max(width, i + 1);
  }
  if (which > indexes.size()) c.fail<ValueError>("too few ngram_indexes: expected {}, got {}", which, indexes.size());
  const int64_t rows = shape.size() == 2 ? shape[0] : 1, n = shape.back();
  Tensor out = Tensor::empty({DType::f32, shape.size() == 2 ? Shape{rows, width} : Shape{width}, {}});
  float* y = out.numel() ? out.data<float>() : nullptr;
  std::fill_n(y, out.numel(), 0.0f);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t step = 1; step - 1 <= skips && step <= std::max<int64_t>(n, 1); ++step) {
      // One token alone has no gaps: counted once.
      const int64_t least = step > 1 ? std::max<int64_t>(shortest, 2) : shortest;
      for (int64_t start = 0; start + (least - 1) * step < n; ++start) {
        int64_t node = 0, at = start;
        for (int64_t size = 1; size <= longest && at < n; ++size, at += step) {
          node = grams.after(node, tokens[size_t(r * n + at)]);
          if (node < 0) break;
          if (const int64_t gram = grams.ends[size_t(node)]; gram >= 0 && size >= least) {
            const double w = mode == "TF" || weights.empty() ? 1.0 : weights[size_t(gram)];
            float& to = y[r * width + indexes[size_t(gram)]];
            to = mode == "IDF" ? float(w) : to + float(w);
          }
        }
      }
    }
  return {out};
}

}  // namespace

std::vector<Mapping> ngram_ops() { return {{"TfIdfVectorizer", 9, build_tfidf}}; }

}  // namespace suan::onnx
