// DLPack, both ways, without a copy. The structures are DLPack's published ABI (v0.8 and v1.0).
#include "core/backend.h"
#include "core/exports.h"
#include "python/bindings/binding.h"

namespace suan::py {

void bind_dlpack(nb::module_& m);

namespace {

struct DLDevice { int32_t type, id; };
struct DLType { uint8_t code, bits; uint16_t lanes; };
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct Managed {
  DLTensor tensor;
  void* manager;
  void (*deleter)(Managed*);
};
struct ManagedVersioned {
  struct { uint32_t major, minor; } version;
  void* manager;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  DLTensor tensor;
};
constexpr int32_t dl_cpu = 1;
constexpr uint64_t dl_read_only = 1;
enum : uint8_t { dl_int = 0, dl_uint = 1, dl_float = 2, dl_bfloat = 4, dl_complex = 5, dl_bool = 6 };

DLType dl_type(DType t) {
  uint8_t bits = info(t).bits;
  if (!contains(narrow_types, t)) switch (info(t).kind) {
    case DTypeKind::boolean: return {dl_bool, 8, 1};
    case DTypeKind::unsigned_int: return {dl_uint, bits, 1};
    case DTypeKind::signed_int: return {dl_int, bits, 1};
    case DTypeKind::complex: return {dl_complex, bits, 1};
    case DTypeKind::floating:
      if (t == DType::bf16) return {dl_bfloat, 16, 1};
      if (bits >= 16) return {dl_float, bits, 1};
  }
  fail<TypeError>("dlpack", "dtype not supported: expected one that DLPack has, got {}", name(t));
}

DType from_dl_type(DLType d) {
  if (d.lanes == 1)
    for (int i = 0; i < n_dtypes; ++i) {
      DType t = DType(i);
      if (contains(narrow_types, t)) continue;
      DLType own = dl_type(t);
      if (own.code == d.code && own.bits == d.bits) return t;
    }
  fail<TypeError>("from_dlpack", "dtype not supported: expected one of Suan's, got code {} with {} bits and {} lanes",
                  int(d.code), int(d.bits), int(d.lanes));
}

// What an exported tensor keeps: itself, and the arrays that the structure points into.
struct Export {
  Tensor tensor;
  ExportLease lease;
  Dims shape, strides;
};

void describe(DLTensor& d, Export& e) {
  e.shape = e.tensor.shape();
  e.strides = e.tensor.strides();
  d = {const_cast<std::byte*>(host_bytes("dlpack", e.tensor)), {dl_cpu, 0}, e.tensor.rank(), dl_type(e.tensor.dtype()), e.shape.begin(),
       e.strides.begin(), 0};
}

template <class M>
void delete_export(M* m) {
  delete static_cast<Export*>(m->manager);
  delete m;
}

template <class M>
void drop_capsule(PyObject* capsule) {
  const char* name = PyCapsule_GetName(capsule);
  if (!name || std::string_view(name).starts_with("used")) return;
  auto* m = static_cast<M*>(PyCapsule_GetPointer(capsule, name));
  if (m && m->deleter) m->deleter(m);
}

PyObject* to_dlpack(const Tensor& t, bool versioned) {
  if (t.requires_grad())
    fail<StateError>("dlpack", "tensor requires a gradient: expected a detached one; call detach() first");
  (void)dl_type(t.dtype());
  auto* e = new Export{t.detach(), ExportLease(t.storage()), {}, {}};
  if (versioned) {
    auto* m = new ManagedVersioned{{1, 0}, e, delete_export<ManagedVersioned>, 0, {}};
    describe(m->tensor, *e);
    return check(PyCapsule_New(m, "dltensor_versioned", drop_capsule<ManagedVersioned>));
  }
  auto* m = new Managed{{}, e, delete_export<Managed>};
  describe(m->tensor, *e);
  return check(PyCapsule_New(m, "dltensor", drop_capsule<Managed>));
}

template <class M>
Tensor import_managed(M* m) {
  const DLTensor& d = m->tensor;
  if (d.device.type != dl_cpu)
    fail<DeviceError>("from_dlpack", "device not available: expected the CPU (1), got device type {}", d.device.type);
  if (d.ndim < 0 || d.ndim > max_rank)
    fail<ShapeError>("from_dlpack", "rank not supported: expected 0 to {}, got {}", max_rank, d.ndim);
  DType dtype = from_dl_type(d.dtype);
  Dims shape(std::span<const int64_t>(d.shape, size_t(d.ndim)));
  Dims strides = d.strides ? Dims(std::span<const int64_t>(d.strides, size_t(d.ndim))) : contiguous_strides(shape);
  Layout layout(shape, strides, 0);
  auto [low, high] = layout.extent();
  layout.offset = -low;
  int64_t size = item_size(dtype);
  static std::byte nothing[1];
  std::byte* at = layout.numel() ? static_cast<std::byte*>(d.data) + d.byte_offset + low * size : nothing;
  Ref<Storage> s = Storage::external({}, at, (high - low) * size, [m] {
    if (!m->deleter || !Py_IsInitialized()) return;
    HoldGil hold;  // the producer may be a Python object
    m->deleter(m);
  });
  return Tensor::over(std::move(s), layout, dtype);
}

Tensor from_capsule(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, "dltensor")) {
    auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, "dltensor"));
    Tensor t = import_managed(m);
    PyCapsule_SetName(capsule, "used_dltensor");
    return t;
  }
  if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
    auto* m = static_cast<ManagedVersioned*>(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    if (m->version.major != 1)
      fail<TypeError>("from_dlpack", "version not supported: expected 1, got {}", m->version.major);
    if (m->flags & dl_read_only)
      fail<ValueError>("from_dlpack", "memory is read-only: expected writable memory, got a protected array");
    Tensor t = import_managed(m);
    PyCapsule_SetName(capsule, "used_dltensor_versioned");
    return t;
  }
  fail<TypeError>("from_dlpack", "not a DLPack capsule: expected an unused one, got {}", type_name(capsule));
}

}  // namespace

void bind_dlpack(nb::module_& m) {
  m.def("to_dlpack", [](const Tensor& t, bool versioned) { return nb::steal(to_dlpack(t, versioned)); },
        "A DLPack capsule over the tensor's memory.");
  m.def("from_dlpack_capsule", [](nb::handle h) { return from_capsule(h.ptr()); },
        "A tensor over the memory of a DLPack capsule.");
}

}  // namespace suan::py
