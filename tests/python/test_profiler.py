"""suan.profiler: every kernel once, with its line; nothing when it is off."""

import inspect
import json
import threading

import pytest

import suan
from suan import nn
from suan.nn import functional as F
from suan.profiler import profile


def line():
    """file:line of the caller's next line."""
    frame = inspect.currentframe().f_back
    return f"test_profiler.py:{frame.f_lineno + 1}"


def test_eager_calls_with_their_lines():
    x = suan.randn(8, 8).requires_grad_()
    with profile() as p:
        here = line()
        y = suan.matmul(x, x).tanh()
        y.sum().backward()
    ops = [c.op for c in p.calls]
    assert ops.count("tanh") == 1 and ops.count("matmul") >= 3 and "sum" in ops
    tanh = next(c for c in p.calls if c.op == "tanh")
    assert here in tanh.line and not tanh.planned
    grads = [c for c in p.calls if c.op == "matmul"][1:]
    assert all(here in c.line for c in grads), "a gradient belongs to its forward line"
    assert all(0 <= c.begin and c.begin + c.seconds <= p.seconds for c in p.calls)
    assert [c.begin for c in p.calls] == sorted(c.begin for c in p.calls)
    before = len(p.calls)
    suan.tanh(x)
    assert len(p.calls) == before


def test_steps_of_a_compiled_function():
    f = suan.compile(lambda a, w: F.gelu(F.linear(a, w)).sum(dim=-1))
    a, w = suan.randn(4, 16), suan.randn(8, 16)
    for _ in range(3):
        f(a, w)
    with profile() as p:
        f(a, w)
    assert p.calls and all(c.planned for c in p.calls)
    assert any("test_profiler.py" in c.line for c in p.calls)
    assert {"fused_epilogue", "linear"} & {c.op for c in p.calls}


def test_tables_and_trace(tmp_path):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    with profile() as p:
        for _ in range(3):
            model(suan.randn(4, 6))
    totals = dict((name, n) for name, n, _ in p.totals())
    assert totals["linear"] == 6 and totals["relu"] == 3
    assert sum(s for _, _, s in p.totals()) == pytest.approx(sum(s for _, _, s in p.totals("line")))
    text = p.table(rows=1)
    assert text.splitlines()[0].split()[0] == "op" and "more:" in text and "in kernels" in text
    p.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == len(p.calls) and {e["ph"] for e in events} == {"X"}
    assert all(e["dur"] >= 0 and e["name"] for e in events)


def test_threads_are_told_apart():
    x = suan.randn(16, 16)
    with profile() as p:
        threads = [threading.Thread(target=lambda: [x.exp() for _ in range(50)]) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
    assert sum(c.op == "exp" for c in p.calls) == 200
    assert len({c.thread for c in p.calls}) == 4


def test_limits_and_errors():
    x = suan.randn(4)
    with profile(most_calls=3) as p:
        with pytest.raises(suan.StateError, match="one at a time"):
            profile().__enter__()
        with pytest.raises(suan.StateError, match="block"):
            p.calls  # noqa: B018
        for _ in range(5):
            x.exp()
    assert len(p.calls) == 3 and p.dropped == 2 and "2 calls were dropped" in p.table()
    with pytest.raises(ValueError, match="most_calls"):
        profile(most_calls=0)
    with pytest.raises(ValueError, match="grouping"):
        p.table(by="module")
    with profile() as empty:
        pass
    assert empty.calls == [] and "in all" in empty.table()
