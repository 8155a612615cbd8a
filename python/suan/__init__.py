"""Suan: a deep-learning training and inference engine. `import suan` gives torch's names and meanings.

Tensors, the op table and autograd are here; suan.nn, suan.optim, suan.data, suan.train and the command
line are loaded when first used.
"""

import math as _math

from . import _c
from .kinds import (  # noqa: F401
    Size, complex64, complex128, default_device, device, dtype, finfo, float4_e2m1fn, float8_e4m3fn, float8_e4m3fnuz,
    float8_e5m2, float8_e5m2fnuz, float8_e8m0fnu, float16, bfloat16, float32, float64, get_default_dtype, iinfo, int2, int4, int8,
    int16, int32, int64, load_backend, promote_types, result_type, set_default_dtype, uint2, uint4, uint8, uint16,
    uint32, uint64, bool_ as _bool,
)
from . import tensor as _tensor
from .tensor import Tensor, set_printoptions  # noqa: F401
from .create import *  # noqa: F401,F403
from .functional_api import *  # noqa: F401,F403
from .autograd import (  # noqa: F401
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled,
)
from .generator import (  # noqa: F401
    Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)
from .saving import load, save  # noqa: F401
from . import autograd, debug  # noqa: F401
from . import generator as random  # noqa: F401

CancelledError = _c.CancelledError
DeviceError = _c.DeviceError
InternalError = _c.InternalError
OutOfMemoryError = _c.OutOfMemoryError
ShapeError = _c.ShapeError
StateError = _c.StateError

half = float16
float = float32
double = float64
short = int16
int = int32
long = int64
bool = _bool

inf, nan, pi, e, newaxis = _math.inf, _math.nan, _math.pi, _math.e, None

__version__ = "0.1.0"


def set_num_threads(n):
    """Sets how many threads share the work of an op. Results are the same bits for every n."""
    _c.set_num_threads(n)


def get_num_threads():
    """Threads that share the work of an op."""
    return _c.num_threads()


_LAZY_MODULES = (
    "accelerator", "amp", "backends", "cli", "cuda", "data", "distributed", "distributions", "func", "linalg", "models",
    "nn", "onnx", "optim", "profiler", "train", "utils",
)
# Functions of nn.functional that torch has under its own name too, with the same arguments.
_NN_NAMES = (
    "adaptive_avg_pool1d", "avg_pool1d", "bilinear", "celu", "channel_shuffle", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_similarity", "hardshrink", "max_pool1d",
    "max_pool2d", "max_pool3d", "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "prelu", "rrelu", "selu",
    "threshold",
)
_LINALG_NAMES = (
    "chain_matmul", "cholesky_inverse", "cholesky_solve", "det", "inverse", "logdet", "matrix_exp", "matrix_power",
    "pinverse", "slogdet",
)
_TYPED_TENSORS = (
    "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor", "IntTensor",
    "LongTensor", "ShortTensor",
)
_LAZY_NAMES = {"compile": "compile", "plan": "compile", **dict.fromkeys(_NN_NAMES, "nn.functional"),
               **dict.fromkeys(_LINALG_NAMES, "linalg"), **dict.fromkeys(_TYPED_TENSORS, "typed_tensors"), "vmap": "func",
               **dict.fromkeys(("autocast", "is_autocast_enabled", "get_autocast_dtype"), "amp")}


def __getattr__(name):
    import importlib

    if name in _LAZY_NAMES:
        # Importing the module puts it under its own name here; the functions of that name take its place.
        module = importlib.import_module("." + _LAZY_NAMES[name], __name__)
        globals().update({n: getattr(module, n) for n, where in _LAZY_NAMES.items() if where == _LAZY_NAMES[name]})
        return globals()[name]
    if name in _LAZY_MODULES:
        try:
            return importlib.import_module("." + name, __name__)
        except ModuleNotFoundError as e:
            if e.name != f"{__name__}.{name}":
                raise
    from .naming import missing

    raise missing(__name__, name, [*globals(), *_LAZY_MODULES, *_LAZY_NAMES])
