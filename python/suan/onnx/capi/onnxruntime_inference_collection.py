"""The module path under which programs look for the session's own classes."""

from ..binding import IOBinding, OrtValue  # noqa: F401
from ..environment import OrtDevice  # noqa: F401
from ..inference import InferenceSession  # noqa: F401
