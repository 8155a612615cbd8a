"""The page of a compiled function: its plans over their steps, what was measured beside them, and their graphs."""

from . import memory
from .graph import Item, section
from .style import cards, escape, joined, kind_of, number, page, size, table


def plan_items(facts):
    """(items, names of results, types): a plan's nodes without views; what a view shows is the value behind it."""
    behind = {}
    for op, _, _, _, inputs, outputs, _, view in facts["nodes"]:
        if view and inputs:
            behind[outputs[0]] = behind.get(inputs[0], inputs[0])
    outside = {*facts["inputs"], *facts["constants"]}
    items, types = [], {}
    for op, parts, attrs, line, inputs, outputs, flops, view in facts["nodes"]:
        if view and inputs:
            continue
        seen = [behind.get(v, v) for v in inputs]
        given = [facts["values"][v][0] for v in seen if v in outside]
        details = [("Line", line)] if line else []
        details += [(f"{op}, of which", joined(parts))] if parts else []
        details += [("Attributes", attrs)] if attrs else []
        details += [("FLOP", number(flops))] if flops else []
        if given:
            shown = [f"{t} ×{given.count(t)}" if given.count(t) > 1 else t for t in dict.fromkeys(given)]
            details.append(("Inputs and constants of the plan", "\n".join(shown)))
        named = [f"v{v}" for v in outputs]
        types.update((f"v{v}", facts["values"][v][0]) for v in outputs)
        note = facts["values"][outputs[0]][0].split(" ", 1)[0] if outputs else ""
        label = " + ".join(part for part, _ in parts) or op
        read = [f"v{v}" for v in dict.fromkeys(seen) if v not in outside]
        items.append(Item(label, note, kind_of(parts[0][0] if parts else op), read, named, details))
    made = {o for i in items for o in i.outputs}
    results = list(dict.fromkeys(n for v in facts["outputs"] if (n := f"v{behind.get(v, v)}") in made))
    return items, results, types


def _plan_html(which, facts, key, profile):
    flops = sum(n[6] for n in facts["nodes"])
    body = cards([(size(facts["arena_bytes"]), "arena"), (size(facts["output_bytes"]), "outputs"), (len(facts["steps"]), "steps"),
                  (f"{number(flops)}FLOP", "of a call"), (size(facts["constant_bytes"]), "constants")])
    body += memory.plan_section(facts, f"Memory of the {which}, as planned")
    if profile is not None:
        body += memory.seen_section(profile.memory, profile.seconds, f"Measured, with the {which}'s plan", facts, profile.calls)
    counts = {}
    for op, parts, _, _, _, _, f, view in facts["nodes"]:
        row = counts.setdefault((op + (" (view)" if view else ""), joined(parts)), [0, 0.0])
        row[0] += 1
        row[1] += f
    by_work = sorted(counts.items(), key=lambda c: (-c[1][1], -c[1][0]))
    rows = [(op, parts, n, number(f) if f else "") for (op, parts), (n, f) in by_work]
    body += "<h2>Ops</h2>" + table(("op", "what is joined in it", "nodes", "FLOP"), rows, 2, 14)
    items, results, types = plan_items(facts)
    # What is committed or returned is named nowhere: the drawing ends where it is made.
    return body + "<h2>Graph</h2>" + section(items, results if len(results) <= 8 else [], types, key)


def function_page(name, variants, profile=None):
    """HTML of a compiled function.

    Args:
        variants: [(its signature as text, [(which, facts of a plan)])].
        profile: a suan.profiler.profile with memory=True around calls of it.
    """
    body = ""
    for i, (signature, plans) in enumerate(variants):
        if len(variants) > 1:
            body += f"<h2>Signature {i + 1}</h2>"
        body += f"<p>{escape(signature)}</p>"
        for k, (which, facts) in enumerate(plans):
            body += _plan_html(which, facts, f"g{i}_{k}_", profile)
    return page(name, "a compiled function", body)


def profile_page(profile):
    """HTML of a profile: memory over time, and the totals by line and by op."""
    body = memory.seen_section(profile.memory, profile.seconds, "Memory")
    for by in ("line", "op"):
        rows = [(n, k, f"{s * 1e3:.3f}", f"{s / profile.seconds:.1%}") for n, k, s in profile.totals(by)]
        body += f"<h2>Time by {by}</h2>" + table((by, "calls", "ms", "share"), rows, 1, 20)
    return page("Profile", f"{profile.seconds * 1e3:.1f} ms, {len(profile.calls)} kernels", body)
