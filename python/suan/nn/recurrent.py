"""RNN, LSTM and GRU layers and their cells, with torch's names of parameters and order of gates.

The input's part of the gates of a whole sequence is one product. The steps of a GRU, and of an LSTM without a projection,
are one op; of the others each step is one product with the state and element-wise ops, which suan.compile joins.
Packed sequences are computed side by side with padding, whose results nobody reads.
"""

import math

import suan

from . import functional as F
from . import init
from ._ops import ops
from .linear import _factory
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence, _places

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def _parts(gates, n):
    """The n gates side by side in the last dimension; one op, so that their gradients meet in one cat."""
    size = gates.shape[-1] // n
    return ops.split(gates, None, [size] * n, -1)


def _plain_step(activation):
    def step(gates, state, hidden_weight, hidden_bias):
        return (activation(gates + F.linear(state[0], hidden_weight)),)

    return step


def _lstm_step(gates, state, hidden_weight, hidden_bias, projection=None):
    i, f, g, o = _parts(gates + F.linear(state[0], hidden_weight), 4)
    c = ops.sigmoid(f) * state[1] + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(c)
    return (h if projection is None else F.linear(h, projection)), c


def _gru_step(gates, state, hidden_weight, hidden_bias):
    h = state[0]
    r, z, n = _parts(gates, 3)
    hr, hz, hn = _parts(F.linear(h, hidden_weight, hidden_bias), 3)
    n = ops.tanh(n + ops.sigmoid(r + hr) * hn)
    return (n + ops.sigmoid(z + hz) * (h - n),)


# Each: (part of the gates from the input, state, hidden weight, hidden bias, ...) -> the next state.
_STEPS = {
    "RNN_TANH": _plain_step(F.tanh),
    "RNN_RELU": _plain_step(F.relu),
    "LSTM": _lstm_step,
    "GRU": _gru_step,
}


def _input_gates(mode, input, weight, bias, hidden_bias):
    """The input's part of the gates. Where both biases are only added, they are added here; GRU's reset gate
    multiplies the hidden one."""
    if bias is not None and mode != "GRU":
        bias = bias + hidden_bias
    return F.linear(input, weight, bias)


def _nonlinearity(name, nonlinearity):
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"[{name}] wrong nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
    return f"RNN_{nonlinearity.upper()}"


def _fill(module, hidden_size):
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0
    for weight in module.parameters():
        init.uniform_(weight, -bound, bound)


def _check(name, what, tensor, expected):
    if not isinstance(tensor, suan.Tensor):
        raise TypeError(f"[{name}] wrong type of {what}: expected Tensor, got {type(tensor).__name__}")
    if tuple(tensor.shape) != expected:
        raise ValueError(f"[{name}] wrong shape of {what}: expected {expected}, got {tuple(tensor.shape)}")


