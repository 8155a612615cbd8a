"""Sequences of different lengths: side by side with padding, or packed, which recurrent layers take too."""

from typing import NamedTuple

import suan


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Tensors [length, ...], the rest of their shapes equal, as one [longest, batch, ...] (or [batch, longest, ...]),
    filled up with padding_value on the right or left."""
    if padding_side not in ("right", "left"):
        raise ValueError(f"[pad_sequence] wrong padding_side: expected 'right' or 'left', got {padding_side!r}")
    sequences = list(sequences)
    if not sequences:
        raise ValueError("[pad_sequence] no sequences: expected at least one, got none")
    longest, padded = max(t.shape[0] for t in sequences), []
    for t in sequences:
        missing = longest - t.shape[0]
        if missing:
            fill = suan.full((missing, *tuple(t.shape)[1:]), padding_value, dtype=t.dtype, device=t.device)
            t = suan.cat([t, fill] if padding_side == "right" else [fill, t], 0)
        padded.append(t)
    return suan.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """What pad_sequence (on the right) was given, from its result and the lengths; views."""
    lengths = lengths.tolist() if isinstance(lengths, suan.Tensor) else list(lengths)
    rows = padded_sequences.unbind(0 if batch_first else 1)
    if len(rows) != len(lengths):
        raise ValueError(f"[unpad_sequence] wrong number of lengths: expected {len(rows)}, got {len(lengths)}")
    return [row[:n] for row, n in zip(rows, lengths)]


class PackedSequence(NamedTuple):
    """Sequences of different lengths without padding: data [sum of lengths, ...], all first steps, then all second
    ones, and so on, longest sequence first; batch_sizes, int64 on the CPU, how many sequences have each step;
    sorted_indices, the sequences' places in the batch from the longest on, and unsorted_indices, the way back (None:
    they were sorted)."""

    data: suan.Tensor
    batch_sizes: suan.Tensor
    sorted_indices: suan.Tensor | None = None
    unsorted_indices: suan.Tensor | None = None

    def to(self, *args, **kwargs):
        return self._replace(data=self.data.to(*args, **kwargs))

    @property
    def is_cuda(self):
        return self.data.is_cuda

    def lengths(self):
        """Of the sequences in data's order."""
        sizes = self.batch_sizes.tolist()
        return [sum(1 for n in sizes if n > b) for b in range(sizes[0])]


def invert_permutation(permutation):
    """The permutation that undoes this one; None of None."""
    return None if permutation is None else suan.argsort(permutation)


def _places(lengths):
    """(step, sequence) of every row of packed data, lengths descending."""
    steps = [(t, b) for t in range(lengths[0]) for b in range(len(lengths)) if lengths[b] > t]
    return suan.tensor([t for t, _ in steps]), suan.tensor([b for _, b in steps])


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Padded sequences [longest, batch, ...] (or [batch, longest, ...]) and their lengths, a list or an integer tensor,
    as a PackedSequence. ValueError: lengths that do not fit, or are not descending with enforce_sorted."""
    lengths = [int(n) for n in (lengths.tolist() if isinstance(lengths, suan.Tensor) else lengths)]
    if batch_first:
        input = input.transpose(0, 1)
    if input.dim() < 2 or len(lengths) != input.shape[1] or not lengths:
        raise ValueError("[pack_padded_sequence] wrong lengths: expected one for each sequence of "
                         f"{tuple(input.shape)}, got {len(lengths)}")
    if min(lengths) < 1 or max(lengths) > input.shape[0]:
        raise ValueError(f"[pack_padded_sequence] wrong lengths: expected 1 to {input.shape[0]}, got {lengths}")
    order = None
    descending = sorted(lengths, reverse=True)
    if not enforce_sorted:
        order = suan.tensor(sorted(range(len(lengths)), key=lambda b: -lengths[b]))
        input = input.index_select(1, order)
    elif lengths != descending:
        raise ValueError("[pack_padded_sequence] lengths not sorted: expected descending ones or enforce_sorted=False, "
                         f"got {lengths}")
    sizes = suan.tensor([sum(1 for n in lengths if n > t) for t in range(descending[0])])
    return PackedSequence(input[_places(descending)], sizes, order, invert_permutation(order))


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """(sequences padded to the longest, or to total_length, in the order they were packed from; their lengths)."""
    lengths = sequence.lengths()
    longest = lengths[0] if total_length is None else total_length
    if longest < lengths[0]:
        raise ValueError(f"[pad_packed_sequence] wrong total_length: expected at least {lengths[0]}, got {longest}")
    data = sequence.data
    shape = (longest, len(lengths), *tuple(data.shape)[1:])
    padded = suan.full(shape, padding_value, dtype=data.dtype, device=data.device)
    padded = padded.index_put(_places(lengths), data)
    counts = suan.tensor(lengths)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        counts = counts[sequence.unsorted_indices]
    return (padded.transpose(0, 1) if batch_first else padded), counts


def pack_sequence(sequences, enforce_sorted=True):
    """Tensors [length, ...] as a PackedSequence; longest first unless enforce_sorted=False."""
    lengths = [t.shape[0] for t in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """What pack_sequence was given."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))
