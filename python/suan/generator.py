"""Random numbers: generators and the functions that draw from them.

A generator is a uint64 tensor {seed, offset}. Drawing n numbers reads it and then adds to the offset in
place, so that a compiled step carries it as state and every value depends on seed and position only.
"""

import contextlib

from . import _c
from .kinds import check_device, uint64

Tensor = _c.Tensor
_advances = {}


class Generator:
    """Generator(): a source of random numbers with its own seed and position."""

    def __init__(self, device="cpu"):
        check_device(device)
        self.state = _c.tensor_from_data([0, 0], uint64)

    def manual_seed(self, seed):
        """Restarts from a seed; returns self."""
        self._write(int(seed) & (2**64 - 1), 0)
        return self

    def seed(self):
        """Restarts from a seed of the operating system's; returns it."""
        import os

        value = int.from_bytes(os.urandom(8), "little") >> 1
        self.manual_seed(value)
        return value

    def initial_seed(self):
        """The seed."""
        return self.state[0].item()

    def get_state(self):
        """The state as a tensor: {seed, offset}."""
        return self.state.clone()

    def set_state(self, state):
        """Goes on from a state that get_state returned."""
        if not isinstance(state, Tensor) or state.shape != (2,) or state.dtype is not uint64:
            raise ValueError("[set_state] not a generator state: expected uint64 of shape 2, got "
                             f"{state.dtype.name + ' ' + str(list(state.shape)) if isinstance(state, Tensor) else type(state).__name__}")
        with _no_grad():
            self.state.copy_(state)
        return self

    def _write(self, seed, offset):
        with _no_grad():
            self.state.copy_(_c.tensor_from_data([seed, offset], uint64))

    def _advance(self, n):
        """Leaves n numbers behind (4 to a counter)."""
        blocks = (n + 3) // 4
        step = _advances.get(blocks)
        if step is None:
            if len(_advances) > 4096:
                _advances.clear()
            step = _advances[blocks] = _c.tensor_from_data([0, blocks], uint64)
        self.state += step


def _no_grad():
    from .autograd import no_grad

    return no_grad()


default_generator = Generator()


def manual_seed(seed):
    """Seeds the default generator; returns it."""
    return default_generator.manual_seed(seed)


def seed():
    """Seeds the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed():
    """The default generator's seed."""
    return default_generator.initial_seed()


def get_rng_state():
    """The default generator's state."""
    return default_generator.get_state()


def set_rng_state(state):
    """Sets the default generator's state."""
    default_generator.set_state(state)


@contextlib.contextmanager
def fork_rng(devices=None, enabled=True):
    """A block whose random numbers leave the default generator as it was. devices has no effect: one generator serves
    all devices."""
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)
