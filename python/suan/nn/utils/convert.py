"""Parameters as one flat vector and back."""

import suan


def parameters_to_vector(parameters):
    return suan.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec, parameters):
    """Copies consecutive pieces of vec into the parameters."""
    parameters = list(parameters)
    total = sum(p.numel() for p in parameters)
    if vec.numel() != total:
        raise ValueError(
            f"[vector_to_parameters] wrong size: expected {total} values, got {vec.numel()}"
        )
    start = 0
    with suan.no_grad():
        for p in parameters:
            p.copy_(vec[start : start + p.numel()].reshape(p.shape))
            start += p.numel()
