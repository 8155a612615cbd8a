"""Items to batches."""

import numpy as np

import suan


def default_collate(items):
    """Stacks a list of items: tensors, arrays and numbers into tensors; tuples and dicts item by
    item."""
    first = items[0]
    if isinstance(first, suan.Tensor):
        return suan.stack(items)
    if isinstance(first, np.ndarray):
        return suan.from_numpy(np.stack(items))
    if isinstance(first, (bool, int, float, np.number)):
        return suan.tensor([i.item() if isinstance(i, np.number) else i for i in items])
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(list(part)) for part in zip(*items)))
    if isinstance(first, (tuple, list)):
        if any(len(item) != len(first) for item in items):
            raise ValueError(
                f"[DataLoader] cannot collate: expected items of {len(first)} parts, got "
                f"{sorted({len(item) for item in items})}"
            )
        return type(first)(default_collate(list(part)) for part in zip(*items))
    if isinstance(first, dict):
        return {key: default_collate([item[key] for item in items]) for key in first}
    if isinstance(first, (str, bytes)):
        return items
    raise TypeError(
        f"[DataLoader] cannot collate: expected tensors, arrays, numbers, tuples, lists or dicts, "
        f"got {type(first).__name__}"
    )


def default_convert(item):
    """One item without a batch dimension: arrays become tensors, all else stays."""
    if isinstance(item, np.ndarray):
        return suan.from_numpy(item)
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return type(item)(*(default_convert(part) for part in item))
    if isinstance(item, (tuple, list)):
        return type(item)(default_convert(part) for part in item)
    if isinstance(item, dict):
        return {key: default_convert(part) for key, part in item.items()}
    return item
