"""Adds up JUnit reports: prints one line a suite, the failures by name, then "N passed, N failed".

Called by tools/test as: sum_reports.py FOLDER SUITE...; FOLDER holds SUITE*.xml, written by the
suite's runners, and SUITE.status, its exit status.
"""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def count(reports: list[Path]) -> tuple[int, list[str], list[str]]:
    passed, failed, skipped = 0, [], []
    if not reports:
        raise FileNotFoundError
    for case in (c for r in reports for c in xml.parse(r).getroot().iter("testcase")):
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        reason = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif reason is not None or case.get("status") == "notrun":
            why = "not run" if reason is None else reason.get("message", "no reason given")
            skipped.append(f"{name}: {why}")
        else:
            passed += 1
    return passed, failed, skipped


# Parts of the project whose tests are in several suites, by what their names begin with.
AREAS = {
    "distributed": ("Collectives", "tests.python.test_distributed", "tests.python.test_scaling"),
    "cuda-emulated": ("Emulation", "tests.python.test_cuda", "tests.python.test_backends"),
    "onnx": ("Onnx", "tests.python.test_onnx"),
}


def area_of(folder: str, suites: list[str], tests: tuple[str, ...]) -> tuple[int, float]:
    """How many cases of these tests ran, and their seconds."""
    cases, seconds = 0, 0.0
    for report in (r for suite in suites for r in Path(folder).glob(f"{suite}*.xml")):
        try:
            root = xml.parse(report).getroot()
        except xml.ParseError:
            continue  # counted as a failure above
        for case in root.iter("testcase"):
            ran = case.find("skipped") is None and case.get("status") != "notrun"
            if ran and case.get("classname", "").startswith(tests):
                cases, seconds = cases + 1, seconds + float(case.get("time", 0))
    return cases, seconds


def main(folder: str, suites: list[str]) -> int:
    total_passed = total_failed = 0
    for suite in suites:
        status = Path(folder, f"{suite}.status").read_text()
        try:
            passed, failed, skipped = count(sorted(Path(folder).glob(f"{suite}*.xml")))
        except (OSError, xml.ParseError):
            passed, failed, skipped = 0, [f"{suite}: left no report (exit status {status})"], []
        if status != "0" and not failed:
            failed.append(f"{suite}: exit status {status} with no failed test in its report")
        elif passed == 0 and not failed:
            failed.append(f"{suite}: ran no test")
        print(f"{suite}: {passed} passed, {len(failed)} failed, {len(skipped)} skipped")
        for name in failed:
            print(f"  FAILED {name}")
        for name in skipped:
            print(f"  skipped {name}")
        total_passed += passed
        total_failed += len(failed)
    for area, tests in AREAS.items():
        cases, seconds = area_of(folder, suites, tests)
        print(f"of these, {area}: {cases} tests in {seconds:.0f} s")
    print(f"{total_passed} passed, {total_failed} failed")
    return 1 if total_failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
