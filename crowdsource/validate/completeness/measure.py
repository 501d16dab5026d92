"""Completeness as Python users ask for it: of a file, an array or an Image, by artificial stars."""
from functools import partial

from ...api.fitting import configured, divided
from ...api.fitting import fit as fit_image
from ...api.images import as_image, image_options
from ...api.progress import progress_bar
from ...core.errors import InputError
from .local import LocalFit
from .measured import measured
from .plan import StarOptions, star_plan
from .purity import noise_run
from .trial import Scene, one_run

NO_PLANES = ("lacks what purity and cut-outs need, its model and sky: give purity=0 and local=False, or a fit_function that "
             "gives a result as crowdsource.fit does")


def completeness(image, psf=None, fit_function=None, fluxes=None, *, magnitudes=None, runs=10, stars=None, layout="grid", seed=0,
                 local=False, purity=1, result=None, config=None, threads=1, executor=None, progress=None, instrument=None,
                 detector=None, **options):
    """Completeness, biases and errors of the photometry of an image, by artificial stars.

    The image is fitted. Stars of its PSF are added to it with the noise of their photons, so few that they do not change the
    crowding; it is fitted again, and each is looked for in the catalog; again, with other stars. Colours, which joint fits of
    several bands would need, are not part of it.

    Parameters
    ----------
    image : path-like, array_like of shape (ny, nx), astropy.nddata.CCDData or crowdsource.Image
        As `crowdsource.fit`.
    psf : crowdsource.PSF, optional
        What each fit starts from, as of `crowdsource.fit`. With another `fit_function` whose results have no PSF, the stars' own.
    fit_function : callable, optional
        Called with an Image; gives a catalog with x, y, flux, or a result with a ``catalog``. `crowdsource.fit` when not given.
    fluxes : sequence of float, optional
        Fluxes of the faintest and the brightest star, image units; of more than two the extremes count. From a half to 100 times
        the flux of five errors of an isolated star when neither these nor magnitudes are given.
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
    purity : int
        Images of the model with new noise that are fitted, to see how many rows are false; 0 for none.
    result : crowdsource.Result, optional
        The fit of the image, where there is one already.
    config, instrument, detector, **options
        As `crowdsource.fit`.
    threads : int
        Of each fit.
    executor : concurrent.futures.Executor, optional
        Does the runs; one after the other here when not given.
    progress : bool or callable, optional
        True for a bar; or called as ``progress("runs", done, total, {})``.

    Returns
    -------
    Completeness

    Raises
    ------
    InputError
        When the image cannot be used, or the results of `fit_function` lack what is asked for.
    ConfigError
        When an option is unknown or out of range, or more stars are wanted than have room.
    """
    wanted = None if fluxes is None else (min(fluxes, default=0), max(fluxes, default=0))
    asked = StarOptions(runs=runs, stars=stars, fluxes=wanted, magnitudes=magnitudes, layout=layout, seed=seed, local=local)
    of_image, of_fit = divided(options, image_options(image, instrument))
    whole = as_image(image, instrument=instrument, detector=detector, **of_image)
    settings = configured(whole, config, of_fit)
    fit = partial(fit_image, psf=psf, config=settings, threads=threads) if fit_function in (None, fit_image) else fit_function
    base = fit(whole) if result is None else result
    scene = scene_of(whole, base, fit, psf)
    if (local or purity) and any(getattr(base, name, None) is None for name in ("model", "sky", "psf")):
        raise InputError(f"the result of fit_function {NO_PLANES}")
    plan = star_plan(whole, scene.catalog, scene.fwhm, asked)
    one = LocalFit(scene, base) if local else partial(one_run, scene)
    jobs = [partial(one, plan, k) for k in range(runs)]
    jobs += [partial(noise_run, scene, base.model, base.sky, k, seed) for k in range(purity)]
    with progress_bar(progress) as shown:
        tables = _done(jobs, executor, shown)
    return measured(tables[:runs], scene, plan, asked, tables[runs:])


def scene_of(image, base, fit, psf=None):
    """The `Scene` of an image and its own fit, a result or a catalog.

    Raises
    ------
    InputError
        When no PSF is known.
    """
    catalog = base.catalog if hasattr(base, "catalog") else base
    found = getattr(base, "psf", None)
    if found is None and psf is None:
        raise InputError("fit_function gives a catalog without a PSF: give psf, that of the artificial stars")
    used = getattr(base, "config", None)
    return Scene(image=image, catalog=catalog, psf=psf if found is None else found, fit=fit,
                 norm_radius=0. if used is None else used.psf.norm_radius)


def _done(jobs, executor, progress):
    """What jobs give, in their order."""
    futures = [job if executor is None else executor.submit(job) for job in jobs]
    out = []
    for k, future in enumerate(futures, 1):
        out.append(future() if executor is None else future.result())
        if progress:
            progress("runs", k, len(jobs), {})
    return out
