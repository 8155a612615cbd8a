#!/usr/bin/env python3
"""nanoGPT's own train.py and sample.py under Suan and under PyTorch: losses beside each other, time a step.

    tools/bench nanogpt NANOGPT [--steps N] [--rounds N] [--compile] [--tiktoken FOLDER] [-- --n_layer=4 ...]

NANOGPT is a checkout of karpathy/nanoGPT (nothing of it is kept here). For Suan only import lines of its files are
changed; the number is printed. Both libraries start from one set of weights and see the same batches of the Bible, characters as tokens;
all else is nanoGPT's code. What follows `--` goes to train.py. Exit status 1 when losses are too far
apart: 1e-4 relative over the first 10 steps, 1e-2 over all. With --compile only train.py's printed losses are
known, to four decimals: then it is 1e-2 over all.
"""

import argparse
import json
import os
import pathlib
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
FILES = ("model.py", "train.py", "sample.py")
# The character-level configuration of nanoGPT's README for a CPU, without dropout.
OPTIONS = ["config/train_shakespeare_char.py", "--dataset=bible_char", "--device=cpu", "--eval_iters=1",
           "--eval_interval=100000", "--log_interval=1", "--block_size=64", "--batch_size=12", "--n_layer=4",
           "--n_head=4", "--n_embd=128", "--dropout=0.0", "--dtype=float32", "--lr_decay_iters=2000"]


def run_train(library, weights, out, arguments):
    """In a process of its own, inside the folder of nanoGPT's files: train.py with weights and batches set."""
    import runpy
    import time

    import numpy as np

    sys.path.insert(0, os.getcwd())
    lib = __import__(library)
    import model

    losses, times = [], []
    make, forward = model.GPT.__init__, model.GPT.forward
    rng = np.random.default_rng(7)

    def init(self, config):
        make(self, config)
        values = np.load(weights) if os.path.exists(weights) else None
        if values is None:
            np.savez(weights, **{n: p.detach().numpy() for n, p in self.named_parameters()})
            return
        with lib.no_grad():
            for name, p in self.named_parameters():
                p.copy_(lib.from_numpy(values[name]))

    def record(self, idx, targets=None):
        logits, loss = forward(self, idx, targets)
        if self.training:
            losses.append(loss)
            times.append(time.perf_counter())
        return logits, loss

    model.GPT.__init__ = init
    if "--compile=False" in arguments:  # a compiled model runs no Python: then train.py's printout is read
        model.GPT.forward = record
    lib.randint = lambda high, size: lib.from_numpy(rng.integers(0, high, size))
    sys.argv = ["train.py", *arguments]
    runpy.run_path("train.py", run_name="__main__")
    with open(out, "w") as file:
        json.dump({"losses": [float(loss) for loss in losses], "times": times, "version": lib.__version__}, file)


def prepare(folder, nanogpt):
    """Copies the three files and the configuration; the Bible as train.bin, val.bin, meta.pkl."""
    import numpy as np

    from suan.data import fetch

    for name in [*FILES, "configurator.py", "config"]:
        source = nanogpt / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    data = folder / "data" / "bible_char"
    data.mkdir(parents=True)
    texts = {part: (fetch.bible() / f"{part}.txt").read_text() for part in ("train", "val")}
    chars = sorted(set("".join(texts.values())))
    stoi = {c: i for i, c in enumerate(chars)}
    for part, text in texts.items():
        np.array([stoi[c] for c in text], dtype=np.uint16).tofile(data / f"{part}.bin")
    meta = {"vocab_size": len(chars), "itos": dict(enumerate(chars)), "stoi": stoi}
    (data / "meta.pkl").write_bytes(pickle.dumps(meta))


def port(folder):
    """Changes torch's import lines to Suan's; how many in each file."""
    changed = {}
    for name in FILES:
        lines = (folder / name).read_text().splitlines(keepends=True)
        new = [re.sub(r"^(from|import) torch\b", r"\1 suan", line) for line in lines]
        new = ["import suan as torch\n" if line == "import suan\n" else line for line in new]
        (folder / name).write_text("".join(new))
        changed[name] = sum(a != b for a, b in zip(lines, new))
    return changed


