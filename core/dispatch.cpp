// Picks and prepares the kernel of one op for one signature.
#include "core/dispatch.h"

namespace suan {

Selected select_kernel(const OpDef& def, const Attrs& attrs, Device device, std::span<const Layout> in,
                       std::span<const DType> in_dtypes, const std::vector<bool>& present,
                       std::span<const TensorType> out, std::span<const Layout> out_layouts,
                       uint64_t constant_mask) {
  Selected s;
  const Kernel* k = find_kernel(def, device);
  if (!k) return s;
  std::vector<TensorDesc> descs(in.size() + out.size());
  std::vector<const TensorDesc*> ins, outs;
  ins.reserve(in.size());
  outs.reserve(out.size());
  for (size_t i = 0; i < in.size(); ++i) {
    if (!present[i]) { ins.push_back(nullptr); continue; }
    TensorDesc& d = descs[i];
    d.dtype = in_dtypes[i];
    d.layout = in[i];
    d.layout.offset = 0;
    if (!(k->flags & kernel_strided_in) && !in[i].is_contiguous()) {
      s.copy_mask |= uint64_t(1) << std::min<size_t>(i, 63);
      d.layout = Layout(in[i].shape);
    }
    d.constant = i < 64 && (constant_mask >> i & 1);
    ins.push_back(&d);
  }
  for (size_t j = 0; j < out.size(); ++j) {
    TensorDesc& d = descs[in.size() + j];
    d.dtype = out[j].dtype;
    d.layout = out_layouts[j];
    d.layout.offset = 0;
    outs.push_back(&d);
  }
  KernelDesc desc{def, attrs, ins, outs};
  if (k->supports && !k->supports(desc)) return Selected{};
  s.prepared = k->prepare(desc);
  if (!s.prepared.run) return Selected{};
  s.kernel = k;
  return s;
}

bool kernel_takes(const OpDef& def, const Attrs& attrs, std::span<const TensorType> in,
                  std::span<const TensorType> out) {
  std::vector<Layout> in_layouts, out_layouts;
  std::vector<DType> dtypes;
  for (const TensorType& t : in) in_layouts.emplace_back(t.shape), dtypes.push_back(t.dtype);
  for (const TensorType& t : out) out_layouts.emplace_back(t.shape);
  return select_kernel(def, attrs, out[0].device, in_layouts, dtypes, std::vector<bool>(in.size(), true), out,
                       out_layouts).kernel;
}

int updated_input(const OpDef& op, size_t k, size_t n_in, size_t n_out) {
  const size_t m = op.updates.size();
  if (k >= n_out || m == 0) return -1;
  size_t round = 0;
  if (op.inputs.back().arity == Arity::variadic && n_out >= m)
    round = k / m * ((n_in - (op.inputs.size() - 1)) / (n_out / m)), k %= m;
  const int j = k < m && op.updates[k] >= 0 ? op.updates[k] + int(round) : -1;
  return j < int(n_in) ? j : -1;
}

}  // namespace suan
