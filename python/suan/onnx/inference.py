"""InferenceSession: ONNX Runtime's calls, so that programs written for it run with the import replaced."""

import os
import sys
import time

from .. import _c
from .binding import IOBinding, OrtValue
from .environment import OrtMemoryInfo
from .errors import InvalidArgument, _both, refused, renamed
from .options import GraphOptimizationLevel, RunOptions, SessionOptions
from .session import NodeArg, Session, _to_engine, _to_numpy

_SEVERITIES = ("verbose", "info", "warning", "error", "fatal")
_default_severity = 2


def set_default_logger_severity(severity):
    """The least severity that sessions without a level of their own print: 0 verbose … 4 fatal."""
    global _default_severity
    if severity not in range(5):
        raise _both(InvalidArgument, ValueError)(f"[onnx] severity: expected 0 to 4, got {severity}")
    _default_severity = severity


def get_available_providers():
    """The CPU, and nothing else."""
    return ["CPUExecutionProvider"]


def get_device():
    return "CPU"


class ModelMetadata:
    """What a model's file says about itself."""

    def __init__(self, facts):
        self.producer_name, self.graph_name, self.domain = facts["producer"], facts["graph"], facts["domain"]
        self.description, self.graph_description = facts["description"], facts["graph_description"]
        self.version, self.custom_metadata_map = facts["model_version"], facts["custom"]


def _printer(options):
    level = options.log_severity_level if options.log_severity_level >= 0 else _default_severity
    call = options.log_callback
    if call is None and level > 2:
        return None

    def log(severity, message):
        if severity < level:
            return
        if call is not None:
            call(severity, message)
        else:
            print(f"suan.onnx: {_SEVERITIES[severity]}: {message}", file=sys.stderr)

    return log


# Options of ONNX Runtime's allocator, which change no answer; here memory is planned.
_ARENA = frozenset({
    "arena_extend_strategy", "initial_chunk_size_bytes", "initial_growth_chunk_size_bytes", "max_dead_bytes_per_chunk",
    "max_mem", "max_power_of_two_extend_bytes", "use_arena",
})


def _check_providers(providers, provider_options):
    if provider_options is not None and len(provider_options) != len(providers or ()):
        raise ValueError(f"[onnx] provider_options: expected one for each of {providers}, got {len(provider_options)}")
    names = []
    for k, provider in enumerate(providers or ()):
        name, given = provider if isinstance(provider, tuple) else (provider, None)
        given = given or (provider_options[k] if provider_options else None)
        if name == "CPUExecutionProvider" and not _ARENA.issuperset(given or ()):
            raise refused(f"[onnx] options of CPUExecutionProvider: expected some of {sorted(_ARENA)}, got {dict(given)}")
        names.append(name)
    if names and "CPUExecutionProvider" not in names:
        raise ValueError(f"[onnx] unknown providers: expected CPUExecutionProvider among them, got {names}")
    return [name for name in names if name != "CPUExecutionProvider"]


