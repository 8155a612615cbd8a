"""nn.utils: gradient clipping, parameters as one vector, padded sequences."""

from . import rnn
from .clip_grad import clip_grad_norm_, clip_grad_value_, clip_scale, get_total_norm
from .convert import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_scale",
    "get_total_norm",
    "parameters_to_vector",
    "rnn",
    "vector_to_parameters",
]
