"""Every snippet of README.md and docs/ runs. What a fence says decides how:

    ```python     executed, one namespace a page; with >>> prompts compared as a doctest
    ```console    `$ suan ...` lines run in a folder of their own; what follows is compared
    ```cpp        a block that begins with the name of its file must compile
    ```text       shown only: what needs a network, root or minutes
"""

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
KINDS = ("python", "console", "cpp", "text", "yaml", "")

RUN_PAGE = """
import doctest, re, sys
page, flags = sys.argv[1], int(sys.argv[2])
scope = {"__name__": "__docs__"}
for line, code in eval(sys.stdin.read()):
    if ">>>" in code:
        test = doctest.DocTestParser().get_doctest(code, scope, page, page, line)
        result = doctest.DocTestRunner(optionflags=flags).run(test, clear_globs=False)
        if result.failed:
            sys.exit(1)
        scope = test.globs
    else:
        # Blank lines in front, so that a traceback names the page's own line.
        exec(compile("\\n" * line + code, page, "exec"), scope)
"""


def blocks(page):
    """(kind, line number, text) of every fenced block."""
    found, kind, begin, lines = [], None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r"```(\w*)\s*$", line)
        if kind is None and fence:
            kind, begin, lines = fence.group(1), number, []
        elif kind is not None and line.strip() == "```":
            found.append((kind, begin, "\n".join(lines) + "\n"))
            kind = None
        elif kind is not None:
            lines.append(line)
    assert kind is None, f"{page}:{begin}: block is not closed"
    return found


def of_kind(page, kind):
    return [(line, text) for k, line, text in blocks(page) if k == kind]


def pages_with(kind):
    return [pytest.param(page, id=page.name) for page in PAGES if of_kind(page, kind)]


@pytest.mark.parametrize("page", [pytest.param(p, id=p.name) for p in PAGES])
def test_blocks_are_of_a_known_kind(page):
    assert {kind for kind, _, _ in blocks(page)} <= set(KINDS)


@pytest.mark.parametrize("page", [pytest.param(p, id=p.name) for p in PAGES])
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", prose):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks(page, tmp_path):
    done = subprocess.run([sys.executable, "-c", RUN_PAGE, str(page), str(FLAGS)], cwd=tmp_path,
                          input=repr(of_kind(page, "python")), capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def commands(text):
    """(command, expected output) pairs; a line ending in a backslash goes on."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append([line[2:].split(" # ")[0], ""])
        elif found:
            found[-1][1] += line + "\n"
    return found


@pytest.mark.parametrize("page", pages_with("console"))
def test_console_blocks(page, tmp_path):
    for line, text in of_kind(page, "console"):
        for command, expected in commands(text):
            words = shlex.split(command)
            variables = {}
            while re.fullmatch(r"[A-Z_]+=.*", words[0]):
                name, value = words.pop(0).split("=", 1)
                variables[name] = value
            assert words[0] in ("suan", "python"), f"{page.name}:{line}: {words[0]}"
            run = [sys.executable, *(["-m", "suan"] if words[0] == "suan" else []), *words[1:]]
            env = {**os.environ, **variables, "COLUMNS": "200"}
            done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True,
                                  timeout=600)
            got = done.stdout + done.stderr
            assert not expected or doctest.OutputChecker().check_output(expected, got, FLAGS), \
                f"{page.name}:{line}: $ {command}\nexpected:\n{expected}\ngot:\n{got}"
            assert expected or done.returncode == 0, f"{page.name}:{line}: $ {command}\n{got}"


@pytest.mark.parametrize("page", pages_with("cpp"))
def test_cpp_blocks(page, tmp_path):
    for line, text in of_kind(page, "cpp"):
        named = re.match(r"// ([\w/]+\.cpp)", text)
        if not named:
            continue
        source = tmp_path / Path(named.group(1)).name
        source.write_text(text)
        done = subprocess.run(["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Werror",
                               "-Wno-psabi", "-march=x86-64-v3", "-DSUAN_ISA=avx2", f"-I{ROOT}",
                               str(source)],
                              capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{page.name}:{line}\n{done.stderr}"


@pytest.mark.parametrize("tool", ["gen_ops_page.py", "gen_absent.py"])
def test_generated_pages_are_current(tool):
    done = subprocess.run([sys.executable, str(ROOT / "tools" / tool), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_absent_names_are_absent_and_present_ones_are_not_listed():
    """The list against attributes reached by hand: what gen_absent.py and `suan port` find by a rule of their own."""
    import suan

    page = (ROOT / "docs" / "from_pytorch.md").read_text()
    listed = dict(re.findall(r"^\*\*torch\.([\w.]+)\*\*, .*? Absent:\n(.*?)(?=\n\n)", page, re.M | re.S))
    for path, space in (("nn", suan.nn), ("nn.functional", suan.nn.functional), ("Tensor", suan.Tensor),
                        ("optim", suan.optim)):
        names = re.findall(r"`(\w+)`", listed[path])
        assert names and not [n for n in names if hasattr(space, n)]
    assert "softmax" not in listed["nn.functional"] and "SparseAdam" in listed["optim"]


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_translations_say_the_same(page):
    """A page and its Chinese translation have the same code but for comments, the same links, and the same
    figures in the same rows of their tables."""
    pages = [ROOT / page, (ROOT / page).with_suffix(".zh.md")]
    prose = [re.sub(r"```.*?```", "", p.read_text(), flags=re.S) for p in pages]
    code = [[(kind, re.sub(r" *# .*", "", text)) for kind, _, text in blocks(p)] for p in pages]
    links = [sorted(re.findall(r"\]\(([^)]+)\)", text.replace(".zh.md", ".md"))) for text in prose]
    rows = [[sorted(re.findall(r"\d+(?:[.,]\d+)*", line)) for line in text.splitlines() if line[:1] == "|"]
            for text in prose]
    assert code[0] == code[1]
    assert links[0] == links[1]
    assert rows[0] == rows[1]
