"""What the pages look like."""

import html

STYLE = """
:root { color-scheme: light }
body { font: 14px/1.5 system-ui, sans-serif; color: #20262b; max-width: 84rem; margin: 2rem auto; padding: 0 1.2rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem }
h3 { font-size: 1rem; margin: .6rem 0 } small, .soft { color: #6b747c }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .18rem .6rem; text-align: right; border-bottom: 1px solid #eef0f2; vertical-align: top; overflow-wrap: anywhere }
th { font-weight: 600 } th.l, td.l { text-align: left } td.m { font: 12px/1.5 ui-monospace, monospace }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0 }
.cards div { border: 1px solid #e3e6e9; border-radius: 6px; padding: .5rem .9rem; min-width: 8rem }
.cards b { display: block; font-size: 1.15rem } .cards span { color: #6b747c; font-size: 12px }
svg { font: 11px system-ui, sans-serif } .chart { width: 100%; height: auto }
.chart .grid { stroke: #e8ebed } .chart .axis { fill: #6b747c } .chart .arena { stroke: #b3261e; stroke-dasharray: 5 4 }
.chart .plan { fill: #2f6f9f; fill-opacity: .28; stroke: #2f6f9f } .chart .seen { fill: #d08a2e; fill-opacity: .25; stroke: #d08a2e }
.chart .peak { stroke: #20262b; stroke-dasharray: 2 3 }
.key i { display: inline-block; width: 11px; height: 11px; margin: 0 .3rem 0 1rem; border-radius: 2px }
details summary { cursor: pointer }
.bar { display: flex; gap: .7rem; align-items: center; margin: .6rem 0 } .find { width: 22rem; padding: .3rem .5rem }
.bar button { padding: .2rem .6rem } .zoom { margin-left: auto }
.graph { display: flex; border: 1px solid #dfe3e6; border-radius: 6px; max-height: 78vh; min-height: 18rem }
.pane { flex: 1; overflow: auto; background: #fbfcfc } .drawing h3 { margin: .6rem 1rem }
.canvas { padding: .6rem; min-width: max-content; text-align: center }
.panel { width: 21rem; overflow: auto; border-left: 1px solid #dfe3e6; padding: .4rem 1rem; font-size: 13px }
.panel h3 { margin: .3rem 0 } .panel h4 { margin: .8rem 0 .1rem; font-size: 12px; color: #6b747c }
.panel p { margin: .1rem 0; overflow-wrap: anywhere } .panel .name { color: #6b747c } .panel .v { white-space: pre-wrap }
.panel .v { font: 12px/1.5 ui-monospace, monospace } .panel a { color: #2f6f9f; text-decoration: none } .panel .v span { color: #6b747c }
.node { cursor: pointer } .node rect { stroke: #0002 } .node text { fill: #fff; pointer-events: none } .node .note { fill: #fffc; font-size: 10px }
.node:hover rect { filter: brightness(1.12) } .node.on rect { stroke: #20262b; stroke-width: 2.5 }
.value rect { fill: #fff; stroke: #9aa4ab } .value text { fill: #4a545b } .tag { fill: #6b747c; font-size: 10px }
.edge { fill: none; stroke: #9aa4ab; stroke-width: 1.1 } .head { fill: #9aa4ab }
.product rect { fill: #2f6f9f } .conv rect { fill: #4d5fa8 } .norm rect { fill: #8a6bb1 } .pointwise rect { fill: #4d8a4a }
.layout rect { fill: #7f8a94 } .reduce rect { fill: #b0662a } .data rect { fill: #2c8a88 } .other rect { fill: #8c7340 }
.part rect { fill: #2f6f9f } .again rect { fill: #4d5fa8 } .flow rect { fill: #b3574e } .quant rect { fill: #a8478a }
"""

_KINDS = {
    "product": "matmul gemm linear bmm einsum tensordot attention multiheadattention groupqueryattention matmulinteger "
               "qlinearmatmul matmulnbits fusedmatmul fusedgemm qattention lstm gru rnn",
    "conv": "conv convtranspose convinteger qlinearconv conv_blocked conv_input_grad conv_weight_grad fusedconv deformconv",
    "norm": "batchnormalization layernormalization instancenormalization groupnormalization rmsnormalization softmax logsoftmax "
            "lrn layer_norm rms_norm batch_norm group_norm log_softmax skiplayernormalization simplifiedlayernormalization "
            "cross_entropy meanvariancenormalization lpnormalization",
    "layout": "reshape transpose squeeze unsqueeze flatten expand slice split concat pad identity cast tile permute copy cat "
              "as_strided view contiguous depthtospace spacetodepth trilu reversesequence narrow select broadcast_to",
    "reduce": "maxpool averagepool globalaveragepool globalmaxpool lppool argmax argmin topk sum mean max min max_pool avg_pool "
              "reduce cumsum",
    "data": "gather gathernd gatherelements scatternd scatterelements scatter embedding onehot nonzero where shape size "
            "constantofshape range resize upsample gridsample arange full index_select embedding_grad",
    "flow": "if loop scan sequenceat sequenceconstruct optional",
    "quant": "quantizelinear dequantizelinear dynamicquantizelinear",
    "pointwise": "add sub mul div relu sigmoid tanh erf gelu clip exp log sqrt pow neg abs hardswish hardsigmoid leakyrelu elu "
                 "prelu softplus sin cos not and or equal less greater fused_elementwise silu fastgelu biasgelu floor ceil sign "
                 "reciprocal rsqrt clamp mish selu round",
}
_KIND_OF = {op: kind for kind, ops in _KINDS.items() for op in ops.split()}


def kind_of(op):
    """The colour of an operator, by what it does."""
    op = op.rsplit(".", 1)[-1].lower()
    if op in _KIND_OF:
        return _KIND_OF[op]
    if op.startswith("reduce"):
        return "reduce"
    for ending in ("_grad", "_backward"):
        if op.endswith(ending):
            return _KIND_OF.get(op.removesuffix(ending), "other")
    return "other"


def escape(text):
    return html.escape(str(text), quote=True)


def joined(parts):
    """The ops of a fused node in words."""
    return ", ".join(op for op, _ in parts)


def size(n):
    """Bytes in words."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(n) >= unit:
            return f"{n / unit:.1f} {name}"
    return f"{n} B"


def number(n):
    """A count in words."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if n >= unit:
            return f"{n / unit:.3g} {name}"
    return f"{n:,.0f} "


def table(head, rows, left=1, most=None):
    """An HTML table; the first `left` columns are text. Rows past `most` can be opened."""
    def cells(row, tag):
        return "".join(f'<{tag}{" class=l" if i < left else ""}>{escape(c)}</{tag}>' for i, c in enumerate(row))

    def body(part):
        return "".join(f"<tr>{cells(r, 'td')}</tr>" for r in part)

    top = f"<tr>{cells(head, 'th')}</tr>"
    if most is None or len(rows) <= most:
        return f"<table>{top}{body(rows)}</table>"
    return (f"<table>{top}{body(rows[:most])}</table><details><summary>{len(rows) - most} more</summary>"
            f"<table>{top}{body(rows[most:])}</table></details>")


def cards(facts):
    """(value, what it is) side by side."""
    return '<div class="cards">' + "".join(f"<div><b>{escape(v)}</b><span>{escape(w)}</span></div>" for v, w in facts) + "</div>"


def page(title, subtitle, body):
    return (f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
            f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(subtitle)}</p>\n{body}\n</html>\n')
