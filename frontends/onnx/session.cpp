// Sessions: a plan for each set of input types, and of the numbers among the inputs that decide what happens; or node by
// node where other data decides.
#include "frontends/onnx/session.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <fstream>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "core/allocator.h"
#include "core/compile.h"
#include "core/interrupt.h"
#include "core/open_program.h"
#include "core/pass.h"
#include "core/thread_limit.h"
#include "frontends/onnx/build.h"
#include "frontends/onnx/check.h"
#include "frontends/onnx/plan_key.h"
#include "frontends/onnx/prepacked.h"
#include "frontends/onnx/reader.h"

namespace suan::onnx {
namespace {

constexpr int64_t much = 1 << 20;   // bytes beyond which memory that is free goes back to the system

struct Planned {
  PlanKey key;
  std::string stepwise_node;              // not empty: no plan, data decides there
  std::unique_ptr<RunPool> pool;          // null when the whole answer is known from the types
  std::vector<Value> known;               // outputs that the types alone decide
  std::vector<int> from_plan;             // outputs that the plan gives, in its order
  suan::Graph graph;                      // kept only for SUAN_INTERPRET=1
};

// A program for all sizes above 1 of some named dimensions; the others are 0 or 1 as in the key.
struct Opened {
  std::vector<int64_t> closed;            // by symbol: 0, 1, or -1 for an open one
  std::vector<int64_t> numbers;           // as in the key
  std::unique_ptr<OpenProgram> program;   // null: the model does not allow it
};

// Inputs that are whole tensors, as the recorder's arguments are.
Tensor stand_in(const TensorType& t) {
  return Tensor::over(Storage::dry(t.device, t.bytes()), Layout(t.shape), t.dtype);
}

// Weights were met as captured tensors: they never change, so they are constants.
void captured_to_constants(suan::Graph& g, const std::vector<Recorder::Captured>& captured) {
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < captured.size(); ++i)
    if (captured[i].argument) inputs.push_back(captured[i].input);
    else g.constants[captured[i].input] = captured[i].root;
  g.inputs = std::move(inputs);
}

class Places;

}  // namespace

struct Session::State {
  Model model;
  SessionOptions options;
  std::vector<std::shared_ptr<const MappedFile>> files;   // that weights are read from
  std::mutex mutex;                                       // of what follows
  std::list<std::shared_ptr<Planned>> plans;              // last used first
  double planning_seconds = 0;
  std::atomic<bool> stepwise{false};                      // data decides: nothing can be planned
  std::atomic<uint64_t> translated{0}, replayed{0}, stepped{0};

  std::timed_mutex planning;                              // of what follows; plans made before go on meanwhile
  std::string stepwise_node;
  ConstantCache constants;                                // packed weights
  std::unique_ptr<Prepacked> prepacked;                   // where they are kept, if anywhere
  std::shared_ptr<ArenaPool> arenas = std::make_shared<ArenaPool>();
  // Weights that are copied from the file stay in memory where a plan reads them as they are; others are dropped when they
  // are packed, under `planning`. Who reads them without that lock says so first: from then on all stay.
  std::mutex reading;                                     // of the next
  bool read_by_others = false;
  int64_t packed_bytes = 0;                               // under `planning`: by the plan that is being made
  int64_t packed_since_let_go = 0;                        // under `planning`
  void keep_weights();
  void open_prepacked(Hash128 beside_files);
  void map_as_is(suan::Graph& g);
  void update_prepacked(const Planned& planned);
  void drop(Storage& weight);

  DecidingInputs deciding;                                // chosen under `planning`
  size_t keys_planned = 0;                                // under `planning`: sets of numbers that plans were made for
  Recurrence missed;                                      // numbers without a plan, under `mutex`

  std::vector<std::vector<int>> symbols;                  // by input and dimension; -1 for a number
  int n_symbols = 0;
  // By the defaults that calls gave: the same model with these as inputs. Last used first.
  std::mutex variants_mutex;
  std::list<std::pair<std::vector<int>, std::shared_ptr<State>>> variants;

  bool openable = true;                                   // so far
  std::vector<Opened> opened;
  std::atomic<uint64_t> laid_out{0};

  template <class Source>
  void load(const Source& source, const SessionOptions& given);
  std::shared_ptr<State> variant(const std::vector<int>& given);
  void check_peak(const Plan& plan) const;
  std::string sizes_of(std::span<const Value> in) const;
  std::vector<Value> run(std::vector<Value> in, const Places& places);
  template <class... A>
  void say(int severity, fmt::format_string<A...> text, A&&... a) const {
    if (options.log) options.log(severity, fmt::format(text, std::forward<A>(a)...));
  }
  void tell(const PassCounts& counts) const;
  void fix_sizes();
  void find_symbols();
  bool choose_deciding(const std::vector<TensorType>& types, std::span<const Value> in);
  bool worth_planning(const PlanKey& key);
  std::string deciding_names() const { return deciding.names(model.graph.inputs); }
  std::shared_ptr<Planned> find(const PlanKey& key);
  std::shared_ptr<Planned> plan(const std::vector<TensorType>& types, std::span<const Value> in);
  std::shared_ptr<Planned> planned(std::span<const TensorType> types);
  suan::Graph record(const PlanKey& key, Planned& planned, Eval&& eval, bool open_sizes);
  void lay_out(suan::Graph g, Planned& planned);
  void let_go_unused(const Plan& plan);
  void let_go_after(int64_t packed);
  std::shared_ptr<Planned> translate(const PlanKey& key);
  std::shared_ptr<Planned> from_open(const PlanKey& key);
  const OpenProgram* open(const PlanKey& key, const std::vector<int64_t>& closed);
};

