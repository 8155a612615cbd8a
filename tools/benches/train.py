#!/usr/bin/env python3
"""Suan beside PyTorch and JAX: alternating fresh processes, a Markdown table and JSON.

    tools/bench train [--only NAME ...] [--rounds N] [--seconds S] [--threads N] [--clock wall|cpu]
        [--json FILE] [--markdown FILE] [--wheel FILE]

Every figure is the median over the rounds of each process's median; the fastest call is in the JSON. Rows that lose are
printed like the others.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import inference

HERE = pathlib.Path(__file__).resolve().parent
LIBRARIES = ("suan", "torch", "jax")
MODES = ("eager", "compiled", "exact", "channels_last", "compiled_channels_last", "frozen", "frozen_channels_last")

# name: (what, case, [(library, mode)], [(numerator, denominator, target)])
ROWS = {
    "add": ("`a + b`, 8×8, from Python", "add", ["suan eager", "torch eager"],
            [("torch eager", "suan eager", 3.0)]),
    "mlp": ("MLP 64-128-64, GELU, batch 32, SGD", "mlp",
            ["suan eager", "torch eager", "suan compiled", "torch compiled", "jax compiled"],
            [("torch eager", "suan eager", 1.5), ("torch eager", "suan compiled", 2.0),
             ("jax compiled", "suan compiled", 1.0)]),
    "char_gpt_small": ("char-GPT 4×128, 12×64 tokens", "char_gpt_small",
                       ["suan eager", "torch eager", "suan compiled", "torch compiled"],
                       [("torch eager", "suan eager", 1.4),
                        ("torch compiled", "suan compiled", 2.0)]),
    "char_gpt": ("char-GPT 6×384, 12×256 tokens", "char_gpt", ["suan compiled", "torch compiled"],
                 [("torch compiled", "suan compiled", 1.6)]),
    "cnn": ("CNN, 128 pictures of 28×28", "cnn",
            ["suan eager", "torch eager", "suan compiled", "torch compiled"],
            [("torch eager", "suan eager", None), ("torch eager", "suan compiled", 1.8),
             ("torch compiled", "suan compiled", None)]),
    "gpt2": ("GPT-2 124M, 4×256 tokens", "gpt2", ["suan compiled", "torch compiled"],
             [("torch compiled", "suan compiled", 1.8)]),
    "char_gpt_small_bf16": ("char-GPT 4×128, bf16 autocast", "char_gpt_small_bf16",
                            ["suan eager", "torch eager", "suan compiled", "torch compiled"],
                            [("torch eager", "suan eager", None), ("torch eager", "suan compiled", 1.5),
                             ("torch compiled", "suan compiled", 1.5)]),
    "char_gpt_bf16": ("char-GPT 6×384, bf16 autocast", "char_gpt_bf16", ["suan compiled", "torch compiled"],
                      [("torch compiled", "suan compiled", 1.4)]),
    "gpt2_bf16": ("GPT-2 124M, bf16 autocast", "gpt2_bf16", ["suan compiled", "torch compiled"],
                  [("torch compiled", "suan compiled", 1.2)]),
    "resnet50": (inference.CASES["resnet50"][0], "resnet50",
                 ["suan compiled", "torch compiled_channels_last", "torch compiled", "torch channels_last", "torch eager",
                  "torch frozen_channels_last", "suan exact"],
                 [("torch compiled_channels_last", "suan compiled", 1.15), ("torch compiled", "suan compiled", 1.15),
                  ("torch channels_last", "suan compiled", 1.15), ("torch frozen_channels_last", "suan compiled", None)]),
    "bert": (inference.CASES["bert"][0], "bert", ["suan compiled", "torch compiled", "torch eager", "torch frozen"],
             [("torch compiled", "suan compiled", None), ("torch eager", "suan compiled", None)]),
    "gpt2_tokens": (inference.CASES["gpt2_tokens"][0], "gpt2_tokens",
                    ["suan compiled", "torch compiled", "torch eager", "torch frozen"],
                    [("torch compiled", "suan compiled", None), ("torch eager", "suan compiled", None)]),
}


def worker(pythons, who, case, seconds):
    library, mode = who.split()
    threads = os.environ["SUAN_BENCH_THREADS"]
    env = dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, TORCH_LOGS="-all")
    command = [pythons[library], str(HERE / f"worker_{library}.py"), case, mode, str(seconds)]
    begin, own = busy_seconds(), os.times()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    now = os.times()
    own = now.children_user + now.children_system - own.children_user - own.children_system
    busy = [b - a for a, b in zip(begin, busy_seconds())]
    others = max(0.0, busy[0] - own) / max(busy[1], 1e-9)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return {"error": said[-1] if said else f"exit {done.returncode}"}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]), others=others)


def busy_seconds():
    """Seconds all processors were busy, and seconds they had, since the machine started."""
    with open("/proc/stat") as stat:
        ticks = [int(x) for x in stat.readline().split()[1:9]]
    total = sum(ticks)
    per_second = os.sysconf("SC_CLK_TCK")
    return (total - ticks[3] - ticks[4]) / per_second, total / per_second


def fold(results):
    """One record of a library's processes; an error when none of them ended well."""
    good = [r for r in results if "median" in r]
    if not good:
        return {"error": results[0]["error"]}
    out = dict(good[-1])
    out["median"] = statistics.median(r["median"] for r in good)
    out["min"] = min(r["min"] for r in good)
    out["processes"] = [r["median"] for r in good]
    out["others"] = statistics.median(r["others"] for r in good)
    if "peak" in out:
        out["rise"] = statistics.median(r["peak"] - r["imported"] for r in good)
    return out


