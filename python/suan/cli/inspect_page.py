"""The page of `suan inspect --html`: a checkpoint's tensors by module, in one file without links to anything outside."""

import html
import math

from . import checkpoint_facts as text

STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; color: #20262b; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin-top: 2rem }
svg { width: 100%; font-size: 12px } .sum, small { color: #6b747c } .bad { color: #b3261e; font-weight: 600 }
details { margin-left: 1rem; border-left: 1px solid #e3e6e9; padding-left: .6rem } .tree > details { margin-left: 0 }
summary { cursor: pointer; padding: .15rem 0 } summary b { margin-right: .6rem }
table { border-collapse: collapse; width: 100%; table-layout: fixed; font-variant-numeric: tabular-nums }
th, td { padding: .15rem .5rem; text-align: right; border-bottom: 1px solid #eef0f2; overflow-wrap: anywhere }
th { font-weight: 600 } th:first-child, td:first-child { text-align: left; width: 22% }
.values td:first-child { width: 35% } .values td:last-child { text-align: left; font-family: ui-monospace, monospace }
"""
COLOURS = ("#2f6f9f", "#d08a2e", "#6a9f58", "#8a6bb1", "#b3574e", "#4aa3a2", "#9a8457", "#7f8a94")
COLUMNS = ("tensor", "dtype", "shape", "size", "min", "max", "mean", "std", "not finite")


class Module:
    """A part of the names up to a dot: the tensors right in it, and the parts below."""

    def __init__(self):
        self.tensors, self.parts = [], {}

    def all(self):
        return self.tensors + [t for part in self.parts.values() for t in part.all()]


def path_of(row):
    """Modules and own name of a tensor; what is deeper than 32 modules stays one name."""
    return row["name"].split(".", 32)


def tree_of(rows):
    """Modules by the dots in the tensors' names, in the file's order."""
    root = Module()
    for row in rows:
        at, (*path, _) = root, path_of(row)
        for part in path:
            at = at.parts.setdefault(part, Module())
        at.tensors.append(row)

    def sort(module):
        if all(name.isdigit() for name in module.parts):  # files may have "10" before "2"
            module.parts = dict(sorted(module.parts.items(), key=lambda part: int(part[0])))
        for part in module.parts.values():
            sort(part)

    sort(root)
    return root


def share_bar(shares):
    """One bar: (name, bytes) side by side, the largest first, what is small put together."""
    total = sum(n for _, n in shares)
    if not total:
        return ""
    shares = sorted(shares, key=lambda s: -s[1])
    kept = [s for s in shares[:len(COLOURS) - 1] if s[1] >= total / 200]
    if len(kept) == len(shares) - 1:
        kept = shares
    elif len(kept) < len(shares):
        kept.append((f"{len(shares) - len(kept)} others", total - sum(n for _, n in kept)))
    width, x, bar, key = 1000, 0.0, [], []
    for i, ((name, n), colour) in enumerate(zip(kept, COLOURS)):
        w = width * n / total
        bar.append(f'<rect x="{x:.1f}" y="0" width="{w:.1f}" height="22" fill="{colour}">'
                   f'<title>{html.escape(name)}: {text.size(n)}</title></rect>')
        if w > 45:
            bar.append(f'<text x="{x + w / 2:.1f}" y="15" text-anchor="middle" fill="#fff">{n / total:.0%}</text>')
        column, row = i % 4, i // 4
        label = name if len(name) < 26 else name[:12] + "…" + name[-12:]
        key.append(f'<rect x="{column * 250}" y="{30 + row * 18}" width="11" height="11" fill="{colour}"/>'
                   f'<text x="{column * 250 + 16}" y="{40 + row * 18}">{html.escape(label)} {text.size(n)}</text>')
        x += w
    return f'<svg viewBox="0 0 {width} {34 + 18 * math.ceil(len(kept) / 4)}" role="img">{"".join(bar + key)}</svg>'


def tensor_rows(tensors):
    rows = []
    for t in tensors:
        bad = [f"{t[k]:,} {name}" for k, name in (("nan", "NaN"), ("inf", "inf")) if t[k]]
        cells = [html.escape(path_of(t)[-1]), t["dtype"], "×".join(map(str, t["shape"])) or "scalar",
                 text.size(t["bytes"]), *(text.number(t[k]) for k in ("min", "max", "mean", "std")),
                 f'<span class="bad">{", ".join(bad)}</span>' if bad else "0"]
        rows.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    head = "".join(f"<th>{c}</th>" for c in COLUMNS)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def module_html(name, module, depth):
    """A module that opens and closes; open are the two uppermost levels, and whatever holds a NaN or an infinity."""
    rows = module.all()
    bad = any(t["nan"] or t["inf"] for t in rows)
    inside = tensor_rows(module.tensors) if module.tensors else ""
    inside += "".join(module_html(n, m, depth + 1) for n, m in module.parts.items())
    return (f'<details{" open" if depth < 2 or bad else ""}><summary><b>{html.escape(name)}</b>'
            f'<span class="{"bad" if bad else "sum"}">{text.totals(rows)}</span></summary>{inside}</details>')


def page(facts):
    """What checkpoint_facts gave, as HTML."""
    rows = facts["tensors"]
    root = tree_of(rows)
    # Where everything lies in one module ("model"), its parts say more.
    top, prefix = root, ""
    while len(top.parts) == 1 and not top.tensors:
        (name, top), = top.parts.items()
        prefix += name + "."
    by_module = [(prefix + n, sum(t["bytes"] for t in m.all())) for n, m in top.parts.items()]
    by_module += [(t["name"], t["bytes"]) for t in top.tensors]
    by_dtype = {}
    for t in rows:
        by_dtype[t["dtype"]] = by_dtype.get(t["dtype"], 0) + t["bytes"]
    body = tensor_rows(root.tensors) if root.tensors else ""
    body += "".join(module_html(n, m, 0) for n, m in root.parts.items())
    values = "".join(f"<tr><td>{html.escape(p)}</td><td>{html.escape(repr(v))}</td></tr>" for p, v in facts["others"])
    name = html.escape(facts["file"].rsplit("/", 1)[-1])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>{STYLE}</style>
<h1>{name}</h1>
<p>{text.totals(rows)}</p>
<h2>Bytes by module</h2>{share_bar(by_module)}
<h2>Bytes by dtype</h2>{share_bar(list(by_dtype.items()))}
<h2>Tensors</h2>
<p><small>Minimum, maximum, mean and standard deviation (of the whole population) are of the finite values.</small></p>
<div class="tree">{body}</div>
{f'<h2>Other values</h2><table class="values">{values}</table>' if values else ""}
</html>
"""
