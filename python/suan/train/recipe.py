"""Recipes: YAML files that describe a training run, checked before anything else happens.

An error names the file, the line and the key, what was expected, what was found, and the nearest
valid key.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Literal, Optional, Union

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=0)]


class RecipeError(ValueError):
    """A recipe that cannot be used; the message says where and why."""


class _Section(BaseModel):
    # strict: a number in quotes is an error, not a number.
    model_config = ConfigDict(extra="forbid", strict=True)


class Data(_Section):
    source: Optional[Literal["bible", "fashion_mnist"]] = None
    path: Optional[str] = None
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def one_of_both(self):
        if (self.source is None) == (self.path is None):
            raise ValueError(
                "expected either source or path, got " + ("both" if self.path else "neither")
            )
        return self


class GPTModel(_Section):
    layers: Count = 4
    width: Count = 128
    heads: Count = 4
    block: Count = 64
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def heads_divide(self):
        if self.width % self.heads:
            raise ValueError(
                f"expected heads to divide width, got heads {self.heads} and width {self.width}"
            )
        return self


class CNNModel(_Section):
    widths: Annotated[list[Count], Field(min_length=2, max_length=2)] = [32, 64]
    hidden: Count = 128
    dropout: Fraction = 0.0


class Train(_Section):
    steps: Count
    batch: Count
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Optional[Annotated[float, Field(gt=0)]] = None
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: Size = 0
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0


class Log(_Section):
    eval_every: Count = 500
    eval_batches: Count = 20
    checkpoint_every: Count = 500
    sample_chars: Size = 200


class _Recipe(_Section):
    seed: Size = 1
    data: Data
    train: Train
    log: Log = Log()


class CharGPTRecipe(_Recipe):
    task: Literal["char_gpt"]
    model: GPTModel = GPTModel()


class CNNRecipe(_Recipe):
    task: Literal["cnn"]
    model: CNNModel = CNNModel()


_TASKS = {"char_gpt": CharGPTRecipe, "cnn": CNNRecipe}
Recipe = Union[CharGPTRecipe, CNNRecipe]


def builtin_recipes():
    """Name and path of the recipes that come with suan."""
    folder = Path(__file__).parent.parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_recipe(name):
    """The path of a recipe file, or of a built-in recipe by its name."""
    path, known = Path(name), builtin_recipes()
    if path.is_file():
        return path
    if path.stem in known and (path.name == str(name) or path.suffix == ""):
        return known[path.stem]
    raise RecipeError(
        f"[recipe] no such file: expected a YAML file or one of {', '.join(known)}, got {name}"
    )


def load_recipe(path):
    """Reads and checks a recipe file."""
    path = Path(path)
    try:
        return parse_recipe(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"[recipe] cannot read {path}: expected a YAML text file, got {error}"
        ) from None


def parse_recipe(text, name="recipe"):
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(
            f"[recipe] {name}{line}: expected YAML, got an error: {problem}"
        ) from None
    if not isinstance(raw, dict):
        raise RecipeError(f"[recipe] {name}: expected keys and values, got {_say(raw)}")
    lines = _line_numbers(node)
    if "task" not in raw:
        raise RecipeError(
            f"[recipe] {name}: 'task' is missing: expected one of {', '.join(_TASKS)}, got nothing"
        )
    task = raw["task"]
    if not isinstance(task, str) or task not in _TASKS:
        raise RecipeError(
            f"[recipe] {name}:{lines[('task',)]}: wrong value of 'task': "
            f"expected one of {', '.join(_TASKS)}, got {_say(task)}{_nearest(task, _TASKS)}"
        )
    try:
        return _TASKS[task].model_validate(raw)
    except ValidationError as error:
        problems = [_describe(e, raw, lines, name, _TASKS[task]) for e in error.errors()]
        raise RecipeError("\n".join(problems)) from None


def _line_numbers(node, path=()):
    """Line of every key and list item, by its path."""
    lines = {path: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines.update(_line_numbers(value, (*path, key.value)))
            lines[(*path, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines.update(_line_numbers(value, (*path, i)))
    return lines


def _say(value):
    return f"{value!r} ({type(value).__name__})" if value is not None else "nothing"


def _nearest(word, choices):
    close = difflib.get_close_matches(str(word), list(choices), 1, 0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _fields(model, path):
    """Valid keys of the section at a path."""
    for part in path:
        field = model.model_fields.get(part)
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            return []
        model = field.annotation
    return list(model.model_fields)


def _describe(error, raw, lines, name, model):
    path = tuple(error["loc"])
    where = path
    while where and where not in lines:
        where = where[:-1]
    place = f"{name}:{lines.get(where, 1)}"
    key = ".".join(str(part) for part in path) or "the recipe"
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        valid = _fields(model, path[:-1])
        return (
            f"[recipe] {place}: unknown key '{key}': expected one of {', '.join(valid)}, "
            f"got '{path[-1]}'{_nearest(path[-1], valid)}"
        )
    if kind == "missing":
        return f"[recipe] {place}: '{key}' is missing: expected a value, got nothing"
    if kind == "value_error":
        return f"[recipe] {place}: wrong '{key}': {context['error']}"
    got = _say(error["input"])
    if kind == "literal_error":
        near = _nearest(error["input"], re.findall(r"'([^']*)'", context["expected"]))
        wanted = context["expected"]
        return f"[recipe] {place}: wrong value of '{key}': expected {wanted}, got {got}{near}"
    text = error["msg"].removeprefix("Input should be ")
    hint = ""
    if kind == "float_type" and isinstance(error["input"], str):
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)"
    return f"[recipe] {place}: wrong value of '{key}': expected {text}, got {got}{hint}"