void Session::State::tell(const PassCounts& counts) const {
  std::string text;
  for (auto [name, n] : counts.patterns) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n, name);
  if (!text.empty()) say(1, "patterns: {}", text);
}

// Dimensions that the options give sizes to become numbers.
void Session::State::fix_sizes() {
  std::map<std::string, int64_t> names = options.sizes, kinds = options.sizes_by_denotation;
  const auto fix = [&](std::vector<Port>& ports, auto used) {
    for (Port& p : ports)
      for (size_t i = 0; i < p.dims.size(); ++i)
        for (auto [sizes, text] : {std::pair(&options.sizes, &p.dim_names[i]), {&options.sizes_by_denotation, &p.dim_denotations[i]}})
          if (auto it = sizes->find(*text); it != sizes->end() && p.dims[i] < 0) {
            p.dims[i] = it->second;
            used(sizes == &options.sizes ? names : kinds, it->first);
          }
  };
  for (const auto& sizes : {options.sizes, options.sizes_by_denotation})
    for (const auto& [name, size] : sizes)
      if (size < 0) fail<ValueError>("onnx", "bad size of dimension '{}': expected 0 or more, got {}", name, size);
  fix(model.graph.inputs, [](auto& left, const std::string& name) { left.erase(name); });
  fix(model.defaults, [](auto& left, const std::string& name) { left.erase(name); });
  fix(model.graph.outputs, [](auto&, const std::string&) {});
  for (const auto& left : {names, kinds})
    if (!left.empty())
      fail<ValueError>("onnx", "no dimension '{}': expected a name or denotation that an input's dimensions have, got one that none has",
                       left.begin()->first);
}

// Dimensions of one name have one size; those without a name have their own.
void Session::State::find_symbols() {
  std::map<std::string, int> named;
  for (const Port& p : model.graph.inputs) {
    openable = openable && p.kind == Port::Kind::tensor && p.has_shape;
    std::vector<int>& of = symbols.emplace_back();
    for (size_t i = 0; i < p.dims.size(); ++i) {
      if (p.dims[i] >= 0) of.push_back(-1);
      else if (p.dim_names[i].empty()) of.push_back(n_symbols++);
      else if (auto [it, fresh] = named.try_emplace(p.dim_names[i], n_symbols); fresh) of.push_back(n_symbols++);
      else of.push_back(it->second);
    }
  }
  openable = openable && n_symbols > 0;
}

// The model as a graph. What needs no plan goes into `planned`.
suan::Graph Session::State::record(const PlanKey& key, Planned& planned, Eval&& eval, bool open_sizes) {
  std::vector<Value> in, out;
  Recorder recorder;
  const std::vector<int64_t>& numbers = key.numbers;
  {
    ContextScope scope;
    context() = Context{.grad_enabled = false, .dry = true, .recorder = &recorder};
    for (const TensorType& t : key.types) {
      in.push_back(stand_in(t));
      recorder.add_argument(in.back().tensor());
    }
    if (!numbers.empty()) {   // known now; the argument stays, for nobody to read
      size_t at = 0;
      for (int i : deciding.inputs()) {
        const TensorType& t = key.types[size_t(i)];
        const size_t n = size_t(numel(t.shape));
        in[size_t(i)] = Eval::eagerly([&] { return ops::cast(make_ints({&numbers[at], &numbers[at] + n}, t.shape), t.dtype); });
        at += n;
      }
    }
    out = eval.run(model.graph, in, nullptr);
  }
  Tensors planned_outputs;
  for (Value& v : out) {
    if (!is_concrete(v) && !v.is_tensor()) throw NeedsData{"a sequence among the outputs"};
    if (v.is_tensor() && v.tensor().is_dry()) {
      planned.from_plan.push_back(int(planned.known.size()));
      planned_outputs.push_back(v.tensor());
      planned.known.emplace_back();
    } else {
      planned.known.push_back(v);
    }
  }
  ++translated;
  if (planned_outputs.empty()) return {};
  suan::Graph g = recorder.finish(planned_outputs);
  captured_to_constants(g, recorder.captured());
  if (options.bf16) {
    std::map<const char*, int> found;
    if (!options.exact) {   // first: casts around its products would hide an attention
      open_sizes ? fold_open_pass(g) : fold_pass(g);
      cse_pass(g);
      patterns_pass(g, found, open_sizes);
    }
    narrow_products(g, constants);
  }
  return g;
}

void Session::State::lay_out(suan::Graph g, Planned& planned) {
  if (prepacked) map_as_is(g);
  if (interpret_requested()) planned.graph = g;
  for (const auto& [v, t] : g.constants) {
    t.storage()->keep();
    t.raw();   // now: what it is made from may be dropped as soon as another shape is planned
  }
  PlanOptions plan_options{.commits = std::vector<int>(g.outputs.size(), -1), .own_outputs = true};
  auto plan = std::make_shared<const Plan>(std::move(g), plan_options);
  check_peak(*plan);
  planned.pool = std::make_unique<RunPool>(std::move(plan), arenas);
}

// Pages of the file that the plan does not read, because they are packed, leave memory.
void Session::State::let_go_unused(const Plan& plan) {
  std::set<uint64_t> read;
  for (const auto& [v, t] : plan.graph().constants) read.insert(t.storage()->id());
  for (const MappedWeight& w : *model.mapped)
    if (!read.count(w.storage)) w.file->let_go(w.bytes);
  for (const Ref<Storage>& s : model.deferred) drop(*s);
}

// What is packed may have been made of other weights than the cache knows of: now and then all pages of the files leave.
void Session::State::let_go_after(int64_t packed) {
  constexpr int64_t often = 256 << 10;
  if ((packed_since_let_go += packed) < often) return;
  packed_since_let_go = 0;
  for (const auto& file : files) file->let_go(file->bytes());
}

