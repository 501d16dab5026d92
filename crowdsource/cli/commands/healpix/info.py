"""``crowdsource healpix info``: what a store holds, and whether its files are whole."""
from collections import Counter

import numpy as np

from ....core.errors import StoreError
from ....io.hdf5 import read_rows
from ....survey.objects.release import releases
from ....survey.store.store import open_store
from ....survey.store.verify import verify


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("store", metavar="STORE", help="folder of the store")
    parser.add_argument("--verify", action="store_true", help="check every file against its checksum, and the chain of commits")


def run(args, console):
    """Tell. Returns lines and exit status."""
    try:
        store = open_store(args.store)
    except StoreError as problem:
        if not args.verify:
            raise
        return [f"problem: {problem}"], 1
    if not args.verify:
        return told(store), 0
    with console.progress() as progress:
        findings = verify(store, progress)
    lines = [f"{findings.checked} files checked, {len(findings.problems)} problems, {len(findings.orphans)} that nothing knows"]
    lines += [f"problem: {p}" for p in findings.problems]
    lines += [f"unknown: {p}, left by a crash or kept for a reader: the next ingest removes it" for p in findings.orphans]
    if findings.problems:
        return lines, 1
    return told(store)+lines, 1 if findings.orphans else 0


def told(store):
    """What a store holds, in lines."""
    snapshot = store.snapshot()
    sources, state = snapshot.sources, snapshot.state
    alive = sources.alive
    depth = sorted({p.order for p in snapshot.pixels})
    lines = [f"{store.path}: commit {snapshot.number}, order {store.order}, at most {store.max_rows} rows a pixel, margin "
             f"{store.margin:g} arcsec",
             f"pixels: {len(snapshot.pixels)}, of order {', '.join(map(str, depth)) or 'none'}, in "
             f"{sum(map(len, state.segments.values()))} segments",
             f"rows: {sources.rows[alive].sum()}, rejected {sources.rejected[alive].sum()}",
             f"sources: {alive.sum()}, and {(~alive).sum()} that others replaced"]
    without = ~np.isfinite(snapshot.zero_points())
    lines += ["band "+_band(band, sources, without) for band in snapshot.bands]
    lines += _rejects(store, snapshot)
    lines.append(f"zero points: {len(state.zeropoints)} versions of the table")
    return [*lines, f"releases: {', '.join(releases(store)) or 'none'}"]


def _band(band, sources, without):
    """A band in words; `without` tells which sources have no zero point."""
    of = sources.alive & (sources.band == band) & (sources.rows > 0)
    systems = sorted(set(sources.system[of])-{""})
    dates = sources.mjd[of & np.isfinite(sources.mjd)]
    without = of & without
    text = f"{band}: {of.sum()} sources, {sources.rows[of].sum()} rows, magnitudes {', '.join(systems) or 'of no known system'}"
    text += f", MJD {dates.min():.3f} to {dates.max():.3f}" if len(dates) else ", dates not known"
    return text+(f", {without.sum()} sources without a zero point" if without.any() else "")


def _rejects(store, snapshot):
    """Rejected rows of living sources, by reason."""
    counts = Counter()
    for listed in snapshot.state.rejects:
        rows = read_rows(store.path/listed.path, "rejects")
        counts.update(rows["reason"][snapshot.sources.alive[rows["source"]]].tolist())
    return [f"rejected: {n} rows, {reason.decode()}" for reason, n in sorted(counts.items())]
