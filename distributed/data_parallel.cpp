// The pass is an interpreter: it walks the recorded graph and applies each node, dry, under a new recorder,
// once, once a shard, or in a sharded form.
#include "distributed/data_parallel.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "distributed/recorded_step.h"
#include "ops/api.h"

namespace suan::distributed {
namespace {

constexpr const char* pass = "data_parallel";

class Pass : RecordedStep {
 public:
  using RecordedStep::RecordedStep;

  ParallelStep run() {
    ContextScope scope;
    context() = Context{.grad_enabled = false, .dry = true, .recorder = &rec_};
    make_inputs();
    group_gathers();
    for (int k = 0; k < local_; ++k)
      for (size_t i = 0; i < g_.nodes.size(); ++i) emit_body(i, k);
    reduce_results();
    flush_gradients();
    take_reduced();
    for (size_t i = 0; i < g_.nodes.size(); ++i)
      if (kind_of_node_[i] == Kind::reduced && !is_gradient(g_.nodes[i])) emit_tail(g_.nodes[i]);
    flush_parameters();
    return finish();
  }

 private:
  // ---- inputs ------------------------------------------------------------------------------------------

  Tensor stand_in(const TensorType& t) const {
    return Tensor::over(Storage::dry(t.device, t.bytes()), Layout(t.shape), t.dtype);
  }

  void make_inputs() {
    one_.resize(g_.values.size());
    part_.resize(g_.values.size());
    batch_.assign(size_t(local_), Tensors(g_.values.size()));
    std::vector<Tensor> roots;
    for (const auto& c : t_.captured) {
      TensorType type = c.root.type();
      if (c.argument) type.shape[0] *= local_;
      else if (part_of_.count(c.input)) type.shape = {part_size(numel(type.shape), o_)};
      roots.push_back(stand_in(type));
      rec_.add_argument(roots.back());
    }
    if (stage_ == 1 || stage_ == 2) {
      rank_ = stand_in({DType::i64, {1}, {}});
      rec_.add_argument(rank_);
    }
    for (size_t i = 0; i < t_.captured.size(); ++i) {
      const auto& c = t_.captured[i];
      if (!c.argument) {
        (part_of_.count(c.input) ? part_ : one_)[size_t(c.input)] = roots[i];
        continue;
      }
      const int64_t rows = c.root.dim(0);
      for (int k = 0; k < local_; ++k)
        batch_[size_t(k)][size_t(c.input)] =
            local_ == 1 ? roots[i] : ops::slice(roots[i], 0, k * rows, (k + 1) * rows);
    }
    for (const auto& [v, value] : g_.constants) {
      one_[size_t(v)] = value;
      rec_.bind(value, rec_.graph().add_constant(value));
    }
    inputs_ = std::move(roots);
  }

  // ---- the batch's part --------------------------------------------------------------------------------

  // ---- parameters at stage 3 ---------------------------------------------------------------------------

  // Parameters that nodes which follow each other read: gathered at once, while the group before is in use, and
  // dropped after the last of these nodes.
  struct Group {
    std::vector<ValueId> parameters;
    std::vector<std::pair<std::vector<ValueId>, Tensor>> begun;  // of one dtype each
    std::map<ValueId, Tensor> whole;
  };

  // The parameter that v is, or is a view of; no_value for all else.
  ValueId parameter_of(ValueId v) const {
    if (v == no_value || stage_ != 3) return no_value;
    if (part_of_.count(v)) return v;
    const int p = g_.values[size_t(v)].producer;
    if (p < 0 || kind(v) != Kind::fixed) return no_value;
    const Node& n = g_.nodes[size_t(p)];
    return n.op->view ? parameter_of(n.in[0]) : no_value;
  }

  // Whether emit_body applies node i, or takes its input, for that shard.
  bool in_body(size_t i, int shard) const {
    const Node& n = g_.nodes[i];
    if (is_gradient(n) || kind_of_node_[i] == Kind::batch) return true;
    const bool view = n.out.size() == 1 && parameter_of(n.out[0]) != no_value;  // made anew for each reader
    return kind_of_node_[i] == Kind::fixed && shard == 0 && !view;
  }

