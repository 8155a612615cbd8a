"""The module path under which older programs look for the list of providers and the error classes."""

from ..environment import (  # noqa: F401
    OrtAllocatorType, OrtDevice, OrtMemoryInfo, OrtMemType, disable_telemetry_events, enable_telemetry_events, get_build_info,
    get_version_string, set_seed,
)
from ..errors import *  # noqa: F401,F403
from ..inference import (  # noqa: F401
    ModelMetadata, get_available_providers, get_available_providers as get_all_providers, get_device, set_default_logger_severity,
)
from ..options import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, RunOptions, SessionOptions  # noqa: F401
from ..session import NodeArg  # noqa: F401
