// Images read at any places: for a block of points the offsets and weights of their neighbours, once for all channels.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t block = 64;      // points
constexpr int most_taps = 4;       // in one direction
constexpr int most_corners = 16;

enum class Mode : uint8_t { bilinear, nearest, bicubic };
enum class Padding : uint8_t { zeros, border, reflection };

struct State {
  int n;                           // directions: 2 or 3
  int64_t size[3], strides[3];     // elements
  int64_t batch, channels, points, plane;
  Mode mode;
  Padding padding;
  bool align, elements;
  int taps;                        // in one direction
};

template <class T>
T into(const State& s, T x, int64_t size) {
  if (s.padding == Padding::reflection) {
    const T low = s.align ? T(0) : T(-0.5), span = s.align ? T(size - 1) : T(size);
    if (span <= 0) {
      x = 0;
    } else {
      x = std::abs(x - low);
      const T rest = std::fmod(x, span), flips = std::floor(x / span);
      x = std::fmod(flips, T(2)) == 0 ? rest + low : span - rest + low;
    }
  }
  if (s.padding == Padding::zeros) return x;
  return x < 0 ? T(0) : x > T(size - 1) ? T(size - 1) : x;   // a NaN stays one, which is outside: 0
}

// The neighbours of x in one direction. An offset of -1 is outside.
template <class T>
void neighbours(const State& s, T x, int k, int64_t* at, T* weight) {
  const int64_t size = s.size[k];
  if (!s.elements) x = s.align ? (x + 1) * (T(0.5) * T(size - 1)) : ((x + 1) * T(size) - 1) * T(0.5);
  if (s.mode != Mode::bicubic) x = into(s, x, size);
  auto put = [&](int i, T place, T w) {
    const bool ok = place >= 0 && place <= T(size - 1);
    at[i] = ok ? int64_t(place) * s.strides[k] : -1;
    weight[i] = w;
  };
  if (s.mode == Mode::nearest) return put(0, std::nearbyint(x), 1);
  const T low = std::floor(x), part = x - low;
  if (s.mode == Mode::bilinear) {
    put(0, low, 1 - part);
    put(1, low + 1, part);
    return;
  }
  const T a = T(-0.75);  // Keys 1981
  auto near = [&](T d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  auto far = [&](T d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  const T w[] = {far(part + 1), near(part), near(1 - part), far(2 - part)};
  for (int i = 0; i < 4; ++i) put(i, into(s, low + T(i - 1), size), w[i]);
}

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const T *x = input<T>(a, 0), *grid = input<T>(a, 1);
  T* out = output<T>(a, 0);
  const int64_t blocks = (s.points + block - 1) / block;
  int corners = 1;
  for (int k = 0; k < s.n; ++k) corners *= s.taps;
  run_tasks(s.batch * blocks, s.batch * s.points * s.channels * corners, [&](int64_t task) {
    const int64_t b = task / blocks, first = task % blocks * block, count = std::min(block, s.points - first);
    int64_t offset[most_corners][block];
    T weight[most_corners][block];
    for (int64_t p = 0; p < count; ++p) {
      int64_t at[3][most_taps];
      T w[3][most_taps];
      const T* g = grid + (b * s.points + first + p) * s.n;
      for (int k = 0; k < s.n; ++k) neighbours(s, g[s.n - 1 - k], k, at[k], w[k]);
      for (int corner = 0; corner < corners; ++corner) {
        int64_t to = 0;
        T all = 1;
        bool inside = true;
        for (int k = 0, rest = corner; k < s.n; ++k, rest /= s.taps) {
          const int i = rest % s.taps;
          inside = inside && at[k][i] >= 0;
          to += at[k][i];
          all *= w[k][i];
        }
        offset[corner][p] = inside ? to : -1;
        weight[corner][p] = all;
      }
    }
    for (int64_t c = 0; c < s.channels; ++c) {
      const T* plane = x + (b * s.channels + c) * s.plane;
      T sum[block] = {};
      for (int corner = 0; corner < corners; ++corner)
        for (int64_t p = 0; p < count; ++p) {
          const int64_t at = offset[corner][p];
          if (at >= 0) sum[p] += weight[corner][p] * plane[at];
        }
      std::copy_n(sum, count, out + (b * s.channels + c) * s.points + first);
    }
  });
}

template <class T>
struct Make {
  static Prepared prepare(const KernelDesc& d) {
    const Shape &x = d.in[0]->layout.shape, &out = d.out[0]->layout.shape;
    auto s = std::make_shared<State>();
    s->n = x.size() - 2;
    s->batch = x[0];
    s->channels = x[1];
    s->plane = s->points = 1;
    for (int k = s->n - 1; k >= 0; --k) {
      s->size[k] = x[k + 2];
      s->strides[k] = s->plane;
      s->plane *= x[k + 2];
      s->points *= out[k + 2];
    }
    const std::string &mode = d.attrs.string(0), &padding = d.attrs.string(1);
    s->mode = mode == "bilinear" ? Mode::bilinear : mode == "nearest" ? Mode::nearest : Mode::bicubic;
    s->padding = padding == "zeros" ? Padding::zeros : padding == "border" ? Padding::border : Padding::reflection;
    s->align = d.attrs.boolean(2);
    s->elements = d.attrs.boolean(3);
    s->taps = s->mode == Mode::bilinear ? 2 : s->mode == Mode::nearest ? 1 : 4;
    return {run<T>, s};
  }
};

}  // namespace

Kernel kernel_grid_sample() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
