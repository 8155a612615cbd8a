"""suan.backends: the switches that programs for torch set. Each is a permission (to use TF32, to search
for the fastest algorithm), which Suan is free not to use: results are deterministic and float32
products are computed in float32, whatever they say. Unknown switches are errors."""

from .naming import missing


class _Switches:
    """A fixed set of attributes with values of one type each."""

    __slots__ = ("_values", "_name")

    def __init__(self, name, **values):
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_values", values)

    def __getattr__(self, name):
        if name in self._values:
            return self._values[name]
        raise missing(f"suan.backends.{self._name}", name, self._values)

    def __setattr__(self, name, value):
        old = getattr(self, name)
        if not isinstance(value, type(old)) or callable(old):
            raise TypeError(
                f"[backends] wrong value for {self._name}.{name}: expected {type(old).__name__}, "
                f"got {type(value).__name__}"
            )
        self._values[name] = value

    def __dir__(self):
        return sorted(self._values)


def _no():
    return False


cuda = _Switches("cuda", matmul=_Switches("cuda.matmul", allow_tf32=False))
cudnn = _Switches(
    "cudnn", allow_tf32=True, benchmark=False, deterministic=False, enabled=True, is_available=_no
)
mps = _Switches("mps", is_available=_no)
mkldnn = _Switches("mkldnn", enabled=True, is_available=_no)
