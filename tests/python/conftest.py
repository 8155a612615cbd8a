"""Lets the tests import the helpers beside them (the suite runs with importlib's import mode)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
