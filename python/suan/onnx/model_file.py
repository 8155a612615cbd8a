"""An ONNX file's main graph in parts that can be read and changed; what is not looked at stays as it was. The file was
accepted by the engine's own reader before."""

import dataclasses
import functools
import itertools
import mmap
import os
import pathlib

import numpy

from . import proto
from .proto import every, first

#: A message holds less than 2 GiB.
LARGEST_MESSAGE = (1 << 31) - (1 << 20)


class Message:
    """A message's fields, to be read again after changes."""

    def __init__(self, buffer):
        self.fields = [(number, value, buffer[start:end]) for number, _, value, start, end in proto.fields(buffer)]

    def every(self, number):
        return [value for field, value, _ in self.fields if field == number]

    def first(self, number, default=b""):
        return next(reversed(self.every(number)), default)


class Node:
    def __init__(self, message):
        parts = Message(message)
        self.inputs = [bytes(n) for n in parts.every(1)]
        self.outputs = [bytes(n) for n in parts.every(2)]
        self.op, self.domain = bytes(parts.first(4)).decode(), bytes(parts.first(7)).decode()
        self.name = bytes(parts.first(3))
        self.domain = "" if self.domain == "ai.onnx" else self.domain
        self.attributes = {bytes(first(a, 1)): a for a in parts.every(5)}
        self.rest = b"".join(bytes(raw) for number, _, raw in parts.fields if number not in (1, 2))

    @property
    def graphs(self):
        return [g for a in self.attributes.values() for g in every(a, 6) + every(a, 11)]

    def integer(self, name, default):
        a = self.attributes.get(name)
        return default if a is None else signed(first(a, 3, 0))

    def ints(self, name):
        a = self.attributes.get(name)
        return None if a is None else integers(a, 8)

    def real(self, name, default):
        a = self.attributes.get(name)
        return default if a is None else float(numpy.frombuffer(bytes(first(a, 2)), "<f4")[0])

    def is_onnx(self, *ops):
        return self.domain == "" and self.op in ops

    def encoded(self):
        names = [b"".join(proto.data(k, n)) for k, part in ((1, self.inputs), (2, self.outputs)) for n in part]
        return proto.message(1, [*names, self.rest])


def signed(n):
    return n - (1 << 64) if n >= 1 << 63 else n


def integers(message, number):
    """A repeated integer field, packed or not."""
    out = []
    for field, kind, value, _, _ in proto.fields(message):
        if field != number:
            continue
        if kind == 0:
            out.append(signed(value))
            continue
        n = shift = 0
        for byte in value:
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                out.append(signed(n))
                n = shift = 0
    return out


@dataclasses.dataclass
class Tensor:
    """An initializer: its message, or an array to be written."""

    message: object = None
    array: object = None
    bytes: int = 0          # in the file
    data: object = None     # the map of a second file's part that holds it

    @functools.cached_property
    def content(self):
        """What makes two equal, without their names; None for bytes in a second file."""
        if self.data is not None:
            return None
        if self.array is not None:
            return self.array.dtype.name, self.array.shape, self.array.tobytes()
        return b"".join(bytes(raw) for number, _, raw in Message(self.message).fields if number not in (8, 12))


