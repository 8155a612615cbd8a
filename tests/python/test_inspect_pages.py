"""Pages that show a model, a compiled function and a profile; memory over time; what an out-of-memory error names."""

import gc
import html.parser
import json
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from typer.testing import CliRunner

import suan
from suan import nn, optim
from suan.cli.app import app
from suan.nn import functional as F
from suan.pages import graph, memory
from suan.pages.layout import GAP_X, layered
from suan.profiler import profile
from suan.utils.checkpoint import checkpoint

N, C = h.make_node, numpy_helper.from_array


class Page(html.parser.HTMLParser):
    """What a browser would see; fails where something would be fetched or a tag is left open."""

    def __init__(self, text):
        super().__init__()
        self.seen, self.stack, self.text, self.script = [], [], "", ""
        self.feed(text)
        self.close()
        assert [t for t in self.stack if t != "html"] == [], "tags left open"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert not {"src", "href", "xlink:href", "onclick", "onerror"} & attrs.keys() and tag not in ("link", "iframe", "img"), (tag, attrs)
        self.seen.append((tag, attrs))
        if tag not in ("meta", "input", "br"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.stack and self.stack[-1] in ("p", "td", "th", "tr") and self.stack[-1] != tag:
            self.stack.pop()
        assert self.stack.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.script += data
        else:
            self.text += data + " "

    def count(self, name):
        return sum(name in (a.get("class") or "").split() for _, a in self.seen)

    def nodes(self):
        """What scripts know of the graphs."""
        return [json.loads(part) for part in re.findall(r'getElementById\("[^"]+"\), (\{.*?\})\);', self.script)]


def check_offline(path):
    text = path.read_text()
    assert "://" not in text and "@import" not in text and set(re.findall(r"url\((.)", text)) <= {"#"}
    return Page(text)


# ---- layout --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_boxes_stand_apart_and_edges_lead_down(seed):
    rng = np.random.default_rng(seed)
    n = 60
    sizes = [(float(rng.integers(40, 160)), float(22 * rng.integers(1, 5))) for _ in range(n)]
    edges = [(int(a), b) for b in range(1, n) for a in rng.integers(max(0, b - 12), b, rng.integers(0, 3))]
    lay = layered(sizes, edges)
    for a, b in edges:
        assert lay.boxes[a][1] + sizes[a][1] < lay.boxes[b][1]
        path = lay.paths[a, b]
        assert all(p[1] <= q[1] for p, q in zip(path, path[1:]))
        # It begins and ends at its boxes and goes through none in between.
        assert lay.boxes[a][0] < path[0][0] < lay.boxes[a][0] + sizes[a][0] and path[-1][1] == lay.boxes[b][1]
    rows = {}
    for (x, y), (w, _) in zip(lay.boxes, sizes):
        rows.setdefault(y, []).append((x, x + w))
    for row in rows.values():
        row.sort()
        assert all(right + GAP_X <= left + 1e-6 for (_, right), (left, _) in zip(row, row[1:]))
    assert min(x for x, _ in lay.boxes) >= -1e-6 and max(x + w for (x, _), (w, _) in zip(lay.boxes, sizes)) <= lay.width + 1e-6


def test_a_straight_chain_is_straight():
    lay = layered([(80, 22)] * 20, [(i, i + 1) for i in range(19)] + [(i, i + 2) for i in range(0, 18, 2)])
    assert max(x for x, _ in lay.boxes) - min(x for x, _ in lay.boxes) < 80


def test_repeated_parts_are_found():
    assert graph.repeats(list("xyabcdefabcdefabcdefz"), least=3) == [(2, 6, 3)]
    assert graph.repeats(list("abcabd"), least=3) == []


# ---- pages of models ---------------------------------------------------------------------------------------------------


def conv_model(path, name="conv"):
    rng = np.random.default_rng(0)
    nodes = [N("Conv", ["x", "w"], ["c"], name, pads=[1, 1, 1, 1], strides=[2, 2]), N("Relu", ["c"], ["r"], "act"),
             N("Shape", ["r"], ["dims"], "dims_of"), N("Reshape", ["r", "to"], ["f"], "flat"), N("MatMul", ["f", "m"], ["y"], "head")]
    weights = [C(rng.standard_normal((8, 3, 3, 3)).astype("f4"), "w"), C(np.array([-1, 8 * 16]), "to"),
               C(rng.standard_normal((128, 5)).astype("f4"), "m")]
    port = lambda n, s, t=T.FLOAT: h.make_tensor_value_info(n, t, s)  # noqa: E731
    g = h.make_graph(nodes, "g", [port("x", ["n", 3, 8, 8])], [port("y", ["n", 5]), port("dims", [4], T.INT64)], weights)
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 20)], ir_version=10), path)
    return path


