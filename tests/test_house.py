"""The house: rooms, and imports that run one way; no print, assert or bare except where they do not belong."""
import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"crowdsource": "crowdsource", "instruments": "crowdsource.instruments", "cython_ext": "crowdsource.cython_ext",
         "data": "crowdsource.data"}
OPTIONAL = {"matplotlib", "pyarrow", "mocpy", "dask", "distributed"}
REQUIRED = {"numpy", "scipy", "astropy", "healpy", "h5py", "tqdm"}
SPEAKS = "crowdsource.cli"
SUITES = "crowdsource.testing"
"""Contract suites are tests: they assert, and need pytest."""
FILES = sorted(p for room in ROOMS for p in (ROOT/room).rglob("*.py"))
KERNELS = sorted(p for p in (ROOT/"cython_ext").glob("*") if p.suffix in (".py", ".pyx", ".pxd"))

pytestmark = pytest.mark.skipif(not (ROOT/"cython_ext").is_dir(), reason="the source is not beside the tests")


def module_name(path):
    """Import name of a file; a package's own for its __init__."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join([ROOMS[parts[0]], *parts[1:]])


def imported(path, tree):
    """(absolute module, line) of every import, in functions too; a name of `from a import b` as a.b.

    b may be a module or not: what follows asks for prefixes only.
    """
    name = module_name(path)
    package = (name if path.stem == "__init__" else name.rpartition(".")[0]).split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package)-node.level+1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{base}.{a.name}", node.lineno) for a in node.names)


def inside(module, package):
    return module == package or module.startswith(package+".")


def problems_of_imports(path, tree):
    """What is wrong with a file's imports beside their direction, which the layers in pyproject.toml hold, as text."""
    room = path.relative_to(ROOT).parts[0]
    for module, line in imported(path, tree):
        where, top = f"{path.relative_to(ROOT)}:{line}: ", module.partition(".")[0]
        if top in ("instruments", "cython_ext", "data"):
            yield f"{where}import {module} makes a second copy: use crowdsource.{module}"
        if top in OPTIONAL:
            yield f"{where}{top} is optional: import it where it is used, through errors.need"
        if room == "cython_ext" and top != "numpy" and not inside(module, "crowdsource.cython_ext"):
            yield f"{where}kernels import numpy only, not {module}"
    for function in (n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").partition(".")[0] == "crowdsource"):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: a module of the project's own is imported at the top of a file"


def problems_of_statements(path, tree):
    """print, assert, bare except, mutable defaults and global statements, as text."""
    for node in ast.walk(tree):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: "
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print" and not inside(module_name(path), SPEAKS):
            yield f"{where}print outside cli/: log or return it"
        if isinstance(node, ast.Assert) and not inside(module_name(path), SUITES):
            yield f"{where}assert outside the tests: raise an error that names the remedy"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{where}bare except: name the errors"
        if isinstance(node, ast.Global):
            yield f"{where}global state"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            defaults = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
            if any(isinstance(d, (ast.List, ast.Dict, ast.Set)) for d in defaults):
                yield f"{where}mutable default"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_keeps_the_rules(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(problems_of_imports(path, tree))+list(problems_of_statements(path, tree)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_needs_only_what_is_declared(path):
    known = REQUIRED | OPTIONAL | sys.stdlib_module_names | {"crowdsource"}
    known |= {"pytest"} if inside(module_name(path), SUITES) else set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert {m.partition(".")[0] for m, _ in imported(path, tree)} <= known


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.name)
def test_kernels_import_numpy_and_each_other_only(path):
    # Cython is no Python: lines that start as imports do
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[:1] in (["import"], ["cimport"], ["from"]) and len(words) > 1:
            assert words[1].split(".")[0] in ("numpy", "libc", "cython", "cpython") or inside(words[1], "crowdsource.cython_ext")


def test_files_are_short_enough_to_be_read():
    # a file that passes 400 lines becomes a package; a tenth is allowed while it is being worked on
    long = [f"{p.name}: {n}" for p in FILES+KERNELS if (n := p.read_text(encoding="utf-8").count("\n")) > 440]
    assert long == []


@pytest.fixture(scope="module")
def one_tree(tmp_path_factory):
    """The rooms under their import names in one folder, as an installed package has them."""
    tree = tmp_path_factory.mktemp("tree")
    for room, package in sorted(ROOMS.items(), key=lambda item: item[1]):
        shutil.copytree(ROOT/room, tree.joinpath(*package.split(".")),
                        ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
    shutil.copy(ROOT/"pyproject.toml", tree)
    return tree


def lint(tree):
    """What import-linter says of a tree, and whether it is content."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"]
    done = subprocess.run(command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True,
                          check=False)
    return done.stdout+done.stderr, done.returncode == 0


def test_rooms_import_downwards(one_tree):
    said, content = lint(one_tree)
    assert content, said


def test_an_import_upwards_is_found(one_tree, tmp_path):
    tree = shutil.copytree(one_tree, tmp_path/"tree")
    with open(tree/"crowdsource"/"core"/"tiles.py", "a", encoding="utf-8") as file:
        file.write("\nfrom ..engine import loop\n")
    said, content = lint(tree)
    assert not content and "crowdsource.core.tiles -> crowdsource.engine.loop" in said


def test_rules_are_not_blind():
    """Each rule finds its fault in a made-up file of the room."""
    def found(path, text):
        tree = ast.parse(text)
        return list(problems_of_imports(ROOT/path, tree))+list(problems_of_statements(ROOT/path, tree))

    faults = {
        "crowdsource/engine/loop.py": ["import instruments.decam", "import cython_ext", "import matplotlib",
                                       "def f():\n import matplotlib", "from matplotlib import figure", "print(1)", "assert x",
                                       "def f(a=[]): pass", "try: pass\nexcept: pass", "def f():\n global a",
                                       "def f():\n from . import stages", "def f():\n from crowdsource.core import image"],
        "cython_ext/reference.py": ["import scipy", "from crowdsource.psf import base", "from ..core import image"],
    }
    for path, texts in faults.items():
        for text in texts:
            assert found(path, text), f"{path}: {text}"
    allowed = {
        "crowdsource/psf/grid.py": ["from ..cython_ext import render as kernel", "from .base import pixel",
                                    "def f():\n import scipy"],
        "crowdsource/cli/main.py": ["print(1)"],
        "crowdsource/cli/commands/fit.py": ["print(1)"],
        "cython_ext/reference.py": ["import numpy as np", "from . import solve"],
    }
    for path, texts in allowed.items():
        for text in texts:
            assert found(path, text) == [], f"{path}: {text}"