void Session::State::keep_weights() {
  std::lock_guard lock(reading);
  read_by_others = true;
}
void Session::State::drop(Storage& weight) {
  std::lock_guard lock(reading);
  if (!read_by_others) weight.drop();
}

// What else a model is known by than its files.
Hash128 hash_of_given(std::string_view bytes, const SessionOptions& options) {
  const auto of_text = [](const std::string& s, Hash128 h) { return content_hash(s, h); };
  Hash128 h = content_hash_parallel(bytes);
  for (const auto& [name, t] : options.initializers) {
    const Tensor whole = Eval::eagerly([&] { return ops::contiguous(t); });
    h = of_text(fmt::format("{} {}", name, to_string(t.type())), h);
    const Hash128 one = content_hash_parallel({reinterpret_cast<const char*>(whole.raw()), size_t(whole.type().bytes())});
    h = content_hash({reinterpret_cast<const char*>(&one), sizeof one}, h);
  }
  return h;
}

void Session::State::open_prepacked(Hash128 beside_files) {
  prepacked = std::make_unique<Prepacked>(options.prepacked, options.prepacked_read_only, ModelIdentity(model.files, beside_files),
                                          fmt::format("exact={} bf16={}", options.exact, options.bf16), options.log);
  std::string sizes;   // what is folded may follow from them
  for (const auto* given : {&options.sizes, &options.sizes_by_denotation}) {
    for (const auto& [name, size] : *given) sizes += fmt::format(" {}:{}={}", name.size(), name, size);
    sizes += ';';
  }
  const std::set<int> initializers(model.initializers.begin(), model.initializers.end());
  for (const auto& [slot, v] : model.graph.constants)
    if (v.is_tensor()) prepacked->add_root(v.tensor(), fmt::format("{}{}", slot, initializers.count(slot) ? "" : sizes));
  if (prepacked->file()) files.push_back(prepacked->file());
  constants.kept = [this](uint64_t storage, const std::string& way, const std::function<Tensor()>& make) {
    return prepacked->find(storage, way, make);
  };
}

// Weights that are read as they are but do not lie so in the model's file that they can be: each process would have a copy.
void Session::State::map_as_is(suan::Graph& g) {
  {
    std::lock_guard lock(reading);
    if (read_by_others) return;   // they stay anyway
  }
  std::set<uint64_t> copied;
  for (const Ref<Storage>& s : model.deferred) copied.insert(s->id());
  for (auto& [v, t] : g.constants)
    if (copied.count(t.storage()->id()) && t.is_contiguous() && t.type().bytes() == t.storage()->bytes())
      t = constants.find(t, std::string(Prepacked::as_is), [t = t] { return apply(op("copy"), {t}); });
}

void Session::State::update_prepacked(const Planned& planned) {
  std::set<uint64_t> used;
  if (planned.pool)
    for (const auto& [v, t] : planned.pool->plan().graph().constants) used.insert(t.storage()->id());
  prepacked->update(constants, used);
}

// Before anything of that size is asked for; the message names what is largest.
void Session::State::check_peak(const Plan& plan) const {
  if (plan.peak_bytes() <= options.memory_limit) return;
  const Buffer* largest = nullptr;
  for (const Buffer& b : plan.buffers())
    if ((b.home == Home::arena || b.home == Home::output) && (!largest || b.bytes > largest->bytes)) largest = &b;
  std::string what;
  if (largest && largest->value >= 0)
    for (const suan::Node& n : plan.graph().nodes)
      if (std::find(n.out.begin(), n.out.end(), largest->value) != n.out.end())
        what = fmt::format(" (the largest value: {} of {})", to_string(plan.graph().values[size_t(largest->value)].type), n.op->name);
  fail<OutOfMemory>("onnx", "plan does not fit memory_limit: expected at most {} bytes, got {}{}", options.memory_limit,
                    plan.peak_bytes(), what);
}

std::shared_ptr<Planned> Session::State::translate(const PlanKey& key) {
  auto planned = std::make_shared<Planned>();
  planned->key = key;
  suan::Graph g = record(key, *planned, Eval(true).naming(options.name_nodes), false);
  if (planned->from_plan.empty()) return planned;
  tell(optimize(g, {.constants = &constants, .exact = options.exact, .pairs = options.bf16}));
  lay_out(std::move(g), *planned);
  return planned;
}

// The program for such sizes, made when it is first asked for.
const OpenProgram* Session::State::open(const PlanKey& key, const std::vector<int64_t>& closed) {
  for (const Opened& o : opened)
    if (o.closed == closed && o.numbers == key.numbers) return o.program.get();
  constexpr size_t most_programs = 16;
  if (opened.size() >= most_programs) return nullptr;
  const int n_open = int(std::count(closed.begin(), closed.end(), -1));
  std::vector<OpenProgram::Sample> samples;
  bool failed = n_open == 0 || n_open > OpenProgram::most_sizes;
  for (int k = 0; k < OpenProgram::n_samples && !failed; ++k) {
    OpenProgram::Sample sample{OpenProgram::sample_sizes(k, n_open), {}, {}};
    std::vector<int64_t> sizes = closed;
    for (size_t i = 0, at = 0; i < sizes.size(); ++i)
      if (sizes[i] < 0) sizes[i] = sample.sizes[at++];
    PlanKey at = key;
    for (size_t i = 0; i < at.types.size(); ++i)
      for (int d = 0; d < at.types[i].shape.size(); ++d)
        if (const int symbol = symbols[i][size_t(d)]; symbol >= 0) at.types[i].shape[d] = sizes[size_t(symbol)];
    for (int i : deciding.inputs())   // as many numbers as there are
      failed = failed || (!key.numbers.empty() && !(at.types[size_t(i)] == key.types[size_t(i)]));
    if (failed) break;
    try {
      Planned ignored;
      sample.graph = record(at, ignored, Eval(true, &sample.compared).naming(options.name_nodes), true);
      failed = int(ignored.from_plan.size()) != int(model.graph.outputs.size());
      if (!failed) {
        const PassCounts counts =
            optimize(sample.graph, {.constants = &constants, .exact = options.exact, .pairs = options.bf16, .open_sizes = true,
                              .compared = &sample.compared});
        if (k == 0) tell(counts);
      }
      samples.push_back(std::move(sample));
    } catch (const NotOpen&) {
      openable = false;   // whatever the sizes
      failed = true;
    } catch (const NeedsData&) {
      openable = false;
      failed = true;
    } catch (const Interrupted&) {
      throw;
    } catch (const Error&) {   // such sizes do not fit the model: others may
      failed = true;
    }
  }
  opened.push_back({closed, key.numbers, failed ? nullptr : OpenProgram::from(std::move(samples))});
  return opened.back().program.get();
}

