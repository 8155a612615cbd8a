"""Sequences of different lengths side by side. Packed sequences are absent: recurrent layers take padded ones."""

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
