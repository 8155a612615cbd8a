"""Memory over time: what a plan keeps at each step, and what was seen of the allocator in a profile."""

import collections
import math

from .style import cards, escape, joined, size, table

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 1000, 246, 74, 28, 26


def planned(facts):
    """Bytes of the arena in use at each step of a plan, and the outputs' beside them."""
    steps = len(facts["steps"])
    change = [0] * (steps + 1)
    for home, _, n, first, last, _ in facts["buffers"]:
        if home == "arena" and n:
            change[max(first, 0)] += n
            change[min(last, steps - 1) + 1] -= n
    used, now = [], 0
    for c in change[:steps]:
        now += c
        used.append(now)
    return used


def plan_holders(facts, at):
    """[(bytes, what, line)] of the arena at a step, largest first."""
    maker = {v: n for n in facts["nodes"] for v in n[5]}
    rows = []
    for home, _, n, first, last, value in facts["buffers"]:
        if home != "arena" or not first <= at <= last or not n:
            continue
        node = maker.get(value)
        what = "scratch of a kernel"
        if node is not None:
            what = f"{node[0]}{f' ({joined(node[1])})' if node[1] else ''} {facts['values'][value][0]}"
        rows.append((n, what, node[3] if node else ""))
    return sorted(rows, reverse=True)


def seen_holders(events, most=12):
    """(bytes in use at the highest point, its place in the events, [(bytes, line, blocks)] then held, largest first)."""
    if not events:
        return 0, 0, []
    first = sum(e.at == 0 for e in events) - 1   # what was there when the profile began is there at once
    peak = max(range(max(first, 0), len(events)), key=lambda i: events[i].in_use)
    held = {}
    for e in events[: peak + 1]:
        if e.bytes >= 0:
            held[e.block] = (e.bytes, e.line)
        else:
            held.pop(e.block, None)
    sums = collections.defaultdict(lambda: [0, 0])
    for n, line in held.values():
        sums[line][0] += n
        sums[line][1] += 1
    rows = sorted(((n, line or "(no Python line)", k) for line, (n, k) in sums.items() if n), reverse=True)
    rest = events[peak].in_use - sum(n for n, _, _ in rows)
    if len(rows) > most:
        rest += sum(n for n, _, _ in rows[most:])
        rows = rows[:most]
    if rest > 0:
        rows.append((rest, "other lines, and blocks up to 64 KiB", 0))
    return events[peak].in_use, peak, rows


def chart(series, lines=(), marks=(), x_text=None, x_end=None):
    """A chart of steps: series [(CSS class, [(x, bytes)])], each value holding until the next; lines (CSS class, bytes, text)
    go across, marks (x, text) up."""
    x_end = x_end or max((points[-1][0] for _, points in series if points), default=1) or 1
    top = max([1, *(y for _, points in series for _, y in points), *(y for _, y, _ in lines)]) * 1.06

    def x_of(x):
        return _LEFT + (_WIDTH - _LEFT - 8) * x / x_end

    def y_of(y):
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - y / top)

    out = []
    unit = _round(top / 4)
    for k in range(int(top / unit) + 1):
        y = y_of(k * unit)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
                   f'<text class="axis" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{size(k * unit)}</text>')
    for kind, points in series:
        if not points:
            continue
        points = _thin(points, x_end)
        path = f"M{x_of(points[0][0]):.1f} {y_of(0):.1f}"
        for i, (x, y) in enumerate(points):
            after = points[i + 1][0] if i + 1 < len(points) else max(x, x_end)
            path += f"L{x_of(x):.1f} {y_of(y):.1f}L{x_of(after):.1f} {y_of(y):.1f}"
        out.append(f'<path class="{kind}" d="{path}V{y_of(0):.1f}z"/>')
    for kind, y, text in lines:
        out.append(f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}"/>'
                   f'<text class="axis" x="{_WIDTH - 6}" y="{y_of(y) - 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for x, text in marks:
        end, beside = ("end", -4) if x > x_end * 0.7 else ("start", 4)
        out.append(f'<line class="peak" x1="{x_of(x):.1f}" x2="{x_of(x):.1f}" y1="{_TOP - 20}" y2="{y_of(0):.1f}"/>'
                   f'<text class="axis" x="{x_of(x) + beside:.1f}" y="{_TOP - 12}" text-anchor="{end}">{escape(text)}'
                   "</text>")
    if x_text:
        out.append(f'<text class="axis" x="{_WIDTH - 6}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x_text)}</text>')
    return f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(out)}</svg>'


