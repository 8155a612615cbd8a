"""ONNX Runtime's error classes. What InferenceSession raises is one of these and of Suan's own type at once, so that
`except InvalidArgument` and `except ValueError` both catch it."""

import contextlib
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


@contextlib.contextmanager
def renamed(loading):
    """Within: Suan's errors get ONNX Runtime's class as well."""
    try:
        yield
    except (KeyboardInterrupt, Fail, InvalidArgument, NotImplemented):
        raise
    except (suan.CancelledError, TimeoutError, MemoryError) as e:
        kind, error = Fail, e
    except OSError as e:
        kind, error = NoSuchFile, e
    except TypeError as e:
        kind, error = NotImplemented if loading else InvalidArgument, e
    except (ValueError, IndexError) as e:
        kind, error = InvalidArgument, e
        if loading:
            kind = InvalidProtobuf if "not a model" in str(e) or "malformed model" in str(e) else InvalidGraph
    except RuntimeError as e:
        kind, error = RuntimeException, e
    else:
        return
    raise _both(kind, type(error))(*error.args) from error
