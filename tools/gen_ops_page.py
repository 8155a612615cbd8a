#!/usr/bin/env python3
"""Writes docs/ops.md from the op table; --check compares instead.

    PYTHONPATH=build/release/python .venv/bin/python tools/gen_ops_page.py [--check]
"""

import re
import sys
from pathlib import Path

import suan
from suan.cli.info import ops_rows

PAGE = Path(__file__).resolve().parent.parent / "docs" / "ops.md"

HEAD = """# Ops

Every op of the table, written by `tools/gen_ops_page.py` from what `suan ops` prints; a test keeps
it current. *Runs* is how an op executes on the CPU: a kernel, a fused kernel (with a definition in
other ops beside it), composed of other ops, or a view that moves no data. Ops ending in `_grad` and
the like belong to gradients.

"""


def first_sentence(text):
    sentence = re.split(r"\.\s+(?=[A-Z])", text.strip())[0]
    return sentence.replace("\n", " ").replace("|", "\\|").rstrip(".")


def page():
    docs = {op["name"]: op["doc"] for op in suan._c.op_table()}
    rows = ops_rows()
    lines = ["| op | meaning | dtypes of the first input | runs | gradient | ONNX |",
             "|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda r: r["op"]):
        cells = [f"`{row['op']}`", first_sentence(docs[row["op"]]), row["dtypes"], row["runs"],
                 row["gradient"].replace("|", "/"), row["onnx"] or "–"]
        lines.append("| " + " | ".join(cells) + " |")
    kinds = {}
    for row in rows:
        kinds[row["runs"]] = kinds.get(row["runs"], 0) + 1
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items(), key=lambda k: -k[1]))
    return HEAD + "\n".join(lines) + f"\n\n{len(rows)} ops: {counted}.\n"


def main():
    text = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != text:
            sys.exit("docs/ops.md differs from the op table: run tools/gen_ops_page.py")
        return
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
