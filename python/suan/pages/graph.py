"""A graph as SVG: nodes in a row of one reader each are stacked, long graphs are shown in parts, and repeated parts once
each."""

import dataclasses
import html
import json

from .layout import layered

ROW, PAD, LETTER = 22, 9, 6.6
LARGE = 240        # nodes; above, the graph is shown in parts
_PART = 60         # nodes of a part where nothing repeats
_FAR = 30          # a value read by a box so many further down is named there instead of drawn
_MANY = 4          # a value with more readers is drawn to the first one only


@dataclasses.dataclass
class Item:
    """A node: what stands in its box, and what a click shows."""

    op: str
    note: str               # small print after it
    kind: str               # CSS class, a colour
    inputs: list            # names of values
    outputs: list
    details: list = dataclasses.field(default_factory=list)   # (what, text)
    name: str = ""


def repeats(words, least=6):
    """[(start, length, times)] of parts of a list that follow each other several times; greedy, the largest first gain."""
    n, found, i = len(words), [], 0
    where = {}
    for k, w in enumerate(words):
        where.setdefault(w, []).append(k)
    while i < n:
        best = (0, 0, 0)
        for j in where[words[i]]:
            length = j - i
            if length < least or j + length > n:
                continue
            times = 1
            while words[i + times * length : i + (times + 1) * length] == words[i : i + length]:
                times += 1
            if times > 1 and (times - 1) * length > best[0]:
                best = ((times - 1) * length, length, times)
        if best[0]:
            found.append((i, best[1], best[2]))
            i += best[1] * best[2]
        else:
            i += 1
    return found


def parts_of(items):
    """[(start, end, title)]: the graph in parts that follow each other."""
    words = [(i.op, len(i.inputs)) for i in items]
    parts, at = [], 0

    def rest(end):
        nonlocal at
        while at < end:
            size = end - at if end - at <= _PART * 3 // 2 else _PART
            parts.append((at, at + size, ""))
            at += size

    for start, length, times in repeats(words):
        if length > LARGE:
            continue
        rest(start)
        for k in range(times):
            parts.append((at, at + length, f"{k + 1} of {times} equal parts"))
            at += length
    rest(len(items))
    return parts


def _escape(text):
    return html.escape(str(text), quote=True)


def _short(text, most=30):
    return text if len(text) <= most else text[: most - 1] + "…"


class _Stack:
    """Nodes of one box, or a value at the edge of the drawing."""

    def __init__(self, rows, kind=""):
        self.rows, self.kind = rows, kind   # rows: (text, note, item's index or None)
        longest = max(len(t) + (len(n) + 2) * 0.9 if n else len(t) for t, n, _ in rows)
        self.size = (max(64, longest * LETTER + 2 * PAD), ROW * len(rows))


