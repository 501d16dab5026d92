"""Damaged files for each reader, from seeds: PSFs, catalogs, packed planes, and what a production writes; and what a reader says.

A case is a sound file of a kind, damaged in one to three ways. What reads it gives something that can be used, or raises an error
of this project, which names the file. `python -m benchmarks.studies.fuzz` runs tens of thousands.
"""
import json
import re
import resource
import time
import traceback
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import fuzz_cards
import numpy as np
from astropy.io import fits
from astropy.table import Table
from fuzz_damage import of_bytes, of_cards
from small_fields import star_image, tan_wcs
from test_odd_input import psfex
from test_psf_lsst import cells, exposure

import crowdsource
from crowdsource.config import from_mapping
from crowdsource.core.errors import CrowdsourceError
from crowdsource.core.image import Image
from crowdsource.engine.given import GivenPositions
from crowdsource.exposure.given_catalogs import given_rows
from crowdsource.exposure.results import read_config, read_history
from crowdsource.io.fits import planes_of, read_image
from crowdsource.io.tables import write_catalog
from crowdsource.io.toml import read_toml
from crowdsource.production.manifest import COLUMNS, read_manifest
from crowdsource.production.records import OutputPaths, differences, known_records, read_record
from crowdsource.production.status import read_last_run
from crowdsource.psf.export import write_stdpsf
from crowdsource.psf.formats.native import to_hdus
from crowdsource.psf.formats.reading import read_psf
from crowdsource.psf.model import FieldPSF
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.survey.store.store import create_store, open_store

SHAPE = 48, 64
CPU_SECONDS, MEGABYTES = 20., 1024.
"""Most CPU time, and memory above what the process has, of a case."""
METHODS = "RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS"
NUMBERS = "0", "-1", "1e999", "nan", "1e-300", "99999999999999999999", "2.5", "null", "''", "[]", "{}", "true", "[1, 2]", "\"x\""
"""What may stand in the place of a word of text."""


@dataclass(frozen=True)
class Answer:
    """What became of a case: `fault` is empty where it was read, or refused as it should be."""
    kind: str
    seed: int
    said: str
    fault: str
    seconds: float
    megabytes: float


def _psf(rng, folder):
    """A file of a PSF in one of the forms that are read."""
    psf = FieldPSF.moffat(SHAPE, float(rng.uniform(2, 6)))
    form = str(rng.choice(["psfex", "stdpsf", "stamp", "own", "own", "cells", "exposure", "asdf"]))
    path = folder/f"psf{dict(asdf='.asdf', psfex='.psf').get(form, '.fits')}"
    if form == "psfex":
        psfex(path, 0.7)
    elif form == "stdpsf":
        write_stdpsf(psf, path, nodes=(2, 2), side=11)
    elif form == "stamp":
        fits.writeto(path, psf.stamp(15))
    elif form == "own":
        fits.HDUList([fits.PrimaryHDU(), *to_hdus(psf)]).writeto(path)
    elif form == "cells":
        cells(path)
    elif form == "exposure":
        exposure(path)
    else:
        import asdf
        planes = np.tile(psf.stamp(9), (2, 3, 4, 1, 1))
        meta = dict(oversample=1, pixel_x=[0., 63., 0., 63.], pixel_y=[0., 0., 47., 47.])
        asdf.AsdfFile({"roman": {"psf": planes, "meta": meta}}).write_to(path)
    return path


def _used_psf(path):
    psf = read_psf(path, SHAPE)
    stamp = psf.render([10.3, 60.], [20.8, 3.], 19)
    if not np.isfinite(stamp).all():
        raise AssertionError("the PSF is not finite")
    return f"{type(psf).__name__}, {float(psf.fwhm()):.3g} px"


def _catalog(rng, folder):
    """A list of positions in one of the forms that are read, perhaps with odd columns."""
    n = int(rng.integers(1, 9))
    names = [("x", "y"), ("ra", "dec"), ("X_IMAGE", "Y_IMAGE")][rng.integers(3)]
    values = rng.uniform((0, 0), (SHAPE[1], SHAPE[0]), (n, 2)).T if names[0] != "ra" else rng.normal([[150.], [2.]], 1e-3, (2, n))
    table = Table(dict(zip(names, values)))
    table["star_id"], table["mag"] = np.arange(n), rng.uniform(10, 20, n)
    ending = str(rng.choice([".fits", ".ecsv", ".csv", ".vot", ".parquet", ".h5"]))
    for _ in range(rng.integers(0, 3)):
        table = _odd_column(rng, table, names)
    path = folder/f"list{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table.write(path, path="cat") if ending == ".h5" else write_catalog(table, path)
        except Exception:
            # not every column goes into every form
            table = Table(dict(zip(names, values)))
            table.write(path, path="cat", overwrite=True) if ending == ".h5" else write_catalog(table, path, overwrite=True)
    return path


