"""The store of detections: how fast catalogs come in, and whether a killed command loses or doubles anything; prints Markdown.

    python -m benchmarks.studies.store ingest [catalogs [rows]]
    python -m benchmarks.studies.store open [commits]
    python -m benchmarks.studies.store killed [kills]

CPU seconds and memory are those of the command's process.
"""
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks.shared import table
from crowdsource.engine.schema import columns_of
from crowdsource.survey.healpix import SPATIAL_INDEX
from crowdsource.survey.store import commit_log
from crowdsource.survey.store.commits import Commit, Segment
from crowdsource.survey.store.ledger import LEDGER_COLUMNS, ledger_from_columns
from crowdsource.survey.store.store import create_store, open_store

CATALOGS, ROWS = 100, 20_000
SCALE, WIDTH = 0.26, 0.3
"""Arcsec per pixel, and degrees on a side of an image."""
SMALL = 12, 3000
"""Catalogs and rows of the study of kills."""
COMMITS, SOURCES_EACH = 20_000, 50


def write_catalogs(folder, number, rows, seed=1):
    """Catalogs of a generic command: images of 0.3 degrees, a third of one apart, on a strip of sky in two bands."""
    rng, out = np.random.default_rng(seed), []
    columns = columns_of(False, True, True)
    formats = {"?": "L", "f8": "D", "f4": "E", "i8": "K", "i4": "J", "i2": "I"}
    for k in range(number):
        east, north = rng.uniform(-0.5, 0.5, (2, rows))*WIDTH
        values = {c.name: rng.normal(1000, 100, rows).astype(c.dtype) for c in columns}
        values.update(ra=150+WIDTH/3*(k % 40)+east, dec=2+WIDTH/3*(k//40)+north, x=-east*3600/SCALE, y=north*3600/SCALE,
                      detection_id=np.int64(k+1) << 32 | np.arange(rows), psf_star=rng.random(rows) < 0.1)
        header = fits.Header(dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CD1_1=-SCALE/3600, CD2_2=SCALE/3600, FILTER="gr"[k % 2]))
        header["MJD-MID"], header["ZPCRWD"] = 57000.+k, (25., "zero point of mag, AB")
        primary = fits.PrimaryHDU()
        primary.header.update(dict(ORIGIN="crowdsource", INSTRUME="generic", EXPOSURE=f"exp{k:05d}"))
        made = [fits.Column(c.name, formats[c.dtype], array=values[c.name]) for c in columns]
        out.append(Path(folder, f"exp{k:05d}.cat.fits"))
        fits.HDUList([primary, fits.ImageHDU(header=header, name="HDR"),
                      fits.BinTableHDU.from_columns(made, name="CAT")]).writeto(out[-1])
    return out


def command(*args):
    """The command line of a sub-command of ``crowdsource healpix``."""
    return [str(Path(sys.executable).with_name("crowdsource")), "healpix", *map(str, args)]


