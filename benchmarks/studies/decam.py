"""What the DECam command gives; prints Markdown.

    python -m benchmarks.studies.decam planes FOLDER       every exposure of a folder of real planes: what was read and fitted
    python -m benchmarks.studies.decam exposure [FOLDER]   a simulated exposure of eight CCDs: cost, scores, unstable amplifier
    python -m benchmarks.studies.decam killed [FOLDER]     the same exposure, killed ten times at random and resumed
    python -m benchmarks.studies.decam damaged [FOLDER]    the same exposure with two CCDs damaged

The exposure is simulated into FOLDER, build/decam when not given, if it is not there.
"""
import argparse
import hashlib
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from crowdsource.instruments.decam import Decam
from crowdsource.instruments.decam.bits import FLAGS
from crowdsource.instruments.decam.seam import seam_step

from benchmarks.shared import COMMAND, ONE_THREAD, ROOT, run, table
from crowdsource.engine.loop import fit
from crowdsource.exposure.fit_inputs import configuration
from crowdsource.exposure.results import read_history
from crowdsource.validate.evaluate import compare, match_stars

CCDS = "N4", "N5", "N15", "N22", "S4", "S7", "S14", "S22"
NAME = "c4d_170316_062107_ooi_z_v1.fits.fz"
STARS = 60000
KILLS, SEED = 10, 7
NEBULOUS = 30.
"""Counts per pixel of local nebulosity from which a place is inside it: about the noise of a pixel."""
BINS = (5., 10., 20., 50., np.inf)


def exposure(folder):
    """The simulated exposure, made if it is not there."""
    path = folder/NAME
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        cpu, peak, *_ = run("simulate", path, "--instrument", "decam", "--ccds", *CCDS, "--stars", STARS, "--quiet")
        sys.stdout.write(f"simulated: {cpu/len(CCDS):.0f} CPU s per CCD, {peak:.0f} MB\n\n")
    return path


def planes(folder, _):
    """Each image of a folder with its planes; where a frame has them elsewhere, once for each that is there."""
    rows = []
    for path in sorted(Path(folder).rglob("*_ooi_*")):
        named = [[]] if list(path.parent.glob(path.name.replace("_ooi_", "_ood_"))) else [
            ["--dq-plane", p] for p in sorted(path.parent.rglob(path.name.replace("_ooi_", "_ood_")))]
        rows += [_of_planes(path, words) for words in named]
    head = ["file", "PLVER", "CCD", "pixels", "planes", "good %", "bits", "FWHM header, fit", "sources", "chi2", "median sky",
            "gain"]
    sys.stdout.write(table(head, rows)+"\n")


def _of_planes(path, words):
    out = Path("build")/"planes.cat.fits"
    run("decam", path, *words, "--out", out, "--overwrite")
    options = {words[0][2:].replace("-", "_"): str(words[1])} if words else {}
    task, = (opened := Decam().open(str(path), **options)).tasks()
    image = opened.read(task)
    with fits.open(out) as hdus:
        header, history = hdus[f"{task.detector}_HDR"].header, read_history(out, task.detector)
        sources = len(hdus[f"{task.detector}_CAT"].data)
    bits = " ".join(FLAGS.decode(np.bitwise_or.reduce(image.dq, axis=None))) or "none"
    plver = fits.getheader(path).get("PLVER") or fits.getheader(path, 1).get("PLVER")
    return [path.name, plver, task.detector, "{1}x{0}".format(*image.shape), Path(words[1]).parent.name if words else "beside it",
            f"{100*image.good.mean():.1f}", bits, f"{image.meta['fwhm']:.2f}, {header['FWHMCRWD']:.2f}", sources,
            f"{history['chi2'][-1]:.2f}", f"{header['SKYCRWD']:.1f}", f"{image.gain:.2f}"]