def _odd_column(rng, table, names):
    """The table with a column of other values, another type, or none at all."""
    name, n = str(rng.choice([*names, "star_id", "mag"])), len(table)
    odd = float(rng.choice([np.nan, np.inf, -np.inf, 1e300, -1e300, 2.**31, 2.**63, 1e-300, -1., 0., 360., 91.]))
    new = [lambda: np.full(n, odd), lambda: np.where(np.arange(n) % 2, odd, 10.), lambda: np.array(["x"]*n),
           lambda: np.ones((n, 2)), lambda: np.array(["Å星\n"]*n), lambda: np.array([""]*n),
           lambda: np.ones(n, bool), lambda: np.ones(n, complex), lambda: np.array(["10:20:30"]*n),
           lambda: np.arange(n).astype(">i2"), lambda: np.ones((n, 0))]
    table = table.copy()
    what = rng.integers(len(new)+4)
    if what == len(new):
        table.remove_column(name) if name in table.colnames else None
    elif what == len(new)+1:
        table = table[:0]
    elif what == len(new)+2:
        table = Table(table, masked=True)
        table[table.colnames[0]].mask = True
    elif what == len(new)+3:
        table.meta.update(EXTNAME="a"*80, comments=["x"]*3)
    else:
        table[name] = new[what]()
    return table


def _used_catalog(path):
    image = Image.from_arrays(star_image(SHAPE), ivar=np.full(SHAPE, 0.1, np.float32), wcs=tan_wcs(SHAPE))
    rows = given_rows(path, image)
    return f"{len(GivenPositions.of(rows, image).sources())} positions"


