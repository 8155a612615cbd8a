"""Places for the boxes of a directed acyclic graph, in layers (Sugiyama, Tagawa and Toda, 1981): layers by the longest
path, the order within a layer by barycenters, places by least squares under the boxes' widths."""

GAP_X, GAP_Y = 26, 30
_SWEEPS = 8


class Layout:
    """What :func:`layered` found: `boxes` [(x, y)] of upper left corners, `paths` {(from, to): [(x, y)]}, width, height."""

    def __init__(self, boxes, paths, width, height):
        self.boxes, self.paths, self.width, self.height = boxes, paths, width, height


def _layers(n, successors, predecessors):
    layer = [0] * n
    for v in range(n):
        layer[v] = max((layer[u] + 1 for u in predecessors[v]), default=0)
    for v in reversed(range(n)):   # what has no predecessor stands right before its first reader
        if not predecessors[v] and successors[v]:
            layer[v] = min(layer[w] for w in successors[v]) - 1
    return layer


def _apart(wanted, widths, weights):
    """Places nearest to the wanted ones, in this order, none overlapping: pools of neighbours that touch move as one."""
    pools = []   # [sum of weight * (wanted - offset), sum of weight, boxes]
    offset, offsets = 0.0, []
    for k, (x, w) in enumerate(zip(wanted, weights)):
        if k:
            offset += (widths[k - 1] + widths[k]) / 2 + GAP_X
        offsets.append(offset)
        pools.append([w * (x - offset), w, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            s, w2, n = pools.pop()
            pools[-1][0] += s
            pools[-1][1] += w2
            pools[-1][2] += n
    out = []
    for s, w, n in pools:
        out += [s / w] * n
    return [x + o for x, o in zip(out, offsets)]


def layered(sizes, edges):
    """Places boxes so that all edges lead down.

    Args:
        sizes: (width, height) of each box.
        edges: (from, to) with from < to: the boxes stand in a topological order.
    """
    n = len(sizes)
    edges = sorted(set(edges))
    successors, predecessors = [[] for _ in range(n)], [[] for _ in range(n)]
    for a, b in edges:
        successors[a].append(b)
        predecessors[b].append(a)
    layer = _layers(n, successors, predecessors)
    depth = max(layer, default=-1) + 1
    rows = [[] for _ in range(depth)]
    for v in range(n):
        rows[layer[v]].append(v)
    # An edge over several layers has a point in each.
    width = [w for w, _ in sizes]
    down, up, chains = [[] for _ in range(n)], [[] for _ in range(n)], {}
    for a, b in edges:
        chain = [a]
        for k in range(layer[a] + 1, layer[b]):
            v = len(width)
            width.append(0)
            down.append([])
            up.append([])
            rows[k].append(v)
            chain.append(v)
        chain.append(b)
        for p, q in zip(chain, chain[1:]):
            down[p].append(q)
            up[q].append(p)
        chains[a, b] = chain
    place = {}
    for row in rows:
        for i, v in enumerate(row):
            place[v] = i
    for sweep in range(_SWEEPS):
        near = up if sweep % 2 == 0 else down
        for row in rows if sweep % 2 == 0 else reversed(rows):
            row.sort(key=lambda v: sum(place[u] for u in near[v]) / len(near[v]) if near[v] else place[v])
            for i, v in enumerate(row):
                place[v] = i
    x = [0.0] * len(width)
    for row in rows:
        at = 0.0
        for v in row:
            x[v] = at + width[v] / 2
            at += width[v] + GAP_X
    for sweep in range(_SWEEPS):
        near = (up, down)[sweep % 2]
        for row in rows if sweep % 2 == 0 else reversed(rows):
            # A point of an edge wants to stand straight between its neighbours.
            wanted = [sum(x[u] for u in near[v]) / len(near[v]) if near[v] else x[v] for v in row]
            weights = [4.0 if v >= n and all(u >= n for u in near[v]) else 1.0 for v in row]
            for v, at in zip(row, _apart(wanted, [width[v] for v in row], weights)):
                x[v] = at
    left = min((x[v] - width[v] / 2 for v in range(len(width))), default=0)
    x = [at - left for at in x]
    tops, y = [], 0
    for row in rows:
        tops.append(y)
        y += max((sizes[v][1] for v in row if v < n), default=0) + GAP_Y
    boxes = [(x[v] - width[v] / 2, tops[layer[v]]) for v in range(n)]
    bottoms = tops[1:] + [y]
    paths = {}
    for (a, b), chain in chains.items():
        points = [(x[a], boxes[a][1] + sizes[a][1])]
        for k, v in enumerate(chain[1:-1], layer[a] + 1):
            points += [(x[v], tops[k]), (x[v], bottoms[k] - GAP_Y)]
        points.append((x[b], boxes[b][1]))
        paths[a, b] = points
    return Layout(boxes, paths, max((x[v] + width[v] / 2 for v in range(len(width))), default=0), max(0, y - GAP_Y))