def command(*args):
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=True)


def test_a_models_page(tmp_path):
    path, out = conv_model(tmp_path / "m.onnx"), tmp_path / "m.html"
    done = command("inspect", path, "--html", out, "--size", "n=4")
    assert done.exit_code == 0 and f"page: {out}" in done.stdout, done.output
    page = check_offline(out)
    session = suan.onnx.load(path)
    need = session.memory({"x": [4, 3, 8, 8]})
    assert memory.size(need["arena"]) in page.text and "arena of a call" in page.text
    assert "4×3×8×8" in page.text and "One plan of" in page.text and "conv" in page.text
    (facts,) = page.nodes()
    by_name = {n[1]: n for n in facts["nodes"]}
    assert set(by_name) == {"conv", "act", "dims_of", "flat", "head"} and not facts["parts"]
    details = dict(by_name["conv"][2])
    assert details["strides"] == "[2, 2]" and details["Weights"] == "w" and "conv" in details["Runs as"]
    assert by_name["conv"][4] == [["c", "float32 4×8×4×4"]]
    assert dict(by_name["dims_of"][2])["Runs as"].startswith("nothing") and "[4, 8, 4, 4]" in by_name["dims_of"][4][0][1]
    assert page.count("node") >= 5 and page.count("edge") >= 3
    done = command("inspect", path, "--html", out, "--size", "k=4")
    assert "no dimension 'k'" in str(done.exception)
    assert "--size is for --html" in str(command("inspect", path, "--size", "n=4").exception)


def test_a_hostile_name_stays_text(tmp_path):
    path = conv_model(tmp_path / "m.onnx", '</script><script>alert("1")</script>')
    command("inspect", path, "--html", tmp_path / "m.html")
    page = check_offline(tmp_path / "m.html")
    assert sum(tag == "script" for tag, _ in page.seen) == 1
    assert page.nodes()[0]["nodes"][0][1] == '</script><script>alert("1")</script>'


def test_a_large_model_is_shown_in_parts(tmp_path):
    nodes, at = [], "x"
    for i in range(60):
        nodes += [N("Relu", [at], [f"a{i}"]), N("Exp", [f"a{i}"], [f"b{i}"]), N("Add", [f"a{i}", f"b{i}"], [f"c{i}"]),
                  N("Sigmoid", [f"c{i}"], [f"d{i}"]), N("Mul", [f"d{i}", "x"], [f"e{i}"]), N("Neg", [f"e{i}"], [f"f{i}"])]
        at = f"f{i}"
    port = lambda n: h.make_tensor_value_info(n, T.FLOAT, [3])  # noqa: E731
    g = h.make_graph([*nodes, N("Abs", [at], ["y"])], "g", [port("x")], [port("y")])
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    command("inspect", tmp_path / "m.onnx", "--html", tmp_path / "m.html")
    page = check_offline(tmp_path / "m.html")
    (facts,) = page.nodes()
    assert len(facts["nodes"]) == 361 and facts["parts"] and facts["starts"][:3] == [0, 6, 12]
    shown = sorted(int(a["data-node"]) for _, a in page.seen if "data-node" in a and "data-part" not in a)
    assert shown == list(range(361))
    assert "2 of 60 equal parts" in page.text and page.count("drawing") == 1 + len(facts["starts"])