def _packed(rng, folder):
    """Planes in compressed tiles, of any type and method."""
    method, path = str(rng.choice(METHODS)), folder/"plane.fits.fz"
    data = star_image(SHAPE, [20.], [20.], [5000.], seed=int(rng.integers(99)))
    data = data if method not in ("PLIO_1", "NOCOMPRESS") and rng.random() < 0.5 else data.clip(0, 2**14).astype(np.int16)
    tile = None if method == "HCOMPRESS_1" or rng.random() < 0.5 else (int(rng.integers(1, 20)), int(rng.integers(1, 64)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdu = fits.CompImageHDU(data, name="SCI", compression_type=method, tile_shape=tile, quantize_level=4, dither_seed=1)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return path


def _used_plane(path):
    planes_of(path)
    return f"{read_image(str(path)).data.shape}"


CONFIG = """max_passes = 5
[detect]
threshold = 5.5
[solve]
stamp_sizes = [19, 31]
tile = 512
[psf]
core = 19
[generic]
gain = 2.0
"""


def _config(rng, folder):
    path = folder/"options.toml"
    path.write_text(CONFIG)
    return path


def _used_config(path):
    values = read_toml(path)
    values.pop("generic", None)
    return str(from_mapping(values).max_passes)


def _manifest(rng, folder):
    path = folder/f"m{rng.choice(['.ecsv', '.parquet'])}"
    values = dict(exposure="a", label="a", detector="", instrument="generic", image="a.fits", options="{\"gain\": 2.0}", stars=5.,
                  inputs=json.dumps([["a.fits", 2880, 10**18, "0"*64]]), cpu=0.5, memory=100., problem="")
    table = Table({name: [values[name]] for name in COLUMNS})
    write_catalog(table, path, {"manifest": "1"})
    return path


def _used_manifest(path):
    return f"{len(read_manifest(path))} tasks"


def _record(rng, folder):
    path = OutputPaths(folder, "e").record
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dict(key="k", outputs=[["a.cat.fits", 3, "00"]], state="done", detectors=dict(N4="done"), seconds=1.5, error=None,
                   options=dict(workers=1), reads=[["a", 1]], workers=1)
    path.write_text(json.dumps(content))
    return path


def _used_record(path):
    folder = path.parents[len(path.relative_to(path.parents[1]).parts)-1]
    read_record(path, "k")
    known_records(OutputPaths(folder, "e"), [], "k")
    told = str(differences(path))
    (Path(folder)/"run.json").write_bytes(path.read_bytes())
    read_last_run(folder)
    return told


def _store(rng, folder):
    create_store(folder/"store")
    files = [p for p in sorted((folder/"store").rglob("*")) if p.is_file() and p.stat().st_size]
    return files[rng.integers(len(files))]


def _used_store(path):
    folder = next(p for p in path.parents if p.name == "store")
    return f"{len(open_store(folder).snapshot().images)} images"


def _own(rng, folder):
    """A catalog of this project, whose configuration and history are read back."""
    path = folder/"own.cat.fits"
    primary = fits.PrimaryHDU()
    primary.header.update(CFG001="max_passes = 5", CFG002="[psf]", CFG003="core = 19")
    history = fits.ImageHDU(np.ones((3, 2)), name="HIST")
    history.header.update(COL1="passno", COL2="chi2", KIND1="search", KIND2="search", KIND3="last")
    fits.HDUList([primary, history]).writeto(path)
    return path


def _used_own(path):
    said = []
    for reader in (read_config, read_history):
        try:
            said.append(str(len(reader(path))))
        except CrowdsourceError as problem:
            said.append(str(problem)[-40:])
    return ", ".join(said)


@cache
def _fitted():
    """The file of a small fit, whole: rows, PSF, configuration and history."""
    config = SimulationConfig(shape=SHAPE, stars=30, brightest=100., saturated_stars=0, bad_columns=0, seed=1)
    result = crowdsource.fit(simulate_field(config).image(), progress=False)
    with TemporaryDirectory() as folder:
        path = Path(folder)/"fitted.cat.fits"
        result.write(path)
        return path.read_bytes()


def _result(rng, folder):
    path = folder/"result.cat.fits"
    path.write_bytes(_fitted())
    return path


def _used_result(path):
    result = crowdsource.read_result(path)
    return f"{len(result.catalog)} rows, {len(result.history)} passes, {result.config.max_passes} at most"


KINDS = {"psf": (_psf, _used_psf), "catalog": (_catalog, _used_catalog), "plane": (_packed, _used_plane),
         "config": (_config, _used_config), "manifest": (_manifest, _used_manifest), "record": (_record, _used_record),
         "store": (_store, _used_store), "own": (_own, _used_own), "result": (_result, _used_result)}
"""What makes a sound file in a folder, and what uses one, by kind."""
KEPT = {**{kind: () for kind in KINDS}, "psf": (1111, 1474), "catalog": (1115, 1149, 3432, 50068), "plane": (50334,),
        "store": (70017, 70049, 70156), "own": (70047, 70110, 70414),
        "result": (80000, 80002, 80023, 80053, 80084, 80143)}
"""Seeds that were at fault once."""


def of_text(rng, content):
    """Text with words lost, doubled, exchanged for others, or nested."""
    words = re.split(rb"(\W+)", content)
    values = [k for k, word in enumerate(words) if re.fullmatch(rb"-?[0-9.]+|true|false|null|None", word)]
    for _ in range(rng.integers(1, 3)):
        at, what = int(rng.integers(len(words))), rng.random()
        if values and rng.random() < 0.6:
            at, what = values[rng.integers(len(values))], 0.
        if what < 0.5:
            words[at] = str(rng.choice(NUMBERS)).encode()
        elif what < 0.65:
            words[at] = b""
        elif what < 0.8:
            words.insert(at, words[int(rng.integers(len(words)))])
        elif what < 0.9:
            words[at] = [b"[", b"{", b"\"", b"\n", b"\0", b"\xff", b"\xc3", b"a."][rng.integers(8)]*int(10**rng.uniform(0, 5))
        else:
            words[at] = bytes(rng.integers(0, 256, 9, dtype=np.uint8))
    return b"".join(words)


def _numbers(rng, content):
    """A FITS file in which a number of a header is another: any keyword of it, not those alone that are known to matter."""
    places = [m for m in re.finditer(rb"(?<=[A-Z0-9_ ]= ) *(-?[0-9.]+(?:E[+-]?[0-9]+)?|T|F|'[^']*') *(?=/|$)", content)
              if m.start() % 80 == 10]
    if not places:
        return of_bytes(rng, content)
    place, odd = places[rng.integers(len(places))], fuzz_cards.ODD[rng.integers(len(fuzz_cards.ODD))]
    value = fuzz_cards.card("A", odd)[10:10+len(place.group())].ljust(len(place.group()))
    return content[:place.start()]+value+content[place.end():]


def make(kind, seed, folder):
    """Write the damaged file of a case; returns its path."""
    rng = np.random.default_rng([seed, *kind.encode()])
    path = KINDS[kind][0](rng, folder)
    content = path.read_bytes()
    if content.startswith((b"SIMPLE", b"XTENSION")):
        ways = [of_cards, of_cards, _numbers, _numbers, of_bytes]
    elif path.suffix in (".h5", ".parquet"):
        ways = [of_bytes]
    else:
        ways = [of_text, of_text, of_text, of_bytes]
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.4 if kind == "catalog" else 0., 0.2 if kind == "catalog" else 0.6, 0.25, 0.15])):
        content = ways[rng.integers(len(ways))](rng, content)
    path.write_bytes(content)
    return path


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024


def verdict(kind, seed, folder):
    """Make a case in an empty folder, use it, and judge."""
    path, fault, said = make(kind, seed, Path(folder)), "", ""
    before, start = _peak(), time.process_time()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            said = KINDS[kind][1](path)
        except CrowdsourceError as problem:
            said = str(problem)
            if "\n" in said.strip():
                fault = f"more than one line: {said!r}"
            elif path.name.partition(".")[0] not in said and kind in ("psf", "catalog", "plane", "manifest"):
                fault = f"names no file: {said}"
        except BaseException as problem:
            where = traceback.extract_tb(problem.__traceback__)
            own = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "crowdsource" in f.filename or "bound" in f.filename]
            fault = f"{type(problem).__name__}: {str(problem)[:200]} at {' '.join(own[-3:])}"
    seconds, megabytes = time.process_time()-start, _peak()-before
    fault = fault or ("took too much CPU" if seconds > CPU_SECONDS else "took too much memory" if megabytes > MEGABYTES else "")
    return Answer(kind, seed, said, fault, seconds, megabytes)