def measured(*args):
    """Run a command. Returns CPU and wall-clock seconds, and the peak of its memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command(*args), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, args[:2]))} failed")
    return used.ru_utime+used.ru_stime, time.perf_counter()-start, used.ru_maxrss/1024


def ingest(number=CATALOGS, rows=ROWS):
    """Print the speed of an ingest of new catalogs, and of one that finds all of them there."""
    with tempfile.TemporaryDirectory() as folder:
        write_catalogs(folder, number, rows)
        subprocess.run(command("init", f"{folder}/store", "--quiet"), check=True)
        lines = []
        for what in ("new", "unchanged"):
            cpu, wall, peak = measured("ingest", f"{folder}/store", folder, "--quiet")
            lines.append([what, number, number*rows, f"{cpu:.1f}", f"{wall:.1f}", f"{number*rows/cpu:,.0f}", f"{peak:.0f}"])
        print(table(["catalogs", "number", "rows", "CPU s", "wall s", "rows per CPU s", "MB"], lines))


def everything(store):
    """All rows by identifier, without the numbers of images, which follow the order of ingestion."""
    snapshot = open_store(store).snapshot()
    rows = np.concatenate([a for p in snapshot.pixels for a in snapshot.read(p)])
    rows = rows[np.argsort(rows["detection_id"])]
    exposures = snapshot.images.exposure[rows["source"]]
    rows["source"] = 0
    return rows.tobytes(), exposures.tolist(), SPATIAL_INDEX


def killed(kills=100, seed=1):
    """Kill an ingest at random moments and start it again until there were so many kills; compare with an undisturbed one."""
    rng, count, rounds, same = np.random.default_rng(seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        files = write_catalogs(folder, *SMALL)
        start = time.perf_counter()
        wanted = _ingested(Path(folder, "whole"), files)
        usual = time.perf_counter()-start
        while count < kills:
            store, rounds = Path(folder, f"killed{rounds}"), rounds+1
            found, n = _interrupted(store, files, lambda: rng.uniform(0, 1.2*usual), kills-count)
            count += n
            same += found == wanted
    print(table(["kills", "stores", "identical to an undisturbed one"], [[count, rounds, same]]))
    return 0 if same == rounds else 1


def _ingested(store, files):
    """The rows of an undisturbed ingest."""
    create_store(store, order=6, max_rows=4000)
    subprocess.run(ingesting(store, files), check=True)
    return everything(store)


def _interrupted(store, files, stop, most):
    """An ingest that is killed until it gets through. Returns the rows, and the number of kills."""
    create_store(store, order=6, max_rows=4000)
    n = 0
    while True:
        process = subprocess.Popen(ingesting(store, files))
        try:
            process.wait(stop() if n < most else None)
            return everything(store), n
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n += 1


def ingesting(store, files):
    """A process that ingests in batches of two catalogs."""
    code = ("import sys\nfrom crowdsource.survey.store.store import open_store\n"
            "from crowdsource.survey.store.ingest import ingest\n"
            "sys.exit(ingest(open_store(sys.argv[1]), sys.argv[2:], batch_rows=6000).status)")
    return [sys.executable, "-c", code, str(store), *map(str, files)]


def opening(commits=COMMITS):
    """Print how long it takes to open a store of many commits with 50 images and a segment each."""
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(Path(folder, "store"))
        state = store.state()
        # writing is not measured: to wait for the disk at each commit would take a quarter of an hour
        os.fsync = lambda descriptor: None
        for _ in range(commits):
            first = state.count
            numbers = range(first, first+SOURCES_EACH)
            columns = {n: [""]*SOURCES_EACH if t == "S" else [0]*SOURCES_EACH for n, t in LEDGER_COLUMNS}
            names = [f"exposure_of_a_survey_{n:09d}" for n in numbers]
            columns.update(source=numbers, exposure=names, checksum=["0"*64]*SOURCES_EACH,
                           file=[f"/somewhere/in/a/folder/{n}.cat.fits" for n in names])
            number = state.number % 12288
            added = Segment(path=f"detections/Norder=5/Dir=0/Npix={number}/{state.number+1:012d}.h5", order=5, pixel=number,
                            rows=1, border=0, first=first, last=first+SOURCES_EACH-1, schema="0"*16, sha256="0"*64)
            Path(store.path, added.path).parent.mkdir(parents=True, exist_ok=True)
            state = commit_log.write_commit(store.path, state, Commit(added=(added,), images=ledger_from_columns(columns)))
        start = time.perf_counter()
        snapshot = open_store(store.path).snapshot()
        opened = time.perf_counter()-start
        lines = [[commits, len(snapshot.images), f"{opened:.2f}", f"{time.perf_counter()-start:.2f}",
                  f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024:.0f}"]]
        print(table(["commits", "images", "opened in s", "with the ledger in s", "MB, of writing too"], lines))


if __name__ == "__main__":
    sys.exit(dict(ingest=ingest, killed=killed, open=opening)[sys.argv[1]](*map(int, sys.argv[2:])))
