// A backend outside Suan's tree: a device "example" with its own memory and a dozen and a half kernels, f32
// only. Everything else runs by the ops' definitions, or says that it cannot. Built against Suan's headers
// and library alone (see docs/backends.md); tests/python/test_backends.py trains a network on it.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "core/backend.h"

namespace {
using namespace suan;

// ---- memory ----------------------------------------------------------------------------------------------

std::mutex mutex;
MemoryStats stats;

void* allocate(int, int64_t bytes) {
  void* p = std::aligned_alloc(64, size_t((bytes + 64) / 64 * 64));
  if (!p) fail<OutOfMemory>("example", "out of memory: expected {} bytes, got none", bytes);
  std::lock_guard lock(mutex);
  stats.in_use += bytes;
  stats.peak = std::max(stats.peak, stats.in_use);
  return p;
}
void release(int, void* p, int64_t bytes) {
  std::free(p);
  std::lock_guard lock(mutex);
  stats.in_use -= bytes;
}
void move(int, void* to, const void* from, int64_t bytes) { std::memcpy(to, from, size_t(bytes)); }

// ---- element-wise kernels, any strides, broadcasting -----------------------------------------------------

// Calls f(places of the operands, place of the result) for every element of `out`.
template <int N, class F>
void each(const std::vector<Layout>& in, const Layout& out, F f) {
  const int rank = out.rank();
  Dims index = Dims::filled(rank, 0);
  for (int64_t left = out.numel(); left > 0; --left) {
    int64_t at[N] = {}, to = 0;
    for (int d = 0; d < rank; ++d) {
      to += index[d] * out.strides[d];
      for (int k = 0; k < N; ++k)
        if (const int own = d - (rank - in[size_t(k)].rank()); own >= 0 && in[size_t(k)].shape[own] != 1)
          at[k] += index[d] * in[size_t(k)].strides[own];
    }
    f(at, to);
    for (int d = rank; d-- > 0;) {
      if (++index[d] < out.shape[d]) break;
      index[d] = 0;
    }
  }
}

bool floats(const KernelDesc& d) {
  for (const TensorDesc* t : d.in)
    if (t && t->dtype != DType::f32) return false;
  return d.out[0]->dtype == DType::f32;
}

struct Layouts { std::vector<Layout> in; Layout out; };

template <float (*F)(float)>
Kernel unary() {
  return {[](const KernelDesc& d) {
            return Prepared{[](const void* s, const KernelArgs& a) {
                              const auto& l = *static_cast<const Layouts*>(s);
                              auto x = static_cast<const float*>(a.in[0]);
                              auto y = static_cast<float*>(a.out[0]);
                              each<1>(l.in, l.out, [&](const int64_t (&at)[1], int64_t to) { y[to] = F(x[at[0]]); });
                            },
                            std::make_shared<Layouts>(Layouts{{d.in[0]->layout}, d.out[0]->layout})};
          },
          kernel_strided_in | kernel_strided_out | kernel_in_place, floats};
}
template <float (*F)(float, float)>
Kernel binary() {
  return {[](const KernelDesc& d) {
            return Prepared{[](const void* s, const KernelArgs& a) {
                              const auto& l = *static_cast<const Layouts*>(s);
                              auto x = static_cast<const float*>(a.in[0]), y = static_cast<const float*>(a.in[1]);
                              auto z = static_cast<float*>(a.out[0]);
                              each<2>(l.in, l.out, [&](const int64_t (&at)[2], int64_t to) {
                                z[to] = F(x[at[0]], y[at[1]]);
                              });
                            },
                            std::make_shared<Layouts>(Layouts{{d.in[0]->layout, d.in[1]->layout}, d.out[0]->layout})};
          },
          kernel_strided_in | kernel_strided_out | kernel_in_place, floats};
}

float same(float x) { return x; }
float negate(float x) { return -x; }
float square(float x) { return x * x; }
float exponential(float x) { return std::exp(x); }
float root(float x) { return std::sqrt(x); }
float rectify(float x) { return x < 0 ? 0 : x; }
float plus(float x, float y) { return x + y; }
float minus(float x, float y) { return x - y; }
float times(float x, float y) { return x * y; }
float over(float x, float y) { return x / y; }
float rectify_grad(float g, float y) { return y > 0 ? g : 0; }

// ---- sums over axes ----------------------------------------------------------------------------------------

template <bool Mean>
Kernel total() {
  return {[](const KernelDesc& d) {
            struct State { Layout in, out; int64_t n_out; float scale; };
            const Layout& in = d.in[0]->layout;
            Dims axes;
            for (int64_t a : d.attrs.dims(0)) axes.push_back(normalize_axis(d.op.name, a, in.rank()));
            // The result seen with the input's shape: stride 0 along what is added up.
            Dims strides = Dims::filled(in.rank(), 0);
            int64_t step = 1, n = 1;
            for (int i = in.rank(); i-- > 0;) {
              const bool gone = axes.empty() || std::find(axes.begin(), axes.end(), i) != axes.end();
              if (gone) n *= in.shape[i];
              else strides[i] = step, step *= in.shape[i];
            }
            State state{in, Layout(in.shape, strides, 0), step, Mean ? 1.0f / float(n) : 1.0f};
            return Prepared{[](const void* s, const KernelArgs& a) {
                              const auto& p = *static_cast<const State*>(s);
                              auto x = static_cast<const float*>(a.in[0]);
                              auto y = static_cast<float*>(a.out[0]);
                              std::fill_n(y, p.n_out, 0.0f);
                              each<1>({p.in}, p.out, [&](const int64_t (&at)[1], int64_t to) { y[to] += x[at[0]]; });
                              for (int64_t i = 0; i < p.n_out; ++i) y[i] *= p.scale;
                            },
                            std::make_shared<State>(state)};
          },
          kernel_contiguous, floats};
}

// ---- matrix product ------------------------------------------------------------------------------------------

Kernel product() {
  return {[](const KernelDesc& d) {
            struct State { int64_t m, n, k; };
            const Shape &a = d.in[0]->layout.shape, &b = d.in[1]->layout.shape;
            return Prepared{[](const void* s, const KernelArgs& x) {
                              const auto& p = *static_cast<const State*>(s);
                              auto a = static_cast<const float*>(x.in[0]), b = static_cast<const float*>(x.in[1]);
                              auto c = static_cast<float*>(x.out[0]);
                              for (int64_t i = 0; i < p.m; ++i)
                                for (int64_t j = 0; j < p.n; ++j) {
                                  float sum = 0;
                                  for (int64_t k = 0; k < p.k; ++k) sum += a[i * p.k + k] * b[k * p.n + j];
                                  c[i * p.n + j] = sum;
                                }
                            },
                            std::make_shared<State>(State{a[0], b[1], a[1]})};
          },
          kernel_contiguous, [](const KernelDesc& d) {
            return floats(d) && d.in[0]->layout.rank() == 2 && d.in[1]->layout.rank() == 2;
          }};
}

// ---- the optimizer's step ------------------------------------------------------------------------------------

Kernel sgd() {
  return {[](const KernelDesc& d) {
            struct State { int64_t n; };
            return Prepared{[](const void* s, const KernelArgs& a) {
                              const auto& p = *static_cast<const State*>(s);
                              auto x = static_cast<float*>(a.out[0]);
                              auto g = static_cast<const float*>(a.in[1]);
                              const float lr = *static_cast<const float*>(a.in[3]);
                              for (int64_t i = 0; i < p.n; ++i) x[i] -= lr * g[i];
                            },
                            std::make_shared<State>(State{d.in[0]->layout.numel()})};
          },
          // Plain steps only: no momentum and no weight decay.
          kernel_contiguous, [](const KernelDesc& d) {
            bool plain = !d.has(2);
            for (size_t i = 0; i < d.op.attrs.size(); ++i)
              if (d.op.attrs[i].kind == AttrKind::real) plain &= d.attrs.real(int(i)) == 0;
            return plain && d.in[0]->dtype == DType::f32 && d.in[3]->dtype == DType::f32;
          }};
}

}  // namespace

extern "C" const suan::BackendTable& suan_backend() {
  static const BackendTable table = [] {
    BackendTable t;
    t.name = "example";
    t.memory = {allocate, release, move, move, move, [](int) {}, [](int) {
                  std::lock_guard lock(mutex);
                  return stats;
                }};
    t.kernels = {{"copy", unary<same>()},     {"clone", unary<same>()},       {"full", unary<same>()},
                 {"neg", unary<negate>()},    {"square", unary<square>()},    {"exp", unary<exponential>()},
                 {"sqrt", unary<root>()},     {"relu", unary<rectify>()},     {"add", binary<plus>()},
                 {"sub", binary<minus>()},    {"mul", binary<times>()},       {"div", binary<over>()},
                 {"relu_grad", binary<rectify_grad>()}, {"sum", total<false>()}, {"mean", total<true>()},
                 {"matmul", product()},       {"sgd_step", sgd()}};
    return t;
  }();
  return table;
}
