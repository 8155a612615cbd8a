"""ONNX Runtime's error classes. What InferenceSession raises is one of these and of Suan's own type at once, so that
`except InvalidArgument` and `except ValueError` both catch it."""

import functools

import suan


class Fail(Exception):
    """A run that ended early: out of time, cancelled, out of memory."""


class InvalidArgument(Exception):
    """Inputs or outputs that do not fit the model."""


class NoSuchFile(Exception):
    """The model's file cannot be read."""


class NoModel(Exception):
    """Not raised by Suan."""


class EngineError(Exception):
    """Not raised by Suan."""


class RuntimeException(Exception):
    """A defect of Suan."""


class InvalidProtobuf(Exception):
    """The file is no ONNX model."""


class ModelLoaded(Exception):
    """Not raised by Suan."""


class NotImplemented(Exception):  # noqa: A001: the name that programs catch
    """An operator, type or option that is not supported."""


class InvalidGraph(Exception):
    """A model that contradicts itself."""


class EPFail(Exception):
    """Not raised by Suan."""


@functools.cache
def _both(kind, own):
    return type(kind.__name__, (kind, own), {"__module__": __name__})


def refused(text):
    """An option that Suan does not have."""
    return _both(NotImplemented, ValueError)(text)


def _class_of(error, loading):
    if error is None or isinstance(error, (KeyboardInterrupt, Fail, InvalidArgument, NotImplemented)):
        return None
    if isinstance(error, (suan.CancelledError, TimeoutError, MemoryError)):
        return Fail
    if isinstance(error, OSError):
        return NoSuchFile
    if isinstance(error, TypeError):
        return NotImplemented if loading else InvalidArgument
    if isinstance(error, (ValueError, IndexError)):
        if not loading:
            return InvalidArgument
        return InvalidProtobuf if "not a model" in str(error) or "malformed model" in str(error) else InvalidGraph
    return RuntimeException if isinstance(error, RuntimeError) else None


class renamed:  # noqa: N801: reads as a function; no generator, because every run enters it
    """Within: Suan's errors get ONNX Runtime's class as well."""

    __slots__ = ("_loading",)

    def __init__(self, loading):
        self._loading = loading

    def __enter__(self):
        pass

    def __exit__(self, _, error, __):
        kind = _class_of(error, self._loading)
        if kind:
            raise _both(kind, type(error))(*error.args) from error
