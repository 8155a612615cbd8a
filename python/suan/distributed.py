"""Several processes that train one model, under torch.distributed's names.

    suan.distributed.init_process_group()            # as `suan launch`, torchrun or Slurm set it up
    step = suan.distributed.data_parallel(train_step, model.parameters(), stage=1)

Collectives are ops of the table (`suan._c.ops.all_reduce` and so on), so that they can be recorded;
the functions here give them torch's in-place form. Without a group the world is one rank and every
collective is the identity.
"""

import math
import os
import re

import suan

from . import _c

suan.compile  # the function takes its name before the module's import would
from .compile import _flatten, _unflatten  # noqa: E402

DistributedError = _c.DistributedError
MismatchError = _c.MismatchError
PeerLostError = _c.PeerLostError
PeerTimeoutError = _c.PeerTimeoutError

__all__ = [
    "DistributedError",
    "MismatchError",
    "PeerLostError",
    "PeerTimeoutError",
    "ReduceOp",
    "all_gather",
    "all_gather_into_tensor",
    "all_reduce",
    "barrier",
    "broadcast",
    "data_parallel",
    "destroy_process_group",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_available",
    "is_initialized",
    "reduce_scatter_tensor",
]


class ReduceOp:
    """How all_reduce and reduce_scatter combine values. SUM and AVG of floats add in one fixed
    order, whatever the timing."""

    SUM = "sum"
    AVG = "mean"
    MIN = "min"
    MAX = "max"


def _first_host(nodes):
    """The first name of a Slurm node list: "gpu[07-09,12],login" gives gpu07."""
    first = re.match(r"([^,\[]+)(?:\[([^\],-]+))?", nodes)
    if not first:
        raise ValueError(
            f"[init_process_group] bad SLURM_STEP_NODELIST: expected host names, got '{nodes}'"
        )
    return first.group(1) + (first.group(2) or "")


def _number(name, value):
    try:
        return int(value)
    except ValueError:
        raise ValueError(
            f"[init_process_group] bad {name}: expected a whole number, got '{value}'"
        ) from None


def environment(env=None):
    """{"rank", "world_size", "local_rank", "master_addr", "master_port"} from the variables that
    torchrun and `suan launch` set (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), else
    from Slurm's; None when neither is there. ValueError names a variable that is missing or wrong.
    """
    env = os.environ if env is None else env
    if "RANK" in env or "WORLD_SIZE" in env:
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            if name not in env:
                raise ValueError(
                    f"[init_process_group] {name} is missing: expected RANK, WORLD_SIZE, "
                    "MASTER_ADDR and MASTER_PORT, got only some of them"
                )
        rank, host = _number("RANK", env["RANK"]), env["MASTER_ADDR"]
        size, port = _number("WORLD_SIZE", env["WORLD_SIZE"]), env["MASTER_PORT"]
        local = env.get("LOCAL_RANK", rank)
    elif "SLURM_PROCID" in env and "SLURM_STEP_NODELIST" in env:
        rank = _number("SLURM_PROCID", env["SLURM_PROCID"])
        size = _number("SLURM_NTASKS", env.get("SLURM_STEP_NUM_TASKS", env.get("SLURM_NTASKS", "")))
        host = env.get("MASTER_ADDR") or _first_host(env["SLURM_STEP_NODELIST"])
        # Steps of different jobs may share a node.
        job = _number("SLURM_JOB_ID", env.get("SLURM_JOB_ID", "0"))
        port = env.get("MASTER_PORT", 20000 + job % 20000)
        local = env.get("SLURM_LOCALID", 0)
    else:
        return None
    return {
        "rank": rank,
        "world_size": size,
        "local_rank": _number("LOCAL_RANK", local),
        "master_addr": host,
        "master_port": _number("MASTER_PORT", port),
    }