def truth_of(path, ccd):
    """The truth of a CCD, fluxes as the fit counts them: light in the box in which the PSF sums to 1, not all of it."""
    truth = Table.read(path.parent/NAME.replace(".fits.fz", "_truth.fits"), hdu=ccd)
    share = truth.meta["BOXSHARE"]
    truth["flux"] *= share
    truth.meta["FLUX5"] = float(truth.meta["FLUX5"])*share
    return truth


def scores(path, catalog, ccd):
    """Rows of the score of a CCD, outside and inside its nebulosity."""
    truth = truth_of(path, ccd)
    rows = Table.read(catalog, hdu=f"{ccd}_CAT")
    image = Decam().open(str(path), ccds=ccd)
    image = image.read(image.tasks()[0])
    inside = nebulous(truth, image.shape)
    saturated = image.dq & (FLAGS.saturated | FLAGS.bleed) > 0
    return [compare(rows, truth, avoid=saturated | where, avoid_radius=8, bin_edges=BINS) for where in (inside, ~inside)]


def nebulous(truth, shape):
    """Pixels inside the local nebulosity, told by that at the stars, which are dense."""
    block = 16
    most = np.zeros((shape[0]//block+1, shape[1]//block+1))
    x, y = (np.clip(np.asarray(truth[c])//block, 0, n-1).astype(int) for c, n in zip("xy", most.shape[::-1]))
    np.maximum.at(most, (y, x), np.asarray(truth["nebulosity"]))
    return np.kron(most > NEBULOUS, np.ones((block, block), bool))[:shape[0], :shape[1]]


def whole(folder, nebulosity):
    """Fit the exposure CCD by CCD, each as a process of its own, and score it."""
    path, lines, costs = exposure(folder), [], []
    for ccd in CCDS:
        out = folder/f"{ccd}.cat.fits"
        cpu, peak, *_ = run("decam", path, "--ccds", ccd, "--out", out, "--overwrite", "--quiet", "--nebulosity", nebulosity)
        costs.append([ccd, f"{cpu:.1f}", f"{peak:.0f}"])
        for where, c in zip(("outside", "inside"), scores(path, out, ccd)):
            lines.append([ccd, where, c.rows, c.stars, *(f"{b['found']:.0f}" for b in c.bins), f"{c.spurious:.1f}",
                          f"{c.bias:+.2f}", f"{c.pull:.2f}", f"{c.position_pull:.2f}"])
    sys.stdout.write(table(["CCD", "CPU s", "peak MB"], costs)+"\n\n")
    head = ["CCD", "nebulosity", "rows", "stars", *(f"found % at S/N {low:g}-{high:g}" for low, high in zip(BINS[:-1], BINS[1:])),
            "spurious %", "bias % above S/N 10", "pull", "position pull"]
    sys.stdout.write(table(head, lines)+"\n\n")
    unstable(path)


def unstable(path):
    """The step between the halves of S7 before and after its correction, in counts and in the fluxes of stars."""
    with fits.open(path) as hdus:
        raw = hdus["S7"].data.astype(np.float32)
    corrected = (opened := Decam().open(str(path), ccds="S7")).read(opened.tasks()[0])
    before, after = seam_step(raw, corrected.good), seam_step(corrected.data, corrected.good)
    decam, truth = Decam(), truth_of(path, "S7")
    uncorrected = replace(corrected, data=np.where(corrected.good, raw, corrected.data))
    told = []
    for image in (uncorrected, corrected):
        rows = fit(image, decam.psf_prior(image), configuration(decam, image, {})).catalog
        told.append("left {:+.2f} %, right {:+.2f} %".format(*(100*v for v in _half_offsets(rows, truth, raw.shape[1]//2))))
    sys.stdout.write(f"S7: step between the halves {np.mean(before):+.2f} counts before and {np.mean(after):+.2f} after its "
                     f"correction; flux error of stars above S/N 30: {told[0]} before, {told[1]} after\n")


def _half_offsets(rows, truth, seam):
    """Median relative flux error of stars above S/N 30 left and right of the seam."""
    stars, found = ({n: np.asarray(getattr(t[n], "value", t[n]), dtype=float) for n in ("x", "y", "flux")}
                    for t in (truth, rows))
    match = match_stars(stars, found)
    bright = (match >= 0) & (5*stars["flux"]/float(truth.meta["FLUX5"]) > 30)
    error = found["flux"][match[bright]]/stars["flux"][bright]-1
    return [float(np.median(error[side])) for side in (stars["x"][bright] < seam, stars["x"][bright] >= seam)]


def digest(path):
    """SHA-256 of a file without the date that FITS headers bear."""
    data = Path(path).read_bytes()
    return hashlib.sha256(b"".join(line for line in (data[k:k+80] for k in range(0, len(data), 80))
                                   if not line.startswith(b"DATE "))).hexdigest()


def killed(folder, _):
    """Kill runs of four CCDs ten times at random and resume them; what comes of each must be that of an undisturbed one."""
    path, rng = exposure(folder), random.Random(SEED)
    words = ["decam", path, "--ccds", *CCDS[:4], "--workers", 2, "--quiet", "--model-out", folder/"killed.mod.fits"]
    start = time.monotonic()
    run(*words, "--out", folder/"undisturbed.cat.fits", "--overwrite")
    lasted = time.monotonic()-start
    (folder/"killed.mod.fits").rename(folder/"undisturbed.mod.fits")
    (folder/"killed.cat.fits").unlink(missing_ok=True)
    parts, done, same = folder/"killed.cat.fits.parts", [], []
    while sum(isinstance(d, int) for d in done) < KILLS or done[-1] != "finished":
        wait = rng.uniform(0, 1)*lasted if sum(isinstance(d, int) for d in done) < KILLS else None
        child = subprocess.Popen([COMMAND, *map(str, words), "--out", folder/"killed.cat.fits", "--resume"],
                                 env={**os.environ, **ONE_THREAD}, stderr=subprocess.DEVNULL)
        try:
            child.wait(wait)
            done.append("finished")
            same += [digest(folder/f"killed.{kind}.fits") == digest(folder/f"undisturbed.{kind}.fits") for kind in ("cat", "mod")]
            for kind in ("cat", "mod"):
                (folder/f"killed.{kind}.fits").unlink()
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            done.append(len(list(parts.glob("*.cat.fits"))))
    sys.stdout.write(f"finished CCDs after each of {KILLS} kills: {', '.join(map(str, done))}; catalogs and model files of "
                     f"finished runs: {sum(same)} of {len(same)} the same\n")


def damaged(folder, _):
    """Two CCDs of eight damaged: one compressed plane cut short, one all masked."""
    path, bad = exposure(folder), folder/"damaged"
    bad.mkdir(exist_ok=True)
    for letter in "iwd":
        name = NAME.replace("_ooi_", f"_oo{letter}_")
        (bad/name).write_bytes((path.parent/name).read_bytes())
    with fits.open(bad/NAME, disable_image_compression=True) as hdus:
        at, length = hdus["N15"].fileinfo()["datLoc"], hdus["N15"].size
    with open(bad/NAME, "r+b") as stream:
        stream.seek(at)
        stream.write(bytes([255])*(length//2))
    with fits.open(bad/NAME.replace("_ooi_", "_oow_"), mode="update") as hdus:
        hdus["S14"].data[:] = 0
    *_, status, text = run("decam", bad/NAME, "--out", folder/"damaged.cat.fits", "--overwrite", "--workers", 2, "--quiet",
                           check=False)
    with fits.open(folder/"damaged.cat.fits") as hdus:
        have = [h.name[:-4] for h in hdus if h.name.endswith("_CAT")]
    sys.stdout.write(f"exit status {status}; in the catalog: {', '.join(have)}\n\n{text}\n")


def main():
    """Run one study."""
    studies = dict(planes=planes, exposure=whole, killed=killed, damaged=damaged)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=list(studies))
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT/"build"/"decam")
    parser.add_argument("--nebulosity", default="detect")
    arguments = parser.parse_args()
    studies[arguments.study](arguments.folder, arguments.nebulosity)


if __name__ == "__main__":
    main()
