#include "frontends/onnx/wire.h"

#include <cstdint>

#include "core/error.h"

namespace suan::onnx {
namespace {

constexpr size_t smallest_cut = 4096;  // smaller weights are not worth the book-keeping
constexpr uint32_t model_ir_version = 1, model_graph = 7, model_functions = 25, graph_node = 1, graph_initializer = 5,
                   graph_input = 11, graph_output = 12, graph_value_info = 13, function_node = 7, node_attribute = 5,
                   attribute_tensor = 5, attribute_graph = 6, attribute_graphs = 11, value_type = 2, type_sequence = 4, type_map = 5,
                   type_optional = 9, tensor_raw_data = 9;
// Protocol Buffers itself stops at 100 messages within one another, and does not say so.
constexpr int deepest_graphs = 24, deepest_types = 16;

[[noreturn]] void malformed(size_t at) {
  fail<ValueError>("onnx", "malformed model: expected a Protocol Buffers field, got a truncated or invalid one at byte {}", at);
}

// Walks the fields of one message.
class Fields {
 public:
  Fields(std::string_view all, size_t begin, size_t end) : all_(all), at_(begin), end_(end) {}
  bool next() {
    begin_ = at_;
    if (at_ == end_) return false;
    uint64_t tag = varint();
    number_ = uint32_t(tag >> 3);
    kind_ = int(tag & 7);
    if (number_ == 0 || tag >> 32) malformed(begin_);
    switch (kind_) {
      case 0: value_ = at_; varint(); break;
      case 1: skip(8); break;
      case 2: { uint64_t n = varint(); skip(n); break; }
      case 5: skip(4); break;
      default: malformed(begin_);
    }
    return true;
  }
  bool is(uint32_t number) const { return kind_ == 2 && number_ == number; }
  uint32_t number() const { return number_; }
  size_t value() const { return value_; }                        // of a length-delimited field
  size_t end() const { return at_; }
  std::string_view whole() const { return all_.substr(begin_, at_ - begin_); }

 private:
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) malformed(at_);
      uint8_t b = uint8_t(all_[at_++]);
      v |= uint64_t(b & 127) << shift;
      if (!(b & 128)) return v;
    }
    malformed(at_);
  }
  void skip(uint64_t n) {
    if (n > end_ - at_) malformed(at_);
    value_ = at_;
    at_ += size_t(n);
  }
  std::string_view all_;
  size_t at_, end_, begin_ = 0, value_ = 0;
  uint32_t number_ = 0;
  int kind_ = 0;
};

void put_varint(std::string& out, uint64_t v) {
  for (; v >= 128; v >>= 7) out.push_back(char(v | 128));
  out.push_back(char(v));
}
void put_message(std::string& out, uint32_t number, const std::string& body) {
  put_varint(out, number << 3 | 2);
  put_varint(out, body.size());
  out += body;
}

void check_type_depth(std::string_view all, size_t begin, size_t end, int depth) {
  if (depth > deepest_types) fail<ValueError>("onnx", "types nest too deeply: expected at most {} levels, got more", deepest_types);
  for (Fields f(all, begin, end); f.next();)
    if (f.is(type_sequence) || f.is(type_map) || f.is(type_optional))
      for (Fields e(all, f.value(), f.end()); e.next();)
        if (e.is(1) || e.is(2)) check_type_depth(all, e.value(), e.end(), depth + 1);
}
// A graph's nodes and values, or a function's nodes.
void check_depth(std::string_view all, size_t begin, size_t end, uint32_t nodes, int depth) {
  if (depth > deepest_graphs)
    fail<ValueError>("onnx", "graphs nest too deeply: expected at most {} levels, got more", deepest_graphs);
  for (Fields f(all, begin, end); f.next();) {
    if (f.is(nodes))
      for (Fields n(all, f.value(), f.end()); n.next();)
        if (n.is(node_attribute))
          for (Fields a(all, n.value(), n.end()); a.next();)
            if (a.is(attribute_graph) || a.is(attribute_graphs)) check_depth(all, a.value(), a.end(), graph_node, depth + 1);
    if (nodes == graph_node && (f.is(graph_input) || f.is(graph_output) || f.is(graph_value_info)))
      for (Fields v(all, f.value(), f.end()); v.next();)
        if (v.is(value_type)) check_type_depth(all, v.value(), v.end(), 1);
  }
}