def draw(items, indices, wanted, key, targets=None):
    """SVG of items[k] for k in indices, which stand in order; values of others appear as names at the edges.

    Args:
        wanted: names of values that are read outside.
        key: of this drawing on its page.
        targets: {item's index: what a click opens instead of details}.
    """
    maker = {o: k for k in indices for o in items[k].outputs if o}
    readers = {}
    for k in indices:
        for name in dict.fromkeys(items[k].inputs):
            if name:
                readers.setdefault(name, []).append(k)
    # A node joins the one before it where that has no other reader and it no other maker.
    box_of, boxes = {}, []
    for k in indices:
        makers = {maker[name] for name in items[k].inputs if name in maker}
        joined = None
        if len(makers) == 1 and not (targets and k in targets):
            m, = makers
            outs = [o for o in items[m].outputs if o in readers or o in wanted]
            outside = [name for name in items[k].inputs if name and name not in maker]
            alone = len(outs) == 1 and len(readers.get(outs[0], ())) == 1 and outs[0] not in wanted
            box = boxes[box_of[m]]
            if alone and not outside and box[-1] == m and len(box) < 12 and not (targets and m in targets):
                joined = box_of[m]
        if joined is None:
            joined = len(boxes)
            boxes.append([])
        boxes[joined].append(k)
        box_of[k] = joined
    # Boxes in an order that goes down: that of their last node (a box's inner nodes have no other readers).
    edges, far = [], {}
    order = sorted(range(len(boxes)), key=lambda b: boxes[b][-1])
    rank = {b: i for i, b in enumerate(order)}
    outside = {}
    for k in indices:
        b, into = rank[box_of[k]], []
        for name in dict.fromkeys(items[k].inputs):
            if name in maker:
                a = rank[box_of[maker[name]]]
                many = len(readers[name]) > _MANY and b > min(rank[box_of[r]] for r in readers[name])
                if a != b:
                    into.append((many or b - a > _FAR, len(readers[name]), -a, name))
            elif name:
                outside.setdefault(name, []).append(b)
        # One is always drawn, so that every box hangs below something it reads: what few others read, and near.
        for i, (named, _, a, name) in enumerate(sorted(into)):
            if named and i:
                far.setdefault(b, []).append(name)
            else:
                edges.append((-a, b))
    stacks = []
    for b in order:
        stacks.append(_Stack([(_short(items[k].op, 26), _short(items[k].note, 22), k) for k in boxes[b]], items[boxes[b][0]].kind))
    # Values from outside stand before, results after.
    before = [name for name in outside if len(outside[name]) <= 3]
    sizes = [_Stack([(_short(name), "", None)]).size for name in before] + [s.size for s in stacks]
    shift = len(before)
    edges = [(a + shift, b + shift) for a, b in edges]
    edges += [(i, b + shift) for i, name in enumerate(before) for b in set(outside[name])]
    tags = {}
    for name, at in outside.items():
        if len(at) > 3:
            for b in at:
                tags.setdefault(b, []).append(name)
    for b, names in far.items():
        tags.setdefault(b, []).extend(names)
    after = [name for name in wanted if name in maker]
    for i, name in enumerate(after):
        edges.append((rank[box_of[maker[name]]] + shift, len(sizes)))
        sizes.append(_Stack([(_short(name), "", None)]).size)
    lay = layered(sizes, edges)
    out = []
    for points in lay.paths.values():
        out.append(f'<path class="edge" marker-end="url(#{key}a)" d="{_curve(points)}"/>')
    for i, (x, y) in enumerate(lay.boxes):
        w, h = sizes[i]
        if i < shift or i >= shift + len(stacks):
            name = before[i] if i < shift else after[i - shift - len(stacks)]
            out.append(f'<g class="value"><title>{_escape(name)}</title><rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h}" '
                       f'rx="11"/><text x="{x + w / 2:.1f}" y="{y + 15:.1f}" text-anchor="middle">{_escape(_short(name))}</text></g>')
            continue
        stack = stacks[i - shift]
        for r, (text, note, k) in enumerate(stack.rows):
            item = items[k]
            at = y + r * ROW
            opens = f' data-part="{targets[k]}"' if targets and k in targets else ""
            out.append(f'<g class="node {item.kind}" data-node="{k}"{opens}>'
                       f'<title>{_escape(item.name or item.op)}</title>'
                       f'<rect x="{x:.1f}" y="{at:.1f}" width="{w:.1f}" height="{ROW - 1}" rx="3"/>'
                       f'<text x="{x + PAD:.1f}" y="{at + 15:.1f}">{_escape(text)}'
                       + (f' <tspan class="note">{_escape(note)}</tspan>' if note else "") + "</text></g>")
        if tags.get(i - shift):
            names = tags[i - shift]
            text = _short(names[0], 18) + (f" +{len(names) - 1}" if len(names) > 1 else "")
            out.append(f'<text class="tag" x="{x + w + 3:.1f}" y="{y + 10:.1f}"><title>{_escape(", ".join(names))}</title>'
                       f'← {_escape(text)}</text>')
    room = 130 if tags else 12
    return (f'<svg viewBox="-8 -6 {lay.width + room:.0f} {lay.height + 20:.0f}" width="{lay.width + room:.0f}" '
            f'height="{lay.height + 20:.0f}"><defs><marker id="{key}a" viewBox="0 0 8 8" refX="7" refY="4" '
            f'markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" class="head"/></marker></defs>{"".join(out)}</svg>')


