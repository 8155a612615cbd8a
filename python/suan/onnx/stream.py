"""Streaming: state tensors that a model takes and gives are carried from one call to the next."""

import numpy


class Stream:
    """One stream of a model with state, such as a voice detector that is fed chunk by chunk.

    >>> stream = session.stream({"state": "stateN"})
    >>> probability = stream(input=chunk, sr=numpy.array(16000))
    >>> stream.reset()                      # another recording begins

    Calling it takes the inputs that are not state, by position or name, and gives the outputs that are not state, one
    value or a tuple. State goes from output to input without a copy, and its shape may change (a cache that grows).
    A call that fails leaves the state as it was. Streams of one session are independent; each is for one thread.

    Args:
        session: a suan.onnx.Session.
        state: {input name: output name}.
        initial: {input name: array} of the first call; by default zeros of the declared shape, symbolic dimensions
            taken from `sizes`, else 1.
        sizes: {dimension name: size}.

    Raises:
        ValueError: unknown names, or a state whose input and output differ in type. TypeError: state that is no tensor.
    """

    def __init__(self, session, state, initial=None, sizes=None):
        inputs = {p.name: p for p in session.inputs}
        outputs = {p.name: p for p in session.outputs}
        for at, (given, taken) in enumerate(state.items()):
            if given not in inputs:
                raise ValueError(f"[stream] unknown input: expected one of {list(inputs)}, got {given!r}")
            if taken not in outputs:
                raise ValueError(f"[stream] unknown output: expected one of {list(outputs)}, got {taken!r}")
            if taken in list(state.values())[:at]:
                raise ValueError(f"[stream] output {taken!r} is the state of two inputs: expected one")
            if inputs[given].kind != "tensor":
                raise TypeError(f"[stream] state {given!r}: expected a tensor, got {inputs[given].type}")
            if inputs[given].type != outputs[taken].type:
                raise ValueError(f"[stream] state {given!r}: expected the type of output {taken!r}, {outputs[taken].type}, "
                                 f"got {inputs[given].type}")
        unknown = [name for name in initial or () if name not in state]
        if unknown:
            raise ValueError(f"[stream] initial values: expected inputs among {list(state)}, got {unknown}")
        self._session, self._state = session, dict(state)
        self._sizes, self._initial = dict(sizes or {}), dict(initial or {})
        self._at = {p.name: k for k, p in enumerate(session.outputs)}
        self._open = [p.name for p in session.inputs if p.name not in state]
        self._given = [p.name for p in session.outputs if p.name not in state.values()]
        for name in state:
            if name not in self._initial:
                self._initial[name] = self._zeros(inputs[name])
        self.reset()

    def _zeros(self, port):
        import suan

        if port.shape is None:
            raise ValueError(f"[stream] no shape for state {port.name!r}: expected initial={{{port.name!r}: array}}, got none")
        return suan.zeros([d if isinstance(d, int) else self._sizes.get(d, 1) for d in port.shape], dtype=port.dtype)

    def __call__(self, *args, **named):
        if len(args) > len(self._open):
            raise ValueError(f"[stream] too many inputs: expected {self._open}, got {len(args)}")
        feed = dict(zip(self._open, args))
        twice = [name for name in named if name in feed]
        if twice or any(name in self._state for name in named):
            raise ValueError(f"[stream] inputs given: expected each of {self._open} once, got {sorted(named)} besides {list(feed)}")
        out = self._session.run({**feed, **named, **self._values})
        self._values = {given: out[self._at[taken]] for given, taken in self._state.items()}
        left = [out[self._at[name]] for name in self._given]
        return left[0] if len(left) == 1 else tuple(left)

    @property
    def state(self):
        """The state now, by input name, as arrays of their own."""
        return {name: numpy.array(v.numpy() if hasattr(v, "numpy") else v) for name, v in self._values.items()}

    def reset(self, state=None):
        """Begins anew; with `state` ({input name: array}, such as an earlier stream.state) goes on from there."""
        unknown = [name for name in state or () if name not in self._state]
        if unknown:
            raise ValueError(f"[stream] unknown state: expected inputs among {list(self._state)}, got {unknown}")
        self._values = {**self._initial, **(state or {})}