class ModelFile:
    """The main graph in parts that change; the rest of the file as it was."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.raw = self.path.read_bytes()
        self.rewrites = {}
        self.model = Message(memoryview(self.raw))
        self.graph = Message(self.model.first(7))
        self.nodes = [Node(m) for m in self.graph.every(1)]
        self.tensors, self.files = {}, {}
        for m in self.graph.every(5):
            self._add_tensor(m)
        self.inputs = {bytes(first(m, 1)): m for m in self.graph.every(11) if bytes(first(m, 1)) not in self.tensors}
        self.outputs = {bytes(first(m, 1)): m for m in self.graph.every(12)}
        self.infos = {bytes(first(m, 1)): m for m in self.graph.every(13)}
        self.bytes_before = len(self.raw) + sum(len(f) for f in self.files.values())
        self.types = {}   # name -> (dtype name, shape), once inputs are fixed
        self.opset = next((first(o, 2, 0) for o in self.model.every(8) if bytes(first(o, 1)) in (b"", b"ai.onnx")), 0)
        sparse = [bytes(first(first(m, 1), 8)) for m in self.graph.every(15)]
        self.given = {*self.inputs, *sparse}

    # ---- weights ----

    def _add_tensor(self, message):
        name = bytes(first(message, 8))
        tensor = Tensor(message=message, bytes=len(message))
        if first(message, 14, 0) == 1:
            facts = {bytes(first(e, 1)).decode(): bytes(first(e, 2)).decode() for e in every(message, 13)}
            file = self._file(facts["location"])
            offset = int(facts.get("offset", 0))
            tensor.data = memoryview(file)[offset : offset + int(facts["length"]) if "length" in facts else len(file)]
            tensor.bytes = len(tensor.data)
        self.tensors[name] = tensor

    def _file(self, location):
        if location not in self.files:
            with open(self.path.parent / location, "rb") as f:
                empty = os.fstat(f.fileno()).st_size == 0
                self.files[location] = b"" if empty else mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        return self.files[location]

    def set_tensor(self, name, array):
        array = numpy.asarray(array, order="C")
        self.tensors[name] = Tensor(array=array, bytes=array.nbytes)

    def _tensor_message(self, name, external=None):
        """(parts of an initializer, its bytes): bytes of a second file are taken in, or put into the new one."""
        t = self.tensors[name]
        if t.array is not None:
            head = b"".join(proto.integer(1, d) for d in t.array.shape) + proto.integer(2, proto.ELEM_TYPES[t.array.dtype.name])
            raw = t.array.reshape(-1).view("u1") if t.array.size else b""
        elif t.data is not None:
            head = b"".join(bytes(raw) for number, _, raw in Message(t.message).fields if number not in (8, 9, 13, 14))
            raw = t.data
        else:
            return proto.data(5, t.message), b""
        head += b"".join(proto.data(8, name))
        if external is None or len(raw) < 1024:
            return proto.data(5, head, *proto.data(9, memoryview(raw))), b""
        file, offset = external
        facts = {"location": file, "offset": str(offset), "length": str(len(raw))}
        entries = b"".join(proto.message(13, [proto.text(1, k), proto.text(2, v)]) for k, v in facts.items())
        return proto.data(5, head, entries, proto.integer(14, 1)), raw

    # ---- names ----

    def captured(self):
        """Names that sub-graphs read (or make: they are never given to something else)."""
        names, todo = set(), [g for n in self.nodes for g in n.graphs]
        while todo:
            graph = todo.pop()
            for node in every(graph, 1):
                names.update(bytes(n) for n in every(node, 1) + every(node, 2))
                todo += [g for a in every(node, 5) for g in every(a, 6) + every(a, 11)]
            names.update(bytes(first(m, 8)) for m in every(graph, 5))
            names.update(bytes(first(m, 1)) for m in every(graph, 11) + every(graph, 12))
        return names

    def fresh(self, name):
        """A name that nothing has."""
        used = {*self.tensors, *self.given, *self.captured(), *(o for n in self.nodes for o in n.outputs)}
        return next(c for i in itertools.count() if (c := name + b"_%d" % i if i else name) not in used)

    def readers(self):
        """{name: nodes that read it}"""
        found = {}
        for node in self.nodes:
            for name in node.inputs:
                found.setdefault(name, []).append(node)
        return found

    def note(self, what, n=1):
        if n:
            self.rewrites[what] = self.rewrites.get(what, 0) + n

    # ---- the file ----

    def encoded_graph(self, extra=()):
        """Fields of the graph, weights apart."""
        out = [n.encoded() for n in self.nodes]
        out += [bytes(raw) for number, _, raw in self.graph.fields if number not in (1, 5, 11, 12, 13)]
        out += [b"".join(proto.data(11, m)) for m in self.inputs.values()]
        out += [b"".join(proto.data(12, m)) for m in self.outputs.values()]
        out += [proto.message(12, [b"".join(proto.data(1, name))]) for name in extra]
        made = {o for n in self.nodes for o in n.outputs}
        for name, message in self.infos.items():
            if name in made and name not in self.outputs:
                out.append(b"".join(proto.data(13, message)))
        return out

    def head(self):
        """Fields of the model but its graph. Initializers that are no inputs came with version 4 of the format."""
        out = [proto.integer(1, max(4, self.model.first(1, 0)))]
        return out + [bytes(raw) for number, _, raw in self.model.fields if number not in (1, 7)]

    def whole(self, extra=()):
        """The model as bytes, with more outputs."""
        weights = [part for name in self.tensors for part in self._tensor_message(name)[0]]
        return b"".join(self.head() + proto.data(7, *self.encoded_graph(extra), *weights))

    def weight_bytes(self):
        return sum(t.bytes for t in self.tensors.values())

    def write(self, path, extra=()):
        """One file, or two where one would be too large."""
        large = self.weight_bytes() >= LARGEST_MESSAGE
        beside = path.with_name(path.name + ".data") if large else None
        weights, pieces, offset = [], [], 0
        for name in self.tensors:
            parts, raw = self._tensor_message(name, (beside.name, offset) if large else None)
            weights += parts
            if len(raw):
                pieces.append((offset, raw))
                offset = (offset + len(raw) + 63) // 64 * 64
        if large:
            with open(beside, "wb") as f:
                for at, raw in pieces:
                    f.seek(at)
                    f.write(raw)
        with open(path, "wb") as f:
            f.writelines(self.head())
            f.writelines(proto.data(7, *self.encoded_graph(extra), *weights))


def made(op, inputs, outputs):
    return Node(b"".join([*(b"".join(proto.data(1, i)) for i in inputs), *(b"".join(proto.data(2, o)) for o in outputs),
                           proto.text(4, op)]))


def port(message):
    """(element type or None, [dimension: number or name or None] or None) of a ValueInfoProto."""
    tensor = first(first(message, 2), 1)
    if not len(tensor):
        return None, None
    shape = every(tensor, 2)
    if not shape:
        return first(tensor, 1, 0), None
    dims = []
    for d in every(shape[-1], 1):
        found = {number: value for number, _, value, _, _ in proto.fields(d)}
        number = signed(found[1]) if 1 in found else -1   # some exporters write -1 for an open one
        dims.append(number if number >= 0 else bytes(found[2]).decode() if len(found.get(2, b"")) else None)
    return first(tensor, 1, 0), dims


def with_shape(message, elem, dims):
    """A ValueInfoProto of a tensor; what else it says stays."""
    shape = b"".join(proto.message(1, [] if d is None else [proto.text(2, d) if isinstance(d, str) else proto.integer(1, d)])
                     for d in dims)
    kind = proto.message(2, [proto.message(1, [proto.integer(1, elem), b"".join(proto.data(2, shape))])])
    return b"".join([*(bytes(raw) for number, _, raw in Message(message).fields if number != 2), kind])