def test_a_model_without_a_plan_says_why(tmp_path):
    nodes = [N("NonZero", ["x"], ["at"], "where"), N("Cast", ["at"], ["f"], to=T.FLOAT), N("ReduceSum", ["f"], ["s"], keepdims=0),
             N("Shape", ["at"], ["dims"]), N("Expand", ["s", "dims"], ["y"], "grow")]
    port = lambda n, s: h.make_tensor_value_info(n, T.FLOAT, s)  # noqa: E731
    g = h.make_graph(nodes, "g", [port("x", [3])], [port("y", None)])
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    command("inspect", tmp_path / "m.onnx", "--html", tmp_path / "m.html")
    text = check_offline(tmp_path / "m.html").text
    assert "Node by node, without a plan" in text and "'where'" in text


def test_sizes_that_do_not_fit_are_told(tmp_path):
    nodes = [N("Conv", ["x", "w"], ["y"], "wide")]
    port = lambda n, s: h.make_tensor_value_info(n, T.FLOAT, s)  # noqa: E731
    g = h.make_graph(nodes, "g", [port("x", [1, 1, "n"])], [port("y", [1, 1, None])], [C(np.ones((1, 1, 9), "f4"), "w")])
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    assert command("inspect", tmp_path / "m.onnx", "--html", tmp_path / "m.html").exit_code == 0
    page = check_offline(tmp_path / "m.html")
    assert "Not with these sizes" in page.text and "'wide'" in page.text and page.count("node") >= 1


def test_graphs_inside_of_nodes_are_drawn(tmp_path):
    out = h.make_tensor_value_info("m", T.FLOAT, None)
    branch = lambda op: h.make_graph([N("Constant", [], ["k"], value=C(np.float32(2))), N(op, ["x", "k"], ["m"], op)], op, [], [out])  # noqa: E731
    nodes = [N("If", ["flag"], ["y"], "choose", then_branch=branch("Mul"), else_branch=branch("Div"))]
    ports = [h.make_tensor_value_info("x", T.FLOAT, [3]), h.make_tensor_value_info("flag", T.BOOL, [])]
    g = h.make_graph(nodes, "g", ports, [h.make_tensor_value_info("y", T.FLOAT, [3])])
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    command("inspect", tmp_path / "m.onnx", "--html", tmp_path / "m.html")
    page = check_offline(tmp_path / "m.html")
    assert "choose: then_branch" in page.text and "choose: else_branch" in page.text
    assert [[n[0] for n in g["nodes"]] for g in page.nodes()] == [["If"], ["Div"], ["Mul"]]
    assert "Node by node" in page.text


# ---- compiled functions, profiles ----------------------------------------------------------------------------------------


def training(width=96, depth=4, batch=512):
    suan.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(width, width), nn.GELU())])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = suan.randn(batch, width)

    def step(x):
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step, x


def test_a_compiled_functions_page(tmp_path):
    step, x = training()
    fast = suan.compile(step)
    with pytest.raises(suan.StateError, match="nothing to show"):
        fast.save_page(tmp_path / "none.html")
    for _ in range(3):
        fast(x)
    with profile(memory=True) as p:
        fast(x)
    fast.save_page(tmp_path / "f.html", profile=p)
    page = check_offline(tmp_path / "f.html")
    (stats,) = fast.stats()
    (which, facts), = next(iter(fast._variants.values())).tracer.plans()
    assert which == "call" and facts["arena_bytes"] == stats["arena_bytes"] and len(facts["steps"]) == stats["steps"]
    used = memory.planned(facts)
    assert 0.8 * stats["arena_bytes"] < max(used) <= stats["arena_bytes"] and len(used) == stats["steps"]
    assert memory.size(stats["arena_bytes"]) in page.text and "step" in page.text and "Measured" in page.text
    assert "test_inspect_pages.py" in page.text, "holders have their lines"
    holders = memory.plan_holders(facts, max(range(len(used)), key=used.__getitem__))
    assert sum(n for n, _, _ in holders) == max(used)
    # The plan's steps are found among the profile's calls, in their order.
    points = memory.planned_in_time(facts, p.calls, p.memory)
    beside = p.memory[0].in_use - stats["arena_bytes"]   # the arena was there before
    assert len(points) == stats["steps"] + 1 and [y for _, y in points[:-1]] == [beside + u for u in used]
    assert max(y for _, y in points) <= max(e.in_use for e in p.memory)
    assert any("linear" in n[0] for n in page.nodes()[0]["nodes"])


