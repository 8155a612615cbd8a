"""`suan inspect`: what is in a checkpoint (tensors by module, with statistics of their values) or an ONNX model."""

import json as jsonlib

from .checkpoint_facts import checkpoint_facts, is_safetensors, number, size, totals
from .inspect_page import page


def inspect_checkpoint(path, html, json):
    from .info import _table

    facts = checkpoint_facts(path)
    if html:
        html.write_text(page(facts), encoding="utf-8")
    if json:
        print(jsonlib.dumps(facts))
        return
    rows = facts["tensors"]
    head = ("name", "dtype", "shape", "size", "min", "max", "mean", "std", "NaN", "inf")
    _table([[r["name"], r["dtype"], "×".join(map(str, r["shape"])) or "scalar", size(r["bytes"]),
             *(number(r[k]) for k in ("min", "max", "mean", "std")), r["nan"], r["inf"]] for r in rows], head)
    print(totals(rows) + (f"; {len(facts['others'])} other values" if facts["others"] else ""))
    if html:
        print(f"page: {html}")


def inspect_command(model, supported, html, json, size=None):
    if model is not None and not supported and is_safetensors(model):
        return inspect_checkpoint(model, html, json)
    from .onnx_command import inspect_model, sizes_of

    if html:
        if model is None or supported:
            raise ValueError("[inspect] --html shows a file: expected a checkpoint or an ONNX file, got none")
        from ..pages.model import model_page

        html.write_text(model_page(model, sizes_of(size)), encoding="utf-8")
    elif size:
        raise ValueError("[inspect] --size is for --html: expected a page to write, got none")
    inspect_model(model, supported, json)
    if html and not json:
        print(f"page: {html}")
