"""Time and score the command on fields whose truth is known; prints Markdown.

    python -m benchmarks.peers.run                          fields of our own, and the comparison fields of the README
    python -m benchmarks.peers.run sharp crowded --profile  some of them, with CPU seconds by stage
    python -m benchmarks.peers.run --save                   also write ours.csv and own.csv, for `make docs`

Each field is one run of `crowdsource generic` as a whole process, given image, inverse variance and flags, on one core. Other
programs run next to it on the same field, those of `programs.py` that are there: photutils and sep in this environment or in one
that `make peers` makes, version 0.5.9 of the published code in another of those, SExtractor and PSFEx where the commands are.
The comparison fields and their bounds, by `fields.py` and `bounds.py`, are made where they are not there; those of a name that is
not listed, such as extreme or crowded-7, too.
"""
import argparse
import csv
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from astropy.table import Table

from benchmarks.peers.fields import KINDS, recipe_of
from benchmarks.peers.own_fields import FIELDS, field_file
from benchmarks.peers.programs import PEERS
from benchmarks.peers.score import Bounds, rounded, score
from benchmarks.shared import COMMAND, ONE_THREAD, ROOT, table, timed
from crowdsource.exposure.results import read_history
from crowdsource.simulate import SIMULATED
from crowdsource.simulate.files import read_simulation
from crowdsource.validate.evaluate import compare, match_stars

HERE = Path(__file__).parent
OURS, OWN = HERE/"ours.csv", HERE/"own.csv"
COMPARISON = ("sparse", "medium", "crowded")
ENVIRONMENTS = ROOT/"build"


@dataclass(frozen=True)
class Run:
    """One run of the command.

    Attributes
    ----------
    cpu : float
        User and system time of the whole process, s.
    peak : float
        Largest resident memory, MiB.
    catalog : Table
    history : Table
        Figures of each pass.
    stages : dict of str to float
        CPU seconds by stage.
    """

    cpu: float
    peak: float
    catalog: Table
    history: Table
    stages: dict


def run(image, ivar, dq, out, options=(), repeat=1):
    """Run the command; the least CPU time of several runs."""
    command = [str(COMMAND), "generic", str(image), "--ivar", str(ivar), "--dq", str(dq), "--out", str(out), "--overwrite",
               "--quiet", "--profile", *options]
    cpu, peak = [], []
    for _ in range(repeat):
        with tempfile.TemporaryFile("w+") as told:
            used = timed(command, told)
            told.seek(0)
            stages = {name: float(seconds) for name, seconds in re.findall(r"^  (\w+) +([\d.]+)$", told.read(), re.M)}
        if used is None:
            sys.exit(f"{' '.join(command)}: failed")
        cpu.append(used[0])
        peak.append(used[1])
    return Run(min(cpu), max(peak), Table.read(out), read_history(out), stages)


def interpreters():
    """The interpreter for each other program that can be had here."""
    def has(python, module):
        done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
        return done.returncode == 0

    found = {}
    for name in ("photutils", "sep"):
        for python in (Path(sys.executable), ENVIRONMENTS/"peers"/"bin"/"python"):
            if python.exists() and has(python, name):
                found[name] = python
    if shutil.which("psfex") and (shutil.which("source-extractor") or shutil.which("sex")):
        found["sextractor"] = Path(sys.executable)
    if (published := ENVIRONMENTS/"published"/"bin"/"python").exists():
        found["published"] = published
    return {name: found[name] for name in PEERS if name in found}


