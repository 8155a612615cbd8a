// einsum: sums of products named by letters, contracted pair by pair from the left with matmul.
#include <algorithm>

#include "ops/api.h"

namespace suan {
namespace {

// Letters a-z and A-Z; the axes of "..." get the codes above, counted from the right so that they
// broadcast.
constexpr char first_dot = 1;
using Labels = std::string;

struct Equation {
  std::vector<Labels> in;
  Labels out;
};

[[noreturn]] void bad(const std::string& text, std::string_view expected, std::string_view got) {
  fail<ValueError>("einsum", "wrong equation '{}': expected {}, got {}", text, expected, got);
}

Labels parse_term(const std::string& text, std::string_view term, int rank, bool output) {
  int letters = 0;
  for (char ch : term) letters += std::isalpha(static_cast<unsigned char>(ch)) != 0;
  const int dots = rank - letters;
  Labels out;
  bool seen = false;
  for (size_t i = 0; i < term.size(); ++i) {
    if (std::isalpha(static_cast<unsigned char>(term[i]))) {
      out.push_back(term[i]);
    } else if (term.substr(i, 3) == "..." && !seen) {
      for (int d = dots; d > 0; --d) out.push_back(char(first_dot + d - 1));
      seen = true;
      i += 2;
    } else {
      bad(text, "letters, '...', ',' and one '->'", fmt::format("'{}'", term[i]));
    }
  }
  if (!output && int(out.size()) != rank)
    bad(text, fmt::format("{} labels for an operand of rank {}", rank, rank),
        fmt::format("'{}'", term));
  return out;
}

Equation parse(const std::string& text, std::span<const Tensor> in) {
  std::string s;
  for (char ch : text)
    if (ch != ' ') s.push_back(ch);
  const size_t arrow = s.find("->");
  std::string_view left = std::string_view(s).substr(0, arrow);
  Equation e;
  int dots = 0;
  for (size_t at = 0;;) {
    const size_t comma = std::min(left.find(',', at), left.size());
    if (e.in.size() >= in.size())
      bad(text, fmt::format("{} operands", in.size()), "more terms");
    const Tensor& t = in[e.in.size()];
    e.in.push_back(parse_term(text, left.substr(at, comma - at), t.rank(), false));
    for (char ch : e.in.back()) dots = std::max<int>(dots, ch < 'A' ? ch - first_dot + 1 : 0);
    if (comma == left.size()) break;
    at = comma + 1;
  }
  if (e.in.size() != in.size())
    bad(text, fmt::format("{} operands", in.size()), fmt::format("{} terms", e.in.size()));
  Labels all;
  for (const Labels& l : e.in) all += l;
  if (arrow != std::string::npos) {
    const std::string_view right = std::string_view(s).substr(arrow + 2);
    int letters = 0;
    for (char ch : right) letters += std::isalpha(static_cast<unsigned char>(ch)) != 0;
    e.out = parse_term(text, right, letters + dots, true);
    for (char ch : e.out)
      if (all.find(ch) == Labels::npos || std::count(e.out.begin(), e.out.end(), ch) > 1)
        bad(text, "output labels that are distinct and occur in an operand",
            fmt::format("'{}'", right));
  } else {
    for (int d = dots; d > 0; --d) e.out.push_back(char(first_dot + d - 1));
    Labels sorted = all;
    std::sort(sorted.begin(), sorted.end());
    for (char ch : sorted)
      if (ch >= 'A' && std::count(all.begin(), all.end(), ch) == 1) e.out.push_back(ch);
  }
  return e;
}

struct Term {
  Tensor value;
  Labels labels;
};

bool has(const Labels& l, char ch) { return l.find(ch) != Labels::npos; }

// A label given twice in one operand takes the diagonal.
Term without_repeats(Term t) {
  for (size_t i = 0; i < t.labels.size(); ++i) {
    const size_t j = t.labels.find(t.labels[i], i + 1);
    if (j == Labels::npos) continue;
    const char ch = t.labels[i];
    if (t.value.dim(int(i)) != t.value.dim(int(j)))
      fail<ShapeError>("einsum", "sizes of one label differ: expected {}, got {}",
                       t.value.dim(int(i)), t.value.dim(int(j)));
    t.value = apply(SUAN_OP("diagonal"), {t.value}, {int64_t(0), int64_t(i), int64_t(j)});
    t.labels.erase(j, 1);
    t.labels.erase(i, 1);
    t.labels.push_back(ch);
    i = size_t(-1);
  }
  return t;
}

// Sums away the labels that nobody needs any more.
Term reduced(Term t, const Labels& needed) {
  Dims axes;
  Labels kept;
  for (size_t i = 0; i < t.labels.size(); ++i) {
    if (has(needed, t.labels[i])) kept.push_back(t.labels[i]);
    else axes.push_back(int64_t(i));
  }
  if (axes.empty()) return t;
  const DType dtype = t.value.dtype();
  return {ops::cast(ops::sum(t.value, axes), dtype), kept};
}

Tensor arranged(const Term& t, const Labels& order) {
  Dims axes;
  for (char ch : order) axes.push_back(int64_t(t.labels.find(ch)));
  return ops::permute(t.value, axes);
}

// One product over batch labels (in both and needed), rows, columns and inner labels (in both, not
// needed).
Term contracted(Term a, Term b, const Labels& needed) {
  a = reduced(std::move(a), needed + b.labels);
  b = reduced(std::move(b), needed + a.labels);
  Labels batch, rows, cols, inner;
  Shape batch_a, batch_b, shape;
  int64_t m = 1, n = 1, ka = 1, kb = 1;
  for (size_t i = 0; i < a.labels.size(); ++i) {
    const char ch = a.labels[i];
    const int64_t size = a.value.dim(int(i));
    if (!has(b.labels, ch)) {
      rows.push_back(ch), m *= size;
      continue;
    }
    const int64_t other = b.value.dim(int(b.labels.find(ch)));
    const bool keeps = has(needed, ch);
    if (size != other && (!keeps || (size != 1 && other != 1)))
      fail<ShapeError>("einsum", "sizes of one label differ: expected {}, got {}", size, other);
    if (keeps) {
      batch.push_back(ch);
      batch_a.push_back(size), batch_b.push_back(other);
    } else {
      inner.push_back(ch), ka *= size, kb *= other;
    }
  }
  for (size_t i = 0; i < b.labels.size(); ++i)
    if (!has(a.labels, b.labels[i])) cols.push_back(b.labels[i]), n *= b.value.dim(int(i));
  Shape sa = batch_a, sb = batch_b;
  sa.push_back(m), sa.push_back(ka);
  sb.push_back(kb), sb.push_back(n);
  const Tensor product = ops::matmul(ops::reshape(arranged(a, batch + rows + inner), sa),
                                     ops::reshape(arranged(b, batch + inner + cols), sb));
  for (int i = 0; i < batch_a.size(); ++i) shape.push_back(product.dim(i));
  for (char ch : rows) shape.push_back(a.value.dim(int(a.labels.find(ch))));
  for (char ch : cols) shape.push_back(b.value.dim(int(b.labels.find(ch))));
  return {ops::reshape(product, shape), batch + rows + cols};
}

Tensors compose(const ComposeContext& c) {
  if (c.in.empty()) fail<TypeError>("einsum", "no operands: expected at least one, got none");
  const Equation e = parse(c.attrs.string(0), c.in);
  Term t = without_repeats({c[0], e.in[0]});
  for (size_t i = 1; i < c.in.size(); ++i) {
    Labels needed = e.out;
    for (size_t k = i + 1; k < c.in.size(); ++k) needed += e.in[k];
    t = contracted(std::move(t), without_repeats({c.in[i], e.in[i]}), needed);
  }
  t = reduced(std::move(t), e.out);
  return {arranged(t, e.out)};
}

std::vector<Sample> samples() {
  return {{{{{3, 4}}, {{4, 5}}}, {std::string("ij,jk->ik")}},
          {{{{2, 3, 4}}, {{2, 5, 4}}}, {std::string("bik,bjk->bij")}, "attention scores"},
          {{{{3, 4}}, {{4}}, {{3}}}, {std::string("ij,j,i->")}, "three operands"},
          {{{{4, 4}}}, {std::string("ii->i")}, "diagonal"},
          {{{{4, 4}}}, {std::string("ii")}, "trace"},
          {{{{2, 3, 4}}, {{4, 5}}}, {std::string("...i,ij->...j")}, "ellipsis"},
          {{{{3, 4}}}, {std::string("ij->ji")}, "transpose"},
          {{{{3}}, {{5}}}, {std::string("i,j->ij")}, "outer"},
          {.in = {{{3, 4}}, {{3, 4}}},
           .attrs = {std::string("ij,jk->ik")},
           .error = "sizes of one label"},
          {.in = {{{3, 4}}}, .attrs = {std::string("ijk->i")}, .error = "wrong equation"}};
}

}  // namespace

OpDef op_def_einsum() {
  return {
      .name = "einsum",
      .doc = "Einstein summation, as torch.einsum: each operand's axes are named by letters, "
             "'...' stands for the axes that broadcast, labels missing after '->' are summed. "
             "Without '->' the labels that occur once are kept in alphabetical order.",
      .inputs = {{"operands", arithmetic_types, Arity::variadic}},
      .attrs = {{"equation", AttrKind::string}},
      .compose = compose,
      .samples = samples};
}

}  // namespace suan
