"""Damaged FITS files from seeds, the command that is given them, and the verdict on what it does.

A case is a set of small files of one of the cameras, damaged in one to three ways. The command may fit it all the same, or
refuse it with one line that names the file; everything else is a fault.
"""
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from fuzz_child import CPU_SECONDS, STDERR, STDOUT
from fuzz_damage import FOREIGN, of_bytes, of_cards, of_pixels
from fuzz_files import OUT, sound_set

MEGABYTES = 1024.
"""Most memory that a case may take above what the process has."""
PATIENCE = 3600.
"""Time on the clock after which a process that does not answer must be asleep, s: no measure of speed on any machine."""
MOST = 500
"""Cases after which the process is replaced."""
CATALOG, ERROR, FAULT = "catalog", "error", "fault"
KEPT = {
    1: "a name that cannot be parsed", 10: "a complex zero point", 45: "a fit that goes astray",
    68: "a date that cannot be parsed", 78: "squares beyond float32", 145: "a table's file with an odd NAXIS",
    170: "an exposure's number that cannot be parsed", 269: "a device", 442: "an HDU of less than no size",
    455: "links in a circle", 472: "NAXIS3 in a copy of the header", 505: "flags of NaN",
    526: "a table's column that has no name", 575: "a card that is warned of", 752: "a gain beyond float32",
    821: "a tile without WCS", 823: "noise beyond float32", 862: "BLANK that is no whole number",
    1276: "a projection that is a number", 1326: "a pipe", 1866: "tiles of no pixels",
    2013: "a number that float32 does not hold", 2466: "a filter of a thousand characters", 2525: "errors without end",
    3977: "a projection that leads nowhere", 4622: "weights beyond float32", 5255: "a root of less than nothing",
    6599: "a median beyond float32", 7359: "a decompressor that crashes", 10687: "a copied header that seems compressed",
}
"""Seeds that were at fault once, by what was wrong then."""
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def make_case(seed, folder):
    """Write the files of a case.

    Parameters
    ----------
    seed : int
    folder : Path
        An empty one.

    Returns
    -------
    argv : list of str
        Arguments of the command, for this folder.
    damage : list of str
        What was done to the files.
    """
    rng = np.random.default_rng(seed)
    wanted = sound_set(rng)
    damage = [rng.choice(["pixels", "cards", "bytes", "packed", "foreign"], p=[0.32, 0.43, 0.16, 0.05, 0.04])
              for _ in range(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))]
    for _ in (d for d in damage if d == "pixels"):
        of_pixels(rng, wanted.files)
    contents = {file.name: file.bytes() for file in wanted.files}
    for change in (dict(cards=of_cards, bytes=of_bytes).get(d) for d in damage):
        if change is not None:
            name = rng.choice(list(contents))
            contents[name] = change(rng, contents[name])
    packed = {file.name: file.packed(contents[file.name]) for file in wanted.files}
    for _ in (d for d in damage if d == "packed"):
        name = rng.choice(list(packed))
        packed[name] = of_bytes(rng, packed[name])
    for name, content in packed.items():
        (folder/name).write_bytes(content)
    for _ in (d for d in damage if d == "foreign"):
        path, what = folder/rng.choice(list(packed)), rng.choice(list(FOREIGN))
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        FOREIGN[what](path)
        damage.append(str(what))
    return [str(a) for a in (*wanted.argv, "--out", OUT, "--quiet")], [str(d) for d in damage]


class Runner:
    """The process in which cases run, started when it is needed."""

    def __init__(self):
        self.process, self.lines, self.count = None, None, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, folder, argv):
        """Run the command in a folder. Returns what the process answers; ``died`` or ``hang`` tells that it did not."""
        if self.process is None or self.count >= MOST:
            self._start()
        self.count += 1
        self.process.stdin.write(json.dumps(dict(folder=str(folder), argv=argv))+"\n")
        self.process.stdin.flush()
        try:
            line = self.lines.get(timeout=PATIENCE)
        except queue.Empty:
            self.stop()
            return dict(hang="sleeps and does not answer")
        if line is not None:
            return json.loads(line)
        code = self.process.wait()
        self.stop()
        if code == -signal.SIGXCPU:
            return dict(hang=f"took more than {CPU_SECONDS} s of CPU")
        return dict(died=signal.Signals(-code).name if code < 0 else f"status {code}")

    def _start(self):
        self.stop()
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fuzz_child.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})
        self.lines, self.count = queue.SimpleQueue(), 0
        threading.Thread(target=_listen, args=(self.process.stdout, self.lines), daemon=True).start()
        self.lines.get(timeout=PATIENCE)

    def stop(self):
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


