"""Catalogs of two versions of the program, or of two folders, compared bit for bit; prints Markdown.

    python benchmarks/regression/compare.py BEFORE AFTER

BEFORE and AFTER are folders of FITS files, as `catalogs.py` makes them. Each file of BEFORE is compared with the one of the same
name in AFTER: its HDUs, their headers, all columns of tables and all pixels of images. What tells of the date, the version and
the options of a run, and what describes columns, is left out. The exit status is 1 when anything differs or is missing.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

IGNORED = {"CHECKSUM", "DATASUM", "VERSION", "COMMENT", "HISTORY", ""}
TEXTS = "CFG", "TCOMM"
"""Keywords that begin so hold the options of the run, and the descriptions of columns."""
SHOWN = 12
"""At most so many differences of one file are printed."""


def differing_keywords(before, after):
    """Keywords of a header whose values differ in another, or are missing there."""
    return [k for k in before if k not in IGNORED and not k.startswith(TEXTS) and before[k] != after.get(k)]


def same_bits(before, after):
    """Whether two arrays have the same shape and the same bytes."""
    return before.shape == after.shape and before.tobytes() == after.tobytes()


def compared_hdus(before, after):
    """Differences between two HDUs.

    Parameters
    ----------
    before, after : HDU

    Returns
    -------
    number : int
        Columns, or 1 for pixels.
    differences : list of str
    """
    name, differences = before.name or "PRIMARY", []
    differences += [f"{name}:{k}" for k in differing_keywords(before.header, after.header)]
    if type(before) is not type(after):
        return 0, [f"{name}: {type(before).__name__} is {type(after).__name__}"]
    if isinstance(before, fits.BinTableHDU) and not isinstance(before, fits.CompImageHDU):
        names = before.columns.names
        if names != after.columns.names:
            differences.append(f"{name}: names of the columns")
        both = [c for c in names if c in after.columns.names]
        differences += [f"{name}.{c}" for c in both if not same_bits(before.data[c], after.data[c])]
        return len(both), differences
    if before.data is None or after.data is None:
        return 0, differences+[f"{name}: pixels are missing"]*(before.data is not after.data)
    return 1, differences+[f"{name}: pixels"]*(not same_bits(np.asarray(before.data), np.asarray(after.data)))


def compared(before, after):
    """Rows of catalogs in a file, the number of columns and images that were compared, and the differences; by two paths."""
    with fits.open(before) as old, fits.open(after) as new:
        names = [h.name for h in old]
        if names != [h.name for h in new]:
            return 0, 0, [f"HDUs {', '.join(names)} are {', '.join(h.name for h in new)}"]
        parts = [compared_hdus(*pair) for pair in zip(old, new)]
        rows = sum(len(h.data) for h in old if h.name.endswith("CAT"))
    return rows, sum(n for n, _ in parts), [d for _, differences in parts for d in differences]


def main():
    """Compare all files and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path, metavar="BEFORE")
    parser.add_argument("after", type=Path, metavar="AFTER")
    arguments = parser.parse_args()
    files = sorted(arguments.before.glob("*.fits"))
    if not files:
        parser.error(f"{arguments.before}: holds no FITS file")
    lines, bad = [("file", "rows", "columns and images", "result"), ("---",)*4], False
    for path in files:
        other = arguments.after/path.name
        rows, number, differences = compared(path, other) if other.exists() else (0, 0, ["missing"])
        lines.append((path.name, rows, number, "; ".join(differences[:SHOWN]) or "same"))
        bad |= bool(differences)
    print("\n".join("| "+" | ".join(map(str, line))+" |" for line in lines))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
