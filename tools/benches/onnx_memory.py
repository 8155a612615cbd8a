#!/usr/bin/env python3
"""Peak memory of loading a model and answering once, beside what it has to hold.

    tools/bench onnx_memory MODELS [NAME...] [--shapes N]

MODELS is a folder of .onnx files; inputs are those of the tests where they have some, else random ones with 1 for open
sizes of pictures and 128 for those of tokens. Each model has a process of its own. The peak is that process's VmHWM less its
resident memory before the model was opened, less what libraries' own pages grew meanwhile. Beside it: bytes of weights as
the file has them and as the plan reads them, and the arena with the outputs. The first ratio is
peak / (weights of the file + arena), the second one takes the weights as packed where these are more. It is no timing.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "python" / "golden" / "onnx_models"


def status(field):
    """Bytes of a field of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def libraries(model):
    """Resident bytes of mapped files other than the model."""
    total, other = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            other = len(words) > 5 and words[5].startswith("/") and words[5] != str(model.resolve())
        elif words[0] == "Rss:" and other:
            total += int(words[1]) * 1024
    return total


def inputs_of(session, name):
    import numpy as np

    golden = GOLDEN / f"{name}.npz"
    ports = session.get_inputs()
    if golden.exists():
        case = np.load(golden)
        return {p.name: case[f"in_{k}"] for k, p in enumerate(ports)}
    rng = np.random.default_rng(0)
    feeds = {}
    for p in ports:
        if "float" in p.type:
            feeds[p.name] = rng.standard_normal([d if isinstance(d, int) else 1 for d in p.shape], dtype=np.float32)
        else:
            feeds[p.name] = np.ones([d if isinstance(d, int) else (1, 128)[k > 0] for k, d in enumerate(p.shape)], np.int64)
    return feeds


def child(path, shapes):
    import numpy as np

    import suan
    import suan.onnx

    golden = GOLDEN / f"{path.stem}.npz"
    if golden.exists():
        dict(np.load(golden))
    suan.zeros(4).numpy()
    Path("/proc/self/clear_refs").write_text("5")   # VmHWM begins anew
    before, own = status("VmRSS"), libraries(path)
    session = suan.onnx.InferenceSession(path)
    loaded = status("VmHWM")
    feeds = inputs_of(session, path.stem)
    session.run(None, feeds)
    for k in range(shapes):   # other batches
        session.run(None, {n: np.repeat(a, 2 + k, 0) for n, a in feeds.items()})
    peak, now, grown = status("VmHWM"), status("VmRSS"), libraries(path) - own
    stats = session.stats
    try:
        need = session._model.memory({n: a.shape for n, a in feeds.items()})
    except suan.StateError:   # data decides
        need = {"arena": 0, "outputs": 0, "weights": 0}
    print(json.dumps({"peak": peak - before - grown, "now": now - before - grown, "load": loaded - before, "code": grown,
                      "weights": stats["weight_bytes"], "in_place": stats["mapped_bytes"], "packed": need["weights"],
                      "arena": need["arena"] + need["outputs"]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--shapes", type=int, default=0, help="batches beyond the first call's")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args()
    if args.child:
        return child(args.models, args.shapes)
    mib = lambda n: f"{n / 2**20:8.1f}"  # noqa: E731
    print(f"{'MiB':24}  weights in place   packed    arena  at load     peak    after  ratios")
    for path in sorted(args.models.glob("*.onnx")):
        if args.names and path.stem not in args.names:
            continue
        done = subprocess.run([sys.executable, __file__, str(path.absolute()), "--child", "--shapes", str(args.shapes)],
                              capture_output=True, text=True)
        if done.returncode:
            print(f"{path.stem:24} {done.stderr.strip().splitlines()[-1]}")
            continue
        m = json.loads(done.stdout)
        print(f"{path.stem:24} " + " ".join(mib(m[k]) for k in ("weights", "in_place", "packed", "arena", "load", "peak", "now")) +
              f"  {m['peak'] / (m['weights'] + m['arena']):.2f} {m['peak'] / (max(m['weights'], m['packed']) + m['arena']):.2f}",
              flush=True)


if __name__ == "__main__":
    main()
