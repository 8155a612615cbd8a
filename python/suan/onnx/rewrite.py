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

    def __init__(self, changed, folder, beside):
        self.changed, self.folder, self.beside = dict(changed), folder, beside
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
        kept, dims, facts, elem, outside = [], [], {}, 0, False
        for number, kind, value, start, end in proto.fields(message):
            if number not in _DATA:
                kept.append(message[start:end])
            if number == 1:
                dims += [value] if kind == 0 else _varints(value)
            elif number == 2:
                elem = value
            elif number == 13:
                entry = {n: bytes(v).decode() for n, _, v, _, _ in proto.fields(value)}
                facts[entry.get(1, "")] = entry.get(2, "")
            elif number == 14:
                outside = value == 1
        if not outside:
            return None if raw is None else kept + proto.data(9, raw)
        raw = self.outside(facts, -(-math.prod(dims) * _BITS[elem] // 8)) if raw is None else raw
        kept += [proto.message(13, [proto.text(1, k), proto.text(2, v)]) for k, v in self.put(raw).items()]
        return kept + [proto.integer(14, 1)]

    def outside(self, facts, size):
        with open(os.path.join(self.folder, facts["location"]), "rb") as f:
            f.seek(int(facts.get("offset") or 0))
            return f.read(int(facts.get("length") or size))

    def put(self, raw):
        """Writes bytes beside the file; where they are."""
        if self.out is None:
            self.out = open(self.beside + ".new", "wb")
        facts = {"location": os.path.basename(self.beside), "offset": str(self.offset), "length": str(len(raw))}
        self.out.write(raw)
        self.out.write(bytes(-len(raw) % 64))   # so that a reader can map them in place
        self.offset += len(raw) + -len(raw) % 64
        return facts


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


def rewrite(source, folder, path, changed):
    """Writes the model in the buffer `source` (external data below `folder`) to a path.

    changed: {(place, tensor): its new bytes}, of initializers and Constants; the place is that of _c.OnnxTrainable.
    """
    source = memoryview(source)
    work, beside = _Rewriter(changed, folder, path + ".data"), path + ".data"
    new = [path + ".new", beside + ".new"]
    try:
        with contextlib.ExitStack() as stack:
            parts = work.model(source)
            if work.out:
                stack.callback(work.out.close)
            with open(new[0], "wb") as f:
                f.writelines([source] if parts is None else parts)
        if work.changed:
            raise ValueError(f"[onnx.module] tensors are not in the file: expected initializers or Constants, got {sorted(work.changed)}")
        if work.out:
            os.replace(new[1], beside)
        os.replace(new[0], path)
    finally:
        for name in new:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