def test_a_modules_page_has_both_plans(tmp_path):
    model = suan.compile(nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 2)))
    for _ in range(3):
        model(suan.randn(4, 6)).sum().backward()
    model.save_page(tmp_path / "m.html")
    page = check_offline(tmp_path / "m.html")
    assert "Memory of the forward" in page.text and "Memory of the backward" in page.text and len(page.nodes()) == 2


def test_memory_events_tell_who_holds_what(tmp_path):
    keep = suan.zeros(1 << 18)          # 1 MiB, before
    with profile(memory=True) as p:
        a = suan.ones(1 << 20)          # 4 MiB
        b = a * 2
        del a
        c = b + 1                       # noqa: F841
    events = p.memory
    assert events[0].at == 0 and any(e.at == 0 and e.bytes >= 1 << 20 for e in events), "what was there"
    taken = [e for e in events if e.at > 0 and e.bytes == 4 << 20]
    given = [e for e in events if e.bytes == -(4 << 20)]
    assert len(taken) == 3 and given[0].block == taken[0].block and given[0].line == taken[0].line
    assert all(abs(e.in_use - before.in_use - e.bytes) < 1 << 12 for before, e in zip(events, events[1:]) if abs(e.bytes) == 4 << 20)
    top, rows = p.peak_holders()
    assert top == max(e.in_use for e in events) and sum(n for n, _, _ in rows) == top
    mine = [n for n, line, _ in rows if "test_memory_events" in line and n == 4 << 20]
    assert len(mine) == 2
    p.export_chrome_trace(tmp_path / "t.json")
    counters = [e for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if e["ph"] == "C"]
    assert [e["args"]["bytes"] for e in counters] == [e.in_use for e in events]
    p.save_page(tmp_path / "p.html")
    page = Page((tmp_path / "p.html").read_text())
    assert memory.size(top) in page.text and "Time by line" in page.text
    del b, c
    with profile(memory=True) as falling:
        del keep
    top, rows = falling.peak_holders()
    assert top == falling.memory[0].in_use and any("test_memory_events" in line and n >= 1 << 20 for n, line, _ in rows)
    with profile() as plain:
        suan.ones(1 << 20)
    assert plain.memory == []
    with pytest.raises(ValueError, match="memory=True"):
        plain.peak_holders()


# ---- out of memory -------------------------------------------------------------------------------------------------------


@pytest.fixture
def limited():
    """limit(bytes): what the process may take beyond what it holds now."""
    def limit(n):
        suan.debug.trim_memory()
        suan.debug.set_memory_limit(suan.debug.memory_stats()["in_use"] + n)

    yield limit
    suan.debug.set_memory_limit(0)


def mib(text, pattern):
    found = re.search(pattern + r".*?saves ([\d.]+) (KiB|MiB|GiB)", text, re.S)
    assert found, (pattern, text)
    return float(found[1]) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[found[2]] / 2**20


