// An ONNX model ready to be called. The first shapes are translated, optimised and planned. From the second ones
// on, one program with open sizes serves all shapes where the model allows it: they are only laid out. Plans are
// kept under a bound. One session serves any number of threads.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>

#include "frontends/onnx/value.h"

namespace suan {
class Plan;
}

#define SUAN_ONNX_API __attribute__((visibility("default")))

namespace suan::onnx {

struct Graph;

// Declared input or output. A dimension that is not a number has its name, or none.
struct Port {
  enum class Kind : uint8_t { tensor, strings, sequence, optional, unknown, map };
  std::string name;
  Kind kind = Kind::unknown;
  std::string type;                     // as text: "tensor(float)", "seq(tensor(int64))"
  DType dtype = DType::f32;             // of a tensor
  bool has_shape = false;
  std::vector<int64_t> dims;            // -1: symbolic
  std::vector<std::string> dim_names, dim_denotations;
};

struct SessionOptions {
  size_t max_plans = 16;   // shapes whose plans are kept; the one unused for longest leaves first
  bool exact = false;      // true: no pass may change a bit (batch norms stay outside the weights before them)
  // Bytes that a call may take beyond inputs and weights, and that computing with constants may take when the model is
  // loaded: OutOfMemory. 0: three quarters of what the machine (and its cgroup) has free when the session is made.
  int64_t memory_limit = 0;
  bool bf16 = false;       // products and convolutions of float32 values multiply in bfloat16 and add up in float32
  int threads = 0;         // that work on one call, its caller included; 0: as many as num_threads()
  // Sizes of dimensions by their name, and by their denotation ("DATA_BATCH"): the model then has these sizes only.
  std::map<std::string, int64_t> sizes, sizes_by_denotation;
  // Initializers by name instead of the file's, of the same types and shapes; not copied unless they are packed, so they
  // must not be written while the session lives. ValueError where the model has none of that name.
  std::map<std::string, Tensor> initializers;
  // A file of packed weights, so that a process need not pack again and processes share them. The first session writes it
  // (and later ones, where their plans pack more), the others map it; docs/onnx.md. Empty: none. Damaged: ValueError. One of
  // another model, version or processor is written anew, with a warning.
  std::filesystem::path prepacked;
  bool prepacked_read_only = false;   // never written; ValueError where it does not fit, IoError where there is none
  bool name_nodes = false;    // profiles name the model's nodes; the names are kept until the process ends
  // Told what the session does: 0 details, 1 facts, 2 warnings. Called on the thread that uses the session.
  std::function<void(int severity, const std::string& message)> log;
};

struct RunOptions {
  double timeout = 0;                          // seconds after which TimedOut is thrown; 0: none
  const std::atomic<bool>* cancel = nullptr;   // once another thread sets it, Cancelled is thrown
  // By output: a contiguous tensor that the result is written to and that is returned; or nothing. TypeError where it
  // does not fit. When a run fails its content is undefined. One that shares memory with an input gets a copy.
  std::span<const Value> into;
};

// What one call takes, in bytes, and what all plans share.
struct MemoryNeed {
  int64_t arena = 0, outputs = 0;
  int64_t weights = 0;     // that the plan reads, as they are packed
};

// What is known of a value of the main graph before anything runs.
struct KnownValue {
  std::string name;
  Value value;                      // what constants and the inputs' types alone decide; else nothing
  std::optional<TensorType> type;   // of a tensor that only a call has
};

struct Metadata {
  int64_t ir_version = 0, model_version = 0;
  std::map<std::string, int64_t> opsets;
  std::string producer, producer_version, domain, description, graph, graph_description;
  std::map<std::string, std::string> custom;
};

struct SessionStats {
  size_t plans = 0;             // kept now
  uint64_t translated = 0;      // times that the model was translated and optimised
  uint64_t laid_out = 0;        // shapes that were only laid out anew, from a program whose sizes are open
  uint64_t replayed = 0;        // calls answered by a plan
  uint64_t stepped = 0;         // calls run node by node, because shapes or branches depend on data
  double planning_seconds = 0;  // spent on shapes not met before
  int64_t weight_bytes = 0;     // of initializers
  int64_t mapped_bytes = 0;     // of these, used in place in the mapped file
};

class SUAN_ONNX_API Session {
 public:
  // IoError when the file cannot be read, ValueError when it is no valid model, TypeError naming the first
  // operator or data type that is not supported.
  explicit Session(const std::filesystem::path& path, const SessionOptions& options = {});
  // The serialised model itself; external data is refused.
  explicit Session(std::string_view bytes, const SessionOptions& options = {});
  ~Session();
  Session(Session&&) noexcept;

  const std::vector<Port>& inputs() const;    // without initializers
  const std::vector<Port>& outputs() const;
  // Initializers that the file lists as inputs too: a call may give others.
  const std::vector<Port>& defaults() const;
  // Values in the order of inputs(), then of defaults(); trailing optional ones may be left out, and nothing means the
  // file's own for a default. Outputs in the order of outputs().
  std::vector<Value> run(std::span<const Value> inputs, const RunOptions& options = {}) const;
  // Plans for inputs of these types, and says what a call will take. StateError where that depends on data.
  MemoryNeed memory(std::span<const TensorType> inputs) const;
  // The plan of a call with inputs of these types; null when they alone decide all outputs. Errors as memory().
  std::shared_ptr<const Plan> plan(std::span<const TensorType> inputs) const;
  // Values by name. Without types, what constants alone decide; else up to the node where data decides, if there is one.
  std::vector<KnownValue> values(const std::optional<std::vector<TensorType>>& inputs) const;
  // Gives the working memory of all plans, and what the allocator keeps, back to the system.
  void trim() const;
  SessionStats stats() const;
  const Metadata& metadata() const;
  // Text for people: versions, inputs, outputs, operators and their counts.
  std::string describe() const;
  std::vector<std::pair<std::string, int>> operators() const;  // name and count, sub-graphs included

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What the importer translates: "domain" ("" is ONNX's own), name, first version of each mapping.
struct SupportedOp {
  std::string domain, name;
  int since = 1;
};
SUAN_ONNX_API std::vector<SupportedOp> supported_ops();

}  // namespace suan::onnx