def init_process_group(
    backend="tcp",
    *,
    rank=None,
    world_size=None,
    master_addr=None,
    master_port=None,
    timeout=300.0,
    init_timeout=60.0,
    local_reads=True,
):
    """Meets the other ranks. What is not given comes from environment(); with neither, the world
    is this process alone.

    timeout: seconds that a rank waits for another one in a collective before PeerTimeoutError.
    init_timeout: seconds for all ranks to meet. local_reads: ranks of one machine copy pieces of
    16 KiB and more out of each other's memory, where Linux lets them (process_vm_readv: the same
    user, and ptrace allowed), and send them otherwise; transport() tells. Errors: ValueError (wrong
    world size or rank, on every rank that came), PeerTimeoutError (master unreachable, ranks
    missing), StateError (called twice)."""
    if backend != "tcp":
        raise ValueError(f"[init_process_group] unknown backend: expected 'tcp', got {backend!r}")
    if _c.in_group():
        raise suan.StateError(
            "[init_process_group] already in a group: expected one call, got a second"
        )
    for name, value in (("timeout", timeout), ("init_timeout", init_timeout)):
        if not value > 0:
            raise ValueError(
                f"[init_process_group] bad {name}: expected more than 0 s, got {value}"
            )
    explicit = rank is not None or world_size is not None
    found = {} if explicit else environment()
    if found is None:
        found = {"rank": 0, "world_size": 1}
    if explicit and (rank is None or world_size is None):
        raise ValueError(
            "[init_process_group] half a group: expected both rank and world_size, got one"
        )
    _c.init_tcp(
        master_addr or found.get("master_addr", "127.0.0.1"),
        found.get("master_port", 29500) if master_port is None else master_port,
        found.get("rank", rank),
        found.get("world_size", world_size),
        float(init_timeout),
        float(timeout),
        local_reads,
    )


def destroy_process_group():
    """Leaves the group; ranks that still wait for this one get PeerLostError."""
    _c.destroy_group()


def transport():
    """How this rank reaches the others: "none" without a group, "tcp", or "tcp, reading the memory
    of 3 of 7 ranks"."""
    return _c.transport()


def is_available():
    """True: the TCP transport is part of the engine."""
    return True


def is_initialized():
    """True between init_process_group and destroy_process_group."""
    return _c.in_group()


def get_rank():
    """This process's number, from 0; 0 without a group."""
    return _c.rank()


def get_world_size():
    """How many ranks there are; 1 without a group."""
    return _c.world_size()


def all_reduce(tensor, op=ReduceOp.SUM):
    """Replaces tensor by its reduction over all ranks: float or int32, int64, of one shape
    everywhere. MismatchError, with nothing moved, when ranks call different things."""
    with suan.no_grad():
        tensor.copy_(_c.ops.all_reduce(tensor.contiguous(), op=op, world=get_world_size()))


def all_gather_into_tensor(output_tensor, input_tensor):
    """output [world * n, ...] becomes every rank's input [n, ...], in order of rank."""
    with suan.no_grad():
        output_tensor.copy_(_c.ops.all_gather(input_tensor.contiguous(), world=get_world_size()))


def all_gather(tensor_list, tensor):
    """tensor_list[r] becomes rank r's tensor; world_size tensors like it."""
    world = get_world_size()
    if len(tensor_list) != world:
        raise ValueError(
            f"[all_gather] wrong number of outputs: expected {world}, got {len(tensor_list)}"
        )
    with suan.no_grad():
        rows = _c.ops.all_gather(tensor.contiguous().unsqueeze(0), world=world)
        for r, out in enumerate(tensor_list):
            out.copy_(rows[r])


def reduce_scatter_tensor(output, input, op=ReduceOp.SUM):
    """output [n, ...] becomes rows [rank * n, (rank + 1) * n) of the reduction of input
    [world * n, ...]."""
    with suan.no_grad():
        output.copy_(_c.ops.reduce_scatter(input.contiguous(), op=op, world=get_world_size()))


def broadcast(tensor, src=0):
    """tensor becomes rank src's on every rank."""
    with suan.no_grad():
        tensor.copy_(_c.ops.broadcast(tensor.contiguous(), src=src, world=get_world_size()))


def barrier():
    """Returns once every rank has come here."""
    _c.ops.barrier(suan.zeros(1), world=get_world_size())