def _curve(points):
    text = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (a, b), (c, d) in zip(points, points[1:]):
        if abs(a - c) < 0.05:
            text += f"L{c:.1f} {d:.1f}"
        else:
            middle = (b + d) / 2
            text += f"C{a:.1f} {middle:.1f} {c:.1f} {middle:.1f} {c:.1f} {d:.1f}"
    return text


def section(items, outputs, types, key="g"):
    """HTML of a graph: the drawing (in parts when it is large), a search box and a panel for what is clicked.

    Args:
        items: Items in a topological order.
        outputs: names of results.
        types: {value name: type as text}.
        key: of this graph on its page.
    """
    if not items:
        return "<p>No nodes but constants.</p>"
    drawings = []
    if len(items) <= LARGE:
        drawings.append((draw(items, range(len(items)), outputs, f"{key}0"), ""))
        starts, note = [0], ""
    else:
        parts = parts_of(items)
        starts = [start for start, _, _ in parts]
        whole, targets = _overview(items, parts)
        drawings.append((draw(whole, range(len(whole)), outputs, f"{key}0", targets), "The whole, in parts"))
        read = {}
        for k, item in enumerate(items):
            for name in item.inputs:
                read[name] = k
        results = set(outputs)
        for p, (start, end, title) in enumerate(parts, 1):
            wanted = [o for i in items[start:end] for o in i.outputs if o and (read.get(o, -1) >= end or o in results)]
            drawings.append((draw(items, range(start, end), wanted, f"{key}{p}"), f"Part {p}{': ' + title if title else ''}"))
        note = (f"<p><small>{len(items)} nodes in {len(parts)} parts; click one to see it. Equal parts are such that the same "
                "operators follow each other.</small></p>")
    data = [[i.op, i.name, i.details, [[n, types.get(n, "")] for n in i.inputs], [[n, types.get(n, "")] for n in i.outputs]]
            for i in items]
    bodies = "".join(f'<div class="drawing"{"" if k == 0 else " hidden"}>{"<h3>" + _escape(title) + "</h3>" if title else ""}'
                     f'<div class="canvas">{svg}</div></div>' for k, (svg, title) in enumerate(drawings))
    facts = json.dumps({"nodes": data, "starts": starts, "parts": len(drawings) > 1}).replace("<", "\\u003c")
    return f"""<div id="{key}"><div class="bar"><input class="find" type="search" placeholder="Find an operator, a name, a value"
autocomplete="off"><span class="found soft"></span><button class="back" hidden>← all parts</button>
<span class="zoom"><button class="smaller">−</button> <button class="larger">+</button></span></div>{note}
<div class="graph"><div class="pane">{bodies}</div>
<aside class="panel"><p class="soft">Click a node to see its attributes and values.</p></aside></div></div>
<script>({SCRIPT})(document.getElementById("{key}"), {facts});</script>"""


def _overview(items, parts):
    """Items that stand for parts, and what a click on each opens."""
    maker, whole = {}, []
    for p, (start, end, _) in enumerate(parts):
        for item in items[start:end]:
            for o in item.outputs:
                maker[o] = p
    for p, (start, end, title) in enumerate(parts):
        inputs = dict.fromkeys(n for i in items[start:end] for n in i.inputs if n and maker.get(n) != p)
        outputs = [o for i in items[start:end] for o in i.outputs if o]
        counts = {}
        for i in items[start:end]:
            counts[i.op] = counts.get(i.op, 0) + 1
        most = sorted(counts, key=counts.get, reverse=True)[:2]
        whole.append(Item(f"{p + 1}: {', '.join(most)}", f"{end - start} nodes", "part again" if title else "part", list(inputs),
                          outputs, name=title or f"nodes {start + 1} to {end}"))
    return whole, {p: p + 1 for p in range(len(parts))}