def test_an_eager_step_out_of_memory_names_priced_remedies(limited):
    width, depth, batch = 256, 12, 2048
    layers = [nn.Linear(width, width) for _ in range(depth)]
    x = suan.randn(batch, width)

    def forward(x):
        for layer in layers:
            x = F.gelu(layer(x))
        return x

    held = suan.debug.saved_bytes(forward(x))
    assert held >= 2 * depth * batch * width * 4 * 0.9   # a product's input and a gelu's, each 2 MiB
    limited(held // 2)
    with pytest.raises(suan.OutOfMemoryError) as error:
        forward(x).square().mean().backward()
    text = str(error.value)
    assert text.count("To need less") == 1 and "Held by the lines" in text
    kept = float(re.search(r"backward pass, ([\d.]+) MiB in", text)[1])
    assert 0.3 * held < kept * 2**20 <= 0.55 * held
    # Half the batch is half of what is kept; bfloat16 is half of it less its casts of weights; parts free less than all.
    assert mib(text, "batches of 1024 instead of 2048") == pytest.approx(kept / 2, rel=0.02)
    assert mib(text, "to bfloat16") < kept / 2
    saved = mib(text, r"checkpoint in \d+ parts")
    price = int(re.search(r"takes (\d+) % more time", text)[1])
    assert 0.4 * kept < saved < 0.95 * kept and 10 <= price <= 34
    assert "test_inspect_pages.py" in text.split("The parts begin at")[1].split("\n")[0]
    # What it says of half the batch is so.
    suan.debug.set_memory_limit(0)
    half = suan.debug.saved_bytes(forward(x[: batch // 2].clone()))
    assert half == pytest.approx(held / 2, rel=0.02)


def test_what_checkpoints_are_said_to_save_they_save(limited):
    width, depth, batch = 256, 12, 2048
    blocks = [nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(depth)]
    x = suan.randn(batch, width)

    def whole():
        h = x
        for b in blocks:
            h = b(h)
        return h.square().mean()

    def in_parts(parts=6):
        h = x
        for i in range(0, depth, depth // parts):
            part = nn.Sequential(*blocks[i : i + depth // parts])
            h = checkpoint(part, h) if i + depth // parts < depth else part(h)
        return h.square().mean()

    def peak(loss):
        for b in blocks:
            b.zero_grad(set_to_none=True)
        gc.collect()   # what other tests left in cycles must not go meanwhile
        before = suan.debug.memory_stats()["in_use"]
        suan.debug.reset_peak_memory()
        loss().backward()
        return suan.debug.memory_stats()["peak"] - before

    saved = (peak(whole) - peak(in_parts)) / 2**20
    loss = whole()
    limited(100_000)
    with pytest.raises(suan.OutOfMemoryError) as error:
        loss.backward()
    told = mib(str(error.value), r"checkpoint in \d+ parts")
    assert 0.8 * told < saved < 1.2 * told


def test_a_backward_pass_out_of_memory_names_them_too(limited):
    layers = [nn.Linear(128, 128) for _ in range(4)]
    x = suan.randn(4096, 128)
    y = x
    for layer in layers:
        y = layer(y).tanh()
    loss = y.sum()
    limited(1 << 20)
    with pytest.raises(suan.OutOfMemoryError) as error:
        loss.backward()
    assert str(error.value).count("To need less") == 1 and "batches of 2048 instead of 4096" in str(error.value)


def test_inference_out_of_memory_has_no_remedies_for_training(limited):
    x = suan.randn(512, 512)
    limited(1 << 20)
    with suan.no_grad(), pytest.raises(suan.OutOfMemoryError) as error:
        [x @ x for _ in range(4)]
        keep = [x * i for i in range(4)]  # noqa: F841
    assert "To need less" not in str(error.value)


def test_a_plan_that_does_not_fit_prices_what_would(tmp_path):
    step, x = training()
    free = suan.plan(step, x).peak_bytes
    with pytest.raises(suan.OutOfMemoryError) as error:
        suan.plan(step, x, memory_limit=free // 8)
    text = str(error.value)
    best = mib(text, "memory_limit=")
    assert 0 < best < free / 2**20 and re.search(r"for [\d.]+% more time", text)
    half = suan.plan(step, x[:256]).peak_bytes
    assert mib(text, "batches of 256 instead of 512") == pytest.approx((free - half) / 2**20, abs=0.06)
    with suan.autocast("cpu"):
        narrow = suan.plan(step, x).peak_bytes
    saved = (free - narrow) / 2**20
    assert "bfloat16: saves nothing" in text if saved <= 0 else mib(text, "bfloat16") == pytest.approx(saved, abs=0.06)
    assert "too much still" in text
    # The smallest that is told can be had, and not much less.
    need = free - int(best * 2**20)
    assert suan.plan(step, x, memory_limit=int(need * 1.05)).peak_bytes <= need * 1.05
    with pytest.raises(suan.OutOfMemoryError):
        suan.plan(step, x, memory_limit=int(need * 0.85))
    fast = suan.compile(step, memory_limit=free // 8)
    fast(x)
    with pytest.raises(suan.OutOfMemoryError, match="batches of 256 instead of 512"):
        fast(x)
