"""Whole fits under each kind of kernels, and under processors as NumPy, OpenBLAS and the C library see them.

python -m benchmarks.studies.same_bits FOLDER FIELD ...   [--side N] [--kinds KIND ...] [--first] [--wider]

FIELD is named as `benchmarks.peers.fields` writes them to FOLDER; --side takes the lower left N pixels. Prints Markdown: of each
way to fit, how many columns and planes differ from those of the first way. --first also names the first function that gives
something else for the same arguments, which takes ten times as long. --wider adds processors without wide instructions as NumPy
and the C library see them.
"""
import argparse
import dataclasses
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np

from benchmarks.shared import ONE_THREAD, ROOT, table

KERNELS = "CROWDSOURCE_KERNELS"
PLANES = "sky", "model", "psf"
CORES = "Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen"
WIDER = {"NPY_DISABLE_CPU_FEATURES": "X86_V3",
         "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-FMA,-FMA_Usable,-FMA4,-AVX,-AVX_Usable"}
TIMED = "single_pass", "finish", "stop", "refitted", "result_of"
"""Functions whose results hold CPU times."""
DEEPEST = 6


def ways(kinds, wider):
    """Names of ways to fit, and the environment of each."""
    out = {f"kernels {kind}": {KERNELS: kind} for kind in kinds}
    out |= {f"OpenBLAS {core}": {"OPENBLAS_CORETYPE": core} for core in CORES}
    if wider:
        out |= {name: {name: value} for name, value in WIDER.items()}
        out["all of the least"] = {KERNELS: kinds[0], "OPENBLAS_CORETYPE": CORES[0], **WIDER}
    return out


def digest(value, depth=0):
    """A number that depends on every bit of the arrays and numbers in a value."""
    if depth > DEEPEST:
        return 0
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return digest(value.tolist(), depth+1)
        return zlib.crc32(np.ascontiguousarray(value).tobytes(), zlib.crc32(repr((value.dtype, value.shape)).encode()))
    if isinstance(value, memoryview):
        return digest(np.asarray(value), depth+1)
    if isinstance(value, dict):
        value = list(value.items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if isinstance(value, tuple | list):
        return zlib.crc32(np.array([digest(part, depth+1) for part in value]).tobytes())
    if value is None or isinstance(value, str | int | float | bool | complex | np.generic):
        return zlib.crc32(repr(value).encode())
    return zlib.crc32(type(value).__name__.encode())


class Trace:
    """Lines "function arguments result" of all calls of functions of the package, in the order of their ends."""

    def __init__(self):
        self.lines, self._open = [], {}

    def __call__(self, frame, event, result):
        code = frame.f_code
        if "/crowdsource/" not in code.co_filename or code.co_name.startswith("<") or code.co_name in TIMED:
            return
        if event == "call":
            self._open[id(frame)] = digest(dict(frame.f_locals))
        elif event == "return":
            where = code.co_filename.rpartition("/crowdsource/")[2]
            self.lines.append(f"{where}:{code.co_firstlineno}:{code.co_name} {self._open.pop(id(frame), 0)} {digest(result)}")


def image_of(folder, name, side):
    """A field's image, its lower left part."""
    from astropy.io import fits

    import crowdsource as cs
    data, ivar, dq = (fits.getdata(Path(folder)/f"{name}_{plane}.fits")[:side, :side] for plane in ("im", "ivar", "dq"))
    return cs.Image.from_arrays(data, ivar, dq=dq)


def one_fit(folder, name, side, out, trace):
    """Fit a field and write all columns and planes, and the calls where asked for."""
    import crowdsource as cs
    image, calls = image_of(folder, name, side), Trace()
    if trace:
        sys.setprofile(calls)
    result = cs.fit(image, progress=False)
    sys.setprofile(None)
    if trace:
        Path(f"{out}.calls").write_text("\n".join(calls.lines), encoding="utf-8")
    catalog = result.catalog
    columns = {f"column {n}": np.asarray(getattr(catalog[n], "value", catalog[n])) for n in catalog.colnames}
    np.savez(out, sky=result.sky, model=result.model, psf=result.psf.stamp(59), **columns)


def fitted(folder, name, side, environment, out, trace=False):
    """What `one_fit` writes, by a process with an environment of its own; with its CPU seconds."""
    words = [sys.executable, "-m", "benchmarks.studies.same_bits", folder, name, "--side", str(side), "--out", str(out)]
    with subprocess.Popen(words+["--first"]*trace, cwd=ROOT, env={**os.environ, **ONE_THREAD, **environment}) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"fit of {name} with {json.dumps(environment)} failed")
    with np.load(out) as file:
        return dict(file), used.ru_utime


def different(one, other):
    """Names of what differs in any bit."""
    return [n for n in one if one[n].dtype != other[n].dtype or one[n].tobytes() != other[n].tobytes()]


def first_difference(one, other):
    """The first call that gives something else for the same arguments; "" where there is none."""
    lines = [Path(f"{path}.calls").read_text(encoding="utf-8").split("\n") for path in (one, other)]
    for a, b in zip(*lines):
        if a != b and a.rpartition(" ")[0] == b.rpartition(" ")[0]:
            return a.split(" ")[0]
    return "" if lines[0] == lines[1] else "the order of calls"


def largest_change(one, other):
    """Largest change of a flux in its errors, where the rows are the same; NaN otherwise."""
    a, b = (v["column flux"] for v in (one, other))
    return np.max(np.abs(a-b)/one["column dflux"]) if len(a) == len(b) else np.nan


def main():
    """Print the table, or fit once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("fields", nargs="+")
    parser.add_argument("--side", type=int, default=100000)
    parser.add_argument("--kinds", nargs="+", default=["plain", "avx2"])
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--wider", action="store_true")
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out:
        one_fit(options.folder, options.fields[0], options.side, options.out, options.first)
        return
    rows, scratch = [], Path(options.folder)/"same_bits"
    scratch.mkdir(exist_ok=True)
    for name in options.fields:
        reference = None
        for k, (way, environment) in enumerate(ways(options.kinds, options.wider).items()):
            path = scratch/f"{name}-{k}.npz"
            found, cpu = fitted(options.folder, name, options.side, environment, path, options.first)
            reference = reference or found
            off = different(reference, found)
            first = first_difference(scratch/f"{name}-0.npz", path) if options.first else ""
            rows.append([name, way, len(found["column flux"]), sum(n in PLANES for n in off), sum(n not in PLANES for n in off),
                         f"{largest_change(reference, found):.2g}", f"{cpu:.1f}", first])
            print(*rows[-1], file=sys.stderr, flush=True)
    head = "field", "way", "rows", "planes that differ", "columns that differ", "largest change, sigma", "CPU s", "first in"
    print(table(head, rows))


if __name__ == "__main__":
    main()
