"""Datasets, the loader's exact position, text blocks, picture data."""

import gzip
import struct

import numpy as np
import pytest

import suan
from suan import data


def numbers(loader):
    return [batch[0].numpy().tolist() for batch in loader]


def plain(n=10):
    return data.TensorDataset(suan.arange(n), suan.arange(n) * 2)


def test_batches_in_order_and_drop_last():
    assert numbers(data.DataLoader(plain(), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    loader = data.DataLoader(plain(), 4, drop_last=True)
    assert numbers(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]] and len(loader) == 2


def test_shuffling_is_a_permutation_that_depends_on_seed_and_epoch():
    loader = data.DataLoader(plain(50), 7, shuffle=True, seed=5)
    first, second = numbers(loader), numbers(loader)
    assert sorted(sum(first, [])) == list(range(50)) and first != second
    assert numbers(data.DataLoader(plain(50), 7, shuffle=True, seed=5)) == first
    assert numbers(data.DataLoader(plain(50), 7, shuffle=True, seed=6)) != first


def test_seed_comes_from_manual_seed():
    orders = []
    for _ in range(2):
        suan.manual_seed(11)
        orders.append(numbers(data.DataLoader(plain(30), 5, shuffle=True)))
    assert orders[0] == orders[1]


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("stop", [0, 1, 3, 5, 8])
def test_position_is_exact(replacement, stop):
    def make():
        return data.DataLoader(plain(33), 8, shuffle=True, seed=3, replacement=replacement)

    whole, wanted = make().forever(), []
    for _ in range(12):
        wanted.append(next(whole)[0].numpy().tolist())
    loader = make()
    stream = loader.forever()
    got = [next(stream)[0].numpy().tolist() for _ in range(stop)]
    other = make()
    other.load_state_dict(loader.state_dict())
    stream = other.forever()
    got += [next(stream)[0].numpy().tolist() for _ in range(12 - stop)]
    assert got == wanted


def test_a_loop_left_early_starts_a_new_epoch():
    loader = data.DataLoader(plain(20), 5)
    for batch in loader:
        break
    assert len(numbers(loader)) == 4 and loader.epoch == 2


def test_wrong_state_and_options():
    loader = data.DataLoader(plain(), 2)
    with pytest.raises(ValueError, match="expected a number 'epoch', got None"):
        loader.load_state_dict({"seed": 1})
    with pytest.raises(ValueError, match="wrong batch_size"):
        data.DataLoader(plain(), 0)
    with pytest.raises(ValueError, match="sizes differ"):
        data.TensorDataset(suan.ones(3), suan.ones(4))


def test_collating_nested_items():
    items = [{"x": (suan.ones(2), 1), "n": np.zeros(3, np.float32), "s": "a"} for _ in range(3)]
    loader = data.DataLoader(items, 3)
    batch = next(iter(loader))
    assert tuple(batch["x"][0].shape) == (3, 2) and batch["x"][1].numpy().tolist() == [1, 1, 1]
    assert tuple(batch["n"].shape) == (3, 3) and batch["s"] == ["a"] * 3
    with pytest.raises(TypeError, match="cannot collate"):
        data.default_collate([object()])


def test_subset_and_concat():
    both = plain(3) + plain(4)
    assert len(both) == 7 and int(both[5][0]) == 2 and int(both[-1][0]) == 3
    assert [int(data.Subset(both, [6, 0])[i][0]) for i in range(2)] == [3, 0]
    with pytest.raises(IndexError):
        both[7]


def test_vocabulary_round_trip_and_unknown_characters():
    vocab = data.CharVocab("hello wörld")
    assert vocab.decode(vocab.encode("wörld ole")) == "wörld ole" and len(vocab) == 9
    with pytest.raises(ValueError, match="got 'z' at position 2"):
        vocab.encode("hez")


def test_text_blocks():
    blocks = data.TextBlocks(np.arange(20), 6)
    assert len(blocks) == 14
    x, y = blocks.get_batch(np.array([0, 13]))
    assert x.numpy().tolist() == [list(range(6)), list(range(13, 19))]
    assert y.numpy().tolist() == [list(range(1, 7)), list(range(14, 20))]
    assert len(data.TextBlocks(np.arange(20), 6, stride=6)) == 3
    with pytest.raises(ValueError, match="too few tokens"):
        data.TextBlocks(np.arange(6), 6)


def test_read_text_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        data.read_text(tmp_path / "none.txt")
    (tmp_path / "bad").write_bytes(b"ab\xff\xfe")
    with pytest.raises(ValueError, match="expected UTF-8, got .* at byte 2"):
        data.read_text(tmp_path / "bad")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        data.read_text(tmp_path / "empty")


def write_idx(path, array):
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def test_picture_folder_and_damaged_files(tmp_path):
    for part, n in (("train", 6), ("t10k", 4)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", np.full((n, 8, 8), 255, np.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(n, dtype=np.uint8))
    train, test = data.load_fashion_mnist(tmp_path)
    assert len(train) == 6 and len(test) == 4
    x, y = train.get_batch(np.array([1, 5]))
    assert tuple(x.shape) == (2, 1, 8, 8) and y.numpy().tolist() == [1, 5]
    assert float(x[0, 0, 0, 0]) == pytest.approx((1 - 0.2860) / 0.3530)
    whole = (tmp_path / "train-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(whole[:-20])
    with pytest.raises(RuntimeError, match="truncated or damaged"):
        data.load_fashion_mnist(tmp_path)


def test_datasets_side_by_side():
    rows, numbers = data.TensorDataset(suan.arange(6).reshape(3, 2)), range(3)
    both = data.StackDataset(rows, numbers)
    assert len(both) == 3 and both[1][0][0].tolist() == [2, 3] and both[1][1] == 1
    named = data.StackDataset(a=numbers, b="xyz")
    assert named[2] == {"a": 2, "b": "z"}
    batch, = data.DataLoader(named, 3)
    assert batch["a"].tolist() == [0, 1, 2] and batch["b"] == ["x", "y", "z"]
    with pytest.raises(ValueError, match=r"\[StackDataset\] sizes differ: expected one length, got \[2, 3\]"):
        data.StackDataset(numbers, "ab")
    with pytest.raises(ValueError, match="by place or by name"):
        data.StackDataset()
