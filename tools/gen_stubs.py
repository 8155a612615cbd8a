"""Writes the type stubs of the compiled module from the module itself: suan/_c.pyi.

    PYTHONPATH=build/release/python python tools/gen_stubs.py OUTPUT_FOLDER
"""

import inspect
import keyword
import pathlib
import sys

import suan
from suan import _c

HEADER = '''"""Types of the engine; written by tools/gen_stubs.py from the op table and the module."""

from typing import Any, Iterator, Sequence, Union

# Tensor has methods, and the module a dtype, of these names.
_bool, _int, _float, _str = bool, int, float, str
Number = Union[_bool, _int, _float]
Operand = Union["Tensor", Number]
Ints = Union[_int, Sequence[_int]]
'''
KINDS = {"bool": "_bool", "int": "_int", "float": "_float", "str": "_str", "dims": "Ints", "ints": "Sequence[_int]",
         "dtype": "dtype", "graph": "Any"}
OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
SPECIAL = {
    "__getitem__": "self, key: Any", "__setitem__": "self, key: Any, value: Any", "__len__": "self",
    "__matmul__": "self, other: Tensor", "__neg__": "self", "__abs__": "self", "__invert__": "self",
    "__bool__": "self", "__int__": "self", "__float__": "self", "__iter__": "self", "__hash__": "self",
}
RETURNS = {"__setitem__": "None", "__len__": "_int", "__bool__": "_bool", "__int__": "_int", "__float__": "_float",
           "__iter__": "Iterator[Tensor]", "__hash__": "_int"}
ATTRIBUTES = {"shape": "Any", "dtype": "dtype", "device": "Any", "grad": "Union[Tensor, None]", "ndim": "_int",
              "requires_grad": "_bool", "is_leaf": "_bool", "retains_grad": "_bool", "itemsize": "_int", "nbytes": "_int",
              "grad_fn": "Union[_str, None]", "_version": "_int", "_base": "Union[Tensor, None]"}
PLAIN_RETURNS = {"item": "Number", "tolist": "Any", "dim": "_int", "numel": "_int", "size": "Any", "stride": "Any",
                 "is_contiguous": "_bool", "data_ptr": "_int", "storage_offset": "_int", "nelement": "_int",
                 "ndimension": "_int", "is_floating_point": "_bool", "numpy": "Any", "backward": "None"}
SPREAD = ("reshape", "view", "permute", "expand", "flip", "repeat", "tile")


def op_parameters(op, method):
    """The parameters of an op's function as stub text."""
    if method and op["name"] in SPREAD:
        return "self, *sizes: Any"
    parts = []
    for i in op["inputs"]:
        if i["arity"] == "variadic":
            parts.append(f"*{i['name']}: Any")
        else:
            late = i["arity"] == "optional" or any("=" in p for p in parts)
            parts.append(f"{i['name']}: Any = None" if late else f"{i['name']}: Operand")
    if method and parts:
        parts[0] = "self"
    optional = any("=" in p or p.startswith("*") for p in parts)
    for a in op["attrs"]:
        kind = KINDS[a["kind"]]
        if a["nullable"] or a["kind"] == "dims":
            kind = f"Union[{kind}, None]"
        optional = optional or a["default"] is not None or a["nullable"]
        parts.append(f"{a['name']}: {kind}" + (" = ..." if optional else ""))
    return ", ".join(parts)


def op_result(op):
    many = len(op["outputs"]) > 1 or op["name"] in ("split", "chunk", "unbind")
    return "tuple[Tensor, ...]" if many else "Tensor"


def python_parameters(fn):
    """The parameters of a Python method: names and whether they have defaults."""
    parts = []
    for p in inspect.signature(fn).parameters.values():
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        if p.kind is p.KEYWORD_ONLY and "*" not in parts and not any(q.startswith("*") for q in parts):
            parts.append("*")
        parts.append(star + p.name + ("" if star or p.default is p.empty else "=..."))
    parts[0] = "self"
    return ", ".join(parts)


def tensor_class(ops):
    lines = ["class Tensor:"]
    lines += [f"    {name}: {kind}" for name, kind in ATTRIBUTES.items()]
    lines += [f"    @property\n    def {name}(self) -> Tensor: ..." for name in ("T", "mT")]
    lines += ["    @property\n    def data(self) -> Tensor: ...",
              "    @data.setter\n    def data(self, value: Tensor) -> None: ..."]
    for name, parameters in SPECIAL.items():
        lines.append(f"    def {name}({parameters}) -> {RETURNS.get(name, 'Tensor')}: ...")
    for name in OPERATORS:
        for prefix in ("", "r", "i"):
            lines.append(f"    def __{prefix}{name}__(self, other: Operand) -> Tensor: ...")
    for name in ("lt", "le", "gt", "ge"):
        lines.append(f"    def __{name}__(self, other: Operand) -> Tensor: ...")
    for name in ("eq", "ne"):
        lines.append(f"    def __{name}__(self, other: Operand) -> Tensor: ...  # type: ignore[override]")
    for name in sorted(vars(_c.Tensor)):
        if name.startswith("_") or name in ATTRIBUTES or name in ("T", "mT", "data") or keyword.iskeyword(name):
            continue
        fn = vars(_c.Tensor)[name]
        if inspect.isfunction(fn):
            lines.append(f"    def {name}({python_parameters(fn)}) -> {PLAIN_RETURNS.get(name, 'Any')}: ...")
        elif name.rstrip("_") in ops and not (name in PLAIN_RETURNS):
            op = ops[name.rstrip("_")]
            lines.append(f"    def {name}({op_parameters(op, True)}) -> {op_result(op)}: ...")
        else:
            lines.append(f"    def {name}(self, *args: Any) -> {PLAIN_RETURNS.get(name, 'Tensor')}: ...")
    return lines


def main():
    table = {op["name"]: op for op in _c.op_table()}
    lines = [HEADER, "class dtype:", "    name: _str", "    itemsize: _int", "    bits: _int",
             "    is_floating_point: _bool", "    is_complex: _bool", "    is_signed: _bool", ""]
    lines += tensor_class(table) + ["", "class ops:"]
    for name, op in sorted(table.items()):
        if not keyword.iskeyword(name):
            lines.append(f"    @staticmethod\n    def {name}({op_parameters(op, False)}) -> {op_result(op)}: ...")
    lines.append("")
    for name in sorted(vars(_c)):
        value = getattr(_c, name)
        if name.startswith("_") or name in ("Tensor", "dtype", "ops"):
            continue
        if isinstance(value, _c.dtype):
            lines.append(f"{name}: dtype")
        elif isinstance(value, type) and issubclass(value, BaseException):
            lines.append(f"class {name}({value.__bases__[0].__name__}): ...")
        elif isinstance(value, type):
            lines.append(f"class {name}:\n    def __getattr__(self, name: _str) -> Any: ...\n"
                         "    def __init__(self, *args: Any) -> None: ...")
        elif callable(value):
            lines.append(f"def {name}(*args: Any, **kwargs: Any) -> Any: ...")
    text = "\n".join(lines) + "\n"
    compile(text, "_c.pyi", "exec")
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(suan.__file__).parent
    (folder / "_c.pyi").write_text(text)


if __name__ == "__main__":
    main()
