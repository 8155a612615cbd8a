"""`suan port`: which of torch's names a program uses, and which of them Suan lacks."""

import ast
import difflib
import importlib
import json as jsonlib

import suan


def torch_names(source):
    """{dotted name under torch: [line numbers]} of every name a program takes from torch: imported, or reached
    through an imported module. Methods of objects are not followed: a program does not say their types."""
    tree = ast.parse(source)
    roots, found = {}, {}  # what a variable stands for: "torch", "torch.nn", ...

    def note(name, line):
        found.setdefault(name, []).append(line)

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "torch":
                    note(alias.name, node.lineno)
                    roots[alias.asname or "torch"] = alias.name if alias.asname else "torch"
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "torch":
            for alias in node.names:
                note(f"{node.module}.{alias.name}", node.lineno)
                roots[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    inner = set()  # attributes that are the stem of a longer one
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node in inner:
            continue
        parts, stem = [], node
        while isinstance(stem, ast.Attribute):
            parts.insert(0, stem.attr)
            stem = stem.value
            inner.add(stem)
        if isinstance(stem, ast.Name) and stem.id in roots:
            note(".".join([roots[stem.id], *parts]), node.lineno)
    return found


def find(name):
    """(the longest part of a torch name that Suan has, the object there, the parts that follow)."""
    parts = name.split(".")[1:]
    at, done = suan, "suan"
    for i, part in enumerate(parts):
        try:
            at = getattr(at, part)
        except AttributeError:
            try:
                at = importlib.import_module(f"{done}.{part}")
            except ImportError:
                return done, at, parts[i:]
        done += f".{part}"
    return done, at, []


def nearest(name):
    """Suan's nearest name to one that it lacks: the like in the same module, else of the same name elsewhere."""
    done, at, rest = find(name)
    near = difflib.get_close_matches(rest[0], [n for n in dir(at) if n[0] != "_"], n=1, cutoff=0.7)
    if near:
        return f"{done}.{near[0]}"
    for place in (suan, suan.Tensor, suan.nn, suan.nn.functional, suan.optim, suan.distributed, suan.data):
        if hasattr(place, rest[-1]):
            where = "suan.Tensor" if place is suan.Tensor else place.__name__
            return f"{where}.{rest[-1]}"
    return None


def missing_names(source):
    """One dict for each torch name that Suan lacks: name, lines, nearest."""
    rows = []
    for name, lines in sorted(torch_names(source).items(), key=lambda item: item[1][0]):
        _, at, rest = find(name)
        # What follows a class or function is a method or an attribute of a result: not torch's namespace.
        if rest and isinstance(at, type(suan)):
            rows.append({"name": name, "lines": sorted(set(lines)), "nearest": nearest(name)})
    return rows


def port_command(script, json):
    try:
        source = script.read_text()
        rows, used = missing_names(source), torch_names(source)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"[port] cannot read {script}: expected a Python file, got {error}") from None
    if json:
        print(jsonlib.dumps({"used": len(used), "missing": rows}))
        return
    for row in rows:
        near = f"nearest: {row['nearest']}" if row["nearest"] else "nothing near"
        print(f"{script}:{row['lines'][0]}: {row['name']} is missing; {near}")
    print(f"{len(used)} names from torch, {len(rows)} missing. Import suan as torch, and from suan what came from torch."
          if used else f"{script} takes no names from torch")
