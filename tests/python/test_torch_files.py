"""suan.load of files that torch.save wrote (golden/torch_saved.pt), and of damaged ones: nothing is executed."""

import io
import pickle
import random
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import suan
from suan import nn, optim

GOLDEN = Path(__file__).parent / "golden"
SAVED = GOLDEN / "torch_saved.pt"


def test_everything_that_torch_saved():
    saved = suan.load(SAVED, map_location="cpu", weights_only=True)
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(saved["turned"].numpy(), base.T)
    for name, dtype in (("bfloat16", suan.bfloat16), ("half", suan.half), ("double", suan.double)):
        assert saved[name].dtype is dtype
        np.testing.assert_array_equal(saved[name].float().numpy(), base)
    assert saved["uint16"].dtype is suan.uint16 and saved["uint16"].tolist() == [1, 65535]
    assert saved["float8"].dtype is suan.float8_e4m3fn and saved["float8"].float().tolist() == [1.5]
    assert saved["flags"].tolist() == [True, False] and saved["scalar"].item() == 2.5
    assert saved["empty"].shape == (0, 3) and saved["size"] == suan.Size((3, 4))
    assert saved["dtype"] is suan.float16 and saved["device"] == suan.device("cpu")
    assert (saved["epoch"], saved["name"], saved["list"], saved["big"]) == (3, "x", [1, (2.5, None)], 1 << 70)
    assert isinstance(saved["parameter"], nn.Parameter) and saved["parameter"].requires_grad


def test_tensors_that_shared_memory_share_it_again():
    saved = suan.load(SAVED)
    saved["row"][2] = 100.0
    assert saved["turned"][2, 1].item() == 100.0


def test_a_model_and_its_optimizer_take_the_state():
    saved = suan.load(SAVED)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = optim.AdamW(model.parameters())
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), saved["parameter"].detach().numpy())
    assert int(model[1].num_batches_tracked) == 1
    first = optimizer.state[model[0].weight]
    assert first["step"].item() == 1 and float(first["exp_avg"].abs().sum()) > 0


def test_from_a_file_object():
    with open(SAVED, "rb") as f:
        assert suan.load(f)["epoch"] == 3
    kept = io.BytesIO()
    suan.save({"a": suan.ones(2), "b": np.arange(3), "c": np.int64(5), "d": np.float32(0.5)}, kept)
    back = suan.load(kept)
    assert back["a"].tolist() == [1, 1] and isinstance(back["b"], np.ndarray) and back["b"].tolist() == [0, 1, 2]
    assert (back["c"], back["d"]) == (5, 0.5)
    with pytest.raises(TypeError, match="cannot save 'x': expected an array of numbers, got one of object"):
        suan.save({"x": np.array([None])}, kept)


def test_what_is_refused():
    with pytest.raises(TypeError, match="got an object of torch.nn.modules.container.Sequential"):
        suan.load(GOLDEN / "torch_module.pt")
    with pytest.raises(ValueError, match="before PyTorch 1.6"):
        suan.load(GOLDEN / "torch_old.pt")


def rewritten(data=None, drop=(), change=None, compress=zipfile.ZIP_STORED):
    """The golden file with another pickle, or other members."""
    out = io.BytesIO()
    with zipfile.ZipFile(SAVED) as old, zipfile.ZipFile(out, "w", compress) as new:
        for name in old.namelist():
            short = name.split("/", 1)[1]
            if short in drop:
                continue
            body = old.read(name)
            if short == "data.pkl" and data is not None:
                body = data
            new.writestr(name, (change or {}).get(short, body))
    return out


def test_no_callable_but_the_known_is_called(tmp_path):
    mark = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return (open, (str(mark), "w"))

    with pytest.raises(TypeError, match="got an object of (_?io|builtins).open"):
        suan.load(rewritten(pickle.dumps(Evil(), 2)))
    assert not mark.exists()


@pytest.mark.parametrize("made, message", [
    (lambda: rewritten(drop=("data.pkl",)), "expected data.pkl in one folder, got 0"),
    (lambda: rewritten(drop=("data/0",)), "expected storage '0', got none"),
    (lambda: rewritten(change={"data/0": b"short"}), "plain bytes for storage '0'"),
    (lambda: rewritten(compress=zipfile.ZIP_DEFLATED), "plain bytes for storage"),
    (lambda: rewritten(change={"byteorder": b"big"}), "little-endian"),
    (lambda: rewritten(b""), "expected what torch.save writes"),
    (lambda: rewritten(b"\x80\x02]q\x00"), "expected what torch.save writes"),
    (lambda: io.BytesIO(SAVED.read_bytes()[:3000]), "expected what torch.save writes"),
])
def test_damaged_files_are_named(made, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = made()
    with pytest.raises(ValueError, match=message):
        suan.load(file)


def test_a_thousand_damaged_pickles():
    with zipfile.ZipFile(SAVED) as archive:
        whole = archive.read([n for n in archive.namelist() if n.endswith("data.pkl")][0])
    rng = random.Random(0)
    read = 0
    for _ in range(1000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at] = rng.choice((rng.randrange(256), data[at] ^ 1 << rng.randrange(8), data[rng.randrange(len(data))]))
        try:
            suan.load(rewritten(bytes(data)))
            read += 1
        except (ValueError, TypeError, suan.DeviceError) as error:
            assert str(error), data
    assert read > 50   # a changed name or number is no damage that can be seen
