#!/usr/bin/env python3
"""Writes into docs/from_pytorch.md which of torch's names Suan lacks; --check compares instead.

    PYTHONPATH=build/release/python .venv/bin/python tools/gen_absent.py [--check]

torch's names are stored in tools/torch_names.txt; `python tools/gen_absent.py --names`, run by a Python that has
torch and not Suan, writes that file anew."""

import sys
import textwrap
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "from_pytorch.md"
NAMES = Path(__file__).resolve().parent / "torch_names.txt"
BEGIN, END = "<!-- absent names: begin -->\n", "<!-- absent names: end -->\n"
MODULES = """torch torch.Tensor torch.nn torch.nn.functional torch.nn.init torch.nn.parallel torch.nn.utils
torch.nn.utils.parametrizations torch.nn.utils.parametrize torch.nn.utils.rnn torch.optim torch.optim.lr_scheduler
torch.optim.swa_utils torch.utils.checkpoint torch.utils.data torch.func torch.autograd torch.amp torch.random
torch.distributed torch.distributions torch.fft torch.linalg torch.profiler torch.sparse torch.special torch.cuda
torch.jit""".split()


def documented(space, names, whole):
    """The names of a module or class that its users read about: functions, classes, dtypes and numbers."""
    import torch

    for name in names:
        value = getattr(space, name, None)
        if isinstance(value, (torch.dtype, float)):
            yield name
            continue
        doc = getattr(value, "__doc__", None)
        if not isinstance(doc, str) or isinstance(value, (type(sys), str, bool, tuple, dict)):
            continue  # without a docstring: bindings that torch keeps to itself
        where = str(getattr(value, "__module__", None) or type(value).__module__)
        if where.split(".")[0] not in ("torch", "builtins") or where in ("torch.overrides", "torch._jit_internal"):
            continue
        # What torch's C++ exports beside its API; in-place functions beside the methods of that name.
        inner = where.startswith("torch._C") and (whole or "torch_function" in name)
        if "deprecated" not in doc.lower()[:200] and not inner and not (whole and name.endswith("_")):
            yield name


def store_names():
    import importlib
    import warnings

    import torch

    warnings.simplefilter("ignore")
    lines = [f"# Documented names of torch {torch.__version__.split('+')[0]}, by tools/gen_absent.py --names"]
    for module in MODULES:
        space = torch.Tensor if module == "torch.Tensor" else importlib.import_module(module)
        public = [n for n in sorted(set(getattr(space, "__all__", None) or dir(space))) if n[0] != "_"]
        lines.append(f"{module}:")
        lines += textwrap.wrap(" ".join(documented(space, public, module == "torch")), 110, initial_indent="  ",
                               subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    NAMES.write_text("\n".join(lines) + "\n")


def stored_names():
    """(torch's version, {module: [names]})."""
    head, *lines = NAMES.read_text().splitlines()
    found = {}
    for line in lines:
        if line[0] != " ":
            names = found.setdefault(line.rstrip(":"), [])
        else:
            names += line.split()
    return head.split()[5].rstrip(","), found


def absent():
    """The text between the markers."""
    from suan.cli.port_command import find

    version, modules = stored_names()
    lacking = {m: [n for n in names if find(f"{m}.{n}")[2]] for m, names in modules.items()}
    total, missing = (sum(map(len, group.values())) for group in (modules, lacking))
    text = (f"Of {total:,} documented names of torch {version} in the modules below Suan has {total - missing:,}. "
            "A name that is there may lack an option; such a call is an error that says so.")
    blocks, whole = textwrap.wrap(text, 115), []
    for module, names in lacking.items():
        if len(names) == len(modules[module]):
            whole.append(f"`{module}` ({len(names)})")
        elif names:
            has = len(modules[module]) - len(names)
            blocks += ["", f"**{module}**, {has} of {len(modules[module])} present. Absent:"]
            blocks += textwrap.wrap(", ".join(f"`{n}`" for n in names), 115)
        else:
            blocks += ["", f"**{module}**: all {len(modules[module])} present."]
    if whole:
        blocks += ["", *textwrap.wrap("No name of " + ", ".join(whole) + ".", 115)]
    return "\n".join(blocks) + "\n"


def main():
    if "--names" in sys.argv:
        return store_names()
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    _, mark, tail = rest.partition(END)
    if not mark:
        sys.exit(f"[gen_absent] no markers in {PAGE}: expected {BEGIN.strip()} and {END.strip()}")
    text = head + BEGIN + absent() + END + tail
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif text != page:
        sys.exit("docs/from_pytorch.md lists other absent names: run tools/gen_absent.py")


if __name__ == "__main__":
    main()