  void group_gathers() {
    if (stage_ != 3) return;
    int64_t bytes = 0;
    for (int k = 0; k < local_; ++k)
      for (size_t i = 0; i < g_.nodes.size(); ++i) {
        if (!in_body(i, k)) continue;
        std::set<ValueId> read;
        for (ValueId v : g_.nodes[i].in)
          if (const ValueId p = parameter_of(v); p != no_value) read.insert(p);
        if (read.empty()) continue;
        auto bytes_beside = [&](const std::vector<ValueId>& others) {
          int64_t n = 0;
          for (ValueId p : read)
            if (!std::count(others.begin(), others.end(), p)) n += type(p).bytes();
          return n;
        };
        if (groups_.empty() || bytes + bytes_beside(groups_.back().parameters) > o_.bucket_bytes) {
          groups_.emplace_back();
          bytes = 0;
        }
        std::vector<ValueId>& parameters = groups_.back().parameters;
        bytes += bytes_beside(parameters);
        for (ValueId p : read)
          if (!std::count(parameters.begin(), parameters.end(), p)) parameters.push_back(p);
        group_of_[{k, i}] = groups_.size() - 1;
      }
  }

  // Node i is next: its group is taken into use, and the one after it sent for.
  void enter_group(size_t i, int shard) {
    const auto found = group_of_.find({shard, i});
    if (found == group_of_.end()) return;
    group_ = found->second;
    for (; n_begun_ < std::min(groups_.size(), group_ + 2); ++n_begun_) {
      std::map<DType, std::vector<ValueId>> by_dtype;
      for (ValueId p : groups_[n_begun_].parameters) by_dtype[type(p).dtype].push_back(p);
      for (const auto& [dtype, parameters] : by_dtype)
        groups_[n_begun_].begun.push_back({parameters, begin_gather(parameters)});
    }
    if (group_ > 0) groups_[group_ - 1].whole.clear();
    for (const auto& [parameters, all] : std::exchange(groups_[group_].begun, {})) {
      const Tensors whole = end_gather(parameters, all);
      for (size_t k = 0; k < whole.size(); ++k) groups_[group_].whole[parameters[k]] = whole[k];
    }
  }

  // Every rank's parts of these parameters: one collective, [world, sum of part sizes].
  Tensor begin_gather(const std::vector<ValueId>& parameters) const {
    Tensors parts;
    for (ValueId p : parameters) parts.push_back(part_[size_t(p)]);
    Tensor all = apply(SUAN_OP("all_gather"), {joined(parts, 0)}, {int64_t(o_.world)});
    return ops::reshape(all, {o_.world, all.numel() / o_.world});
  }

  Tensors end_gather(const std::vector<ValueId>& parameters, const Tensor& all) const {
    Tensors whole;
    int64_t column = 0;
    for (ValueId p : parameters) {
      const Shape& shape = type(p).shape;
      const int64_t part = part_size(numel(shape), o_);
      Tensor rows = ops::reshape(ops::slice(all, 1, column, column + part), {part * o_.world});
      whole.push_back(ops::reshape(ops::slice(rows, 0, 0, numel(shape)), shape));
      column += part;
    }
    return whole;
  }

  Tensor gathered(ValueId v) const {
    if (!part_of_.count(v)) {
      const Node& n = g_.nodes[size_t(g_.values[size_t(v)].producer)];
      return apply(*n.op, {gathered(n.in[0])}, n.attrs);
    }
    if (group_ < groups_.size())
      if (auto at = groups_[group_].whole.find(v); at != groups_[group_].whole.end()) return at->second;
    return end_gather({v}, begin_gather({v}))[0];  // read outside the body
  }

  Tensor value(ValueId v, int shard) const {
    if (v == no_value) return {};
    if (parameter_of(v) != no_value) return gathered(v);
    return kind(v) == Kind::batch ? batch_[size_t(shard)][size_t(v)] : one_[size_t(v)];
  }

  Tensors apply_node(const Node& n, int shard) const {
    Tensors in;
    for (ValueId v : n.in) in.push_back(value(v, shard));
    return apply_all(*n.op, in, n.attrs);
  }

  // What was appended since `from` comes from the line of n.
  void name_source(size_t from, const Node& n) {
    for (size_t i = from; i < rec_.graph().nodes.size(); ++i) rec_.graph().nodes[i].source = n.source;
  }

