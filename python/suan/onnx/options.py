"""SessionOptions and RunOptions with ONNX Runtime's names. What Suan cannot do is refused where it is asked for."""

import enum

from .. import _c
from .errors import InvalidArgument, _both, refused


class GraphOptimizationLevel(enum.IntEnum):
    """ORT_DISABLE_ALL: no pass may change a bit (Session's exact=True). The others are one level here."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """Accepted; nodes always run one after the other, each on all of a session's threads."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(enum.IntEnum):
    """Accepted; the order of nodes is the planner's."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


# How a configuration key is met: the values that change nothing here.
_ENTRIES = {
    "session.intra_op.allow_spinning": ("0", "1"),
    "session.inter_op.allow_spinning": ("0", "1"),
    "session.intra_op.allow_spinning_duration": None,
    "session.dynamic_block_base": None,
    "session.intra_op_thread_affinities": None,
    "session.force_spinning_stop": ("0", "1"),
    "session.disable_prepacking": ("0",),
    "session.set_denormal_as_zero": ("0",),
    "session.use_env_allocators": ("0",),
    "session.use_device_allocator_for_initializers": ("0", "1"),
    "session.load_model_format": ("", "ONNX"),
    "session.disable_aot_function_inlining": ("0", "1"),
    "session.disable_quant_qdq": ("0", "1"),
    "session.enable_quant_qdq_cleanup": ("0", "1"),
    "session.qdq_is_int8_allowed": ("0", "1"),
    "session.use_ort_model_bytes_directly": ("0", "1"),
    "session.strict_shape_type_inference": ("0", "1"),
    "session.disable_cpu_ep_fallback": ("0", "1"),
}


_RUN_ENTRIES = {
    "memory.enable_memory_arena_shrinkage": ("", "cpu:0"),
    "disable_synchronize_execution_providers": ("0", "1"),
}


class SessionOptions:
    """Options of an InferenceSession.

    Heeded: intra_op_num_threads (0: as many as suan.get_num_threads()), graph_optimization_level, enable_profiling and
    profile_file_prefix, log_severity_level, add_free_dimension_override_by_name and _by_denotation,
    add_initializer, add_external_initializers. Suan's own:
    log_callback, called as log_callback(severity, message) instead of printing to standard error.

    Accepted without effect, because here there is one way: inter_op_num_threads, execution_mode, execution_order,
    enable_cpu_mem_arena, enable_mem_pattern, enable_mem_reuse (memory is always planned; session.trim() returns it),
    use_deterministic_compute (results are always the same bits), use_per_session_threads, log_verbosity_level, logid.

    Refused (NotImplemented, a ValueError): optimized_model_filepath (plans are not ONNX), custom op libraries,
    configuration keys that are unknown or would change what is computed.
    """

    __slots__ = (
        "intra_op_num_threads", "inter_op_num_threads", "graph_optimization_level", "execution_mode", "execution_order",
        "enable_profiling", "profile_file_prefix", "log_severity_level", "log_verbosity_level", "logid", "log_callback",
        "enable_cpu_mem_arena", "enable_mem_pattern", "enable_mem_reuse", "use_deterministic_compute",
        "use_per_session_threads", "_sizes", "_denotations", "_initializers", "_entries", "_providers",
    )

    def __init__(self):
        self.intra_op_num_threads = self.inter_op_num_threads = 0
        self.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
        self.execution_mode, self.execution_order = ExecutionMode.ORT_SEQUENTIAL, ExecutionOrder.DEFAULT
        self.enable_profiling, self.profile_file_prefix = False, "onnxruntime_profile_"
        self.log_severity_level, self.log_verbosity_level, self.logid, self.log_callback = -1, 0, "", None
        self.enable_cpu_mem_arena = self.enable_mem_pattern = self.enable_mem_reuse = True
        self.use_deterministic_compute, self.use_per_session_threads = False, True
        self._sizes, self._denotations, self._initializers, self._entries, self._providers = {}, {}, {}, {}, {}

    def __setattr__(self, name, value):
        if name == "optimized_model_filepath":
            if value:
                raise refused("[onnx] optimized_model_filepath is not supported: plans are no ONNX graphs; expected none")
            return
        try:
            object.__setattr__(self, name, value)
        except AttributeError:
            known = ", ".join(n for n in self.__slots__ if n[0] != "_")
            raise AttributeError(f"[onnx] unknown session option '{name}': expected one of {known}") from None

    @property
    def optimized_model_filepath(self):
        """Always empty."""
        return ""

    def add_free_dimension_override_by_name(self, name, size):
        """The dimension of that name has this size only."""
        self._sizes[name] = int(size)

    def add_free_dimension_override_by_denotation(self, denotation, size):
        """Dimensions of that denotation ("DATA_BATCH") have this size only."""
        self._denotations[denotation] = int(size)

    def add_session_config_entry(self, key, value):
        """Keys that ONNX Runtime defines, with values that change nothing here; others are refused."""
        if key not in _ENTRIES:
            raise refused(f"[onnx] session configuration '{key}' is not supported: expected one of {sorted(_ENTRIES)}")
        if _ENTRIES[key] is not None and value not in _ENTRIES[key]:
            raise refused(f"[onnx] session configuration '{key}': expected one of {_ENTRIES[key]}, got '{value}'")
        self._entries[key] = value

    def get_session_config_entry(self, key):
        if key not in self._entries:
            raise KeyError(f"[onnx] session configuration '{key}' was not set")
        return self._entries[key]

    def has_providers(self):
        """Whether add_provider was called."""
        return bool(self._providers)

    def add_provider(self, provider_name, provider_options=None):
        """CPUExecutionProvider; others are refused."""
        if provider_name != "CPUExecutionProvider":
            raise refused(f"[onnx] provider is not available: expected CPUExecutionProvider, got '{provider_name}'")
        self._providers[provider_name] = dict(provider_options or {})

    def register_custom_ops_library(self, path):
        raise refused(f"[onnx] custom op libraries are not supported: expected none, got '{path}'")

    def add_initializer(self, name, value):
        """The OrtValue is used instead of the model's initializer of that name, which has its type and shape. Its memory
        is read in place, also by other sessions, so it must not be written while they live."""
        self._initializers[name] = value._value

    def add_external_initializers(self, names, values):
        """The same for several, as for those that a file keeps elsewhere."""
        if len(names) != len(values):
            text = f"[onnx] add_external_initializers: expected a value for each of {list(names)}, got {len(values)}"
            raise _both(InvalidArgument, ValueError)(text)
        for name, value in zip(names, values):
            self.add_initializer(name, value)


class RunOptions:
    """Options of one run.

    Heeded: terminate (set to True by another thread, the run ends with Fail, which is also suan.CancelledError) and
    Suan's own `timeout`, in seconds (it then ends with Fail, which is also TimeoutError); the configuration
    "memory.enable_memory_arena_shrinkage" (working memory is given back after the run). Accepted without effect:
    log_severity_level, log_verbosity_level, logid, only_execute_path_to_fetches, and the configuration
    "disable_synchronize_execution_providers". Refused: training_mode, other configuration.
    """

    __slots__ = ("timeout", "log_severity_level", "log_verbosity_level", "logid", "only_execute_path_to_fetches",
                 "_flag", "_entries")

    def __init__(self):
        self.timeout, self.log_severity_level, self.log_verbosity_level, self.logid = None, -1, 0, ""
        self.only_execute_path_to_fetches = False
        self._flag, self._entries = _c.CancelFlag(), {}

    @property
    def terminate(self):
        return self._flag.set

    @terminate.setter
    def terminate(self, on):
        self._flag.set = bool(on)

    @property
    def training_mode(self):
        return False

    @training_mode.setter
    def training_mode(self, on):
        if on:
            raise refused("[onnx] training_mode is not supported in a session: expected False, got True")

    def add_run_config_entry(self, key, value):
        """The keys above; others are refused."""
        if key not in _RUN_ENTRIES:
            raise refused(f"[onnx] run configuration '{key}' is not supported: expected one of {sorted(_RUN_ENTRIES)}")
        if value not in _RUN_ENTRIES[key]:
            raise refused(f"[onnx] run configuration '{key}': expected one of {_RUN_ENTRIES[key]}, got '{value}'")
        self._entries[key] = value

    def get_run_config_entry(self, key):
        if key not in self._entries:
            raise KeyError(f"[onnx] run configuration '{key}' was not set")
        return self._entries[key]

    @property
    def _trims(self):
        return bool(self._entries.get("memory.enable_memory_arena_shrinkage"))
