"""The scaling report: numbers from raw logs (:func:`summarise`), one self-contained page from the numbers
(:func:`page`)."""

import html
import json
import statistics
from pathlib import Path

from . import comm, raw

WORDS = {  # English, Chinese
    "title": ("Scaling of data-parallel training", "数据并行训练的扩展性"),
    "setup": ("Set-up", "环境"),
    "model": ("model", "模型"),
    "parameters": ("parameters", "参数量"),
    "batch": ("sequences × tokens a step", "每步序列数 × 词元数"),
    "stage": ("ZeRO stage", "ZeRO 阶段"),
    "scaling": ("scaling", "扩展方式"),
    "weak": ("weak: each rank's batch stays", "弱扩展：每个进程的批大小不变"),
    "strong": ("strong: the whole batch stays", "强扩展：总批大小不变"),
    "threads": ("threads a rank", "每个进程的线程数"),
    "processor": ("processor", "处理器"),
    "hosts": ("hosts", "主机"),
    "version": ("Suan", "Suan 版本"),
    "results": ("Results", "结果"),
    "ranks": ("ranks", "进程数"),
    "tokens": ("tokens/s", "词元/秒"),
    "step": ("step, median (p90)", "单步中位数（p90）"),
    "efficiency": ("efficiency", "效率"),
    "mfu": ("MFU", "MFU（算力利用率）"),
    "memory": ("memory a rank", "每进程内存"),
    "energy": ("energy", "能耗"),
    "loss": ("last loss", "末步损失"),
    "split": ("Where a step's time goes", "每步时间构成"),
    "compute": ("compute", "计算"),
    "communication": ("exposed communication", "未被掩盖的通信"),
    "idle": ("idle, waiting for other ranks", "等待其他进程"),
    "data": ("data", "数据准备"),
    "speed": ("Speed", "速度"),
    "ideal": ("ideal", "理想"),
    "measured": ("measured", "实测"),
    "how": ("What is measured and what is derived", "哪些是实测，哪些是推算"),
    "rerun": ("Run again", "复现命令"),
    "raw": ("Raw logs, from which every number here is computed", "原始日志（本页所有数字均由其计算得出）"),
    "not_measured": ("not measured", "未测量"),
    "collectives": ("communication a step (hidden)", "每步通信时间（被计算掩盖的比例）"),
    "none": ("none", "无"),
    "per_token": ("J per token", "焦耳/词元"),
    "of": ("of", "/"),
    "state": ("state", "状态"),
    "working": ("working", "工作区"),
    "resident": ("resident peak", "常驻峰值"),
}

NOTES = (
    ("Measured: the time of every step on every rank (wall clock, after {warm} steps of warm-up), the time to make a "
     "batch, and for every collective the time until all ranks had come and from then to its end. Collectives run "
     "beside the computation; what counts as idle and as exposed communication is the part of these two in which the "
     "computing thread stood still. The rest was hidden behind computation.",
     "实测：每个进程每一步的墙钟时间（预热 {warm} 步之后）、准备数据的时间，以及每次集合通信中“等到所有进程到齐”和“到齐之后直至结束”"
     "的时间。集合通信与计算同时进行；只有计算线程停下来等待的那部分，才分别计入“等待”和“未被掩盖的通信”，其余部分被计算掩盖。"),
    ("Derived: compute is a step's time less data, exposed communication and idle. Hidden is one less the two exposed "
     "parts over all time of collectives. Tokens/s is the tokens of a step over its "
     "median time, a step taking as long as its slowest rank. Efficiency is tokens/s over ranks times that of the run "
     "with the fewest ranks, over its ranks.",
     "推算：计算时间 = 单步时间 − 数据 − 未被掩盖的通信 − 等待。掩盖比例 = 1 − 两项未掩盖时间之和 ÷ 集合通信总时间。词元/秒 = 每步词元数 ÷ 单步时间的中位数（单步时间取最慢的进程）。"
     "效率 = 每进程词元/秒 ÷ 进程数最少的一次运行的每进程词元/秒。"),
    ("MFU = tokens/s × (6 N + 12 · layers · width · context) ÷ (sum over ranks of the best 1,024³ float32 product that "
     "each measured before training, all ranks at once). It is a share of what these processors reach in a product, not of a data sheet's peak.",
     "MFU = 词元/秒 ×（6N + 12 · 层数 · 宽度 · 上下文长度）÷ 各进程训练前同时实测的 1,024³ 单精度矩阵乘最高速度之和。"
     "分母是处理器的实测速度，而非规格书峰值。"),
    ("Memory: state (parameters and optimizer state) and working memory (the plan's arena) as the allocator counts "
     "them, the largest rank; resident peak as the kernel counts it for the whole process.",
     "内存：状态（参数与优化器状态）和工作区（执行计划的内存池）由分配器统计，取最大的进程；常驻峰值由内核按整个进程统计。"),
)