def _round(n):
    """The power of two nearest to n."""
    return 1 << max(0, round(math.log2(n)))


def _thin(points, x_end, most=2000):
    """At most so many points: of those that fall together the lowest and the highest stay."""
    if len(points) <= most:
        return points
    out, last, group = [], None, []

    def put():
        if group:
            low, high = min(group, key=lambda p: p[1]), max(group, key=lambda p: p[1])
            out.extend(sorted({low, high, group[-1]}))

    for p in points:
        cell = int(p[0] / x_end * most / 3)
        if cell != last:
            put()
            group, last = [], cell
        group.append(p)
    put()
    return out


def plan_section(facts, title):
    """A plan's arena over its steps, and what holds it at the highest point."""
    used = planned(facts)
    if not used or not max(used):
        return f"<h2>{escape(title)}</h2><p>The plan needs no arena: no value lives beside inputs, weights and outputs.</p>"
    peak = max(range(len(used)), key=used.__getitem__)
    alike = collections.defaultdict(list)
    for n, what, line in plan_holders(facts, peak):
        alike[what, line].append(n)
    rows = sorted(((sum(n), len(n), what, line) for (what, line), n in alike.items()), reverse=True)
    picture = chart([("plan", list(enumerate(used)))], [("arena", facts["arena_bytes"], f"arena {size(facts['arena_bytes'])}")],
                    [(peak, f"step {peak}: {size(used[peak])}")], f"{len(used)} steps", len(used))
    gap = facts["arena_bytes"] - used[peak]
    note = (f"Values that live at a step, scratch included; the arena is what holds them all ({size(gap)} of it are gaps). Inputs, "
            f"weights and outputs ({size(facts['output_bytes'])}) lie outside.")
    return (f"<h2>{escape(title)}</h2>{picture}<p><small>{note}</small></p><h3>At the highest point, step {peak}</h3>"
            + table(("bytes", "values", "each", "line"), [(size(b), n, what, line) for b, n, what, line in rows], 4, 14))


def seen_section(events, seconds, title, plan=None, calls=()):
    """What the allocator had in use over a profile, with the plan's steps beside it where a profile saw them."""
    if not events:
        return ""
    top, peak, rows = seen_holders(events)
    base = events[0].in_use
    series = [("seen", [(e.at, e.in_use) for e in events])]
    key = '<i style="background:#d08a2e"></i>in use, all of the process'
    if plan and calls:
        points = planned_in_time(plan, calls, events)
        if points:
            series.append(("plan", points))
            key += '<i style="background:#2f6f9f"></i>what the plan has alive in it'
    picture = chart(series, [], [(events[peak].at, f"{size(top)}")], f"{seconds * 1e3:.1f} ms", seconds)
    return (f"<h2>{escape(title)}</h2>" + cards([(size(top), "highest"), (size(base), "at the beginning"),
                                                (len([e for e in events if e.at > 0 and e.bytes > 0]), "large blocks taken")])
            + f'<p class="key">{key}</p>{picture}<h3>At the highest point</h3>'
            + table(("bytes", "line", "blocks"), [(size(n), line, k or "") for n, line, k in rows], 2))


def planned_in_time(facts, calls, events):
    """The plan's values as its steps ran: (seconds, bytes), for the calls of a profile that are exactly its steps. They lie
    in the arena, which is in use all through a call: they stand on what was in use beside it."""
    used = planned(facts)
    names = [facts["nodes"][s[0]][0] if s[0] >= 0 else "copy" for s in facts["steps"]]
    steps = [c for c in calls if c.planned]
    points, at, seen = [], 0, 0
    while at + len(names) <= len(steps):
        part = steps[at : at + len(names)]
        if [c.op for c in part] == names:
            while seen + 1 < len(events) and events[seen + 1].at <= part[0].begin:
                seen += 1
            base = max(0, events[seen].in_use - facts["arena_bytes"]) if events else 0
            points += [(c.begin, base + u) for c, u in zip(part, used)]
            points.append((part[-1].begin + part[-1].seconds, base))
            at += len(names)
        else:
            at += 1
    return points