class InferenceSession:
    """A model with ONNX Runtime's calls: get_inputs, get_outputs, run(names, feed) over NumPy arrays, IO binding,
    profiling. Errors are ONNX Runtime's classes and Suan's own types at once (suan.onnx.errors).

    Args:
        path_or_bytes: a path, or the model's bytes.
        sess_options: SessionOptions.
        providers: has to name CPUExecutionProvider, which everything runs on; others are left out, with a warning. Its
            options that shape an arena are accepted without effect.
        exact, precision, memory_limit, max_plans, prepacked, prepacked_read_only: as for suan.onnx.Session.
        enable_fallback: accepted; nothing ever falls back.
        read_config_from_model: refused if set.
    """

    def __init__(self, path_or_bytes, sess_options=None, providers=None, provider_options=None, *, exact=False,
                 precision="float32", memory_limit=None, max_plans=16, disabled_optimizers=None, enable_fallback=1,
                 read_config_from_model=0, prepacked=None, prepacked_read_only=False):
        options = sess_options if sess_options is not None else SessionOptions()
        missing = _check_providers(providers, provider_options)
        if disabled_optimizers:
            raise refused(f"[onnx] disabled_optimizers is not supported: expected none, got {list(disabled_optimizers)}")
        if read_config_from_model:
            raise refused("[onnx] read_config_from_model is not supported: expected 0, got 1")
        log = _printer(options)
        if missing and log:
            log(2, f"not available, left out: {', '.join(missing)}; everything runs on the CPU")
        self._options, self._profile, self._executor = options, None, None
        # Where libraries above ONNX Runtime look for what a session was made from.
        self._sess_options, self._providers = options, ["CPUExecutionProvider"]
        self._model_path = path_or_bytes if isinstance(path_or_bytes, (str, os.PathLike)) else None
        if options.enable_profiling:
            self._start_profile(options.profile_file_prefix)
        with renamed(loading=True):
            self._model = Session(
                path_or_bytes, max_plans,
                exact or options.graph_optimization_level == GraphOptimizationLevel.ORT_DISABLE_ALL, precision=precision,
                threads=options.intra_op_num_threads, memory_limit=memory_limit, sizes=options._sizes,
                initializers=options._initializers,
                sizes_by_denotation=options._denotations, log=log, name_nodes=options.enable_profiling,
                prepacked=prepacked, prepacked_read_only=prepacked_read_only)
        shown = lambda p: NodeArg(p.name, p.kind, p.dtype, p.shape or [], p.type)  # noqa: E731
        self._inputs, self._outputs = [shown(p) for p in self._model.inputs], [shown(p) for p in self._model.outputs]
        self._defaults = [shown(p) for p in self._model.defaults]
        self._names = [p.name for p in self._outputs]

    # What the model is.

    def get_inputs(self):
        return self._inputs

    def get_outputs(self):
        return self._outputs

    def get_overridable_initializers(self):
        """Initializers that the file lists as inputs too; a call may feed others."""
        return self._defaults

    def get_modelmeta(self):
        return ModelMetadata(self._model.metadata)

    def get_session_options(self):
        return self._options

    def get_providers(self):
        return ["CPUExecutionProvider"]

    def get_provider_options(self):
        return {"CPUExecutionProvider": {}}

    def set_providers(self, providers=None, provider_options=None):
        """Everything runs on the CPU; other lists are refused."""
        _check_providers(providers, provider_options)

    def disable_fallback(self):
        """Nothing ever falls back."""

    enable_fallback = disable_fallback

    def get_input_memory_infos(self):
        return [OrtMemoryInfo("Cpu") for _ in self._inputs]

    def get_output_memory_infos(self):
        return [OrtMemoryInfo("Cpu") for _ in self._outputs]

    def get_tuning_results(self):
        """None: kernels are chosen by shape, not tuned."""
        return []

    # Runs.

    def _call(self, feed, run_options, places=None):
        model, options = self._model, run_options
        with renamed(loading=False):
            missing = [p.name for p in model.inputs if p.name not in feed and p.kind != "optional"]
            if missing:
                raise ValueError(f"[onnx] inputs are missing: expected {[p.name for p in model.inputs]}, got none for {missing}")
            if options is None and not places:
                return model._session.run([_to_engine(v) for v in model._ordered((), dict(feed))])
            values = model.run(feed, into=places, timeout=options and options.timeout, cancel=options and options._flag)
            if options and options._trims:
                model.trim()
            return values

    def run(self, output_names, input_feed, run_options=None):
        """Values of the named outputs (all when None) as NumPy arrays, in that order."""
        unknown = [name for name in output_names or () if name not in self._names]
        if unknown:
            raise _both(InvalidArgument, ValueError)(f"[onnx] unknown output: expected one of {self._names}, got {unknown}")
        values = self._call(input_feed, run_options)
        if not output_names:
            return [_to_numpy(v) for v in values]
        return [_to_numpy(values[self._names.index(name)]) for name in output_names]

    def run_async(self, output_names, input_feed, callback, user_data=None, run_options=None):
        """Runs on a thread of its own, one run at a time; then callback(results, user_data, error): results is None
        where error, a text, is not ""."""
        from concurrent.futures import ThreadPoolExecutor

        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "suan.onnx")

        def work():
            try:
                results, error = self.run(output_names, input_feed, run_options), ""
            except Exception as e:  # noqa: BLE001: handed on
                results, error = None, str(e)
            callback(results, user_data, error)

        # What the callback itself raises is logged by concurrent.futures.
        self._executor.submit(work).add_done_callback(lambda done: done.result())

    def run_with_ort_values(self, output_names, input_dict_ort_values, run_options=None):
        """The same over OrtValues."""
        binding = self.io_binding()
        for name, value in input_dict_ort_values.items():
            binding.bind_ortvalue_input(name, value)
        for name in output_names or self._names:
            binding.bind_output(name)
        self.run_with_iobinding(binding, run_options)
        return binding.get_outputs()

    def io_binding(self):
        return IOBinding(self)

    def run_with_iobinding(self, iobinding, run_options=None):
        """Runs on what is bound; results are the binding's."""
        iobinding._run(run_options)

    def stream(self, state, initial=None, sizes=None):
        """A Stream: calls that carry state from one to the next; see suan.onnx.stream.Stream."""
        return self._model.stream(state, initial, sizes)

    # Memory.

    def peak_memory(self, shapes=None):
        """The bytes that a run takes beyond inputs and weights, before it is made; see Session.memory."""
        with renamed(loading=False):
            return self._model.peak_memory(shapes)

    def trim(self):
        """Gives working memory back to the system."""
        self._model.trim()

    @property
    def stats(self):
        return self._model.stats

    # Profiling.

    def _start_profile(self, prefix):
        from ..profiler import profile

        self._profile_start = time.perf_counter_ns()
        self._profile_file = f"{prefix}{os.getpid()}_{time.strftime('%Y-%m-%d_%H-%M-%S')}.json"
        self._profile = profile()
        self._profile.__enter__()   # StateError when another session is being profiled: one at a time

    def get_profiling_start_time_ns(self):
        return self._profile_start if self._profile else 0

    def end_profiling(self):
        """Writes a trace for chrome://tracing or ui.perfetto.dev (every kernel of the process since the session was made,
        with the node it comes from) and gives the file's name; "" without enable_profiling."""
        if self._profile is None:
            return ""
        done, self._profile = self._profile, None
        done.__exit__(None, None, None)
        done.export_chrome_trace(self._profile_file)
        return self._profile_file

    def __del__(self):
        if getattr(self, "_profile", None) is not None:
            _c.stop_profile()