def scaled(catalog, truth):
    """A catalog with fluxes on the truth's scale, which the brightest fifth of the matched rows tell: conventions differ."""
    rows = {n: np.asarray(catalog[n], dtype=np.float64) for n in ("x", "y", "flux")}
    stars = {n: np.asarray(truth[n], dtype=np.float64) for n in ("x", "y", "flux")}
    positive = rows["flux"] > 0
    match = match_stars(stars, {n: v[positive] for n, v in rows.items()})
    star = np.flatnonzero(match >= 0)
    star = star[np.argsort(-stars["flux"][star])][:max(1, len(star)//5)]
    scale = float(np.median(rows["flux"][positive][match[star]]/stars["flux"][star])) if len(star) else 1.
    catalog = catalog.copy()
    for name in ("flux", "dflux"):
        catalog[name] = np.asarray(catalog[name], dtype=np.float64)/scale
    return catalog


def own_rows(name, folder, arguments, others):
    """Cells of one of our fields, for this project and other programs, and this project's run."""
    path = field_file(folder, name)
    planes = f"{path}:IMAGE", f"{path}:IVAR"
    done = run(*planes, f"{path}:DQ", folder/f"{name}.cat.fits", arguments.options, arguments.repeat)
    image, truth = read_simulation(path)
    avoid = image.dq & SIMULATED.saturated > 0
    rows = [own_row(name, "this project", (done.cpu, done.peak), done.cpu, compare(done.catalog, truth, avoid=avoid))]
    for program, used, catalog in other_runs(name, planes, FIELDS[name].fwhm, folder, others):
        rows.append(own_row(name, program, used, done.cpu, compare(scaled(catalog, truth), truth, avoid=avoid)))
    return rows, done


def other_runs(name, planes, fwhm, folder, others):
    """Title, CPU time and memory, and catalog of each other program on a field; one that fails is told and left out."""
    for peer, python in others.items():
        out = folder/f"{name}.{peer}.fits"
        used = timed([str(python), str(HERE/"programs.py"), peer, *planes, str(out), str(fwhm)])
        if used is None:
            print(f"{name}: {peer} failed", file=sys.stderr)
        else:
            yield TITLES[peer], used, Table.read(out)


def own_row(name, program, used, ours, c):
    """Cells of one program on one of our fields, from its CPU time and memory, our CPU time, and its `Comparison`."""
    found = "/".join(f"{v:.0f}" for v in c.bins["found"])
    faint, bright = (f"{b['bias']:+.2f}, {b['pull']:.2f}, {b['tails']:.0f}" for b in (c.bins[2], c.bins[4]))
    position = f"{c.position_pull:.2f}" if np.isfinite(c.position_pull) else "-"
    return [name, program, *costs(used, ours), str(c.rows), found, f"{c.spurious:.1f}", faint, bright, position]


def costs(used, ours):
    """Cells of CPU time, its ratio to ours, and memory."""
    return [f"{used[0]:.1f}", f"{used[0]/ours:.1f}", f"{used[1]:.0f}"]


TITLES = dict(published="crowdsource 0.5.9", sep="sep", photutils="photutils", sextractor="SExtractor + PSFEx")
OWN_HEAD = ["field", "program", "CPU s", "CPU ratio", "MB", "rows", "found % at S/N 5-7/7-10/10-20/20-50/50+", "spurious %",
            "S/N 10-20: bias %, pull, tails %", "S/N > 50: the same", "position pull"]
COMPARISON_HEAD = ["field", "program", "CPU s", "CPU ratio", "MB", "found % at S/N 3-5/5-7/7-10/10-20/20-50/50+", "spurious %",
                  "S/N 10-30: bias %, scatter, position scatter, pull, tails %", "S/N > 100: the same", "position pulls"]


def comparison_rows(name, folder, arguments, others):
    """Cells of a comparison field, for this project and other programs, and this project's run."""
    have_field(name, folder)
    image, ivar, dq = (str(folder/f"{name}_{plane}.fits") for plane in ("im", "ivar", "dq"))
    done, bounds = run(image, ivar, dq, folder/f"{name}.cat.fits", arguments.options, arguments.repeat), Bounds.read(folder, name)
    rows = [comparison_row(name, "this project", (done.cpu, done.peak), done.cpu, score(bounds, done.catalog))]
    for program, used, catalog in other_runs(name, (image, ivar), recipe_of(name).fwhm, folder, others):
        rows.append(comparison_row(name, program, used, done.cpu, score(bounds, catalog)))
    return rows, done


def comparison_row(name, program, used, ours, scores):
    """Cells of one program on a comparison field, from its CPU time and memory, our CPU time, and its `Score`."""
    levels = [scores.levels.get(level) for level in ("SN10+", "SN100+")]
    figures = [", ".join(shown(getattr(level, k, None)) for k in ("bias", "scatter", "position_scatter", "pull", "tails"))
               for level in levels]
    pulls = ", ".join(shown(getattr(level, "position_pull", None)) for level in levels)
    found = "/".join("-" if v is None else f"{v:.0f}" for v in rounded(scores.found, 1))
    return [name, program, *costs(used, ours), found, shown(scores.spurious[0]), *figures, pulls]


def shown(value):
    """A number with two digits at most behind the point, a dash where there is none."""
    return "-" if value is None else f"{rounded(value)+0.:g}"


def have_field(name, folder):
    """Make a comparison field and its bounds where they are not there.

    Raises
    ------
    RuntimeError
        When that fails.
    """
    # in processes of their own: memory of this one would count as that of the programs that it starts
    for module, product in (("fields", "im"), ("bounds", "bounds")):
        if not (folder/f"{name}_{product}.fits").exists():
            command = [sys.executable, "-m", f"benchmarks.peers.{module}", str(folder.resolve()), name]
            made = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False,
                                  env={**os.environ, **ONE_THREAD})
            if made.returncode:
                raise RuntimeError(f"{' '.join(command)}: {made.stderr}")


def profile(names, runs):
    """CPU seconds by stage over all passes, as a Markdown table; `start-up` is what the stages do not account for."""
    stages = list(dict.fromkeys(name for r in runs for name in r.stages))
    rows = []
    for name, r in zip(names, runs):
        seconds = [r.stages.get(s, 0.) for s in stages]
        rows.append([name, *(f"{v:.2f}" for v in seconds), f"{r.cpu-sum(seconds):.2f}", f"{r.cpu:.2f}", str(len(r.history))])
    return table(["CPU s of", *stages, "start-up, files", "all", "passes"], rows)


def machine():
    """What the figures were measured on, and when."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text(encoding="utf-8").splitlines()
                 if line.startswith("model name")]
        model = names[0] if names else model
    return f"{date.today().isoformat()}, {model}, Python {platform.python_version()}"


def save(path, head, rows):
    """Put rows into a table in a file, in place of older ones of the same fields and programs."""
    kept = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = {(r[head[0]], r[head[1]]): list(r.values()) for r in csv.DictReader(file)}
    kept.update({(row[0], row[1]): row[:len(head)] for row in rows})
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *kept.values()])


def parsed():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="fields; all that can be had when none is given")
    parser.add_argument("--fields", type=Path, default=ROOT/"build"/"bench", metavar="FOLDER",
                        help="where fields are, or are made")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="runs of each field; the least CPU time counts")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), metavar="NAME",
                        help=f"other programs to run, of {', '.join(PEERS)}; all that are here when not given")
    parser.add_argument("--profile", action="store_true", help="CPU seconds by stage")
    parser.add_argument("--save", action="store_true", help="write the rows to ours.csv and own.csv, for the documentation")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="the rest goes to the command")
    return parser.parse_args()


def main():
    """Run all fields and print what they gave."""
    arguments = parsed()
    names = arguments.names or [*FIELDS, *COMPARISON]
    for name in names:
        if name not in FIELDS and name.partition("-")[0] not in KINDS:
            sys.exit(f"{name}: not among {', '.join([*FIELDS, *KINDS])}")
    others = {name: python for name, python in interpreters().items() if arguments.peers is None or name in arguments.peers}
    own, compared, runs = [], [], []
    for name in names:
        rows_of, target = (own_rows, own) if name in FIELDS else (comparison_rows, compared)
        rows, done = rows_of(name, arguments.fields, arguments, others)
        target += rows
        runs.append(done)
    parts = [table(OWN_HEAD, own)]*bool(own)+[table(COMPARISON_HEAD, compared)]*bool(compared)
    print("\n\n".join(parts+[profile(names, runs)]*arguments.profile))
    if arguments.save:
        (HERE/"machine.txt").write_text(machine()+"\n", encoding="utf-8")
        save(OURS, COMPARISON_HEAD, compared)
        save(OWN, OWN_HEAD, own)


if __name__ == "__main__":
    main()
