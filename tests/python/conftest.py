"""Lets the tests import the helpers beside them (the suite runs with importlib's import mode)."""

import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
# A suite begun in the background inherits an ignored Ctrl-C, and so would the processes it interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
