"""Purity by repeated noise: the image's model with new noise is fitted, and a row that no star of the model explains is false."""
from dataclasses import replace

import numpy as np
from astropy.table import Table

from ..evaluate import unexplained
from .surfaces import counts
from .trial import usable

DESCRIPTIONS = dict(flux_low="faint end of the bin", flux_high="bright end of the bin", rows="rows of the bin",
                    false="those that no star of the model explains", purity="part of the rows that is of stars",
                    purity_low="its lower bound, binomial, 68 %", purity_high="its upper bound, binomial, 68 %")


def with_new_noise(image, model, sky, seed):
    """The image's model with noise of its own.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    model, sky : ndarray, shape (ny, nx)
        Of its fit.
    seed : int or tuple of int

    Returns
    -------
    crowdsource.core.image.Image
        Model and sky with Gaussian noise of the image's variance; masked pixels are those of the image.
    """
    noise = np.random.default_rng(seed).normal(size=image.shape)/np.sqrt(np.where(image.good, image.ivar, np.inf))
    data = np.where(image.good, model+sky+np.where(image.good, noise, 0), image.data).astype(np.float32)
    data.flags.writeable = False
    return replace(image, data=data)


def noise_run(scene, model, sky, run, seed):
    """Fit the model with new noise, and judge each row.

    Parameters
    ----------
    scene : crowdsource.validate.completeness.trial.Scene
    model, sky : ndarray, shape (ny, nx)
    run, seed : int

    Returns
    -------
    astropy.table.Table
        run, x, y, flux of the rows, ``good``, and ``false`` where no star of the model explains one.
    """
    fitted = scene.fit(with_new_noise(scene.image, model, sky, (seed, run, 2)))
    rows = usable(getattr(fitted, "catalog", fitted))
    return Table(dict(run=np.full(len(rows["x"]), run, np.int32), x=rows["x"], y=rows["y"], flux=rows["flux"],
                      good=rows["good"] == 1, false=unexplained(usable(scene.catalog), rows)))


def purity_table(rows, bounds):
    """Purity by brightness.

    Parameters
    ----------
    rows : astropy.table.Table
        Of `noise_run`, several may be stacked.
    bounds : ndarray
        Of bins of flux.

    Returns
    -------
    astropy.table.Table
        As `DESCRIPTIONS` tells.
    """
    out, flux = [], np.asarray(rows["flux"])
    for low, high in zip(bounds[:-1], bounds[1:]):
        true = ~np.asarray(rows["false"])[(flux > low) & (flux <= high)]
        n = counts(Table(dict(found=true, good=true)))
        out.append(dict(flux_low=low, flux_high=high, rows=n["stars"], false=n["stars"]-n["found"], purity=n["fraction"],
                        purity_low=n["fraction_low"], purity_high=n["fraction_high"]))
    table = Table(rows=out)
    for name in table.colnames:
        table[name].info.description = DESCRIPTIONS[name]
    return table