class RNNBase(Module):
    """What RNN, LSTM and GRU share. mode: 'RNN_TANH', 'RNN_RELU', 'LSTM' or 'GRU'.

    Parameters of layer k: weight_ih_lk [gates * hidden, in], weight_hh_lk [gates * hidden, out], bias_ih_lk and
    bias_hh_lk [gates * hidden], weight_hr_lk [proj_size, hidden] with a projection; the backward direction's end
    in _reverse. Layers after the first read [..., directions * out], out being proj_size or hidden_size.
    """

    def __init__(
        self, mode, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
        bidirectional=False, proj_size=0, device=None, dtype=None,
    ):
        super().__init__()
        name = type(self).__name__
        if mode not in _GATES:
            raise ValueError(f"[{name}] wrong mode: expected one of {', '.join(_GATES)}, got {mode!r}")
        if hidden_size < 1 or num_layers < 1:
            raise ValueError(f"[{name}] wrong sizes: expected hidden_size and num_layers of at least 1, got "
                             f"{hidden_size} and {num_layers}")
        if isinstance(dropout, bool) or not 0.0 <= dropout <= 1.0:
            raise ValueError(f"[{name}] wrong dropout: expected 0 to 1, got {dropout}")
        if proj_size and mode != "LSTM":
            raise ValueError(f"[{name}] wrong proj_size: expected 0 except for LSTM, got {proj_size}")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"[{name}] wrong proj_size: expected 0 to {hidden_size - 1}, got {proj_size}")
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        options, rows, out = _factory(device, dtype), _GATES[mode] * hidden_size, proj_size or hidden_size
        self._names = []  # per layer and direction
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * (2 if bidirectional else 1)
            for suffix in ("", "_reverse") if bidirectional else ("",):
                shapes = {"weight_ih": (rows, width), "weight_hh": (rows, out)}
                if bias:
                    shapes.update(bias_ih=(rows,), bias_hh=(rows,))
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = {key: f"{key}_l{layer}{suffix}" for key in shapes}
                for key, shape in shapes.items():
                    self.register_parameter(names[key], Parameter(suan.empty(*shape, **options)))
                self._names.append(names)
        self.reset_parameters()

    def reset_parameters(self):
        _fill(self, self.hidden_size)

    def flatten_parameters(self):
        """Does nothing: parameters are used as they lie."""

    @property
    def all_weights(self):
        return [[self._parameters[n] for n in names.values()] for names in self._names]

    def _sizes(self):
        """Last dimension of each tensor of the state."""
        return (self.proj_size or self.hidden_size,) + ((self.hidden_size,) if self.mode == "LSTM" else ())

    def _state(self, input, hx, unbatched):
        """Per tensor of the state, its [batch, size] for each layer and direction."""
        name, runs = type(self).__name__, len(self._names)
        batch = input.shape[0 if self.batch_first else 1]
        if hx is None:
            return [[suan.zeros(batch, n, dtype=input.dtype, device=input.device)] * runs for n in self._sizes()]
        states = []
        for what, t, n in zip(("the hidden state", "the cell state"), hx, self._sizes()):
            if isinstance(t, suan.Tensor) and unbatched and t.dim() == 2:
                t = t.unsqueeze(1)
            _check(name, what, t, (runs, batch, n))
            states.append(t.unbind(0))
        return states

    def _run(self, input, hx):
        name = type(self).__name__
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx)
        if not isinstance(input, suan.Tensor):
            raise TypeError(f"[{name}] wrong type of input: expected Tensor or PackedSequence, got "
                            f"{type(input).__name__}")
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(f"[{name}] wrong shape of input: expected 2 or 3 dimensions, the last of "
                             f"{self.input_size}, got {tuple(input.shape)}")
        unbatched = input.dim() == 2
        time = 1 if self.batch_first else 0
        batch = 1 - time
        x = input.unsqueeze(batch) if unbatched else input
        if x.shape[time] == 0:
            raise ValueError(f"[{name}] empty sequence: expected at least 1 step, got 0")
        initial = self._state(x, hx, unbatched)
        x, final = self._layers(x, initial, time)
        if unbatched:
            return x.squeeze(batch), tuple(t.squeeze(1) for t in final)
        return x, final

    def _layers(self, x, initial, time, ends=None):
        last, directions = [], 2 if self.bidirectional else 1
        for at in range(0, len(self._names), directions):
            if at and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            sides = []
            for k in range(at, at + directions):
                state = [s[k] for s in initial]
                if ends is None:
                    side, state = self._sequence(x, state, k, time, k > at)
                else:
                    side, state = self._sequence_to(ends, x, state, k, k > at)
                sides.append(side)
                last.append(state)
            x = sides[0] if directions == 1 else suan.cat(sides, -1)
        return x, tuple(suan.stack(t, 0) for t in zip(*last))

    def _run_packed(self, packed, hx):
        """_run of a PackedSequence: a PackedSequence, and states after each sequence's own last step."""
        lengths, order = packed.lengths(), packed.sorted_indices
        if packed.data.dim() != 2 or packed.data.shape[-1] != self.input_size:
            raise ValueError(f"[{type(self).__name__}] wrong shape of packed data: expected [steps, {self.input_size}]"
                             f", got {tuple(packed.data.shape)}")
        rows = _places(lengths)
        x = suan.zeros(lengths[0], len(lengths), self.input_size, dtype=packed.data.dtype, device=packed.data.device)
        x = x.index_put(rows, packed.data)
        states = self._state(x.transpose(0, 1) if self.batch_first else x, hx, False)
        if order is not None and hx is not None:
            states = [[t.index_select(0, order) for t in side] for side in states]
        # Of each step and sequence, the step that stands there when the sequence is turned around.
        count = suan.tensor(lengths)
        step = suan.arange(lengths[0]).unsqueeze(1)
        x, final = self._layers(x, states, 0, (count, suan.where(step < count, count - 1 - step, step)))
        if order is not None:
            final = tuple(t.index_select(1, packed.unsorted_indices) for t in final)
        return packed._replace(data=x[rows]), final

    def _sequence_to(self, ends, x, state, k, backwards):
        """_sequence of padded sequences [time, batch, size], each to its own end: what lies behind is not used."""
        count, turned = ends

        def turn(t):
            return t.gather(0, turned.unsqueeze(-1).expand_as(t)) if backwards else t

        every = []
        outputs, _ = self._sequence(turn(x), state, k, 0, False, every)
        last = (count - 1).reshape(1, -1, 1)
        return turn(outputs), tuple(s.gather(0, last.expand(1, -1, s.shape[-1])).squeeze(0) for s in every)

    def _sequence(self, x, state, k, time, backwards, every=None):
        """One layer in one direction: its outputs, and the state after its last step. The state's tensors after each
        step are put into the list `every`."""
        own = {key: self._parameters[n] for key, n in self._names[k].items()}
        hidden_bias = own.get("bias_hh")
        if self.mode in ("LSTM", "GRU") and not self.proj_size:
            gates = _input_gates(self.mode, x.transpose(0, time), own["weight_ih"], own.get("bias_ih"), hidden_bias)
            if self.mode == "LSTM":
                states = ops.lstm_layer(gates, *state, own["weight_hh"], reverse=backwards)[:2]
            else:
                states = ops.gru_layer(gates, *state, own["weight_hh"], hidden_bias, reverse=backwards)[:1]
            if every is not None:
                every += [s.transpose(0, time) for s in states]
            end = 0 if backwards else -1
            return states[0].transpose(0, time), tuple(s[end] for s in states)
        steps = _input_gates(self.mode, x, own["weight_ih"], own.get("bias_ih"), hidden_bias).unbind(time)
        more = (own["weight_hr"],) if self.proj_size else ()
        step, outputs = _STEPS[self.mode], []
        for gates in reversed(steps) if backwards else steps:
            state = step(gates, state, own["weight_hh"], hidden_bias, *more)
            outputs.append(state if every is not None else state[:1])
        sides = [suan.stack(side[::-1] if backwards else side, time) for side in zip(*outputs)]
        if every is not None:
            every += sides
        return sides[0], state

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        for key, default in (("proj_size", 0), ("num_layers", 1), ("bias", True), ("batch_first", False),
                             ("dropout", 0.0), ("bidirectional", False)):
            if getattr(self, key) != default:
                text += f", {key}={getattr(self, key)}"
        return text


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman 1990).

    input [time, batch, input_size] ([batch, time, ...] with batch_first, [time, ...] without a batch); hx
    [num_layers * directions, batch, hidden_size], zeros by default. Returns the last layer's outputs
    [time, batch, directions * hidden_size] and the last state, shaped as hx. Of a PackedSequence (nn.utils.rnn): one,
    and each sequence's state after its own last step. ValueError: shapes that differ.
    """

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False,
                 dropout=0.0, bidirectional=False, device=None, dtype=None):
        super().__init__(_nonlinearity("RNN", nonlinearity), input_size, hidden_size, num_layers, bias,
                         batch_first, dropout, bidirectional, 0, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        output, state = self._run(input, None if hx is None else (hx,))
        return output, state[0]


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); gates in the order input, forget, cell, output.

    As RNN, with a state (h [.., proj_size or hidden_size], c [.., hidden_size]). proj_size projects h after each
    step (Sak et al. 2014).
    """

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, proj_size=0, device=None, dtype=None):
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         proj_size, device, dtype)

    def forward(self, input, hx=None):
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError(f"[LSTM] wrong state: expected a pair (h, c), got {type(hx).__name__}")
        return self._run(input, hx)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al. 2014); gates in the order reset, update, new. As RNN; the reset gate
    multiplies W_hn h + b_hn."""

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, device=None, dtype=None):
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
                         device, dtype)

    def forward(self, input, hx=None):
        output, state = self._run(input, None if hx is None else (hx,))
        return output, state[0]


class RNNCellBase(Module):
    """One step. Parameters: weight_ih, weight_hh, bias_ih, bias_hh."""

    def __init__(self, mode, input_size, hidden_size, bias, device, dtype):
        super().__init__()
        if hidden_size < 1:
            raise ValueError(f"[{type(self).__name__}] wrong hidden_size: expected at least 1, got {hidden_size}")
        self._mode, self.input_size, self.hidden_size, self.bias = mode, input_size, hidden_size, bias
        options, rows = _factory(device, dtype), _GATES[mode] * hidden_size
        self.weight_ih = Parameter(suan.empty(rows, input_size, **options))
        self.weight_hh = Parameter(suan.empty(rows, hidden_size, **options))
        for key in ("bias_ih", "bias_hh"):
            self.register_parameter(key, Parameter(suan.empty(rows, **options)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        _fill(self, self.hidden_size)

    def _step(self, input, states):
        """states: the state's tensors, or None for zeros."""
        name = type(self).__name__
        if not isinstance(input, suan.Tensor) or input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            got = tuple(input.shape) if isinstance(input, suan.Tensor) else type(input).__name__
            raise ValueError(f"[{name}] wrong input: expected [batch, {self.input_size}] or [{self.input_size}], "
                             f"got {got}")
        shape = (*input.shape[:-1], self.hidden_size)
        if states is None:
            states = [suan.zeros(*shape, dtype=input.dtype, device=input.device)] * 2
        for what, t in zip(("the hidden state", "the cell state"), states):
            _check(name, what, t, shape)
        gates = _input_gates(self._mode, input, self.weight_ih, self.bias_ih, self.bias_hh)
        return _STEPS[self._mode](gates, states, self.weight_hh, self.bias_hh)

    def forward(self, input, hx=None):
        return self._step(input, None if hx is None else (hx,))[0]

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """A step of RNN: input [batch, input_size], hx [batch, hidden_size] -> the next hx; both also without batch."""

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(_nonlinearity("RNNCell", nonlinearity), input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity


class LSTMCell(RNNCellBase):
    """A step of LSTM: input [batch, input_size], hx (h, c) of [batch, hidden_size] -> the next (h, c)."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__("LSTM", input_size, hidden_size, bias, device, dtype)

    def forward(self, input, hx=None):
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError(f"[LSTMCell] wrong state: expected a pair (h, c), got {type(hx).__name__}")
        return self._step(input, hx)


class GRUCell(RNNCellBase):
    """A step of GRU: input [batch, input_size], hx [batch, hidden_size] -> the next hx; both also without batch."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__("GRU", input_size, hidden_size, bias, device, dtype)
