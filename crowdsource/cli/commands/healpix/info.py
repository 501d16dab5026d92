"""``crowdsource healpix info``: what a store holds, and whether its files are whole."""
from collections import Counter

import numpy as np

from ....core.errors import StoreError
from ....io.hdf5 import read_rows
from ....survey.objects.release import releases
from ....survey.store.store import open_store
from ....survey.store.verify import verify


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument("store", metavar="STORE", help="folder of the store")
    parser.add_argument("--verify", action="store_true", help="check every file against its checksum, and the chain of commits")


def run(args, console):
    """Describe or check the store. Returns the lines to print, and the exit status."""
    try:
        store = open_store(args.store)
    except StoreError as problem:
        if not args.verify:
            raise
        return [f"problem: {problem}"], 1
    if not args.verify:
        return summary(store), 0
    with console.progress() as progress:
        report = verify(store, progress)
    lines = [f"{report.checked} files checked, {len(report.problems)} problems, {len(report.orphans)} unknown files"]
    lines += [f"problem: {p}" for p in report.problems]
    lines += [f"unknown: {p}, left by a crash or kept for a reader: the next ingest removes it" for p in report.orphans]
    if report.problems:
        return lines, 1
    return summary(store)+lines, 1 if report.orphans else 0


def summary(store):
    """Lines that describe what a store holds."""
    snapshot = store.snapshot()
    images, state = snapshot.images, snapshot.state
    alive = images.alive
    depth = sorted({p.order for p in snapshot.pixels})
    lines = [f"{store.path}: commit {snapshot.number}, order {store.order}, at most {store.max_rows} rows a pixel, margin "
             f"{store.margin:g} arcsec",
             f"pixels: {len(snapshot.pixels)}, of order {', '.join(map(str, depth)) or 'none'}, in "
             f"{sum(map(len, state.segments.values()))} segments",
             f"rows: {images.rows[alive].sum()}, rejected {images.rejected[alive].sum()}",
             f"images: {alive.sum()}, and {(~alive).sum()} replaced ones"]
    without = ~np.isfinite(snapshot.zero_points())
    lines += ["band "+_band(band, images, without) for band in snapshot.bands]
    lines += _rejects(store, snapshot)
    lines.append(f"zero points: {len(state.zeropoints)} versions of the table")
    return [*lines, f"releases: {', '.join(releases(store)) or 'none'}"]


def _band(band, images, without):
    """A line that describes a band; `without` marks images without a zero point."""
    of = images.alive & (images.band == band) & (images.rows > 0)
    systems = sorted(set(images.system[of])-{""})
    dates = images.mjd[of & np.isfinite(images.mjd)]
    without = of & without
    text = f"{band}: {of.sum()} images, {images.rows[of].sum()} rows, magnitudes {', '.join(systems) or 'of no known system'}"
    text += f", MJD {dates.min():.3f} to {dates.max():.3f}" if len(dates) else ", dates not known"
    return text+(f", {without.sum()} images without a zero point" if without.any() else "")


def _rejects(store, snapshot):
    """Lines with the number of rejected rows of images that are not replaced, by reason."""
    counts = Counter()
    for listed in snapshot.state.rejects:
        rows = read_rows(store.path/listed.path, "rejects")
        counts.update(rows["reason"][snapshot.images.alive[rows["source"]]].tolist())
    return [f"rejected: {n} rows, {reason.decode()}" for reason, n in sorted(counts.items())]
