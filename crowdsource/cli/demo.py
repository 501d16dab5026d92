"""The main job on the packaged field, with a picture and a comparison with the truth."""
import time
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from ..core.errors import DataFileError, OutputError
from ..engine.loop import fit
from ..exposure.results import write_result
from ..report.pictures import plot_fit
from ..simulate import SIMULATED
from ..simulate.files import read_simulation
from ..validate.blending import blended_signal_to_noise
from ..validate.evaluate import compare

FIELD = "demo.fits.fz"
SIGNIFICANT = 5.
"""Signal to noise from which a star counts (sigma)."""


def demo_field():
    """The packaged field.

    Returns
    -------
    image : crowdsource.core.image.Image
    truth : astropy.table.Table

    Raises
    ------
    DataFileError
        When the installation lacks it.
    """
    with as_file(files("crowdsource.data")/"demo"/FIELD) as path:
        if not path.exists():
            raise DataFileError(path, "the packaged field is missing: install the package again")
        return read_simulation(path)


def run_demo(folder="demo-output", threads=1, progress=None):
    """Fit the packaged field, write its catalog and picture, and compare with the truth.

    Parameters
    ----------
    folder : path-like
        Made when it does not exist; files of an earlier demo are replaced.
    threads : int
        As `crowdsource.engine.loop.fit`.
    progress : callable, optional
        As `crowdsource.engine.loop.fit`.

    Returns
    -------
    list of str
        What to tell: the comparison, and the files written.

    Raises
    ------
    DataFileError
        When the packaged field is missing.
    OutputError
        When the folder or a file in it cannot be written.
    """
    folder = Path(folder)
    image, truth = demo_field()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{folder}: the folder cannot be made ({problem.strerror}); choose another place") from problem
    start, cpu = time.perf_counter(), time.process_time()
    result = fit(image, threads=threads, progress=progress)
    took = f"{time.perf_counter()-start:.1f} s ({time.process_time()-cpu:.1f} s of CPU)"
    catalog, picture = folder/"demo.cat.fits", folder/"demo.png"
    write_result(result, catalog, overwrite=True)
    plot_fit(image, result, picture, title="A simulated field of 3,000 stars")
    comparison = compare(result.catalog, truth, avoid=image.dq & SIMULATED.saturated > 0)
    size = " x ".join(str(n) for n in image.shape[::-1])
    return [f"fitted {len(result.catalog)} sources in {size} pixels, {len(result.history)} passes, in {took}",
            *comparison.lines(), f"catalog: {catalog}", f"picture: {picture}", *meaning(image, result.psf, truth)]


def meaning(image, psf, truth):
    """Two lines that say what the scores mean, from what blending leaves of the stars' signal to noise."""
    stars = truth[np.asarray(truth["flux"]) > truth.meta["FLUX5"]]
    x, y, flux = (np.asarray(stars[name], dtype=float) for name in ("x", "y", "flux"))
    inside = (np.abs(x-psf.centre[0]) < image.shape[1]/2) & (np.abs(y-psf.centre[1]) < image.shape[0]/2)
    blended = blended_signal_to_noise(image, psf, x, y, flux)[inside]
    return ["counted are the stars that would stand out by 5 sigma if they were alone, away from the image's edge and from "
            "saturated pixels",
            f"their light overlaps: only {100*(blended > SIGNIFICANT).mean():.0f} % keep 5 sigma when the fluxes and positions "
            "of all have to be found, so that no fit can find many more"]