  void emit_body(size_t i, int shard) {
    if (!in_body(i, shard)) return;
    const Node& n = g_.nodes[i];
    const size_t from = rec_.graph().nodes.size();
    enter_group(i, shard);
    if (is_gradient(n)) {
      add_gradient(n.out[0], value(n.in[0], shard), shard);
    } else {
      const bool batch = kind_of_node_[i] == Kind::batch;
      Tensors out = apply_node(n, shard);
      for (size_t k = 0; k < out.size(); ++k) (batch ? batch_[size_t(shard)] : one_)[size_t(n.out[k])] = out[k];
    }
    name_source(from, n);
  }

  // Shards are added pairwise, pairs pairwise: the lower levels of the tree over all shards.
  template <class F>
  static void add_to_tree(std::vector<std::pair<Tensor, int>>& partial, Tensor t, F&& add) {
    int level = 0;
    while (!partial.empty() && partial.back().second == level) {
      t = add(partial.back().first, t);
      partial.pop_back();
      ++level;
    }
    partial.push_back({t, level});
  }

  void add_gradient(ValueId v, const Tensor& t, int shard) {
    add_to_tree(partial_[v], t, ops::add);
    if (shard < local_ - 1) return;
    sum_[v] = partial_[v].back().first;
    partial_.erase(v);
    const DType dtype = type(v).dtype;
    if (!bucket_.empty() && type(bucket_.front()).dtype != dtype) flush_gradients();
    bucket_.push_back(v);
    bucket_bytes_ += type(v).bytes();
    if (bucket_bytes_ >= o_.bucket_bytes) flush_gradients();
  }

  Tensor scaled(const Tensor& t) const { return o_.shards == 1 ? t : ops::operator*(t, 1.0 / o_.shards); }

  Tensor flat_padded(const Tensor& t) const {
    const int64_t n = t.numel(), padded = part_size(n, o_) * o_.world;
    Tensor flat = ops::reshape(t, {n});
    return n == padded ? flat : apply(SUAN_OP("pad_constant"), {flat}, {std::vector<int64_t>{0, padded - n}});
  }

  Tensor joined(const Tensors& parts, int64_t axis) const {
    return parts.size() == 1 ? parts[0] : apply(SUAN_OP("cat"), parts, {axis});
  }

  // Reduces the gradients that wait.
  void flush_gradients() {
    bucket_bytes_ = 0;
    if (const std::vector<ValueId> bucket = std::exchange(bucket_, {}); !bucket.empty()) reduce(bucket);
  }

  Tensor take_sum(ValueId v) {
    Tensor t = sum_.at(v);
    sum_.erase(v);
    return t;
  }

  // Begins it. What reads a sum comes only once all have begun (take_reduced), so that they run beside the
  // backward pass.
  void reduce(const std::vector<ValueId>& bucket) {
    const size_t from = rec_.graph().nodes.size();
    Tensor sum;
    if (o_.world == 1) {
      for (ValueId v : bucket) one_[size_t(v)] = scaled(take_sum(v));
    } else if (stage_ == 0) {
      Tensors flats;
      for (ValueId v : bucket) {
        flats.push_back(ops::reshape(take_sum(v), {gradients_.at(v).n}));
      }
      sum = apply(SUAN_OP("all_reduce"), {joined(flats, 0)}, {std::string("sum"), int64_t(o_.world), false});
    } else {
      Tensors rows;  // [world, part] of each
      for (ValueId v : bucket) {
        rows.push_back(ops::reshape(flat_padded(take_sum(v)), {o_.world, part_size(gradients_.at(v).n, o_)}));
      }
      sum = apply(SUAN_OP("reduce_scatter"), {joined(rows, 1)}, {std::string("sum"), int64_t(o_.world)});
    }
    if (sum.defined()) reduced_.push_back({bucket, sum});
    name_source(from, *gradients_.at(bucket.back()).node);
  }

