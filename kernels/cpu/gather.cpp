// gather along one axis: out[.., j, ..] = input[.., index[.., j, ..], ..].
#include "kernels/cpu/lib/positions.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  Odometer<1> rows;  // index's rows, as offsets into the input
  int64_t n_rows, length, step, along, size;
  int axis, item;
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const int64_t* index = static_cast<const int64_t*>(a.in[1]);
  const int64_t total = s.n_rows * s.length;
  check_positions("gather", index, total, 0, s.size, s.axis);
  with_word(s.item, [&](auto word) {
    using W = decltype(word);
    const W* in = static_cast<const W*>(a.in[0]);
    W* out = static_cast<W*>(a.out[0]);
    run_ranges(s.n_rows, inline_elements / (s.length + 1), total, [&](int64_t begin, int64_t end) {
      Odometer<1> o = s.rows;
      o.seek(begin);
      for (int64_t r = begin; r < end; ++r, o.next())
        for (int64_t j = 0; j < s.length; ++j) {
          const int64_t k = r * s.length + j;
          out[k] = in[o.offset[0] + j * s.step + index[k] * s.along];
        }
    });
  });
}

}  // namespace

Kernel kernel_gather() {
  return {[](const KernelDesc& d) {
    const Shape &in = d.in[0]->layout.shape, &index = d.in[1]->layout.shape;
    const Dims strides = contiguous_strides(in);
    const int rank = in.size();
    State s{};
    s.item = int(item_size(d.in[0]->dtype));
    s.n_rows = s.length = 1;
    s.size = 1;
    if (rank) {
      const int64_t given = d.attrs.integer(0);
      s.axis = int(given < 0 ? given + rank : given);
      s.along = strides[s.axis];
      s.size = in[s.axis];
      s.length = index[rank - 1];
      s.step = s.axis == rank - 1 ? 0 : 1;
      for (int i = 0; i + 1 < rank; ++i) {
        s.rows.size[i] = index[i];
        s.rows.stride[0][i] = i == s.axis ? 0 : strides[i];
        s.n_rows *= index[i];
      }
      s.rows.rank = rank - 1;
    }
    if (s.length == 0) s.n_rows = 0;
    return Prepared{run, std::make_shared<State>(s)};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