SCRIPT = """(root, {nodes, starts, parts}) => {
const one = s => root.querySelector(s), panel = one('.panel'), drawings = root.querySelectorAll('.drawing');
let shown = 0, scale = 1, hits = [], at = 0;
const make = (tag, s, c) => { const e = document.createElement(tag); e.textContent = s; if (c) e.className = c; return e; };
function values(title, list) {
  const rows = list.filter(v => v[0]);
  if (rows.length) panel.append(make('h4', title));
  for (const [name, type] of rows) {
    const p = make('p', '', 'v'), link = make('a', name);
    link.href = '#';
    link.onclick = e => { e.preventDefault(); find(name); };
    p.append(link, make('span', ' ' + type));
    panel.append(p);
  }
}
function show(k) {
  const [op, name, details, ins, outs] = nodes[k];
  panel.replaceChildren(make('h3', op));
  if (name) panel.append(make('p', name, 'soft'));
  for (const [what, value] of details) panel.append(make('h4', what), make('p', value, 'v'));
  values('Inputs', ins);
  values('Outputs', outs);
}
function open(d) {
  drawings[shown].hidden = true;
  shown = d;
  drawings[d].hidden = false;
  one('.back').hidden = d === 0;
  zoom(1);
  middle();
}
function middle() {
  const pane = one('.pane'), first = drawings[shown].querySelector('.node').getBoundingClientRect();
  pane.scrollTop = 0;
  pane.scrollLeft += first.left + first.width / 2 - pane.getBoundingClientRect().left - pane.clientWidth / 2;
}
function choose(g) {
  root.querySelectorAll('.node.on').forEach(e => e.classList.remove('on'));
  g.classList.add('on');
  show(+g.dataset.node);
}
function find(word) {
  word = word.toLowerCase();
  const names = n => [n[0], n[1], ...n[4].map(v => v[0])].map(s => s.toLowerCase());
  hits = word ? nodes.map((n, k) => k).filter(k => names(nodes[k]).some(s => s.includes(word))) : [];
  const exact = hits.filter(k => nodes[k][4].some(v => v[0].toLowerCase() === word));
  if (exact.length) hits = exact;
  at = 0;
  go(0);
}
function go(by) {
  at = hits.length ? (at + by + hits.length) % hits.length : 0;
  one('.found').textContent = hits.length ? `${at + 1} of ${hits.length}; Enter: the next` : one('.find').value ? 'nothing found' : '';
  if (!hits.length) return;
  const k = hits[at];
  open(parts ? starts.filter(s => s <= k).length : 0);
  const g = drawings[shown].querySelector(`[data-node="${k}"]`);
  choose(g);
  g.scrollIntoView({block: 'center', inline: 'center'});
}
function zoom(by) {
  scale = Math.min(3, Math.max(0.2, scale * by));
  drawings[shown].querySelectorAll('svg').forEach(s => {
    s.setAttribute('width', s.viewBox.baseVal.width * scale);
    s.setAttribute('height', s.viewBox.baseVal.height * scale);
  });
}
one('.find').oninput = e => find(e.target.value);
one('.find').onkeydown = e => { if (e.key === 'Enter') { e.preventDefault(); go(e.shiftKey ? -1 : 1); } };
one('.larger').onclick = () => zoom(1.25);
one('.smaller').onclick = () => zoom(0.8);
one('.back').onclick = () => open(0);
middle();
one('.pane').onclick = e => {
  const g = e.target.closest('.node');
  if (g && g.dataset.part) open(+g.dataset.part);
  else if (g) choose(g);
};
}"""