  void take_reduced() {
    for (const auto& [bucket, sum] : reduced_) {
      const size_t from = rec_.graph().nodes.size();
      const Tensor mean = scaled(ops::reshape(sum, {sum.numel()}));
      int64_t at = 0;
      for (ValueId v : bucket) {
        const int64_t n = stage_ == 0 ? gradients_.at(v).n : part_size(gradients_.at(v).n, o_);
        const Tensor t = ops::slice(mean, 0, at, at + n);
        if (stage_ == 0) one_[size_t(v)] = ops::reshape(t, type(v).shape);
        else part_[size_t(v)] = t;
        at += n;
      }
      name_source(from, *gradients_.at(bucket.back()).node);
    }
    reduced_.clear();
  }

  // ---- what follows the gradients ----------------------------------------------------------------------

  bool is_part(ValueId v) const { return v != no_value && part_[size_t(v)].defined() && !part_of_.count(v); }

  void emit_tail(const Node& n) {
    const size_t from = rec_.graph().nodes.size();
    static const OpDef& squares = op("chunked_sum_squares");
    if (n.op == &squares && like_.count(n.in[0])) {
      if (!one_[size_t(n.out[0])].defined()) norms(n);
      return;
    }
    for (ValueId v : n.in)
      if (pending_.count(v)) flush_parameters();
    const bool sharded = std::any_of(n.in.begin(), n.in.end(), [&](ValueId v) { return is_part(v); });
    if (!sharded) {
      Tensors out = apply_node(n, 0);
      for (size_t k = 0; k < out.size(); ++k) one_[size_t(n.out[k])] = out[k];
    } else if (!n.op->updates.empty()) {
      update_part(n);
    } else {
      elementwise_part(n);
    }
    name_source(from, n);
  }

  void elementwise_part(const Node& n) {
    if (!like_.count(n.out[0]))
      refuse(&n, "a gradient is read whole: expected clipping and an optimizer step at stage {}, got another op", stage_);
    Tensors in;
    for (ValueId v : n.in) in.push_back(is_part(v) ? part_[size_t(v)] : one_[size_t(v)]);
    part_[size_t(n.out[0])] = apply(*n.op, in, n.attrs);
  }

  void update_part(const Node& n) {
    Tensors in;
    for (size_t j = 0; j < n.in.size(); ++j) {
      const ValueId v = n.in[j];
      if (v == no_value) in.emplace_back();
      else if (part_[size_t(v)].defined()) in.push_back(part_[size_t(v)]);
      else if (type(v).shape.empty() && j > 0) in.push_back(one_[size_t(v)]);
      else if (j == 0) in.push_back(own_part(one_[size_t(v)]));
      else refuse(&n, "an optimizer step reads {} whole: expected a part at stage {}, got {}", n.op->inputs[j].name,
                  stage_, to_string(type(v)));
    }
    Tensors out = apply_all(*n.op, in, n.attrs);
    for (size_t k = 0; k < out.size(); ++k) {
      part_[size_t(n.out[k])] = out[k];
      if (n.op->updates[k] == 0 && stage_ < 3) pending_.insert(n.out[k]), parameters_.push_back(n.out[k]);
    }
  }

  // This rank's rows of a parameter that all ranks hold. The rank is data, so that programs are equal.
  Tensor own_part(const Tensor& t) {
    const int64_t part = part_size(t.numel(), o_);
    Tensor rows = ops::reshape(flat_padded(t), {o_.world, part});
    return ops::copy(ops::reshape(apply(SUAN_OP("embedding"), {rows, rank_}), {part}));
  }

  // Updated parameters back to every rank.
  void flush_parameters() {
    std::vector<std::pair<std::vector<ValueId>, Tensor>> begun;
    for (size_t at = 0; at < parameters_.size();) {
      std::vector<ValueId> bucket;
      const DType dtype = type(parameters_[at]).dtype;
      for (int64_t bytes = 0; at < parameters_.size() && bytes < o_.bucket_bytes && type(parameters_[at]).dtype == dtype;) {
        bytes += type(parameters_[at]).bytes();
        bucket.push_back(parameters_[at++]);
      }
      begun.push_back({bucket, begin_gather(bucket)});
    }
    for (const auto& [bucket, all] : begun) {
      const Tensors whole = end_gather(bucket, all);
      for (size_t i = 0; i < bucket.size(); ++i) {
        one_[size_t(bucket[i])] = whole[i];
        part_[size_t(bucket[i])] = Tensor();
      }
    }
    parameters_.clear();
    pending_.clear();
  }