def same_losses(records, tolerance):
    """The first losses of all libraries must agree: they train the same model on the same data."""
    every = [(who, r["losses"]) for who, r in records.items() if "losses" in r]
    return [f"{who}: losses {losses[:6]}, {every[0][0]} has {every[0][1][:6]}"
            for who, losses in every[1:]
            if any(abs(a - b) > tolerance * max(1.0, abs(b)) for a, b in zip(losses[:5], every[0][1]))]


def measure_row(pythons, name, rounds, seconds):
    what, case, who, ratios = ROWS[name]
    raw = {w: [] for w in who}
    for _ in range(rounds):
        for w in who:
            raw[w].append(worker(pythons, w, case, seconds))
            shown = raw[w][-1].get("error") or f"{raw[w][-1]['median'] * 1e3:.4g} ms"
            print(f"  {name} {w}: {shown}", file=sys.stderr, flush=True)
    records = {w: fold(r) for w, r in raw.items()}
    out = {"what": what, "records": records, "ratios": [], 
           "differences": same_losses(records, 2e-2 if case.endswith("_bf16") else 2e-3)}
    for over, under, target in ratios:
        a, b = records[over], records[under]
        value = a["median"] / b["median"] if "median" in a and "median" in b else None
        out["ratios"].append({"of": over, "to": under, "value": value, "target": target})
    return out


def start_seconds(python, code, rounds):
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([python, "-c", code], check=True)
        times.append(time.perf_counter() - begin)
    return min(times)


def installed_bytes(python, package):
    code = ("import importlib.metadata as m; "
            f"files = [f.locate() for f in m.files({package!r})]; "
            "print(sum(f.stat().st_size for f in files if f.is_file()))")
    return int(subprocess.check_output([python, "-c", code]))


def measure_sizes(pythons, rounds, wheel):
    """Seconds of an import over a bare start, and bytes of what is installed."""
    out = {}
    for library in ("suan", "torch"):
        bare = start_seconds(pythons[library], "pass", rounds)
        full = start_seconds(pythons[library], f"import {library}", rounds)
        out[f"{library} import"] = full - bare
    import suan
    out["suan core library"] = (pathlib.Path(suan.__file__).parent / "libsuan.so").stat().st_size
    out["torch installed"] = installed_bytes(pythons["torch"], "torch")
    if wheel:
        out["suan wheel"] = pathlib.Path(wheel).stat().st_size
    return out


SAVED = {"char_gpt_small": "char-GPT 4×128", "char_gpt": "char-GPT 6×384", "gpt2": "GPT-2 124M"}


def measure_saved(pythons):
    """Bytes that an eager forward pass keeps for the backward pass, each storage once, without
    the parameters."""
    out = {}
    for case in SAVED:
        for library in ("suan", "torch"):
            out[f"{case} {library}"] = worker(pythons, f"{library} saved", case, 0)
    return out


def human(seconds):
    for limit, unit, scale in ((1e-6, "ns", 1e9), (1e-3, "µs", 1e6), (1.0, "ms", 1e3)):
        if seconds < limit:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.2f} s"


def others(result):
    records = [r for row in result["rows"].values() for r in row["records"].values()]
    shares = [r["others"] for r in records if "others" in r]
    return statistics.median(shares) if shares else 0.0