// Null where these types have to be translated.
std::shared_ptr<Planned> Session::State::from_open(const PlanKey& key) {
  const std::vector<TensorType>& types = key.types;
  if (!openable) return nullptr;
  std::vector<int64_t> size(size_t(n_symbols), -1);
  for (size_t i = 0; i < types.size(); ++i)
    for (int d = 0; d < types[i].shape.size(); ++d) {
      const int symbol = symbols[i][size_t(d)];
      if (symbol < 0) continue;
      int64_t& s = size[size_t(symbol)];
      if (s >= 0 && s != types[i].shape[d]) return nullptr;   // the names do not mean what they say
      s = types[i].shape[d];
    }
  std::vector<int64_t> closed, sizes;
  for (int64_t s : size) {
    closed.push_back(s > 1 ? -1 : s);
    if (s > 1) sizes.push_back(s);
  }
  const OpenProgram* program = open(key, closed);
  if (!program) return nullptr;
  std::optional<suan::Graph> g = program->at(sizes);
  if (!g) return nullptr;
  auto planned = std::make_shared<Planned>();
  planned->key = key;
  planned->known.resize(model.graph.outputs.size());
  for (size_t k = 0; k < planned->known.size(); ++k) planned->from_plan.push_back(int(k));
  lay_out(std::move(*g), *planned);
  ++laid_out;
  return planned;
}

std::shared_ptr<Planned> Session::State::find(const PlanKey& key) {
  std::lock_guard lock(mutex);
  for (auto it = plans.begin(); it != plans.end(); ++it)
    if ((*it)->key == key) {
      plans.splice(plans.begin(), plans, it);
      return plans.front();
    }
  return nullptr;
}

// Which inputs' content a recording has to know; false where knowing it is not enough.
bool Session::State::choose_deciding(const std::vector<TensorType>& types, std::span<const Value> in) {
  return deciding.choose(types, [&] {
    try {
      Planned ignored;
      record(deciding.key_of(types, in), ignored, Eval(true), false);
      return true;
    } catch (const NeedsData&) {
      return false;
    }
  });
}

bool Session::State::worth_planning(const PlanKey& key) {
  const size_t rounds = keys_planned / std::max<size_t>(options.max_plans, 1);
  if (key.numbers.empty() || rounds == 0 || options.bf16) return true;
  std::lock_guard lock(mutex);
  for (const std::shared_ptr<Planned>& p : plans)
    if (p->key.numbers == key.numbers) return true;   // another shape
  return missed.enough(key.numbers, rounds);
}

