// suan.data's reader of rows.
#include <nanobind/stl/vector.h>

#include "core/row_reader.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

class PyRowReader {
 public:
  PyRowReader(const std::vector<std::pair<Tensor, Tensor>>& rows, const std::vector<DType>& dtypes, int threads) {
    std::vector<RowColumn> columns;
    for (size_t i = 0; i < rows.size(); ++i) columns.push_back({rows[i].first, dtypes[i], rows[i].second});
    reader_ = std::make_unique<RowReader>(std::move(columns), threads);
  }
  void ask(std::vector<int64_t> indices) { reader_->ask(std::move(indices)); }
  Tensors next() {
    return bridged([&] {
      ReleaseGil unlocked;
      return reader_->next();
    });
  }
  size_t pending() const { return reader_->pending(); }
  void close() {
    ReleaseGil unlocked;
    reader_.reset();
  }

 private:
  std::unique_ptr<RowReader> reader_;
};

}  // namespace

void bind_data(nb::module_& m) {
  nb::class_<PyRowReader>(m, "RowReader", "Batches of rows gathered ahead by threads (see suan.data.DataLoader).")
      .def("__init__", [](PyRowReader* self, nb::list columns, int threads) {
        std::vector<std::pair<Tensor, Tensor>> rows;
        std::vector<DType> dtypes;
        for (nb::handle c : columns) {
          auto t = nb::cast<nb::tuple>(c);
          rows.emplace_back(nb::cast<Tensor>(t[0]), t[2].is_none() ? Tensor() : nb::cast<Tensor>(t[2]));
          dtypes.push_back(dtype_of(t[1].ptr()));
        }
        new (self) PyRowReader(rows, dtypes, threads);
      }, nb::arg("columns"), nb::arg("threads"), "columns: (rows, dtype, table or None) each.")
      .def("ask", &PyRowReader::ask, nb::arg("indices"))
      .def("next", &PyRowReader::next, "The oldest batch asked for: a tensor a column.")
      .def("close", &PyRowReader::close)
      .def_prop_ro("pending", &PyRowReader::pending, "Batches asked for and not taken.");
}

}  // namespace suan::py
