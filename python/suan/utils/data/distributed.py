"""suan.utils.data.distributed: where programs for torch look for the sampler of ranks."""

from ...data import DistributedSampler

__all__ = ["DistributedSampler"]