// Null where data decides. `in`: the inputs, or nothing where only their types are known.
std::shared_ptr<Planned> Session::State::plan(const std::vector<TensorType>& types, std::span<const Value> in) {
  const auto unplannable = [&] { return stepwise || (deciding.chosen() && !deciding.fit(types)); };
  if (unplannable()) return nullptr;
  const auto key_now = [&] {
    if (!deciding.chosen()) return PlanKey{types, {}};
    if (in.empty())
      fail<StateError>("onnx", "memory not known before a call: expected shapes that follow from the inputs' shapes, got some that the "
                               "content of input {} decides", deciding_names());
    return deciding.key_of(types, in);
  };
  PlanKey key = key_now();
  if (std::shared_ptr<Planned> p = find(key)) return p;
  std::unique_lock one(planning, std::defer_lock);
  // By the system's clock: GCC 12's ThreadSanitizer does not know locks that wait by another.
  while (!one.try_lock_until(std::chrono::system_clock::now() + std::chrono::milliseconds(5))) check_interrupt();
  if (unplannable()) return nullptr;
  key = key_now();
  if (std::shared_ptr<Planned> p = find(key)) return p;  // another thread met the same
  if (!worth_planning(key)) return nullptr;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point began = Clock::now();
  std::shared_ptr<Planned> made;
  bool first = true;   // with these numbers
  {
    std::lock_guard lock(mutex);
    for (const std::shared_ptr<Planned>& p : plans) first = first && p->key.numbers != key.numbers;
  }
  const uint64_t translations = translated;
  packed_bytes = 0;
  std::optional<NoMappedCache> no_cache(std::in_place);   // what packing takes on the way comes in as many sizes as weights have
  for (bool again = true; again;) {
    again = false;
    try {
      // One shape alone is best served by a program of its own: more is known then.
      if (!first) made = from_open(key);
      if (!made) made = translate(key);
    } catch (const NeedsData& e) {
      if (!key.numbers.empty()) {   // these numbers lead to where other data decides
        made = std::make_shared<Planned>();
        made->key = key;
        made->stepwise_node = e.node;
        break;
      }
      if (in.empty() && !DecidingInputs::candidates(types).empty())
        fail<StateError>("onnx", "memory not known before a call: expected shapes that follow from the inputs' shapes, got node '{}' "
                                 "where data decides", e.node);
      if ((again = !in.empty() && choose_deciding(types, in))) {
        key = deciding.key_of(types, in);
        say(1, "data decides at node '{}': plans are made for the content of input {}", e.node, deciding_names());
        continue;
      }
      stepwise_node = e.node;
      stepwise = true;
      one.unlock();
      say(2, "data decides at node '{}': this model runs node by node, without plans", e.node);
      return nullptr;
    }
  }
  if (made->pool && translated > translations) let_go_unused(made->pool->plan());
  if (prepacked) update_prepacked(*made);
  no_cache.reset();
  if (packed_bytes > much) trim_memory();
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  bool evicts = false;
  {
    std::lock_guard lock(mutex);
    planning_seconds += seconds;
    if (!key.numbers.empty() && first && ++keys_planned == options.max_plans)
      say(2, "the content of input {} keeps changing: it gets a plan only where it comes again, other calls run node by node",
          deciding_names());
    plans.push_front(made);
    evicts = plans.size() > std::max<size_t>(options.max_plans, 1);
    while (plans.size() > std::max<size_t>(options.max_plans, 1)) plans.pop_back();
  }
  // Inputs, results and plans of ever other sizes leave holes in the C library's heap, which only grows otherwise.
  if (evicts) malloc_trim(0);
  one.unlock();
  if (options.log) {
    std::string text;
    for (size_t i = 0; i < types.size(); ++i) text += fmt::format("{}'{}' {}", i ? ", " : "", model.graph.inputs[i].name, to_string(types[i]));
    say(1, "planned for {}: {} in {:.1f} ms, {} bytes for a call", text.empty() ? "no inputs" : text,
        translated > translations ? "translated" : "laid out", seconds * 1e3, made->pool ? made->pool->plan().peak_bytes() : 0);
  }
  return made;
}

namespace {

int64_t number_in(const char* path, std::string_view key = {}) {   // -1 where there is none
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    if (!key.empty() && word != key) continue;
    if (!key.empty()) file >> word;
    int64_t n = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), n);
    return error == std::errc{} && end == word.data() + word.size() ? n : -1;
  }
  return -1;
}

}  // namespace

