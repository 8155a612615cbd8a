// t[key] and t[key] = value. Integers, slices, None and Ellipsis make views; masks and integer tensors
// make one `index` or `index_put`. An integer beside index tensors selects first, as torch does.
#include <vector>

#include "ops/api.h"
#include "python/bindings/binding.h"

namespace suan::py {

Tensor tensor_from_data(PyObject* data, std::optional<DType> dtype);  // interop.cpp

namespace {

struct Parsed {
  Tensor view;                 // after the basic part
  std::vector<Tensor> indices; // i64 tensors, or empty
  Dims dims;                   // the axes of view that they index
  Tensor mask;                 // a sole bool mask, kept whole, and its first axis
  int mask_axis = 0;
};

bool is_mask(PyObject* o) { return is_tensor(o) && is_bool(unwrap(o).dtype()); }

int axes_taken(PyObject* o) {
  if (o == Py_None || o == Py_True || o == Py_False || o == Py_Ellipsis) return 0;
  return is_mask(o) ? unwrap(o).rank() : 1;
}

Tensor take_slice(const Tensor& t, int axis, PyObject* o) {
  Py_ssize_t start, stop, step;
  check(PySlice_Unpack(o, &start, &stop, &step));
  Py_ssize_t n = Py_ssize_t(t.dim(axis));
  Py_ssize_t count = PySlice_AdjustIndices(n, &start, &stop, step);
  if (count == n && step == 1) return t;
  if (count == 0) start = stop = 0, step = 1;
  return ops::slice(t, axis, start, stop, step);
}

void check_index(int64_t& i, int64_t n, int axis) {
  if (i < -n || i >= n)
    fail<IndexError>("index", "index out of range: expected {} to {} on axis {}, got {}", -n, n - 1, axis, i);
  if (i < 0) i += n;
}

Tensor index_tensor(PyObject* o) {
  Tensor t = is_tensor(o) ? unwrap(o) : tensor_from_data(o, std::nullopt);
  if (t.numel() == 0 && is_floating(t.dtype())) return cast(t, DType::i64);  // x[[]]
  if (!is_integer(t.dtype()) && !is_bool(t.dtype()))
    fail<IndexError>("index", "wrong index dtype: expected integers or bool, got {}", name(t.dtype()));
  return is_bool(t.dtype()) ? t : cast(t, DType::i64);
}

// A mask stands for the index tensors of its true places.
void add_mask(Parsed& p, const Tensor& mask, int axis) {
  for (int k = 0; k < mask.rank(); ++k)
    if (mask.dim(k) != p.view.dim(axis + k))
      fail<IndexError>("index", "mask does not fit: expected {} on axis {}, got {}", p.view.dim(axis + k), axis + k,
                       mask.dim(k));
  p.mask = mask;
  p.mask_axis = axis;
  for (int k = 0; k < mask.rank(); ++k) p.dims.push_back(axis + k);
}

void expand_mask(Parsed& p) {
  if (!p.mask.defined()) return;
  Tensor places = apply(SUAN_OP("nonzero"), {p.mask});
  std::vector<Tensor> all;
  size_t used = 0;
  for (int axis : p.dims) {
    int k = axis - p.mask_axis;
    if (k >= 0 && k < p.mask.rank())
      all.push_back(ops::reshape(ops::slice(places, 1, k, k + 1), {places.dim(0)}));
    else
      all.push_back(p.indices[used++]);
  }
  p.indices = std::move(all);
  p.mask = Tensor();
}

Parsed parse(const Tensor& t, PyObject* key) {
  std::vector<Owned> held;
  std::vector<PyObject*> items;
  if (PyTuple_Check(key)) {
    for (Py_ssize_t i = 0; i < PyTuple_Size(key); ++i) items.push_back(PyTuple_GetItem(key, i));
  } else {
    items.push_back(key);
  }
  // Lists and arrays become tensors first, so that masks know how many axes they take.
  int taken = 0, ellipsis = -1;
  for (size_t i = 0; i < items.size(); ++i) {
    PyObject*& o = items[i];
    bool plain = o == Py_None || o == Py_Ellipsis || PySlice_Check(o) || PyLong_Check(o) || is_tensor(o);
    if (!plain && !(PyIndex_Check(o) && !PyList_Check(o))) {
      held.emplace_back(wrap(index_tensor(o)));
      o = held.back().get();
    }
    if (o == Py_Ellipsis) {
      if (ellipsis >= 0) fail<IndexError>("index", "too many '...': expected one, got two");
      ellipsis = int(i);
    }
    taken += axes_taken(o);
  }
  if (taken > t.rank())
    fail<IndexError>("index", "too many indices: expected at most {}, got {}", t.rank(), taken);

  Parsed p{.view = t};
  // First pass, on the axes of t: slices, and integers as slices of length 1.
  enum Kind : uint8_t { keep, drop, insert };
  std::vector<Kind> shape_plan;
  std::vector<std::pair<PyObject*, int>> advanced;  // item, place in shape_plan
  int axis = 0;
  auto keep_axes = [&](int n) {
    for (int k = 0; k < n; ++k, ++axis) shape_plan.push_back(keep);
  };
  for (PyObject* o : items) {
    if (o == Py_Ellipsis) {
      keep_axes(t.rank() - taken);
    } else if (o == Py_None) {
      shape_plan.push_back(insert);
    } else if (o == Py_True || o == Py_False) {
      advanced.push_back({o, int(shape_plan.size())});
      shape_plan.push_back(insert);
    } else if (PySlice_Check(o)) {
      p.view = take_slice(p.view, axis, o);
      keep_axes(1);
    } else if (is_tensor(o) && (unwrap(o).rank() > 0 || is_bool(unwrap(o).dtype()))) {
      advanced.push_back({o, int(shape_plan.size())});
      if (is_mask(o) && unwrap(o).rank() == 0) shape_plan.push_back(insert);
      else keep_axes(axes_taken(o));
    } else if (is_tensor(o) && is_floating(unwrap(o).dtype())) {
      fail<IndexError>("index", "wrong index dtype: expected integers or bool, got {}", name(unwrap(o).dtype()));
    } else {
      int64_t i = to_int(o, "index", "index");
      check_index(i, t.dim(axis), axis);
      p.view = ops::slice(p.view, axis, i, i + 1);
      shape_plan.push_back(drop);
      ++axis;
    }
  }
  keep_axes(t.rank() - axis);

  // Second pass: one reshape drops and inserts the axes of size 1.
  Shape shape;
  std::vector<int> place(shape_plan.size());
  bool reshaped = false;
  axis = 0;
  for (size_t i = 0; i < shape_plan.size(); ++i) {
    place[i] = shape.size();
    if (shape_plan[i] == keep) shape.push_back(p.view.dim(axis++));
    else if (shape_plan[i] == insert) shape.push_back(1), reshaped = true;
    else ++axis, reshaped = true;
  }
  if (reshaped) p.view = ops::reshape(p.view, shape);

  int masks = 0;
  for (auto& [o, at] : advanced) masks += is_mask(o) && unwrap(o).rank() > 0;
  for (auto& [o, at] : advanced) {
    int on = place[size_t(at)];
    if (o == Py_True || o == Py_False || (is_mask(o) && unwrap(o).rank() == 0)) {
      bool yes = is_tensor(o) ? unwrap(o).item() != 0 : o == Py_True;
      p.indices.push_back(ops::full({yes ? 1 : 0}, 0, DType::i64));
      p.dims.push_back(on);
    } else if (is_mask(o)) {
      if (masks == 1) {
        add_mask(p, unwrap(o), on);
        continue;
      }
      Parsed one{.view = p.view};
      add_mask(one, unwrap(o), on);
      expand_mask(one);
      for (size_t k = 0; k < one.indices.size(); ++k) {
        p.indices.push_back(one.indices[k]);
        p.dims.push_back(on + int64_t(k));
      }
    } else {
      p.indices.push_back(index_tensor(o));
      p.dims.push_back(on);
    }
  }
  return p;
}

Tensor value_for(PyObject* value, const Tensor& like) {
  if (is_tensor(value)) return cast(unwrap(value), like.dtype());
  if (is_number(value)) return number_tensor(value, like.dtype(), like.device());
  return tensor_from_data(value, like.dtype());
}

}  // namespace

PyObject* get_item(PyObject* self, PyObject* key) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = unwrap(self);
    if (PyLong_Check(key) && !PyBool_Check(key)) {
      if (t.rank() == 0) fail<IndexError>("index", "0-d tensor cannot be indexed: expected rank 1 or more, got 0");
      int64_t i = to_int(key, "index", "index");
      check_index(i, t.dim(0), 0);
      Shape rest = t.shape();
      rest.erase(0);
      return wrap(ops::reshape(ops::slice(t, 0, i, i + 1), rest));
    }
    Parsed p = parse(t, key);
    expand_mask(p);
    if (p.dims.empty()) {
      if (p.view.same(t)) {  // t[...] and t[:] are new views, not the tensor itself
        return wrap(ops::reshape(t, t.shape()));
      }
      return wrap(std::move(p.view));
    }
    std::vector<Tensor> in{p.view};
    in.insert(in.end(), p.indices.begin(), p.indices.end());
    return wrap(apply(SUAN_OP("index"), in, {p.dims}));
  });
}