def markdown(result):
    lines = ["| work | " + " | ".join(LIBRARIES) + " | ratio (target) |", "|---|" + "---|" * 4]

    def cell(row, library):
        parts = []
        for mode in MODES:
            record = row["records"].get(f"{library} {mode}")
            if record:
                parts.append(f"{mode} " + (human(record["median"]) if "median" in record
                                           else "failed: " + record["error"]))
        return ", ".join(parts) or "–"

    for row in result["rows"].values():
        ratios = ", ".join(
            f"{r['to'].split()[1]} {r['value']:.2f}× {r['of']}"
            + (f" (≥ {r['target']:g})" if r["target"] else "")
            for r in row["ratios"] if r["value"])
        cells = " | ".join(cell(row, x) for x in LIBRARIES)
        lines.append(f"| {row['what']} | {cells} | {ratios or '–'} |")
        if row is result["rows"].get("gpt2"):
            rises = [row["records"][w].get("rise") for w in ("suan compiled", "torch compiled")]
            if all(rises):
                lines.append(f"| its resident peak over import | {rises[0] / 1e9:.2f} GB | "
                             f"{rises[1] / 1e9:.2f} GB | – | "
                             f"{rises[0] / rises[1]:.2f} of PyTorch's (≤ 0.8) |")
    for case, what in SAVED.items() if "saved" in result else ():
        records = [result["saved"][f"{case} {library}"] for library in ("suan", "torch")]
        cells = [f"{r['saved'] / 1e6:.1f} MB" if "saved" in r else "failed: " + r["error"]
                 for r in records]
        ratio = (f"{records[0]['saved'] / records[1]['saved']:.2f} of PyTorch's (≤ 1.1)"
                 if all("saved" in r for r in records) else "–")
        lines.append(f"| saved for backward, {what} | {cells[0]} | {cells[1]} | – | {ratio} |")
    sizes = result.get("sizes")
    if sizes:
        lines.append(f"| import over a bare start | {sizes['suan import'] * 1e3:.0f} ms | "
                     f"{sizes['torch import'] * 1e3:.0f} ms | – | (≤ 150 ms) |")
        lines.append("| core library (PyTorch: all files installed) | "
                     f"{sizes['suan core library'] / 1e6:.1f} MB | "
                     f"{sizes['torch installed'] / 1e6:.0f} MB | – | (≤ 15 MB) |")
        if "suan wheel" in sizes:
            lines.append(f"| wheel | {sizes['suan wheel'] / 1e6:.1f} MB | – | – | (≤ 60 MB) |")
    lines += ["", f"{result['machine']}, {result['threads']} thread(s), {result['clock']} time, "
              f"fp32 but where a row says bf16, {result['date']}; "
              + ", ".join(f"{k} {v}" for k, v in result["versions"].items())
              + f". Other processes used {others(result) * 100:.0f} % of the machine meanwhile"
              + (": wall times on two threads then say little." if others(result) > 0.1 else ".")]
    for row in result["rows"].values():
        lines += [f"Warning, losses differ: {d}" for d in row["differences"]]
    return "\n".join(lines) + "\n"


def cpu_name():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{names[0]} ({len(names)} processors)" if names else platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, help="the environment made by tools/peers")
    parser.add_argument("--only", nargs="*", choices=[*ROWS, "saved", "sizes"], help="rows to measure (all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured time of one process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall",
                        help="cpu: CPU time of the process, for --threads 1 on a busy machine")
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    parser.add_argument("--wheel", help="a built wheel, for its size")
    args = parser.parse_args()
    peer = str(pathlib.Path(args.peers) / "bin" / "python")
    if not os.path.exists(peer):
        parser.error(f"{peer}: expected an environment made by tools/peers, found none")
    os.environ.update(SUAN_BENCH_THREADS=str(args.threads), SUAN_BENCH_CLOCK=args.clock)
    pythons = {"suan": sys.executable, "torch": peer, "jax": peer}
    only = args.only or [*ROWS, "saved", "sizes"]

    result = {"date": time.strftime("%Y-%m-%d"), "machine": cpu_name(), "threads": args.threads,
              "clock": args.clock, "rows": {n: measure_row(pythons, n, args.rounds, args.seconds)
                                            for n in ROWS if n in only}}
    if "saved" in only:
        result["saved"] = measure_saved(pythons)
    if "sizes" in only:
        result["sizes"] = measure_sizes(pythons, 5, args.wheel)
    result["versions"] = {}
    for row in result["rows"].values():
        for who, record in row["records"].items():
            if "version" in record:
                result["versions"][who.split()[0]] = record["version"]
    for who, record in result.get("saved", {}).items():
        if "version" in record:
            result["versions"][who.split()[1]] = record["version"]
    text = markdown(result)
    print(text)
    if args.markdown:
        pathlib.Path(args.markdown).write_text(text)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
