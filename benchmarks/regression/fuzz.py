"""Damaged FITS files given to the command: how many are fitted, and how the others are refused; prints Markdown.

    python -m benchmarks.regression.fuzz [--cases 10000] [--first SEED] [--folder FOLDER]

A case follows from its seed alone; the folders of those at fault stay in FOLDER, build/fuzz when not given. Seeds that were at
fault once are kept in tests/fuzzed.py and are run first.
"""
import argparse
import re
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.shared import ROOT, table

sys.path.insert(0, str(ROOT/"tests"))
from fuzzed import CATALOG, ERROR, FAULT, KEPT, Runner, verdict_of

KINDS = (
    ("there is no such file|holds no .* plane", "no such file"), ("is a folder|a pipe or a device", "no regular file"),
    ("cannot be read as FITS", "no FITS"), ("pixels are missing at the end", "pixels are missing at the end"),
    ("its pixels cannot be read", "pixels cannot be read"), ("has no HDU|has no CCD|no HDU named", "no such HDU"),
    ("is a table|holds no image|has no image", "no image"), ("is a cube|has no plane", "a cube, no plane"),
    ("has shape|not of the same", "shapes that differ"), ("holds values of type|has dtype", "a type that does not suit"),
    ("no good pixel", "no good pixel"), ("ivar|inverse sigma|weight|rms", "a noise map of NaN, negative or infinite"),
    ("typical noise", "noise beyond float32"), ("PSF", "no PSF"), ("catalog|table|positions", "no catalog of positions"),
)
"""Families of errors: what their messages hold, and what they are called; the first that fits counts."""


def kind_of(message):
    """The family of an error."""
    return next((name for pattern, name in KINDS if re.search(pattern, message)), "other")


def fuzz(seeds, folder):
    """Verdicts of cases, faults told as they come.

    Parameters
    ----------
    seeds : iterable of int
    folder : Path
        Removed and made anew.

    Returns
    -------
    list of fuzzed.Verdict
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    verdicts = []
    with Runner() as runner:
        for seed in seeds:
            verdict = verdict_of(seed, folder, runner)
            verdicts.append(verdict)
            if verdict.kind == FAULT:
                print(f"seed {seed}: {verdict.argv[0]}, {', '.join(verdict.damage)}: {verdict.message}", file=sys.stderr)
    return verdicts


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--folder", type=Path, default=ROOT/"build"/"fuzz")
    args = parser.parse_args()
    start, kept = time.monotonic(), [s for s in KEPT if not args.first <= s < args.first+args.cases]
    verdicts = fuzz([*kept, *range(args.first, args.first+args.cases)], args.folder.resolve())
    kinds = Counter(v.kind for v in verdicts)
    errors = Counter(kind_of(v.message) for v in verdicts if v.kind == ERROR)
    rows = [("all", len(verdicts)), ("a catalog", kinds[CATALOG]), ("an error", kinds[ERROR]),
            *((f"... {name}", count) for name, count in errors.most_common()), ("a fault", kinds[FAULT])]
    print(table(("cases", "number"), rows))
    slowest, largest = max(verdicts, key=lambda v: v.seconds), max(verdicts, key=lambda v: v.megabytes)
    print(f"\nThe longest took {slowest.seconds:.1f} s (seed {slowest.seed}), the largest {largest.megabytes:.0f} MB (seed "
          f"{largest.seed}), all of them {(time.monotonic()-start)/60:.0f} minutes.")
    print("Seeds of faults:", " ".join(str(v.seed) for v in verdicts if v.kind == FAULT) or "none")


if __name__ == "__main__":
    main()
