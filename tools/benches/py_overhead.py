"""Cost of small calls from Python: nanoseconds, the smallest of several runs.

    tools/bench py_overhead [--json]
"""

import json
import subprocess
import sys
import timeit

import suan


def smallest(statement, scope, number=20000, repeat=15):
    return min(timeit.repeat(statement, globals=scope, number=number, repeat=repeat)) / number * 1e9


def import_seconds(code, repeat=7):
    script = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return min(float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(repeat))


def main():
    a, b = suan.ones(8, 8), suan.ones(8, 8)
    scope = {"suan": suan, "a": a, "b": b, "g": suan.ones(8, 8, requires_grad=True)}
    cases = {"a + b": "a + b", "a * 2.0": "a * 2.0", "x += b": "x = a; x += b", "a.exp()": "a.exp()", "a @ b": "a @ b",
             "a.sum()": "a.sum()", "a.reshape(64)": "a.reshape(64)", "a[0]": "a[0]", "a[:, 1:3]": "a[:, 1:3]",
             "a.T": "a.T", "g + b (recorded)": "g + b", "a.shape": "a.shape"}
    results = {name: round(smallest(code, scope)) for name, code in cases.items()}
    results["import suan (ms)"] = round(import_seconds("import suan") * 1e3, 1)
    if "--json" in sys.argv:
        print(json.dumps(results))
        return
    print("| 8×8 float32 | ns |\n|---|---|")
    for name, ns in results.items():
        print(f"| `{name}` | {ns} |")


if __name__ == "__main__":
    main()
