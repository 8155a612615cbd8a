"""Errors for names that a module lacks: they say which existing one is nearest."""


class MissingName(AttributeError):
    """AttributeError whose text, made only when read (hasattr never does), names the nearest attribute."""

    def __init__(self, module, name, names):
        super().__init__(name=name)
        self._module, self._names = module, names

    def __str__(self):
        import difflib

        near = difflib.get_close_matches(self.name, [n for n in self._names if n[0] != "_"], n=1)
        hint = f"; the nearest is '{near[0]}'" if near else ""
        return f"module '{self._module}' has no attribute '{self.name}'{hint}"


def guard(module, namespace):
    """A module's __getattr__ (PEP 562): every name not in its namespace is a MissingName."""

    def __getattr__(name):
        raise MissingName(module, name, namespace)

    return __getattr__
