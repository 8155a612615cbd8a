"""An ONNX file again, with other bytes in some of its tensors. What need not change is copied as it stands."""

import contextlib
import itertools
import math
import os

from . import proto

_DATA = {4, 5, 6, 7, 9, 10, 11, 13, 14}   # fields of TensorProto that hold numbers or say where they are
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 17: 8, 18: 8, 19: 8,
         20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}  # fmt: skip


class _Rewriter:
    """Each method gives a message's parts, or None where the message stays as it is."""

    def __init__(self, changed, files, beside, new):
        self.changed, self.files, self.beside, self.new = dict(changed), files, beside, new
        self.out, self.offset = None, 0

    def walk(self, message, inside):
        """inside: {field: method for the message that it holds}."""
        parts, same = [], True
        for number, kind, value, start, end in proto.fields(message):
            made = inside[number](value) if kind == 2 and number in inside else None
            same = same and made is None
            parts += [message[start:end]] if made is None else proto.data(number, *made)
        return None if same else parts

    def model(self, message):
        return self.walk(message, {7: self.graph, 25: self.function})

    def function(self, message):
        return self.walk(message, {7: lambda node: self.node(node, "?")})   # whose tensors are not trained

    def graph(self, message, place=""):
        position = itertools.count()
        return self.walk(message, {1: lambda node: self.node(node, place, next(position)),
                                   5: lambda t: self.tensor(t, self.changed.pop((place, _text(t, 8)), None))})

    def node(self, message, place, position=0):
        raw = self.changed.pop((place, _text(message, 2)), None) if _text(message, 4) == "Constant" else None
        if raw is not None:
            return self.walk(message, {5: lambda attribute: self.walk(attribute, {5: lambda t: self.tensor(t, raw)})})
        return self.walk(message, {5: lambda attribute: self.attribute(attribute, f"{place}{position}:{_text(attribute, 1)}/")})

    def attribute(self, message, place):
        graph = lambda g: self.graph(g, place)  # noqa: E731
        return self.walk(message, {5: self.tensor, 10: self.tensor, 6: graph, 11: graph})

    def tensor(self, message, raw=None):
        facts = _outside(message)
        if raw is None and facts is None:
            return None
        kept = [message[start:end] for number, _, _, start, end in proto.fields(message) if number not in _DATA]
        if facts is None:
            return kept + proto.data(9, raw)
        if raw is None:
            start = int(facts.get("offset") or 0)
            raw = self.files[facts["location"]][start : start + int(facts.get("length") or _size(message))]
        kept += [proto.message(13, [proto.text(1, k), proto.text(2, v)]) for k, v in self.put(raw).items()]
        return kept + [proto.integer(14, 1)]

    def put(self, raw):
        """Writes bytes beside the file; where they are."""
        if self.out is None:
            self.out = open(self.new, "wb")
        facts = {"location": os.path.basename(self.beside), "offset": str(self.offset), "length": str(len(raw))}
        self.out.write(raw)
        self.out.write(bytes(-len(raw) % 64))   # so that a reader can map them in place
        self.offset += len(raw) + -len(raw) % 64
        return facts


class _Locator(_Rewriter):
    def tensor(self, message, raw=None):
        if facts := _outside(message):
            self.files.add(facts["location"])


def locations(source):
    """The files that hold tensors of a model, as it names them."""
    found = set()
    _Locator({}, found, None, None).model(memoryview(source))
    return found


def _outside(tensor):
    """What a TensorProto says of the file that holds its bytes, None when it holds them itself."""
    facts, outside = {}, False
    for number, _, value, _, _ in proto.fields(tensor):
        if number == 13:
            facts[_text(value, 1)] = _text(value, 2)
        elif number == 14:
            outside = value == 1
    return facts if outside else None


def _size(tensor):
    dims, elem = [], 0
    for number, kind, value, _, _ in proto.fields(tensor):
        if number == 1:
            dims += [value] if kind == 0 else _varints(value)
        elif number == 2:
            elem = value
    return -(-math.prod(dims) * _BITS[elem] // 8)


def _text(message, field):
    return next((bytes(v).decode(errors="replace") for n, kind, v, _, _ in proto.fields(message) if n == field and kind == 2), "")


def _varints(value):
    numbers, n, shift = [], 0, 0
    for byte in value:
        n |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(n)
            n = shift = 0
    return numbers


def rewrite(source, files, path, changed):
    """Writes the model in the buffer `source` to a path.

    files: {location: buffer} of the external data that it names. changed: {(place, tensor): its new bytes}, of
    initializers and Constants; the place is that of _c.OnnxTrainable.
    """
    source, beside = memoryview(source), path + ".data"
    new = [f"{p}.{os.getpid()}.new" for p in (path, beside)]
    work = _Rewriter(changed, files, beside, new[1])
    try:
        with contextlib.ExitStack() as stack:
            parts = work.model(source)
            if work.out:
                stack.callback(work.out.close)
            with open(new[0], "wb") as f:
                f.writelines([source] if parts is None else parts)
        if work.changed:
            raise ValueError("[onnx.module] tensors are not in the file: expected initializers or Constants, got "
                             f"{sorted(work.changed)}")
        if work.out:
            os.replace(new[1], beside)
        os.replace(new[0], path)
    finally:
        for name in new:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