int set_item(PyObject* self, PyObject* key, PyObject* value) {
  PyObject* done = guarded([&]() -> PyObject* {
    if (!value) fail<TypeError>("index", "cannot delete elements: expected an assignment, got del");
    const Tensor& t = unwrap(self);
    Parsed p = parse(t, key);
    Tensor v = value_for(value, t);
    if (p.dims.empty()) {
      copy_into(p.view, v);
      return Py_None;
    }
    if (p.mask.defined() && p.indices.empty() && v.numel() == 1) {
      // One value under a mask: where(), which needs no look at the data.
      Shape s = Dims::filled(p.mask_axis, 1);
      for (int64_t d : p.mask.shape()) s.push_back(d);
      while (s.size() < p.view.rank()) s.push_back(1);
      Tensor mask = ops::reshape(p.mask, s);
      apply_into(SUAN_OP("where"), {mask, ops::reshape(v, {}), p.view}, {}, p.view);
      return Py_None;
    }
    expand_mask(p);
    std::vector<Tensor> in{p.view, v};
    in.insert(in.end(), p.indices.begin(), p.indices.end());
    apply_into(SUAN_OP("index_put"), in, {p.dims, false}, p.view);
    return Py_None;
  });
  return done ? 0 : -1;
}

}  // namespace suan::py
