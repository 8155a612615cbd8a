// A model as the importer sees it: names resolved to slots, operators to builders, weights in place.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "frontends/onnx/session.h"

namespace suan::onnx {

class Call;
using Builder = Values (*)(Call&);

struct Graph;

struct Attribute {
  std::variant<std::monostate, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
               std::vector<std::string>, Value, std::shared_ptr<const Graph>>
      data;
};

// What a builder made of a node's attributes alone, for calls after the first.
struct Prepared {
  std::mutex mutex;
  std::shared_ptr<const void> value;
};

struct Node {
  std::string name, op, domain;
  int version = 0;                      // of the operator set
  Builder build = nullptr;              // null for a call of a function
  std::shared_ptr<const Graph> body;    // of a function
  bool random = false;
  bool weights = false;                 // 8-bit ones made real: left to the plan, which may multiply them as they are
  std::vector<int> in, out;             // slots; -1 where left out
  std::vector<int> reads;               // in, and what sub-graphs capture
  std::map<std::string, Attribute, std::less<>> attrs;
  std::vector<std::pair<int, Port>> declared;   // types that the model says its outputs have
  std::vector<int> last_read;           // slots nobody reads after this node
  std::shared_ptr<Prepared> prepared = std::make_shared<Prepared>();
};

struct Graph {
  int n_slots = 0;
  std::vector<Port> inputs, outputs;
  std::vector<int> in, out;                          // slots
  std::vector<std::pair<int, Value>> constants;      // initializers, then what folds at load
  std::vector<std::pair<int, int>> captures;         // slot outside -> slot here
  std::vector<Node> nodes;
  std::vector<std::string> names;                    // of slots, for messages
};

struct MappedWeight;
class MappedFile;

struct Model {
  Graph graph;
  std::vector<int> initializers;                     // slots of constants that the file has
  // Initializers that are inputs too: a call may give others. Their slots are those of `unfolded`, the graph as the file
  // has it, which is kept only where there are some.
  std::vector<Port> defaults;
  std::vector<int> default_slots;
  std::shared_ptr<const Graph> unfolded;
  Metadata meta;
  std::map<std::string, int> op_counts;
  int64_t weight_bytes = 0, mapped_bytes = 0;
  std::shared_ptr<std::vector<MappedWeight>> mapped;
  std::vector<std::shared_ptr<const MappedFile>> files;   // that it was read from; none where it came as bytes
  std::vector<Ref<Storage>> deferred;   // weights that are copied from the file while somebody reads them
};

// When each value is read last, so that it can be let go.
void find_last_reads(Graph& g);

// `memory_limit`: what computing with constants may take on the way. Unless they are folded, `constants` of the graph
// are its initializers, in the file's order.
// `given`: initializers that the caller has, instead of the file's.
using Given = std::map<std::string, Tensor>;
Model read_model(const std::filesystem::path& path, int64_t memory_limit, bool fold = true, const Given& given = {});
Model read_model(std::string_view bytes, int64_t memory_limit, bool fold = true, const Given& given = {});
int64_t free_memory();   // of the machine and its cgroup
int64_t fold_bytes(const Model& m, int64_t memory_limit);
// The same kind of error with another text; called while `e` is handled.
[[noreturn]] void rethrow(const Error& e, const std::string& text);

DType dtype_of_onnx(int elem_type);          // TypeError for those Suan has no kernels for
bool is_string_type(int elem_type);
int onnx_of_dtype(DType t);
int onnx_type_named(const std::string& name);   // "FLOAT"; ValueError for what is none
// The latest mapping at or below a version; null when there is none.
struct Mapping {
  const char* name;
  int since;
  Builder build;
};
Builder find_builder(std::string_view domain, std::string_view name, int version);

}  // namespace suan::onnx