def word(key, lang):
    return WORDS[key][lang == "zh"]


def quantile(values, q):
    """The value below which a share q of the sorted values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _one(ranks):
    """The numbers of one run from its raw events."""
    starts, ends = [r[0] for r in ranks], [r[-1] for r in ranks]
    if any(s["event"] != "start" for s in starts) or any(e["event"] != "end" for e in ends):
        raise ValueError("[scale] raw log is cut short: expected a start and an end on every rank, got "
                         f"{[(s['event'], e['event']) for s, e in zip(starts, ends)]}")
    steps = [[e for e in r if e["event"] == "step" and not e["warm"]] for r in ranks]
    slowest = [max(s["seconds"] for s in row) for row in zip(*steps)]
    first = starts[0]
    tokens = first["batch"] * first["config"]["block"]
    median = statistics.median(slowest)
    every = [s for r in steps for s in r]
    mean = {k: statistics.fmean(s[k] for s in every) for k in
            ("seconds", "data", "waited", "moved", "exposed_waited", "exposed_moved")}
    collectives, exposed = mean["waited"] + mean["moved"], mean["exposed_waited"] + mean["exposed_moved"]
    speed = tokens / median
    # The counters are a machine's, so one rank of each host counts them.
    joules = {s["host"]: e["joules"] for s, e in zip(starts, ends)}
    known = all(j is not None for j in joules.values())
    return {
        "ranks": len(ranks),
        "hosts": sorted({s["host"] for s in starts}),
        "steps": len(slowest),
        "tokens_per_step": tokens,
        "sequences": first["batch"],
        "step_seconds": median,
        "step_seconds_p90": quantile(slowest, 0.9),
        "tokens_per_second": speed,
        "mfu": speed * first["flops_per_token"] / sum(s["matmul_flops"] for s in starts),
        "flops_per_token": first["flops_per_token"],
        "matmul_flops": [s["matmul_flops"] for s in starts],
        "split_seconds": {
            "compute": mean["seconds"] - mean["data"] - exposed,
            "communication": mean["exposed_moved"],
            "idle": mean["exposed_waited"],
            "data": mean["data"],
        },
        "collective_seconds": collectives,
        "hidden": max(0.0, 1 - exposed / collectives) if collectives else None,
        "collectives_per_step": statistics.fmean(s["calls"] for s in every),
        "bytes_per_step_and_rank": statistics.fmean(s["bytes"] for s in every),
        "state_bytes": max(e["state_bytes"] for e in ends),
        "arena_bytes": max(e["arena_bytes"] for e in ends),
        "resident_peak_bytes": max(e["resident_peak"] for e in ends),
        "joules": sum(joules.values()) if known else None,
        "joules_per_token": sum(joules.values()) / tokens / len(slowest) if known else None,
        "why_no_joules": None if known else next(e["no_joules"] for e in ends if e["joules"] is None),
        "last_loss": steps[0][-1]["loss"],
    }


def summarise(folder, command):
    """The report's numbers from FOLDER/raw/<ranks>/rank<r>.jsonl.

    Returns a dict: "command", "setup" and "runs", a list in order of ranks. Seconds, bytes, joules."""
    folders = sorted((p for p in (Path(folder) / "raw").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    if not folders:
        raise ValueError(f"[scale] no runs: expected raw/<ranks>/ in {folder}, got none")
    logs = [raw.read(p) for p in folders]
    runs = [_one(ranks) for ranks in logs]
    base = runs[0]
    for run in runs:
        run["efficiency"] = (run["tokens_per_second"] / run["ranks"]) / (base["tokens_per_second"] / base["ranks"])
    first = logs[0][0][0]
    setup = {k: first[k] for k in ("suan", "processor", "cpus", "system", "config", "parameters")}
    return {"command": command, "setup": {**setup, **first["options"]}, "runs": runs}


def _size(n):
    return f"{n / 2**30:.2f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"


def _seconds(s):
    return f"{s * 1e3:.1f} ms" if s < 1 else f"{s:.2f} s"


COLOURS = {"compute": "#2f6f9f", "communication": "#d08a2e", "idle": "#b9bec4", "data": "#6a9f58"}


def _bars(runs, lang):
    """A bar a run: the shares of a step's time."""
    height, left, width = 34, 90, 560
    parts = [f'<svg viewBox="0 0 {left + width + 10} {height * len(runs) + 34}" role="img">']
    for row, run in enumerate(runs):
        x, y = left, row * height
        total = sum(run["split_seconds"].values())
        parts.append(f'<text x="{left - 8}" y="{y + 21}" text-anchor="end">{word("ranks", lang)} {run["ranks"]}</text>')
        for key, colour in COLOURS.items():
            share = run["split_seconds"][key] / total
            parts.append(f'<rect x="{x:.1f}" y="{y + 4}" width="{max(share, 0) * width:.1f}" height="{height - 10}" '
                         f'fill="{colour}"/>')
            if share > 0.07:
                parts.append(f'<text x="{x + share * width / 2:.1f}" y="{y + 21}" text-anchor="middle" fill="#fff">'
                             f'{share:.0%}</text>')
            x += share * width
    x, y = left, height * len(runs) + 8
    for key, colour in COLOURS.items():
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>'
                     f'<text x="{x + 17}" y="{y + 11}">{word(key, lang)}</text>')
        x += 40 + 13 * len(word(key, lang)) if lang == "zh" else 36 + 7.4 * len(word(key, lang))
    return "".join(parts) + "</svg>"


