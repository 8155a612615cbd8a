"""suan.train: recipe-driven training with progress, logs, atomic checkpoints and exact resuming.

Names load on first use, so that importing the package costs nothing.
"""

_HOME = {
    "RecipeError": "recipe",
    "builtin_recipes": "recipe",
    "find_recipe": "recipe",
    "load_recipe": "recipe",
    "parse_recipe": "recipe",
    "Trainer": "trainer",
    "TrainError": "checkpoint",
    "make_task": "tasks",
}
__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'suan.train' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
