"""The house: rooms, and imports that run one way; no print, assert or bare except where they do not belong."""
import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"crowdsource": "crowdsource", "instruments": "crowdsource.instruments", "cython_ext": "crowdsource.cython_ext",
         "data": "crowdsource.data"}
OF_INSTRUMENTS = {"instrument", "image", "psf", "flags", "errors", "config", "io", "simulate", "tiles", "data", "instruments"}
CALL_KERNELS = {"design", "solve", "centroid", "measure", "sky", "detect", "psf", "confusion", "near", "merge",
                "catalog.sky.match", "catalog.sky.average", "catalog.sorting"}
OPTIONAL = {"matplotlib", "pyarrow", "mocpy", "dask", "distributed"}
REQUIRED = {"numpy", "scipy", "astropy", "healpy", "h5py", "tqdm"}
SPEAKS = {"crowdsource.cli.main", "crowdsource.__main__"}
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
    """What is wrong with a file's imports, as text."""
    here = module_name(path)
    room = path.relative_to(ROOT).parts[0]
    for module, line in imported(path, tree):
        where, top = f"{path.relative_to(ROOT)}:{line}: ", module.partition(".")[0]
        if top in ("instruments", "cython_ext", "data"):
            yield f"{where}import {module} makes a second copy: use crowdsource.{module}"
        if top in OPTIONAL:
            yield f"{where}{top} is optional: import it where it is used, through errors.need"
        if room == "cython_ext" and top != "numpy" and not inside(module, "crowdsource.cython_ext"):
            yield f"{where}kernels import numpy only, not {module}"
        if room == "crowdsource" and inside(module, "crowdsource.instruments"):
            yield f"{where}the engine imports an instrument: reach it through the registry"
        if room == "instruments" and top == "crowdsource" and module.split(".")[1] not in OF_INSTRUMENTS:
            yield f"{where}an instrument imports {module}"
        if room == "crowdsource" and inside(module, "crowdsource.cython_ext"):
            own = here.partition(".")[2]
            if not any(inside(own, caller) for caller in CALL_KERNELS):
                yield f"{where}kernels are called from {', '.join(sorted(CALL_KERNELS))} only"


def problems_of_statements(path, tree):
    """print, assert, bare except, mutable defaults and global statements, as text."""
    for node in ast.walk(tree):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: "
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print" and module_name(path) not in SPEAKS:
            yield f"{where}print outside cli.py: log or return it"
        if isinstance(node, ast.Assert):
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


def test_rules_are_not_blind():
    """Each rule finds its fault in a made-up file of the room."""
    def found(path, text):
        tree = ast.parse(text)
        return list(problems_of_imports(ROOT/path, tree))+list(problems_of_statements(ROOT/path, tree))

    faults = {
        "crowdsource/fit.py": ["import instruments.decam", "from .instruments import decam",
                               "from crowdsource import instruments", "from .cython_ext import solve", "import matplotlib",
                               "def f():\n import matplotlib", "from matplotlib import figure", "print(1)", "assert x",
                               "def f(a=[]): pass", "try: pass\nexcept: pass", "def f():\n global a"],
        "crowdsource/psf/__init__.py": ["from ..instruments import decam", "def f():\n from .. import instruments"],
        "crowdsource/catalog/detections/store.py": ["from ...cython_ext import match"],
        "instruments/decam.py": ["from crowdsource.engine.loop import fit", "from ..catalog import schema", "import crowdsource.exposure.run",
                                 "import data"],
        "cython_ext/reference.py": ["import scipy", "from crowdsource.psf import base", "from ..image import Image"],
    }
    for path, texts in faults.items():
        for text in texts:
            assert found(path, text), f"{path}: {text}"
    allowed = {
        "crowdsource/psf/grid.py": ["from ..cython_ext import render as kernel", "from .base import pixel"],
        "crowdsource/catalog/sky/match.py": ["from ...cython_ext import match"],
        "crowdsource/cli.py": ["print(1)"],
        "instruments/decam.py": ["from crowdsource.exposure.instrument import Instrument", "from . import masks", "import numpy"],
        "cython_ext/reference.py": ["import numpy as np", "from . import solve"],
    }
    for path, texts in allowed.items():
        for text in texts:
            assert found(path, text) == [], f"{path}: {text}"