  // The sums of squares of all gradients, each through `shards` chunks; the chunks of all travel at once.
  void norms(const Node& first) {
    static const OpDef& squares = op("chunked_sum_squares");
    std::vector<const Node*> nodes;
    for (const Node& n : g_.nodes)
      if (n.op == &squares && (gradients_.count(n.in[0]) || &n == &first) && !one_[size_t(n.out[0])].defined())
        nodes.push_back(&n);
    const size_t from = rec_.graph().nodes.size();
    auto chunks_of = [&](const Tensor& t, int64_t chunks) {
      Tensors sums;
      const int64_t size = t.numel() / chunks;
      for (int64_t c = 0; c < chunks; ++c)
        sums.push_back(ops::reshape(apply(squares, {ops::slice(t, 0, c * size, (c + 1) * size)}), {1}));
      return sums;
    };
    // Pairwise and not by sum(), whose order may follow strides.
    auto total = [](const Tensors& sums) {
      std::vector<std::pair<Tensor, int>> partial;
      for (const Tensor& t : sums) add_to_tree(partial, t, ops::add);
      return ops::reshape(partial.back().first, {});
    };
    if (stage_ == 0) {
      for (const Node* n : nodes)
        one_[size_t(n->out[0])] = total(chunks_of(flat_padded(one_[size_t(n->in[0])]), o_.shards));
    } else {
      Tensors sums;
      for (const Node* n : nodes)
        for (Tensor& t : chunks_of(part_[size_t(n->in[0])], local_)) sums.push_back(t);
      const int64_t count = int64_t(nodes.size());
      Tensor all = apply(SUAN_OP("all_gather"), {joined(sums, 0)}, {int64_t(o_.world)});
      for (int64_t i = 0; i < count; ++i) {
        Tensors chunks;
        for (int64_t r = 0; r < o_.world; ++r)
          for (int64_t k = (r * count + i) * local_; k < (r * count + i + 1) * local_; ++k)
            chunks.push_back(ops::slice(all, 0, k, k + 1));
        one_[size_t(nodes[size_t(i)]->out[0])] = total(chunks);
      }
    }
    name_source(from, first);
  }

  // ---- results -----------------------------------------------------------------------------------------

  // Results of the batch are to be the mean over all shards, in the same tree as gradients: begun here.
  void reduce_results() {
    for (int k = 0; k < t_.n_outputs; ++k) {
      const ValueId v = g_.outputs[size_t(k)];
      if (kind(v) != Kind::batch || results_.count(v)) continue;
      const size_t from = rec_.graph().nodes.size();
      std::vector<std::pair<Tensor, int>> partial;
      for (int s = 0; s < local_; ++s) add_to_tree(partial, batch_[size_t(s)][size_t(v)], ops::add);
      Tensor t = partial.back().first;
      if (o_.world > 1)
        t = apply(SUAN_OP("all_reduce"), {t}, {std::string("sum"), int64_t(o_.world), false});
      results_[v] = t;
      if (const int p = g_.values[size_t(v)].producer; p >= 0) name_source(from, g_.nodes[size_t(p)]);
    }
  }

  ParallelStep finish() {
    ParallelStep s;
    std::vector<ValueId> outputs;
    for (int k = 0; k < t_.n_outputs; ++k) {
      const ValueId v = g_.outputs[size_t(k)];
      if (is_part(v)) refuse(nullptr, "result {} is sharded: expected a value that each rank holds whole, got {}", k,
                             to_string(type(v)));
      const auto result = results_.find(v);
      outputs.push_back(rec_.value_of(result != results_.end() ? scaled(result->second) : value(v, 0)));
    }
    for (const auto& u : t_.updates) {
      const Tensor& part = part_[size_t(u.value)];
      if (part.defined() && !part_of_.count(t_.captured[size_t(u.captured)].input))
        refuse(nullptr, "state is sharded: expected a tensor {} whole, got a part",
               to_string(t_.captured[size_t(u.captured)].source.type()));
      outputs.push_back(rec_.value_of(part.defined() ? part : one_[size_t(u.value)]));
      s.trace.updates.push_back({u.captured, outputs.back()});
    }
    s.trace.graph = std::move(rec_.graph());
    s.trace.graph.outputs = std::move(outputs);
    for (size_t i = 0; i < t_.captured.size(); ++i) {
      Recorder::Captured c = t_.captured[i];
      c.input = s.trace.graph.inputs[i];
      if (c.argument) c.root = inputs_[i];
      s.trace.captured.push_back(std::move(c));
    }
    if (rank_.defined()) {
      const int64_t r = o_.rank;
      Tensor t = Tensor::from(std::span<const int64_t>(&r, 1), {1});
      s.trace.captured.push_back({t, t, s.trace.graph.inputs.back(), false, -1, {}});
    }
    s.trace.wants_grad.assign(s.trace.captured.size(), false);
    s.trace.n_outputs = t_.n_outputs;
    s.sharded = sharded_;
    s.trace.graph.verify(pass);
    return s;
  }

