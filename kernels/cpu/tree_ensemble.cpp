// Decision trees: rows in parallel, each through all trees, sums in double. Children lie behind their parents, so a walk
// ends whatever the nodes say; what points outside is met before it is read.
#include <atomic>
#include <cmath>

#include "core/error.h"
#include "kernels/cpu/lib/positions.h"

namespace suan::cpu::SUAN_ISA {
namespace {

enum class Aggregate { sum, average, min, max };
struct State {
  int64_t rows, features, nodes, trees, leaves, weights, targets;
  Aggregate how;
};

template <class T>
bool holds(int mode, T v, T threshold) {
  switch (mode & 7) {
    case 0: return v <= threshold;
    case 1: return v < threshold;
    case 2: return v >= threshold;
    case 3: return v > threshold;
    case 4: return v == threshold;
    default: return v != threshold;
  }
}

// One row through all trees; false where an index is out of range.
template <class T>
bool walk(const State& s, const KernelArgs& a, const T* x, double* sums) {
  const auto* node = static_cast<const int32_t*>(a.in[1]);
  const T* threshold = static_cast<const T*>(a.in[2]);
  const auto *root = static_cast<const int32_t*>(a.in[3]), *start = static_cast<const int32_t*>(a.in[4]),
             *target = static_cast<const int32_t*>(a.in[5]);
  const T* weight = static_cast<const T*>(a.in[6]);
  const bool extreme = s.how == Aggregate::min || s.how == Aggregate::max;
  for (int64_t k = 0; k < s.targets; ++k) sums[k] = extreme ? NAN : 0;
  for (int64_t tree = 0; tree < s.trees; ++tree) {
    int64_t at = root[tree];
    if (at < 0 || at >= s.nodes) return false;
    while (node[4 * at + 1] != 7) {
      const int32_t* n = node + 4 * at;
      if (n[0] < 0 || n[0] >= s.features) return false;
      const T v = x[n[0]];
      const int64_t next = holds(n[1], v, threshold[at]) || ((n[1] & 8) && std::isnan(v)) ? n[2] : n[3];
      if (next <= at || next >= s.nodes) return false;
      at = next;
    }
    const int64_t leaf = node[4 * at];
    if (leaf < 0 || leaf >= s.leaves || start[leaf] < 0 || start[leaf + 1] > s.weights) return false;
    for (int64_t i = start[leaf]; i < start[leaf + 1]; ++i) {
      if (target[i] < 0 || target[i] >= s.targets) return false;
      double& sum = sums[target[i]];
      const double w = double(weight[i]);
      if (!extreme) sum += w;
      else if (std::isnan(sum) || (s.how == Aggregate::min ? w < sum : w > sum)) sum = w;
    }
  }
  for (int64_t k = 0; k < s.targets; ++k) {
    if (extreme && std::isnan(sums[k])) sums[k] = 0;
    if (s.how == Aggregate::average) sums[k] /= double(s.trees);
  }
  return true;
}

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const T* x = static_cast<const T*>(a.in[0]);
  T* out = static_cast<T*>(a.out[0]);
  double* sums = static_cast<double*>(a.workspace);
  std::atomic<bool> fits{true};
  run_ranges(s.rows, inline_elements / (16 * s.trees + 1), s.rows * (16 * s.trees + s.targets), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double* sum = sums + r * s.targets;
      if (!walk(s, a, x + r * s.features, sum)) return fits.store(false, std::memory_order_relaxed);
      for (int64_t k = 0; k < s.targets; ++k) out[r * s.targets + k] = T(sum[k]);
    }
  });
  if (!fits)
    fail<IndexError>("tree_ensemble", "tree points outside: expected features below {}, nodes further down and below {}, leaves "
                                      "below {}, targets below {}", s.features, s.nodes, s.leaves, s.targets);
}

}  // namespace

Kernel kernel_tree_ensemble() {
  return {[](const KernelDesc& d) {
    auto dim = [&](int i, int axis) { return d.in[size_t(i)]->layout.shape[axis]; };
    const std::string& how = d.attrs.string(1);
    const State s{dim(0, 0), dim(0, 1), dim(1, 0), dim(3, 0), dim(4, 0) - 1, dim(5, 0), d.attrs.integer(0),
                  how == "sum"       ? Aggregate::sum
                  : how == "average" ? Aggregate::average
                  : how == "min"     ? Aggregate::min
                                     : Aggregate::max};
    return Prepared{d.in[0]->dtype == DType::f32 ? run<float> : run<double>, std::make_shared<State>(s),
                    s.rows * s.targets * int64_t(sizeof(double))};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