def _curve(runs, lang):
    """Tokens a second over ranks, beside the ideal."""
    left, top, width, height = 90, 12, 520, 210
    most_ranks = max(r["ranks"] for r in runs)
    base = runs[0]["tokens_per_second"] / runs[0]["ranks"]
    most = max([base * most_ranks] + [r["tokens_per_second"] for r in runs])

    def at(ranks, speed):
        return left + width * ranks / most_ranks, top + height * (1 - speed / most)

    parts = [f'<svg viewBox="0 0 {left + width + 60} {top + height + 44}" role="img">']
    for share in (0, 0.25, 0.5, 0.75, 1):
        _, y = at(0, most * share)
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e6e9"/>'
                     f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{most * share:,.0f}</text>')
    x, y = at(most_ranks, base * most_ranks)
    x0, y0 = at(0, 0)
    parts.append(f'<line x1="{x0}" y1="{y0}" x2="{x:.1f}" y2="{y:.1f}" stroke="#9aa3ab" stroke-dasharray="5 4"/>'
                 f'<text x="{x + 4:.1f}" y="{y + 4:.1f}" fill="#6b747c">{word("ideal", lang)}</text>')
    points = [at(r["ranks"], r["tokens_per_second"]) for r in runs]
    parts.append(f'<polyline fill="none" stroke="#2f6f9f" stroke-width="2" '
                 f'points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
    for run, (x, y) in zip(runs, points):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#2f6f9f"/>'
                     f'<text x="{x:.1f}" y="{top + height + 18}" text-anchor="middle">{run["ranks"]}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle">{word("ranks", lang)}'
                 f'</text><text x="{left + 6}" y="{top + 10}" fill="#2f6f9f">{word("tokens", lang)}, '
                 f'{word("measured", lang)}</text>')
    return "".join(parts) + "</svg>"


STYLE = """
body { font: 15px/1.55 system-ui, "Noto Sans SC", sans-serif; color: #20262b; max-width: 66rem; margin: 2rem auto;
       padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } th, td { padding: .35rem .6rem; border-bottom: 1px solid #e3e6e9;
       text-align: right; vertical-align: top; white-space: nowrap } .set-up td { text-align: left } th:first-child, td:first-child { text-align: left }
th { font-weight: 600; white-space: normal } th:first-child { white-space: nowrap } small { color: #6b747c; display: block } svg { width: 100%; max-width: 46rem; font-size: 13px }
pre { background: #f4f6f8; padding: .7rem; overflow-x: auto }
"""