int64_t free_memory() {
  const int64_t kib = number_in("/proc/meminfo", "MemAvailable:");
  int64_t bytes = kib < 0 ? int64_t(1) << 40 : kib * 1024;
  for (const auto& [limit, used] : {std::pair("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
                                    std::pair("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                              "/sys/fs/cgroup/memory/memory.usage_in_bytes")})
    if (const int64_t most = number_in(limit), now = number_in(used); most > 0 && now >= 0) bytes = std::min(bytes, std::max<int64_t>(most - now, 0));
  return bytes;
}

template <class Source>
void Session::State::load(const Source& source, const SessionOptions& given) {
  options = given;
  if (options.memory_limit < 0)
    fail<ValueError>("onnx", "memory_limit out of range: expected 0 or more, got {}", options.memory_limit);
  if (options.memory_limit == 0) options.memory_limit = free_memory() / 4 * 3;
  const ThreadLimit threads(options.threads);
  using Clock = std::chrono::steady_clock;
  const Clock::time_point began = Clock::now();
  Hash128 beside_files;
  if (!options.prepacked.empty()) {
    if constexpr (std::is_same_v<Source, std::string_view>) beside_files = hash_of_given(source, options);
    else beside_files = hash_of_given({}, options);
  } else if (options.prepacked_read_only) {
    fail<ValueError>("onnx", "prepacked_read_only without prepacked: expected a file's path, got none");
  }
  model = read_model(source, options.memory_limit, true, options.initializers);
  options.initializers.clear();
  if (model.weight_bytes - model.mapped_bytes > much) trim_memory();   // the parsed file held them too
  for (const MappedWeight& w : *model.mapped)
    if (std::find(files.begin(), files.end(), w.file) == files.end()) files.push_back(w.file);
  fix_sizes();
  find_symbols();
  for (const Ref<Storage>& s : model.deferred) drop(*s);   // what folding read
  constants.packed = [this](const Tensor& from, uint64_t first) {
    packed_bytes += from.type().bytes();
    drop(*from.storage());
    for (const Ref<Storage>& s : model.deferred)   // also what it was made from
      if (!s->is_absent()) drop(*s);
    for (const MappedWeight& w : *model.mapped)   // a page that is read again comes back
      if (w.storage == first) w.file->let_go(w.bytes);
    let_go_after(from.type().bytes());
  };
  if (!options.prepacked.empty()) open_prepacked(beside_files);
  say(1, "loaded in {:.1f} ms: {} nodes after folding, {} bytes of weights, {} of them in place",
      std::chrono::duration<double>(Clock::now() - began).count() * 1e3, model.graph.nodes.size(), model.weight_bytes,
      model.mapped_bytes);
}

// Folded anew: what follows from other values is another program.
std::shared_ptr<Session::State> Session::State::variant(const std::vector<int>& given) {
  constexpr size_t most_variants = 4;
  std::lock_guard lock(variants_mutex);
  for (auto it = variants.begin(); it != variants.end(); ++it)
    if (it->first == given) {
      variants.splice(variants.begin(), variants, it);
      return it->second;
    }
  keep_weights();   // the other program reads them too
  auto made = std::make_shared<State>();
  made->options = options;
  Model& m = made->model;
  m.meta = model.meta;
  m.weight_bytes = model.weight_bytes;
  m.mapped_bytes = model.mapped_bytes;
  m.mapped = model.mapped;
  m.graph = *model.unfolded;
  m.graph.inputs = model.graph.inputs;   // with their sizes
  m.graph.outputs = model.graph.outputs;
  std::set<int> open;
  for (int i : given) {
    open.insert(model.default_slots[size_t(i)]);
    m.graph.in.push_back(model.default_slots[size_t(i)]);
    m.graph.inputs.push_back(model.defaults[size_t(i)]);
  }
  std::erase_if(m.graph.constants, [&](const auto& c) { return open.count(c.first) > 0; });
  fold_constants(m.graph, fold_bytes(m, options.memory_limit));
  made->find_symbols();
  variants.emplace_front(given, made);
  if (variants.size() > most_variants) variants.pop_back();
  say(1, "translated anew with {} of the file's initializers as inputs", given.size());
  return made;
}

Session::Session(const std::filesystem::path& path, const SessionOptions& options) : state_(std::make_unique<State>()) {
  state_->load(path, options);
}
Session::Session(std::string_view bytes, const SessionOptions& options) : state_(std::make_unique<State>()) {
  state_->load(bytes, options);
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;

const std::vector<Port>& Session::inputs() const { return state_->model.graph.inputs; }
const std::vector<Port>& Session::outputs() const { return state_->model.graph.outputs; }
const std::vector<Port>& Session::defaults() const { return state_->model.defaults; }

namespace {

void check_type(const Port& p, const TensorType& t) {
  auto bad = [&](const std::string& want) {
    suan::fail<TypeError>("onnx", "input '{}' does not fit: expected {}, got {}", p.name, want, to_string(t));
  };
  if (p.kind == Port::Kind::strings) bad("strings");
  if (p.kind == Port::Kind::sequence) bad("a sequence");
  if (p.kind != Port::Kind::tensor) return;
  if (t.dtype != p.dtype) bad("a tensor of " + std::string(name(p.dtype)));
  if (!p.has_shape) return;
  if (t.shape.size() != int(p.dims.size())) bad(fmt::format("{} dimensions", p.dims.size()));
  for (int i = 0; i < t.shape.size(); ++i)
    if (p.dims[size_t(i)] >= 0 && t.shape[i] != p.dims[size_t(i)])
      suan::fail<ShapeError>("onnx", "input '{}' does not fit: expected {} in dimension {}, got {}", p.name, p.dims[size_t(i)], i,
                             to_string(t));
}

}  // namespace

void check_input(const Port& p, const Value& v) {
  if (v.is_tensor()) return check_type(p, v.tensor().type());
  auto bad = [&](const std::string& want) {
    suan::fail<TypeError>("onnx", "input '{}' does not fit: expected {}, got {}", p.name, want, onnx::describe(v));
  };
  if (p.kind == Port::Kind::tensor) bad("a tensor of " + std::string(name(p.dtype)));
  if (p.kind == Port::Kind::strings && !v.is_strings()) bad("strings");
  if (p.kind == Port::Kind::sequence && !v.is_sequence()) bad("a sequence");
  if (p.kind == Port::Kind::map && !v.is_map()) bad("a map");
}

namespace {

std::pair<const std::byte*, const std::byte*> bytes_of(const Tensor& t) {
  const auto [low, high] = t.layout().extent();
  const int64_t size = item_size(t.dtype());
  const std::byte* base = t.storage()->data();
  return {base + low * size, base + high * size};
}
bool overlap(const Tensor& a, const Tensor& b) {
  const auto [a_low, a_high] = bytes_of(a);
  const auto [b_low, b_high] = bytes_of(b);
  return a_low < b_high && b_low < a_high;
}

// Where the caller wants results: each fits no other, and none of the values that are read meanwhile.
class Places {
 public:
  Places(std::span<const Value> into, std::span<const Port> outputs) : into_(into), outputs_(outputs) {
    if (into.size() > outputs.size())
      fail<ValueError>("onnx", "too many places for outputs: expected at most {}, got {}", outputs.size(), into.size());
    for (size_t k = 0; k < into.size(); ++k) {
      if (into[k].absent()) continue;
      if (!into[k].is_tensor() || !into[k].tensor().is_contiguous())
        fail<TypeError>("onnx", "place of output '{}': expected a contiguous tensor, got {}", outputs[k].name, onnx::describe(into[k]));
      for (size_t j = 0; j < k; ++j)
        if (has(j) && overlap(into[j].tensor(), into[k].tensor()))
          fail<ValueError>("onnx", "places of outputs '{}' and '{}' overlap: expected memory of their own", outputs[j].name,
                           outputs[k].name);
    }
  }
  bool any() const { return !into_.empty(); }
  bool has(size_t k) const { return k < into_.size() && into_[k].is_tensor(); }
  // The tensor to be written by a plan; none where it has to be copied to later.
  Tensor at(size_t k, const TensorType& type, const Tensors& read) const {
    if (!has(k)) return {};
    check(k, type);
    const Tensor& t = into_[k].tensor();
    for (const Tensor& r : read)
      if (overlap(t, r)) return {};
    return t;
  }
  // The value that is returned for output k.
  Value finish(size_t k, Value v) const {
    if (!has(k)) return v;
    if (!v.is_tensor()) fail<TypeError>("onnx", "place of output '{}': expected a tensor as the result, got {}", outputs_[k].name, onnx::describe(v));
    const Tensor& t = into_[k].tensor();
    if (v.tensor().storage() == t.storage() && v.tensor().offset() == t.offset()) return v;
    check(k, v.tensor().type());
    apply_into(op("copy"), {v.tensor()}, {}, t);
    return t;
  }

 private:
  void check(size_t k, const TensorType& type) const {
    if (!(into_[k].tensor().type() == type))
      fail<TypeError>("onnx", "place of output '{}' does not fit: expected {}, got {}", outputs_[k].name, to_string(type),
                      to_string(into_[k].tensor().type()));
  }
  std::span<const Value> into_;
  std::span<const Port> outputs_;
};

}  // namespace

// Where open dimensions have their sizes from: "n=4 (dimension 0 of 'x')".
std::string Session::State::sizes_of(std::span<const Value> in) const {
  std::string text;
  std::vector<char> told(size_t(n_symbols), 0);
  for (size_t i = 0; i < symbols.size() && i < in.size(); ++i)
    for (size_t d = 0; d < symbols[i].size() && in[i].is_tensor(); ++d) {
      const int symbol = symbols[i][d];
      if (symbol < 0 || std::exchange(told[size_t(symbol)], 1)) continue;
      const Port& p = model.graph.inputs[i];
      text += fmt::format("{}{}={} (dimension {} of '{}')", text.empty() ? "" : ", ", p.dim_names[d].empty() ? "?" : p.dim_names[d],
                          in[i].tensor().dim(int(d)), d, p.name);
    }
  return text;
}

std::vector<Value> Session::State::run(std::vector<Value> in, const Places& places) {
  const Graph& g = model.graph;
  bool plannable = true;
  std::vector<TensorType> types;
  Tensors tensors;
  for (const Value& v : in) {
    plannable = plannable && v.is_tensor();
    if (!plannable) break;
    types.push_back(v.tensor().type());
    tensors.push_back(v.tensor());
  }
  std::optional<MemoryBudget> budget(std::in_place, options.memory_limit);
  std::shared_ptr<Planned> p = plannable ? plan(types, in) : nullptr;
  if (!p || !p->stepwise_node.empty()) {
    if (options.bf16)
      fail<TypeError>("onnx", "bf16 is for models with a plan: expected tensors as inputs and shapes that follow from theirs, got {}",
                      plannable ? fmt::format("node '{}' where data decides", p ? p->stepwise_node : stepwise_node) : "an input that is no tensor");
    ++stepped;
    keep_weights();
    std::vector<Value> out = Eval(false).run(g, in, nullptr);
    for (size_t k = 0; k < out.size(); ++k)  // a view of an input would change with it
      if (places.has(k)) out[k] = places.finish(k, out[k]);
      else if (out[k].is_tensor()) out[k] = ops::copy(out[k].tensor());
    return out;
  }
  ++replayed;
  std::vector<Value> out = p->known;
  Tensors made;
  if (p->pool) {
    Tensors into;
    if (places.any()) {
      const suan::Graph& program = p->pool->plan().graph();
      for (size_t k = 0; k < p->from_plan.size(); ++k)
        into.push_back(places.at(size_t(p->from_plan[k]), program.values[size_t(program.outputs[k])].type, tensors));
    }
    const auto name_the_node = [&] {
      keep_weights();
      const MemoryBudget as_before(options.memory_limit);
      Eval(false).run(g, in, nullptr);
    };
    budget.reset();   // what the plan takes was compared when it was made; the allocator's rounding does not count
    try {
      made = interpret_requested() ? interpret(p->graph, tensors) : (*p->pool)(tensors, into);
    } catch (const IndexError&) {   // in a step of the plan: node by node it fails with a name
      name_the_node();
      throw;
    } catch (const ValueError&) {
      name_the_node();
      throw;
    }
    budget.emplace(options.memory_limit);
  }
  for (size_t k = 0; k < out.size(); ++k)
    if (out[k].is_tensor() && !places.has(k)) out[k] = ops::copy(out[k].tensor());
  for (size_t k = 0; k < made.size(); ++k) out[size_t(p->from_plan[k])] = made[k];
  if (places.any())
    for (size_t k = 0; k < out.size(); ++k) out[k] = places.finish(k, std::move(out[k]));
  return out;
}

std::vector<Value> Session::run(std::span<const Value> inputs, const RunOptions& options) const {
  const size_t n = state_->model.graph.inputs.size(), n_defaults = state_->model.defaults.size();
  if (!(options.timeout >= 0)) fail<ValueError>("onnx", "bad timeout: expected 0 or more seconds, got {}", options.timeout);
  if (inputs.size() > n + n_defaults) fail<ValueError>("onnx", "too many inputs: expected {}, got {}", n + n_defaults, inputs.size());
  std::vector<Value> in(inputs.begin(), inputs.begin() + int64_t(std::min(n, inputs.size())));
  in.resize(n);
  std::vector<int> given;
  for (size_t i = n; i < inputs.size(); ++i)
    if (!inputs[i].absent()) {
      given.push_back(int(i - n));
      in.push_back(inputs[i]);
    }
  for (const auto& file : state_->files) file->require_whole();
  const std::shared_ptr<State> other = given.empty() ? nullptr : state_->variant(given);
  State& s = other ? *other : *state_;
  const Graph& g = s.model.graph;
  for (size_t i = 0; i < in.size(); ++i) check_input(g.inputs[i], in[i]);
  const Places places(options.into, g.outputs);
  const ThreadLimit threads(s.options.threads);
  const CallLimit limit(options.cancel, options.timeout);
  ContextScope scope;
  context() = Context{.grad_enabled = false, .inference = true};
  try {
    return s.run(in, places);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    const std::string sizes = s.sizes_of(in);
    if (sizes.empty()) throw;
    rethrow(e, fmt::format("{}; sizes: {}", e.what(), sizes));
  }
}

namespace {
void check_types(const Graph& g, std::span<const TensorType> inputs) {
  if (inputs.size() != g.inputs.size())
    fail<ValueError>("onnx", "wrong number of inputs: expected {}, got {}", g.inputs.size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) check_type(g.inputs[i], inputs[i]);
}
}  // namespace

std::shared_ptr<Planned> Session::State::planned(std::span<const TensorType> inputs) {
  check_types(model.graph, inputs);
  const ThreadLimit threads(options.threads);
  std::shared_ptr<Planned> p = plan({inputs.begin(), inputs.end()}, {});
  if (!p || !p->stepwise_node.empty())
    fail<StateError>("onnx", "memory not known before a call: expected shapes that follow from the inputs' shapes, got node '{}' "
                             "where data decides", p ? p->stepwise_node : stepwise_node);
  return p;
}

std::shared_ptr<const Plan> Session::plan(std::span<const TensorType> inputs) const {
  const std::shared_ptr<Planned> p = state_->planned(inputs);
  return p->pool ? p->pool->shared_plan() : nullptr;
}

std::vector<KnownValue> Session::values(const std::optional<std::vector<TensorType>>& inputs) const {
  State& s = *state_;
  s.keep_weights();
  const Graph& g = s.model.graph;
  std::vector<Value> known(size_t(g.n_slots));
  if (inputs) {
    check_types(g, *inputs);
    const ThreadLimit threads(s.options.threads);
    const MemoryBudget budget(s.options.memory_limit);
    Recorder recorder;
    ContextScope scope;
    context() = Context{.grad_enabled = false, .dry = true, .recorder = &recorder};
    std::vector<Value> in;
    for (const TensorType& t : *inputs) {
      in.push_back(stand_in(t));
      recorder.add_argument(in.back().tensor());
    }
    try {
      Eval(true).keeping(&known).run(g, std::move(in), nullptr);
    } catch (const NeedsData&) {   // what is known until there
    }
  } else {
    for (const auto& [slot, v] : g.constants) known[size_t(slot)] = v;
  }
  std::vector<KnownValue> out;
  for (size_t slot = 0; slot < known.size(); ++slot) {
    const Value& v = known[slot];
    if (v.absent() || g.names[slot].empty()) continue;
    if (is_concrete(v)) out.push_back({g.names[slot], v, {}});
    else if (v.is_tensor()) out.push_back({g.names[slot], {}, v.tensor().type()});
  }
  return out;
}

MemoryNeed Session::memory(std::span<const TensorType> inputs) const {
  const std::shared_ptr<Planned> p = state_->planned(inputs);
  MemoryNeed need;
  if (p->pool) {
    const Plan& plan = p->pool->plan();
    need = {plan.arena_bytes(), plan.output_bytes(), plan.constant_bytes()};
  }
  for (const Value& v : p->known)   // copied for each call
    if (v.is_tensor()) need.outputs += v.tensor().type().bytes();
  return need;
}

void Session::trim() const {
  {
    std::lock_guard lock(state_->mutex);
    for (const std::shared_ptr<Planned>& p : state_->plans)
      if (p->pool) p->pool->trim();
  }
  {
    std::lock_guard lock(state_->variants_mutex);
    state_->variants.clear();
  }
  state_->arenas->trim();
  trim_memory();
}

const Metadata& Session::metadata() const { return state_->model.meta; }

SessionStats Session::stats() const {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  return {s.plans.size(), s.translated, s.laid_out, s.replayed, s.stepped, s.planning_seconds, s.model.weight_bytes, s.model.mapped_bytes};
}

std::vector<std::pair<std::string, int>> Session::operators() const {
  return {state_->model.op_counts.begin(), state_->model.op_counts.end()};
}

namespace {
std::string port_text(const Port& p) {
  std::string kind = p.kind == Port::Kind::tensor     ? std::string(name(p.dtype))
                     : p.kind == Port::Kind::strings  ? "string"
                     : p.kind == Port::Kind::sequence ? "sequence"
                     : p.kind == Port::Kind::optional ? "optional"
                     : p.kind == Port::Kind::map      ? "map"
                                                      : "?";
  if (!p.has_shape) return fmt::format("{}: {}", p.name, kind);
  std::string dims;
  for (size_t i = 0; i < p.dims.size(); ++i)
    dims += (i ? ", " : "") + (p.dims[i] >= 0              ? std::to_string(p.dims[i])
                               : p.dim_names[i].empty() ? std::string("?")
                                                        : p.dim_names[i]);
  return fmt::format("{}: {} [{}]", p.name, kind, dims);
}
}  // namespace

std::string Session::describe() const {
  const Model& m = state_->model;
  const Metadata& meta = m.meta;
  std::string out = fmt::format("ir version {}, made by {}\n", meta.ir_version, meta.producer.empty() ? "?" : meta.producer);
  for (const auto& [domain, version] : meta.opsets) out += fmt::format("opset {}{}\n", domain.empty() ? "" : domain + " ", version);
  for (const Port& p : m.graph.inputs) out += "input  " + port_text(p) + "\n";
  for (const Port& p : m.graph.outputs) out += "output " + port_text(p) + "\n";
  out += fmt::format("weights {} bytes, {} of them in place\n", m.weight_bytes, m.mapped_bytes);
  if (state_->stepwise) out += fmt::format("runs node by node: data decides at node '{}'\n", state_->stepwise_node);
  else if (state_->deciding.chosen()) out += fmt::format("runs as plans for the content of input {}\n", state_->deciding_names());
  int total = 0;
  for (const auto& [op, n] : m.op_counts) total += n;
  out += fmt::format("{} nodes\n", total);
  for (const auto& [op, n] : m.op_counts) out += fmt::format("  {:5} {}\n", n, op);
  return out;
}

}  // namespace suan::onnx
