"""Errors for names that a module lacks: they say which existing one is nearest."""


def missing(module, name, names):
    """The AttributeError for `name`, which `module` lacks, with the nearest of `names`."""
    hint = ""
    if name[0] != "_":
        import difflib

        near = difflib.get_close_matches(name, [n for n in names if n[0] != "_"], n=1)
        hint = f"; the nearest is '{near[0]}'" if near else ""
    return AttributeError(f"module '{module}' has no attribute '{name}'{hint}", name=name)


def guard(module, namespace):
    """A module's __getattr__ (PEP 562): every name not in its namespace is an error that names the nearest."""

    def __getattr__(name):
        raise missing(module, name, namespace)

    return __getattr__