  Recorder rec_;
  std::map<ValueId, std::vector<std::pair<Tensor, int>>> partial_;  // gradients: sums of 2^level shards
  std::map<ValueId, Tensor> sum_;       // over this rank's shards, until they are reduced
  Tensors one_, part_;                  // by value: whole, or this rank's part
  std::vector<Tensors> batch_;          // by shard and value
  Tensors inputs_;
  Tensor rank_;
  std::vector<Group> groups_;           // at stage 3, in the order of use
  std::map<std::pair<int, size_t>, size_t> group_of_;  // by shard and node that reads parameters
  size_t group_ = 0, n_begun_ = 0;      // the one in use; those begun
  std::vector<std::pair<std::vector<ValueId>, Tensor>> reduced_;  // buckets and their sums
  std::map<ValueId, Tensor> results_;   // of the batch: sums over all shards
  std::vector<ValueId> bucket_;
  int64_t bucket_bytes_ = 0;
  std::vector<ValueId> parameters_;     // updated parts that wait to be gathered
  std::set<ValueId> pending_;
};

}  // namespace

int64_t part_size(int64_t n, const ParallelOptions& o) {
  return (n + o.shards - 1) / o.shards * (o.shards / o.world);
}

void check_options(const ParallelOptions& o) {
  if (o.stage < 0 || o.stage > 3) fail<ValueError>(pass, "unknown stage: expected 0 to 3, got {}", o.stage);
  if (o.world < 1 || o.rank < 0 || o.rank >= o.world)
    fail<ValueError>(pass, "wrong rank: expected 0 to {}, got {}", o.world - 1, o.rank);
  if (o.shards < 1 || (o.shards & (o.shards - 1)) || o.shards % o.world)
    fail<ValueError>(pass, "wrong number of shards: expected a power of two that {} ranks divide, got {}", o.world,
                     o.shards);
  if (o.bucket_bytes < 1) fail<ValueError>(pass, "wrong bucket_bytes: expected at least 1, got {}", o.bucket_bytes);
}

ParallelStep parallelize(const Trace& recorded, const ParallelOptions& o) {
  check_options(o);
  if (recorded.differentiable)
    fail<StateError>(pass, "not a whole step: expected backward() inside and a detached result, got a result that "
                           "still has a gradient to come");
  Trace merged = recorded;
  merge_gradients(merged);
  return Pass(merged, o).run();
}

std::vector<std::pair<Tensor, Tensor>> cut_captured(ParallelStep& step, const ParallelOptions& o) {
  std::vector<std::pair<Tensor, Tensor>> cut;
  for (int i : step.sharded) {
    Recorder::Captured& c = step.trace.captured[size_t(i)];
    const int64_t n = c.root.numel(), part = part_size(n, o), item = item_size(c.root.dtype());
    Tensor mine = Tensor::empty({c.root.dtype(), {part}, c.root.device()});
    const int64_t from = std::min(n, o.rank * part), count = std::min(n - from, part);
    std::memset(mine.raw(), 0, size_t(part * item));
    std::memcpy(mine.raw(), c.root.raw() + from * item, size_t(count * item));
    c.root = mine;
    cut.push_back({c.source, mine});
  }
  return cut;
}

void adopt_parts(std::span<const std::pair<Tensor, Tensor>> cut) {
  for (const auto& [tensor, part] : cut) {
    tensor.impl()->storage = part.storage();
    tensor.impl()->layout = part.layout();
  }
}

}  // namespace suan::distributed