// The tensor at these bytes of the model without a large raw_data field.
std::string cut_tensor(std::string_view model, size_t begin, size_t end, Cut& cut) {
  std::string tensor;
  for (Fields t(model, begin, end); t.next();) {
    if (t.is(tensor_raw_data) && t.end() - t.value() >= smallest_cut) cut = {t.value(), t.end() - t.value()};
    else tensor += t.whole();
  }
  return tensor;
}

std::string cut_graph(std::string_view model, size_t begin, size_t end, Cuts& cuts);

std::string cut_attribute(std::string_view model, size_t begin, size_t end, std::pair<int, int> at, Cuts& cuts) {
  int tensors = 0, graphs = 0;   // the parser would merge several
  for (Fields a(model, begin, end); a.next();) {
    tensors += a.is(attribute_tensor);
    graphs += a.is(attribute_graph);
  }
  std::string attribute;
  for (Fields a(model, begin, end); a.next();) {
    if (tensors == 1 && a.is(attribute_tensor)) {
      Cut cut;
      put_message(attribute, attribute_tensor, cut_tensor(model, a.value(), a.end(), cut));
      if (cut.bytes) cuts.of_nodes[at] = cut;
    } else if (graphs == 1 && a.is(attribute_graph)) {
      auto inner = std::make_unique<Cuts>();
      put_message(attribute, attribute_graph, cut_graph(model, a.value(), a.end(), *inner));
      cuts.of_graphs[at] = std::move(inner);
    } else {
      attribute += a.whole();
    }
  }
  return attribute;
}

std::string cut_node(std::string_view model, size_t begin, size_t end, int index, Cuts& cuts) {
  std::string node;
  int k = 0;
  for (Fields n(model, begin, end); n.next();) {
    if (!n.is(node_attribute)) {
      node += n.whole();
      continue;
    }
    put_message(node, node_attribute, cut_attribute(model, n.value(), n.end(), {index, k}, cuts));
    ++k;
  }
  return node;
}

std::string cut_graph(std::string_view model, size_t begin, size_t end, Cuts& cuts) {
  std::string graph;
  int nodes = 0;
  for (Fields g(model, begin, end); g.next();) {
    if (g.is(graph_initializer)) {
      put_message(graph, graph_initializer, cut_tensor(model, g.value(), g.end(), cuts.initializers.emplace_back()));
    } else if (g.is(graph_node)) {
      const bool large = g.end() - g.value() >= smallest_cut;
      if (large) put_message(graph, graph_node, cut_node(model, g.value(), g.end(), nodes, cuts));
      else graph += g.whole();
      ++nodes;
    } else {
      graph += g.whole();
    }
  }
  return graph;
}

}  // namespace

Skeleton cut_weights(std::string_view model) {
  Skeleton s;
  int graphs = 0, versions = 0;
  for (Fields f(model, 0, model.size()); f.next();) {
    versions += f.number() == model_ir_version;
    if (f.is(model_functions)) check_depth(model, f.value(), f.end(), function_node, 1);
    if (f.is(model_graph)) {
      check_depth(model, f.value(), f.end(), graph_node, 1);
      ++graphs;
    }
    if (versions > 1 || graphs > 1)
      fail<ValueError>("onnx", "model is ambiguous: expected one {}, got 2", versions > 1 ? "IR version" : "graph");
    if (!f.is(model_graph)) {
      s.bytes += f.whole();
      continue;
    }
    put_message(s.bytes, model_graph, cut_graph(model, f.value(), f.end(), s.cuts));
  }
  return s;
}

}  // namespace suan::onnx
