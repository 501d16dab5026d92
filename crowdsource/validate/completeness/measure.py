"""Completeness as Python users ask for it: of a file, an array or an Image, by artificial stars."""
from functools import partial

import numpy as np

from ...api.fitting import configured, divided, given_rows
from ...api.fitting import fit as fit_image
from ...api.images import as_image, image_options
from ...api.progress import progress_bar
from ...core.errors import ConfigError, InputError
from ...joint.config import JointConfig, checked_joint
from ...joint.known import known_stars
from ...joint.loop import ImageSource, fit_sources
from .field import field_runs
from .plan import StarOptions
from .runs import ImageRuns, scene_of

NO_PLANES = ("lacks what purity and cut-outs need, its model and sky: give purity=0 and local=False, or a fit_function that "
             "gives a result as crowdsource.fit does")


def completeness(image, psf=None, fit_function=None, fluxes=None, *, magnitudes=None, runs=10, stars=None, layout="grid", seed=0,
                 local=False, purity=None, colours=None, sources=None, result=None, config=None, joint=None, objects=None,
                 threads=1, executor=None, progress=None, instrument=None, detector=None, **options):
    """Completeness, biases and errors of the photometry of an image, or of many images of one field, by artificial stars.

    The image is fitted. Stars of its PSF are added to it with the noise of their photons, so few that they do not change the
    crowding; it is fitted again, and each is looked for in the catalog; again, with other stars. Of many images the fit is the
    joint one, and the stars are added to all of them at the same places on the sky.

    Parameters
    ----------
    image : path-like, array_like of shape (ny, nx), astropy.nddata.CCDData or crowdsource.Image; or a list of these
        As `crowdsource.fit`. A list, or a tuple, is of images of one field and makes it a joint fit, as `crowdsource.fit_joint`.
    psf : crowdsource.PSF, optional
        What each fit starts from, as of `crowdsource.fit`. With another `fit_function` whose results have no PSF, the stars' own.
        Of many images a list of them, where given.
    fit_function : callable, optional
        Called with an Image; gives a catalog with x, y, flux, or a result with a ``catalog``. `crowdsource.fit` when not given.
        With `sources` it is called with these, x and y, as well. Not for many images.
    fluxes : sequence of float, optional
        Fluxes of the faintest and the brightest star, image units, of many images in the band of the first; of more than two the
        extremes count. From a half to 100 times the flux of five errors of an isolated star when neither these nor magnitudes are
        given.
    magnitudes : sequence of float, optional
        The same as magnitudes.
    runs : int
        Images with artificial stars.
    stars : int, optional
        Stars of each. When not given: 5 % of the number of sources, or one in 256 squares of the FWHM where that is more.
    layout : str
        "grid", or "random".
    seed : int
        Of positions, fluxes and noise.
    local : bool
        Fit cut-outs around the stars, with the PSF and the sky of the image, instead of the whole image each time.
    purity : int, optional
        Images of the model with new noise that are fitted, to see how many rows are false; 0 for none. When not given: 1, and
        none in a forced fit, which looks for nothing.
    colours : mapping of str to float or (float, float), optional
        Of images of several bands: magnitude in one band less that in another by the names of both, as ``{"g-r": 0.6}``, or its
        range, as ``{"g-r": (0.2, 1.4)}``. Those of the catalog's own stars when not given.
    sources : Table, mapping, SkyCoord or path-like, optional
        Positions of a forced fit, as of `crowdsource.fit`. Those of the artificial stars are then given to the fit, too.
    result : crowdsource.Result or crowdsource.JointResult, optional
        The fit of the image or images, where there is one already.
    config, instrument, detector, **options
        As `crowdsource.fit`; of many images the same for all.
    joint, objects
        As `crowdsource.fit_joint`.
    threads : int
        Of each fit.
    executor : concurrent.futures.Executor, optional
        Does the runs; one after the other here when not given.
    progress : bool or callable, optional
        True for a bar; or called as ``progress("runs", done, total, {})``.

    Returns
    -------
    Completeness, or dict of str to Completeness
        Of many images one for each band, by its name.

    Raises
    ------
    InputError
        When an image cannot be used, or the results of `fit_function` lack what is asked for.
    ConfigError
        When an option is unknown or out of range, more stars are wanted than have room, or what is asked for is of one image
        only, or of many.
    """
    wanted = None if fluxes is None else (min(fluxes, default=0), max(fluxes, default=0))
    asked = StarOptions(runs=runs, stars=stars, fluxes=wanted, magnitudes=magnitudes, layout=layout, seed=seed, local=local,
                        colours=_ranges(colours or {}))
    many = isinstance(image, list | tuple)
    purity = (0 if sources is not None else 1) if purity is None else purity
    if sources is not None and (purity or many):
        raise ConfigError("positions (`sources`) are given to the fit of one image" if many else
                          "a forced fit looks for nothing, and has no purity: leave `purity` out")
    only = dict(fit_function=fit_function not in (None, fit_image)) if many else dict(joint=joint, objects=objects)
    if wrong := next((name for name, value in only.items() if value is not None and value is not False), None):
        raise ConfigError(f"{wrong} is of {'one image' if many else 'many images, a list of them'}: leave it out")
    settings = partial(_image_and_config, config=config, instrument=instrument, detector=detector, options=options)
    if many:
        done = _field(image, psf, settings, joint, objects, threads, result)
    else:
        done = _image(image, psf, fit_function, settings, sources, threads, result, local or purity)
    plan = done.plan(asked)
    jobs = [partial(done.star_run, plan, k) for k in range(runs)]+[partial(done.noise_run, k, seed) for k in range(purity)]
    with progress_bar(progress) as shown:
        tables = _done(jobs, executor, shown)
    found = done.measured(tables[:runs], plan, asked, tables[runs:])
    return found if many else found[""]


