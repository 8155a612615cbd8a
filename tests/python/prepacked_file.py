"""Files of packed weights (frontends/onnx/prepacked.h) taken apart and put together again, with checksums that fit, so that
tests and the fuzzer get past them."""

import struct

MASK = (1 << 64) - 1
TABLE, RECORD, HEADER, DATA_PART = 8192, 120, 200, 1 << 20


def _mix(h, x):
    h ^= (x + 0x9E3779B97F4A7C15 + (h << 6) + (h >> 2)) & MASK
    h = h * 0xFF51AFD7ED558CCD & MASK
    return h ^ h >> 32


def _keys(x):
    out = []
    for _ in range(8):
        x = (x + 0x9E3779B97F4A7C15) & MASK
        v = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
        out.append((v ^ v >> 27) * 0x94D049BB133111EB & MASK | 1)
    return out


START, FACTOR = _keys(1), _keys(2)


def _folded(a, b):
    p = a * b
    return (p ^ p >> 64) & MASK


def content_hash(data, seed=(0, 0)):
    """The engine's content_hash, written from its description: (low, high)."""
    lanes = [START[i] ^ seed[i % 2] for i in range(8)]
    for at in range(0, len(data), 128):
        words = struct.unpack("<16Q", data[at : at + 128].ljust(128, b"\0"))
        for i, old in enumerate(lanes):
            turned = (old << 23 | old >> 41) & MASK
            lanes[i] = (_folded(old ^ words[2 * i], FACTOR[i] ^ words[2 * i + 1]) + turned + words[2 * i]) & MASK
    low, high = _mix(seed[0], len(data)), _mix(~seed[1] & MASK, len(data))
    for i, lane in enumerate(lanes):
        low = _mix(low, lane)
        high = _mix(high, (_folded(lane ^ FACTOR[i], START[7 - i]) + lane) & MASK)
    return low, high


def data_hash(data):
    """content_hash_parallel."""
    parts = [content_hash(data[at : at + DATA_PART]) for at in range(0, len(data), DATA_PART)]
    return content_hash(b"".join(struct.pack("<2Q", *p) for p in parts), (len(data), DATA_PART))


class File:
    """`fields` of the header and `records` of the table may be changed; bytes() gives the file."""

    FIELDS = "magic format reserved file_bytes n_entries data_at table_low table_high model_low model_high made_by processor".split()
    LAYOUT = "<8sIIQQQQQQQ64s64s"
    RECORD_FIELDS = "key_low key_high data_low data_high offset bytes d0 d1 d2 d3 d4 d5 d6 d7 dtype rank has_data".split()
    RECORD_LAYOUT = "<6Q8qBBB5x"

    def __init__(self, data):
        self.data = bytearray(data)
        self.fields = dict(zip(self.FIELDS, struct.unpack_from(self.LAYOUT, data)))
        self.records = [dict(zip(self.RECORD_FIELDS, struct.unpack_from(self.RECORD_LAYOUT, data, TABLE + i * RECORD)))
                        for i in range(self.fields["n_entries"])]

    def bytes(self, table=True, header=True):
        """With checksums that fit, where asked for."""
        out = bytearray(self.data)
        for i, r in enumerate(self.records):
            struct.pack_into(self.RECORD_LAYOUT, out, TABLE + i * RECORD, *(r[k] for k in self.RECORD_FIELDS))
        if table:
            n = min(self.fields["n_entries"], len(self.records)) * RECORD
            self.fields["table_low"], self.fields["table_high"] = content_hash(bytes(out[TABLE : TABLE + n]))
        struct.pack_into(self.LAYOUT, out, 0, *(self.fields[k] for k in self.FIELDS))
        if header:
            struct.pack_into("<2Q", out, HEADER, *content_hash(bytes(out[:HEADER])))
        return bytes(out)