def page(summary, lang):
    """The report as one HTML page without links to anything outside; lang: "en" or "zh"."""
    def w(key):
        return word(key, lang)

    s, runs = summary["setup"], summary["runs"]
    setup = [
        (w("model"), f'{s["model"]} ({s["config"]["layers"]} × {s["config"]["width"]})'),
        (w("parameters"), f'{s["parameters"]:,}'),
        (w("scaling"), w(s["scaling"])),
        (w("stage"), s["stage"]),
        (w("threads"), s["threads"]),
        (w("processor"), s["processor"]),
        (w("hosts"), ", ".join(sorted({h for r in runs for h in r["hosts"]}))),
        (w("version"), s["suan"]),
    ]
    head = ("ranks", "batch", "step", "collectives", "tokens", "efficiency", "mfu", "memory", "energy", "loss")
    rows = []
    for r in runs:
        if r["joules"] is None:
            why = r["why_no_joules"]
            if lang == "zh" and why == raw.NO_RAPL:
                why = "本机 /sys/class/powercap 下没有 RAPL 计数器"
            energy = f'{w("not_measured")}<small style="white-space: normal">{html.escape(why)}</small>'
        else:
            energy = f'{r["joules"]:.0f} J<small>{r["joules_per_token"]:.4f} {w("per_token")}</small>'
        rows.append((
            r["ranks"],
            f'{r["sequences"]} × {s["config"]["block"]}',
            f'{_seconds(r["step_seconds"])}<small>({_seconds(r["step_seconds_p90"])})</small>',
            w("none") if r["hidden"] is None else
            f'{_seconds(r["collective_seconds"])}<small>({r["hidden"]:.0%})</small>',
            f'{r["tokens_per_second"]:,.0f}',
            f'{r["efficiency"]:.1%}',
            f'{r["mfu"]:.1%}',
            f'{_size(r["state_bytes"])} {w("state")}<small>{_size(r["arena_bytes"])} {w("working")}</small>'
            f'<small>{_size(r["resident_peak_bytes"])} {w("resident")}</small>',
            energy,
            f'{r["last_loss"]:.4f}',
        ))
    notes = "".join(f'<p>{html.escape(n[lang == "zh"].format(warm=s["warm"]))}</p>' for n in NOTES)
    logs = ", ".join(f'raw/{r["ranks"]}/rank*.jsonl' for r in runs)
    return f"""<!doctype html>
<html lang="{"zh-CN" if lang == "zh" else "en"}"><meta charset="utf-8"><title>{w("title")}</title>
<style>{STYLE}</style>
<h1>{w("title")}</h1>
<h2>{w("setup")}</h2>
<table class="set-up">{"".join(f"<tr><td>{k}</td><td>{html.escape(str(v))}</td></tr>" for k, v in setup)}</table>
<h2>{w("results")}</h2>
<table><tr>{"".join(f"<th>{w(k)}</th>" for k in head)}</tr>
{"".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)}</table>
<h2>{w("speed")}</h2>{_curve(runs, lang)}
<h2>{w("split")}</h2>{_bars(runs, lang)}
<h2>{w("how")}</h2>{notes}
<h2>{w("rerun")}</h2><pre>{html.escape(summary["command"])}</pre>
<p>{w("raw")}: {logs}</p>
</html>
"""


def write(folder, command, lang):
    """Computes FOLDER/report.json and FOLDER/report.html from the raw logs; returns the summary."""
    summary = summarise(folder, command)
    Path(folder, "report.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False), encoding="utf-8")
    Path(folder, "report.html").write_text(page(summary, lang), encoding="utf-8")
    return summary


def fit(rows):
    """Latency (s) and bandwidth (bytes/s) of time = latency + size / bandwidth, by least squares of the relative
    error over (size, seconds) rows; None for a bandwidth that the rows do not bound."""
    weights = [1 / t**2 for _, t in rows]
    sw = sum(weights)
    sx = sum(w * n for w, (n, _) in zip(weights, rows))
    sy = sum(w * t for w, (_, t) in zip(weights, rows))
    sxx = sum(w * n * n for w, (n, _) in zip(weights, rows))
    sxy = sum(w * n * t for w, (n, t) in zip(weights, rows))
    spread = sw * sxx - sx * sx
    slope = (sw * sxy - sx * sy) / spread if spread else 0.0
    return (sy - slope * sx) / sw, 1 / slope if slope > 0 else None


def collectives(folder):
    """Rows of a `suan scale comm` run and the fit of each op, from raw logs.

    Returns (rows, fits): dicts with op, size, count, type, seconds (mean of the calls' slowest rank), p50, p99,
    algbw and busbw (bytes/s), wrong (elements over all ranks); fits by op, (latency, bandwidth)."""
    ranks = raw.read(folder)
    n = len(ranks)
    rows = []
    for events in zip(*[[e for e in r if e["event"] == "collective"] for r in ranks]):
        times = [max(t) for t in zip(*[e["seconds"] for e in events])]
        e, mean = events[0], statistics.fmean(times)
        rows.append({
            "op": e["op"], "size": e["size"], "count": e["count"], "type": e["type"], "seconds": mean,
            "p50": statistics.median(times), "p99": quantile(times, 0.99), "algbw": e["size"] / mean,
            "busbw": e["size"] / mean * comm.bus_factor(e["op"], n), "wrong": sum(x["wrong"] for x in events),
        })
    fits = {op: fit([(r["size"], r["p50"]) for r in rows if r["op"] == op]) for op in dict.fromkeys(r["op"] for r in rows)}
    return rows, fits
