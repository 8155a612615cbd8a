#!/usr/bin/env python3
"""Fetches the examples' data into the cache: tools/data.py [bible] [fashion-mnist] (default: both).

Needs neither the build nor any package: the work is in python/suan/data/fetch.py.
"""

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).resolve().parent.parent / "python/suan/data/fetch.py"
_SPEC = importlib.util.spec_from_file_location("suan_fetch", _PATH)
fetch = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fetch)

SETS = {"bible": fetch.bible, "fashion-mnist": fetch.fashion_mnist}


def main(names: list[str]) -> int:
    for name in names or SETS:
        if name not in SETS:
            print(f"[data] unknown set: expected one of {', '.join(SETS)}, got {name}")
            return 2
        try:
            print(f"{name}: {SETS[name]()}")
        except fetch.DataError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