class DataParallelStep:
    """What data_parallel returns. Called with this rank's rows of the batch; every rank gets the
    same results."""

    def __init__(self, fn, parameters, stage, rank_invariant, bucket_bytes, memory_limit):
        self.fn, self.stage = fn, stage
        self.parameters = [p for p in parameters if p.requires_grad]
        self.shards = get_world_size() if rank_invariant is None else rank_invariant
        self.bucket_bytes, self.memory_limit = bucket_bytes, memory_limit
        self._steps = {}  # by structure and shapes of the arguments: (step, structure of results)
        self._shapes = {}
        self._sharded = set()  # of which parameters are parts
        if not self.parameters:
            raise ValueError(
                "[data_parallel] no parameters: expected at least one that requires a gradient, "
                "got none"
            )
        # As torch's DistributedDataParallel: all ranks begin with rank 0's weights.
        for p in self.parameters:
            self._shapes[id(p)] = tuple(p.shape)
            if get_world_size() > 1:
                broadcast(p.detach())

    def _record(self, leaves, tree):
        world = get_world_size()

        def reduced(grad):
            return _c.ops.all_reduce(grad.contiguous(), world=world, gradient=True)

        out_tree = None

        def call(inputs):
            nonlocal out_tree
            args, kwargs = _unflatten(tree, inputs)
            outputs = []
            out_tree = _flatten(self.fn(*args, **kwargs), outputs)
            return outputs

        hooks = [p.register_hook(reduced) for p in self.parameters]
        try:
            step = _c.ParallelStep(
                call, leaves, self.shards, self.stage, self.bucket_bytes, self.memory_limit or 0
            )
        finally:
            for hook in hooks:
                hook.remove()
        self._sharded = {id(t) for t in step.sharded}
        return step, out_tree

    def __call__(self, *args, **kwargs):
        leaves = []
        tree = _flatten((args, kwargs), leaves)
        key = (repr(tree), tuple((tuple(t.shape), t.dtype) for t in leaves), _c.autocast_settings())
        step = self._steps.get(key)
        if step is None:
            if self._steps and self.stage > 0:
                raise suan.StateError(
                    "[data_parallel] another batch shape: expected the first call's at stage "
                    f"{self.stage}, where the optimizer's state is sharded already, got {key[1]}"
                )
            step = self._steps[key] = self._record(leaves, tree)
        return _unflatten(step[1], step[0].run(leaves))

    def full_parameters(self):
        """The parameters whole, in order, also at stage 3, where each is a flat part. A collective:
        all ranks call it."""
        world, whole = get_world_size(), []
        with suan.no_grad():
            for p in self.parameters:
                shape = self._shapes[id(p)]
                if id(p) in self._sharded:
                    flat = _c.ops.all_gather(p.detach(), world=world)
                    whole.append(flat[: math.prod(shape)].reshape(shape).clone())
                else:
                    whole.append(p.detach().clone())
        return whole

    def trim(self):
        """Gives the memory of a step in progress back until the next call."""
        for step, _ in self._steps.values():
            step.trim()

    def stats(self):
        """One dict for each batch shape: state_bytes (parameters and optimizer state that this
        rank holds), arena_bytes (all else in a step), gathered_bytes (the most of gathered tensors at
        once), collectives, graph."""
        return [step.stats() for step, _ in self._steps.values()]


def data_parallel(
    fn, parameters, *, stage=0, rank_invariant=None, bucket_bytes=1 << 20, memory_limit=None
):
    """fn, a whole training step (forward, backward, clipping, optimizer), on all ranks at once.

    The result takes this rank's rows of the batch (the leading axis of every tensor argument; equal
    on all ranks) and is recorded at the first call, then replayed as one plan. fn returns mean
    losses: 0-d floats, of which every rank gets the mean over the whole batch.

    stage: ZeRO's (Rajbhandari et al. 2020): 0 averages gradients, 1 also shards optimizer state, 2
    gradients, 3 parameters. rank_invariant=V, a power of two, always computes the batch as V
    shards and adds them in one tree: losses and weights are the same bits on 1, 2, ... V ranks and
    at every stage. Default: one shard a rank. bucket_bytes: gradients that travel together, and at
    stage 3 parameters.

    Errors: ValueError (unknown stage, V that the ranks do not divide), ShapeError (rows that V does
    not divide), StateError naming the line of what cannot be done so: random numbers in the step,
    state that follows the batch (batch norm in training), a sharded gradient read whole;
    MismatchError when ranks recorded different programs."""
    return DataParallelStep(fn, parameters, stage, rank_invariant, bucket_bytes, memory_limit)
