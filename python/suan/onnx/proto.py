"""ONNX messages as bytes. A message is a list of fields, each its encoded bytes, so that a file can be written
without a copy of its weights in one piece; the field numbers are those of onnx.proto3."""

import struct

#: TensorProto.DataType by the engine's dtype names.
ELEM_TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15, "bfloat16": 16,
}  # fmt: skip


def varint(n):
    n &= (1 << 64) - 1  # negative numbers take ten bytes
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def integer(field, n):
    return varint(field << 3) + varint(n)


def data(field, *parts):
    """A length-delimited field over parts of bytes; a list, to be joined or written in turn."""
    return [varint(field << 3 | 2) + varint(sum(map(len, parts))), *parts]


def text(field, s):
    return b"".join(data(field, s.encode()))


def message(field, parts):
    return b"".join(data(field, *parts))


def attribute(name, value):
    """AttributeProto of a number, a string or a list of either numbers."""
    out = [text(1, name)]
    if isinstance(value, (bool, int)):
        out += [integer(3, int(value)), integer(20, 2)]
    elif isinstance(value, float):
        out += [varint(2 << 3 | 5) + struct.pack("<f", value), integer(20, 1)]
    elif isinstance(value, str):
        out += [text(4, value), integer(20, 3)]
    else:
        out += [integer(8, int(n)) for n in value] + [integer(20, 7)]
    return message(5, out)


def node(op, inputs, outputs, name, attributes):
    out = [text(1, i) for i in inputs] + [text(2, o) for o in outputs] + [text(3, name), text(4, op)]
    return message(1, out + [attribute(k, v) for k, v in attributes.items() if v is not None])


def value_info(field, name, elem_type, dims):
    """A graph's input (field 11) or output (12); a dimension is a number, a name, or None."""
    shape = []
    for d in dims:
        shape.append(message(1, [] if d is None else [text(2, d) if isinstance(d, str) else integer(1, d)]))
    tensor = integer(1, elem_type) + message(2, shape)
    return message(field, [text(1, name), message(2, [message(1, [tensor])])])


def tensor(field, name, elem_type, dims, raw, external=None):
    """A tensor's parts; external: (file name, offset) when its bytes lie elsewhere."""
    head = b"".join(integer(1, d) for d in dims) + integer(2, elem_type) + text(8, name)
    if external is None:
        return data(field, head, *data(9, raw))
    facts = {"location": external[0], "offset": str(external[1]), "length": str(len(raw))}
    entries = b"".join(message(13, [text(1, k), text(2, v)]) for k, v in facts.items())
    return data(field, head, entries, integer(14, 1))


def fields(buffer):
    """(number, wire type, value, start, end) of each field of a message; start and end include the tag. The
    file was accepted by the engine's own reader before."""
    at, view = 0, memoryview(buffer)

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = view[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(view):
        start = at
        key = number()
        kind = key & 7
        if kind == 0:
            value = number()
        else:
            size = {1: 8, 5: 4}[kind] if kind != 2 else number()
            value = view[at : at + size]
            at += size
        yield key >> 3, kind, value, start, at


def first(message, number, default=b""):
    """A field of a message, the last one given, as protocol buffers have it."""
    for field, _, value, _, _ in fields(message):
        if field == number:
            default = value
    return default


def every(message, number):
    return [value for field, _, value, _, _ in fields(message) if field == number]