def main():
    own, given = sys.argv[1:], []
    if "--" in own:
        own, given = own[: own.index("--")], own[own.index("--") + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nanogpt", type=pathlib.Path)
    parser.add_argument("--peers", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1, help="repeat the training, alternating, for the times")
    parser.add_argument("--compile", action="store_true", help="train.py's own --compile=True")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tiktoken", type=pathlib.Path, help="where that package is: sample.py imports it")
    options = parser.parse_args(own)
    if not (options.nanogpt / "model.py").exists():
        sys.exit(f"[nanogpt] no checkout: expected nanoGPT's files in {options.nanogpt}, got none")
    pythons = {"torch": options.peers / "bin" / "python", "suan": sys.executable}
    env = dict(os.environ, OMP_NUM_THREADS=str(options.threads), SUAN_NUM_THREADS=str(options.threads))

    with tempfile.TemporaryDirectory() as top:
        folders = {library: pathlib.Path(top) / library for library in pythons}
        for folder in folders.values():
            folder.mkdir()
            prepare(folder, options.nanogpt)
        changed = port(folders["suan"])
        print("lines changed for Suan: " + ", ".join(f"{name} {n}" for name, n in changed.items()))
        results = {library: [] for library in pythons}
        arguments = [*OPTIONS, f"--max_iters={options.steps - 1}", f"--compile={options.compile}", *given]
        for _ in range(options.rounds):
            for library, python in pythons.items():
                out = pathlib.Path(top) / "result.json"
                done = subprocess.run(
                    [str(python), str(HERE / "nanogpt.py"), "--train", library, f"{top}/weights.npz", str(out),
                     *arguments], cwd=folders[library], env=env, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"[nanogpt] {library}: {done.stderr.strip()[-2000:]}")
                result = json.loads(out.read_text())
                printed = re.findall(r"^iter \d+: loss ([\d.]+), time ([\d.]+)ms", done.stdout, re.M)
                result["ms"] = [float(ms) for _, ms in printed][5:]
                result["losses"] = result["losses"] or [float(loss) for loss, _ in printed]
                results[library].append(result)
        worst = report(results, 1e-2 if options.compile else 1e-4)
        if options.tiktoken:
            sample(pythons["suan"], folders["suan"], dict(env, PYTHONPATH=os.pathsep.join(
                [env.get("PYTHONPATH", ""), str(options.tiktoken)])), arguments)
    sys.exit(worst)


def report(results, most_at_first):
    """Prints the table; 1 when a loss is too far from PyTorch's: `most_at_first` in the first 10 steps, 1e-2 in all."""
    suan, torch = (results[library][0] for library in ("suan", "torch"))
    apart = [abs(a - b) / abs(b) for a, b in zip(suan["losses"], torch["losses"], strict=True)]
    print(f"| step | Suan {suan['version']} | PyTorch {torch['version']} | apart |\n|---|---|---|---|")
    for step in sorted({0, 1, 4, 9, 49, 99, 199, len(apart) - 1}):
        if step < len(apart):
            print(f"| {step} | {suan['losses'][step]:.6f} | {torch['losses'][step]:.6f} | {apart[step]:.1e} |")
    print(f"farthest apart: {max(apart[:10]):.1e} in the first 10 steps, {max(apart):.1e} in all {len(apart)}")
    ms = {library: statistics.median(statistics.median(r["ms"]) for r in runs) for library, runs in results.items()}
    print(f"train.py's own time a step, median: Suan {ms['suan']:.1f} ms, PyTorch {ms['torch']:.1f} ms, "
          f"ratio {ms['torch'] / ms['suan']:.2f}")
    return int(max(apart[:10]) > most_at_first or max(apart) > 1e-2)


def sample(python, folder, env, arguments):
    """Trains a little, resumes, and samples from the checkpoint, all with nanoGPT's own code."""
    short = [a for a in arguments if not a.startswith(("--max_iters", "--eval_interval"))]
    for extra in (["--max_iters=10", "--eval_interval=5"], ["--init_from=resume", "--max_iters=15", "--eval_interval=5"]):
        subprocess.run([python, "train.py", *short, *extra], cwd=folder, env=env, check=True, stdout=subprocess.PIPE)
    done = subprocess.run([python, "sample.py", "--out_dir=out-shakespeare-char", "--device=cpu", "--num_samples=1",
                           "--max_new_tokens=100", "--dtype=float32"], cwd=folder, env=env, check=True,
                          stdout=subprocess.PIPE, text=True)
    print(f"trained, resumed, sampled:\n{done.stdout[done.stdout.index('Loading meta'):]}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        run_train(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
    else:
        main()