def _ranges(colours):
    """Colours as `StarOptions` has them."""
    try:
        return tuple((str(name), *np.broadcast_to(np.asarray(value, float), 2).tolist()) for name, value in dict(colours).items())
    except (TypeError, ValueError) as problem:
        raise ConfigError('colours must be numbers or ranges by the names of two bands, as {"g-r": (0.2, 1.4)}') from problem


def _image_and_config(image, config, instrument, detector, options):
    """An Image from whatever it is given as, and the configuration of its fit."""
    of_image, of_fit = divided(options, image_options(image, instrument))
    whole = as_image(image, instrument=instrument, detector=detector, **of_image)
    return whole, configured(whole, config, of_fit)


def _image(image, psf, fit_function, settings, sources, threads, result, needs_planes):
    """The `ImageRuns` of one image."""
    whole, config = settings(image)
    given = given_rows(whole, sources)
    fit = partial(fit_image, psf=psf, config=config, threads=threads) if fit_function in (None, fit_image) else fit_function
    base = (fit(whole) if given is None else fit(whole, sources=given)) if result is None else result
    scene = scene_of(whole, base, fit, psf, given)
    if needs_planes and any(getattr(base, name, None) is None for name in ("model", "sky", "psf")):
        raise InputError(f"the result of fit_function {NO_PLANES}")
    return ImageRuns(scene, base)


def _field(images, psfs, settings, joint, objects, threads, result):
    """The `FieldRuns` of many images."""
    made, joint = [settings(image) for image in images], checked_joint(joint or JointConfig())
    if not made:
        raise InputError("there are no images: give one at least")
    psfs = [None]*len(made) if psfs is None else list(psfs)
    if len(psfs) != len(made):
        raise InputError(f"{len(made)} images and {len(psfs)} PSFs: give as many of each")
    names = [f"image-{k:03d}" for k in range(1, len(made)+1)] if result is None else result.names
    if len(names) != len(made):
        raise InputError(f"{len(made)} images, and a result of {len(names)}: give the images that were fitted, in their order")
    sources = [ImageSource(name, image, psf, config) for name, (image, config), psf in zip(names, made, psfs)]
    known = None if objects is None else known_stars(objects)
    base = fit_sources(sources, joint, threads, known=known) if result is None else result
    return field_runs(base, sources, joint, threads, known)


def _done(jobs, executor, progress):
    """What jobs give, in their order."""
    futures = [job if executor is None else executor.submit(job) for job in jobs]
    out = []
    for k, future in enumerate(futures, 1):
        out.append(future() if executor is None else future.result())
        if progress:
            progress("runs", k, len(jobs), {})
    return out
