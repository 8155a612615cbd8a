#!/usr/bin/env python3
"""Writes frontends/onnx/schema/operators.inc: of every version of every ONNX operator, how many inputs and outputs
it has and which attributes, from the schemas of the package onnx. Run it when that package is raised.

    tools/gen_onnx_operators.py            # --check: only say whether the file is current
"""

import sys
from pathlib import Path

import onnx.defs as d

PAGE = Path(__file__).resolve().parents[1] / "frontends/onnx/schema/operators.inc"
KIND = {d.OpSchema.FormalParameterOption.Single: "s", d.OpSchema.FormalParameterOption.Optional: "o", d.OpSchema.FormalParameterOption.Variadic: "v"}
A = d.OpSchema.AttrType
LETTER = {A.INT: "i", A.FLOAT: "f", A.STRING: "s", A.TENSOR: "t", A.GRAPH: "g", A.TYPE_PROTO: "p", A.SPARSE_TENSOR: "x",
          A.INTS: "I", A.FLOATS: "F", A.STRINGS: "S", A.TENSORS: "T", A.GRAPHS: "G", A.TYPE_PROTOS: "P", A.SPARSE_TENSORS: "X"}  # fmt: skip


def rows():
    schemas = [s for s in d.get_all_schemas_with_history() if not s.deprecated]
    last = None
    for s in sorted(schemas, key=lambda s: (s.domain, s.name, s.since_version)):
        params = ["".join(KIND[p.option] for p in side) for side in (s.inputs, s.outputs)]
        attrs = " ".join(f"{n}={'!' * a.required}{LETTER[a.type]}" for n, a in sorted(s.attributes.items()))
        facts = (s.domain, s.name, params[0], s.min_input, params[1], s.min_output, attrs)
        if facts != last:  # a version that only adds types says nothing new
            yield f'{{"{s.domain}", "{s.name}", {s.since_version}, "{params[0]}", {s.min_input}, "{params[1]}", {s.min_output}, "{attrs}"}},'
        last = facts


def text():
    newest = {x: d.onnx_opset_version() if not x else max(s.since_version for s in d.get_all_schemas_with_history() if s.domain == x)
              for x in sorted({s.domain for s in d.get_all_schemas_with_history()})}  # fmt: skip
    versions = " ".join(f'{{"{x}", {v}}},' for x, v in newest.items())
    return "\n".join([
        f"// Written by tools/gen_onnx_operators.py from onnx {__import__('onnx').__version__}: not to be edited.",
        "constexpr struct { const char* domain; int version; } newest_opsets[] = {" + versions + "};",
        "// Domain, name, since; inputs (single, optional, variadic) and how few; outputs likewise; attributes, ! required.",
        "constexpr OperatorFacts operator_facts[] = {",
        *rows(),
        "};",
    ]) + "\n"  # fmt: skip


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == text() else f"{PAGE}: expected what this tool writes, got something else")
    PAGE.write_text(text())