def _listen(stream, lines):
    with contextlib.suppress(ValueError, OSError):
        for line in stream:
            lines.put(line)
    lines.put(None)


@dataclass(frozen=True)
class Verdict:
    """What a case came to.

    Attributes
    ----------
    seed : int
    kind : str
        `CATALOG`, `ERROR` or `FAULT`.
    message : str
        What was said, or what is wrong.
    damage : list of str
    argv : list of str
    seconds, megabytes : float
        CPU time and memory that it took.
    """
    seed: int
    kind: str
    message: str
    damage: list
    argv: list
    seconds: float
    megabytes: float


def verdict_of(seed, folder, runner):
    """Make a case, run it, and judge.

    Parameters
    ----------
    seed : int
    folder : Path
        The case's folder is made in it, and removed but for a fault.
    runner : Runner

    Returns
    -------
    Verdict
    """
    place = Path(folder)/f"case{seed}"
    place.mkdir()
    argv, damage = make_case(seed, place)
    before = {p.name for p in place.iterdir()}
    answer = runner.run(place, argv)
    kind, message = _judged(answer, place, argv, before)
    if kind != FAULT:
        shutil.rmtree(place)
    return Verdict(seed, kind, message, damage, argv, answer.get("seconds", 0.), answer.get("megabytes", 0.))


def _judged(answer, place, argv, before):
    """Kind of a verdict and its message."""
    said = (place/STDERR).read_text(encoding="utf-8", errors="replace") if (place/STDERR).exists() else ""
    lines, code = said.splitlines(), answer.get("code")
    left = {p.name for p in place.iterdir()}-before-{STDOUT, STDERR}
    wanted = {argv[k+1] for k, a in enumerate(argv) if a in ("--out", "--model-out")}
    named = {a.partition(":")[0] for a in argv if ".fits" in a}-wanted | before
    # the planes of DECam, one of which may be absent, have their names from each other
    named |= {n.replace("_ooi_", f"_oo{letter}_") for n in named for letter in "wd"}
    faults = []
    if "hang" in answer:
        faults.append(answer["hang"])
    if "died" in answer:
        faults.append(f"died: {answer['died']}")
    if answer.get("megabytes", 0) > MEGABYTES:
        faults.append(f"took {answer['megabytes']:.0f} MB")
    if faults:
        return FAULT, "; ".join([*faults, *lines[-1:]])
    if code is None or "Traceback" in said:
        return FAULT, "exception: "+(lines[-1] if lines else "")
    if code == 0:
        return _fitted(place, lines, left, wanted)
    if code == 1 and argv[0] == "decam":
        # one CCD failed; the others' catalog is there, and their parts for going on
        kind, message = _fitted(place, [], left-{OUT+".parts"}, wanted)
        return (kind, message) if kind == FAULT else _refused(lines, named | wanted)
    if left:
        return FAULT, f"left {', '.join(sorted(left))}: {' '.join(lines)}"
    return _refused(lines, named)


def _refused(lines, named):
    """The verdict on what was said of files that cannot be used: a line for each detector, with the file's name."""
    if not lines:
        return FAULT, "failed without a word"
    names = ["1866p257", *(n.partition(".fits")[0] for n in named)]
    for line in lines:
        if not any(n in line for n in names):
            return FAULT, f"names no file: {line}"
    if len(lines) > 1 and any(line.startswith("crowdsource: error: ") for line in lines):
        return FAULT, f"more than one line: {' / '.join(lines)}"
    return ERROR, lines[0]


def _fitted(place, lines, left, wanted):
    """The verdict on a run that ended well."""
    if lines:
        return FAULT, f"noise: {' / '.join(lines)}"
    if left != wanted:
        return FAULT, f"wrote {', '.join(sorted(left))}, not {', '.join(sorted(wanted))}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(place/OUT) as hdus:
                tables = [h for h in hdus if h.name.endswith("CAT")]
                rows = sum(len(h.data) for h in tables)
                # a given position of which no pixel is good has no flux
                odd = [c for h in tables for c in ("x", "y", "flux", "dflux")
                       if not np.isfinite(h.data[c][(h.data["qf"] > 0) | (c in "xy")]).all()]
                if rows != hdus[0].header["NSOURCES"] or not tables:
                    return FAULT, f"{rows} rows, but NSOURCES {hdus[0].header['NSOURCES']}"
        except Exception as problem:
            return FAULT, f"the catalog cannot be read: {problem}"
    return (FAULT, f"not finite in the catalog: {', '.join(odd)}") if odd else (CATALOG, f"{rows} rows")
