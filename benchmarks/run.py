"""Time and score the command on fields whose truth is known; prints Markdown.

    python benchmarks/run.py                          fields of our own, and the reference fields where they can be had
    python benchmarks/run.py sharp crowded --profile  some of them, with CPU seconds by stage
    python benchmarks/run.py --save                   also write ours.csv and own.csv here, from which `make docs` makes tables

Each field is one run of `crowdsource generic` as a whole process, given image, inverse variance and flags, on one core.
Reference fields are made by the scripts of a folder (fields.py, bounds.py, score.py) into the folder of fields; those
already there are taken as they are.
"""
import argparse
import csv
import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from fields import FIELDS, field_file

from crowdsource.evaluate import compare
from crowdsource.io.simulation import read_simulation
from crowdsource.simulate import SIMULATED

ROOT = Path(__file__).parent.parent
OURS, OWN = ROOT/"benchmarks"/"ours.csv", ROOT/"benchmarks"/"own.csv"
REFERENCE = ("sparse", "medium", "crowded")
COMMAND = Path(sys.executable).parent/"crowdsource"
ONE_THREAD = {n: "1" for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
MEBIBYTE = 1024 if sys.platform != "darwin" else 1024**2


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
    """
    cpu: float
    peak: float
    catalog: Table
    history: Table


def run(image, ivar, dq, out, options=(), repeat=1):
    """Run the command; the least CPU time of several runs."""
    command = [str(COMMAND), "generic", str(image), "--ivar", str(ivar), "--dq", str(dq), "--out", str(out), "--overwrite",
               "--quiet", *options]
    cpu, peak = [], []
    for _ in range(repeat):
        process = subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
        cpu.append(usage.ru_utime+usage.ru_stime)
        peak.append(usage.ru_maxrss/MEBIBYTE)
    return Run(min(cpu), max(peak), Table.read(out, hdu="CAT"), Table.read(out, hdu="HIST"))


def own_row(name, folder, arguments):
    """Cells of one of our fields, and its run."""
    path = field_file(folder, name)
    done = run(f"{path}:IMAGE", f"{path}:IVAR", f"{path}:DQ", folder/f"{name}.cat.fits", arguments.options, arguments.repeat)
    image, truth = read_simulation(path)
    c = compare(done.catalog, truth, avoid=image.dq & SIMULATED.saturated > 0)
    found = "/".join(f"{v:.0f}" for v in c.bins["found"])
    faint, bright = (f"{b['bias']:+.2f}, {b['pull']:.2f}, {b['tails']:.0f}" for b in (c.bins[2], c.bins[4]))
    return [name, f"{done.cpu:.1f}", f"{done.peak:.0f}", str(c.stars), str(c.rows), found, f"{c.spurious:.1f}", faint, bright,
            f"{c.position_pull:.2f}"], done


OWN_HEAD = ["field", "CPU s", "MB", "stars", "rows", "found % at S/N 5-7/7-10/10-20/20-50/50+", "spurious %",
            "S/N 10-20: bias %, pull, tails %", "S/N > 50: the same", "position pull"]
REFERENCE_HEAD = ["field", "program", "CPU s", "MB", "found % at S/N 3-5/5-7/7-10/10-20/20-50/50+", "spurious %",
                  "S/N 10-30: bias %, scatter, position scatter, pull, tails %", "S/N > 100: the same", "position pulls"]


def reference_row(name, folder, score, arguments):
    """Cells of a reference field, and its run."""
    image, ivar, dq = (folder/f"{name}_{plane}.fits" for plane in ("im", "ivar", "dq"))
    done = run(image, ivar, dq, folder/f"{name}.cat.fits", arguments.options, arguments.repeat)
    s = score(str(folder), name, done.catalog)
    figures = [", ".join(f"{s[level].get(k)+0.:g}" for k in ("bias", "scatter", "pos_scatter", "pull", "tails"))
               for level in ("SN10+", "SN100+")]
    pulls = ", ".join(f"{s[level].get('pos_pull'):g}" for level in ("SN10+", "SN100+"))
    found = "/".join("-" if v is None else f"{v:.0f}" for v in s["found"])
    return [name, "this project", f"{done.cpu:.1f}", f"{done.peak:.0f}", found, f"{s['spurious'][0]:g}", *figures, pulls], done


def scorer(folder):
    """The function `score` of the reference folder, or None."""
    path = Path(folder)/"score.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location("score", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.score


def have_reference(name, folder, reference, python):
    """Whether a reference field and its bounds are there, after an attempt to make them."""
    for script, product in (("fields.py", "im"), ("bounds.py", "bounds")):
        if not (folder/f"{name}_{product}.fits").exists():
            folder.mkdir(parents=True, exist_ok=True)
            made = subprocess.run([python, str(Path(reference)/script), str(folder.resolve()), name], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, cwd=reference, check=False)
            if made.returncode:
                print(f"{name}: left out, {script} failed: {made.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                return False
    return True


def profile(names, runs):
    """CPU seconds by stage over all passes, as a Markdown table; `start-up` is what the stages do not account for."""
    stages = list(dict.fromkeys(c for r in runs for c in r.history.colnames if c.startswith("cpu_")))
    rows = []
    for name, r in zip(names, runs):
        seconds = [float(np.nansum(r.history[s])) if s in r.history.colnames else 0. for s in stages]
        rows.append([name, *(f"{v:.2f}" for v in seconds), f"{r.cpu-sum(seconds):.2f}", f"{r.cpu:.2f}", str(len(r.history))])
    return table(["CPU s of", *(s.removeprefix("cpu_") for s in stages), "start-up, files", "all", "passes"], rows)


def table(head, rows):
    """A Markdown table."""
    return "\n".join("| "+" | ".join(line)+" |" for line in [head, ["---"]*len(head), *rows])


def save(path, head, rows):
    """Put rows into a table in a file, in place of older ones of the same fields."""
    kept = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = {r[head[0]]: list(r.values()) for r in csv.DictReader(file)}
    kept.update({row[0]: row[:len(head)] for row in rows})
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *kept.values()])


def parsed():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="fields; all that can be had when none is given")
    parser.add_argument("--fields", type=Path, default=ROOT/"build"/"bench", metavar="FOLDER",
                        help="where fields are, or are made")
    parser.add_argument("--reference", type=Path, default=ROOT.parent/"shared"/"bench", metavar="FOLDER",
                        help="scripts of the reference fields")
    parser.add_argument("--python", default="python3", help="an interpreter with numba, for those scripts")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="runs of each field; the least CPU time counts")
    parser.add_argument("--profile", action="store_true", help="CPU seconds by stage")
    parser.add_argument("--save", action="store_true", help="write the rows to ours.csv and own.csv, for the documentation")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="the rest goes to the command")
    return parser.parse_args()


def main():
    """Run all fields and print what they gave."""
    arguments = parsed()
    score = scorer(arguments.reference)
    names = arguments.names or [*FIELDS, *(REFERENCE if score else ())]
    unknown = [n for n in names if n not in FIELDS and not score]
    if unknown:
        sys.exit(f"{', '.join(unknown)}: not among {', '.join(FIELDS)}, and {arguments.reference} has no score.py")
    own, reference, ran, runs = [], [], [], []
    for name in names:
        if name not in FIELDS and not have_reference(name, arguments.fields, arguments.reference, arguments.python):
            continue
        row, done = own_row(name, arguments.fields, arguments) if name in FIELDS else reference_row(
            name, arguments.fields, score, arguments)
        (own if name in FIELDS else reference).append(row)
        ran.append(name)
        runs.append(done)
    parts = [table(OWN_HEAD, own)]*bool(own)+[table(REFERENCE_HEAD, reference)]*bool(reference)
    print("\n\n".join(parts+[profile(ran, runs)]*(arguments.profile and bool(runs))))
    if arguments.save:
        save(OURS, ["field", "program", "cpu", "mb", "found", "spurious", "faint", "bright"], reference)
        save(OWN, OWN_HEAD, own)


if __name__ == "__main__":
    main()
