"""nn.parallel: one model on several ranks, each with its rows of the batch."""

import suan
from suan import distributed

from .module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """A module whose gradients are averaged over the ranks of the process group.

    All ranks begin with rank 0's parameters and buffers. As backward completes the gradients of a bucket
    (parameters in reverse order, `bucket_cap_mb` MiB), the ranks average them; every parameter must get a
    gradient in every such backward (StateError at the next forward otherwise). Backward inside no_sync() only
    accumulates; the next one outside averages the sum. A whole step recorded as one plan, with sharded state:
    suan.distributed.data_parallel.

    module: an nn.Module, or suan.compile of one. broadcast_buffers: rank 0's buffers go to all ranks before each
    forward in training. device_ids and output_device: None or one device; gradient_as_bucket_view and
    static_graph: hints, accepted without effect."""

    def __init__(self, module, device_ids=None, output_device=None, dim=0, broadcast_buffers=True,
                 bucket_cap_mb=25, find_unused_parameters=False, gradient_as_bucket_view=False,
                 static_graph=False):
        super().__init__()
        if find_unused_parameters:
            raise ValueError("[DistributedDataParallel] find_unused_parameters: expected False (every parameter "
                             "gets a gradient), got True")
        if device_ids is not None and len(device_ids) > 1:
            raise ValueError(f"[DistributedDataParallel] wrong device_ids: expected one device, got {device_ids}")
        self.module = module if isinstance(module, Module) else getattr(module, "_module", None)
        if self.module is None:
            raise TypeError("[DistributedDataParallel] wrong module: expected an nn.Module, or suan.compile of one, "
                            f"got {type(module).__name__}")
        self._compiled = None if module is self.module else module
        self.broadcast_buffers = broadcast_buffers
        self.require_backward_grad_sync = True
        params = [p for p in self.module.parameters() if p.requires_grad]
        if not params:
            raise ValueError("[DistributedDataParallel] no parameters: expected at least one that requires a "
                             "gradient, got none")
        self._buckets = _split(params, bucket_cap_mb * 2**20)
        self._bucket_of = {id(p): i for i, bucket in enumerate(self._buckets) for p in bucket}
        self._start()
        if distributed.get_world_size() > 1:
            for tensor in [*self.module.parameters(), *self.module.buffers()]:
                distributed.broadcast(tensor.detach())
            for p in params:
                p.register_post_accumulate_grad_hook(self._arrived)

    def _start(self):
        self._missing = [len(bucket) for bucket in self._buckets]
        self._next = 0

    def forward(self, *args, **kwargs):
        got = len(self._bucket_of) - sum(self._missing)
        if got:
            raise suan.StateError("[DistributedDataParallel] backward left parameters out: expected gradients of "
                                  f"all {len(self._bucket_of)}, got {got}")
        if self.training and self.broadcast_buffers and distributed.get_world_size() > 1:
            for buffer in self.module.buffers():
                distributed.broadcast(buffer)
        return (self._compiled or self.module)(*args, **kwargs)

    def _arrived(self, param):
        if not self.require_backward_grad_sync:
            return
        self._missing[self._bucket_of[id(param)]] -= 1
        # Buckets travel in their order, whatever order their gradients come in: the same on every rank.
        while self._next < len(self._buckets) and self._missing[self._next] == 0:
            self._average(self._buckets[self._next])
            self._next += 1
        if self._next == len(self._buckets):
            self._start()

    def _average(self, bucket):
        with suan.no_grad():
            flat = suan.cat([p.grad.reshape(-1) for p in bucket])
            distributed.all_reduce(flat, distributed.ReduceOp.AVG)
            at = 0
            for p in bucket:
                p.grad.copy_(flat[at : at + p.numel()].view(p.shape))
                at += p.numel()

    def no_sync(self):
        """A context in which backward only accumulates, on each rank by itself."""
        return _NoSync(self)


class _NoSync:
    def __init__(self, parallel):
        self._parallel = parallel

    def __enter__(self):
        self._before = self._parallel.require_backward_grad_sync
        self._parallel.require_backward_grad_sync = False

    def __exit__(self, *exc):
        self._parallel.require_backward_grad_sync = self._before


def _split(params, limit):
    """Parameters in reverse order, one dtype and about `limit` bytes a bucket."""
    buckets, size = [], 0
    for p in reversed(params):
        if not buckets or buckets[-1][-1].dtype != p.dtype or size + p.nbytes > limit:
            buckets.append([])
            size = 0
        buckets[-1].append(p)
        size += p.nbytes
    return buckets
