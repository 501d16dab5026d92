"""``crowdsource completeness``: artificial stars on an image: what is found, how deep, how right fluxes and errors are."""
from dataclasses import asdict
from pathlib import Path

from ...core.errors import ConfigError, OutputError
from ...exposure.instrument import load, recognised, registered
from ...exposure.settings import EarlierRun, OutputFiles, RunSettings, UserCatalogs
from ...exposure.tasks import path_of_detector
from ...io.atomic import check_output
from ...io.checksums import checksums
from ...io.image_name import ImageName
from ...production.completeness_run import CompletenessRun
from ...production.executors import open_workers
from ...validate.completeness.files import write_completeness
from ...validate.completeness.pictures import check_plot, plot_completeness
from ...validate.completeness.plan import LAYOUTS, StarOptions
from ..arguments import add_executor, add_memory, add_verbosity, check_workers, count, is_file
from .fit import add_fit_options, add_instrument_options, configured

ENDING = ".completeness.fits"


def add_arguments(parser, words):
    """Arguments of the command; those of the instrument whose file the first image among the words is."""
    image = next((w for w in words if is_file(w)), None)
    named = next((w for w in words if w in registered()), None)
    instrument = load(named) if named else recognised(image) if image else load("generic")
    parser.set_defaults(instrument=instrument)
    parser.usage = "crowdsource completeness [INSTRUMENT] IMAGE [options]"
    parser.add_argument("image", metavar="IMAGE", nargs="+", help="image, with the adapter that reads it before it where "
                        "it is not to be recognised; its options are those of the fit")
    for o in (o for o in instrument.options if o.positional):
        parser.add_argument(f"--{o.name}", dest=f"option_{o.name}", metavar=o.metavar or o.name.upper(), help=o.help)
    stars = parser.add_argument_group("artificial stars")
    stars.add_argument("--runs", type=count, default=10, metavar="N", help="images with artificial stars that are made and "
                       "fitted; with more runs than before only the new ones are done; default 10")
    stars.add_argument("--stars", type=count, metavar="N", help="stars of each run; default 5 %% of the number of sources, or "
                       "one in 256 squares of the FWHM where that is more")
    stars.add_argument("--magnitudes", nargs=2, type=float, metavar=("BRIGHT", "FAINT"),
                       help="range of magnitudes, by the zero point of the image")
    stars.add_argument("--fluxes", nargs=2, type=float, metavar=("FAINT", "BRIGHT"),
                       help="range of fluxes, image units; default from a half "
                       "to 100 times the flux of five errors of an isolated star")
    stars.add_argument("--layout", choices=LAYOUTS, default="grid",
                       help="on a grid whose origin is random, or anywhere; default grid")
    stars.add_argument("--seed", type=int, default=0, metavar="N", help="of positions, fluxes and noise; default 0")
    stars.add_argument("--local", action="store_true", help="fit cut-outs around the stars instead of the whole image: faster, "
                       "with PSF and sky of the image's own fit")
    stars.add_argument("--purity", type=int, default=1, metavar="N", help="images of the model with new noise that are "
                       "fitted, to see how many rows are false; 0 for none; default 1")
    where = parser.add_argument_group("where")
    add_executor(where)
    where.add_argument("--time-limit", type=float, metavar="S", help="stop a run after so many seconds")
    add_instrument_options(parser, instrument)
    fit = parser.add_argument_group("the fit")
    add_fit_options(fit)
    add_memory(fit)
    out = parser.add_argument_group("what is written")
    out.add_argument("--out", metavar="FILE", help=f"FITS file; default <image>{ENDING} in the current folder. Tables of the "
                     "runs are kept in a folder beside it, with .runs at the end, from which the command goes on")
    out.add_argument("--plot", metavar="FILE", help="write a picture of curves, depth, biases, pulls and purity (PNG)")
    out.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_verbosity(out)


def run(args, console):
    """Measure and write; see `crowdsource.cli.commands`."""
    image, options = _image(args), _options(args)
    check_workers(args.workers)
    if args.purity < 0:
        raise ConfigError("--purity must not be negative")
    if args.force is not None:
        raise ConfigError("--force searches for nothing, so that there is nothing to be complete: leave it out")
    own, config = configured(args, args.instrument, image)
    exposure = args.instrument.open(image, **own)
    tasks, lines = exposure.tasks(), []
    outputs = [_outputs(args, exposure, t.detector) for t in tasks]
    _check(args, outputs, exposure)
    catalogs = UserCatalogs(bright=args.bright_stars, galaxies=args.galaxies)
    settings = RunSettings(outputs=OutputFiles(catalog=outputs[0][0]), catalogs=catalogs, config=config, threads=args.threads,
                           earlier=EarlierRun(model_file=args.sky_from, catalog=args.psf_from))
    settings.check_inputs([t.detector for t in tasks])
    job = _job(args, image, own, settings, exposure)
    workers = open_workers(args.executor, args.workers, args.time_limit, args.scheduler)
    done = False
    try:
        for task, (path, picture) in zip(tasks, outputs):
            of_detector = CompletenessRun(job={**job, "detector": task.detector}, options=options, purity=args.purity,
                                          folder=path.with_name(path.name.removesuffix(".fits")+".runs"))
            with console.progress() as progress:
                found, used = of_detector(workers, progress)
            write_completeness(found, path, inputs=job["sums"], config=used, overwrite=args.overwrite)
            if picture is not None:
                plot_completeness(found, picture, f"{exposure.label} {task.detector}".rstrip())
            lines += [f"{path}: {line}" if not k else line for k, line in enumerate(found.lines())]
        done = True
    finally:
        workers.close(abandon=not done)
    return lines, 0


def _image(args):
    """The one image of the command line."""
    names = [w for w in args.image if w != args.instrument.name or is_file(w)]
    if len(names) != 1:
        raise ConfigError(f"{' '.join(args.image)}: one image is needed" if names else "an image is needed")
    return names[0]


def _options(args):
    fluxes, magnitudes = (None if v is None else tuple(v) for v in (args.fluxes, args.magnitudes))
    return StarOptions(runs=args.runs, stars=args.stars, fluxes=fluxes, magnitudes=magnitudes, layout=args.layout, seed=args.seed,
                       local=args.local)


def _outputs(args, exposure, detector):
    """The file of a detector and its picture, or None."""
    several = detector if len(exposure.tasks()) > 1 else ""
    path = Path(args.out or f"{exposure.label}{ENDING}")
    return path_of_detector(path, several), None if args.plot is None else path_of_detector(args.plot, several)


def _check(args, outputs, exposure):
    """Raise an error where an output could not be written, before any work is done."""
    read = {Path(p).resolve() for p in exposure.inputs}
    for path, picture in outputs:
        if not str(path).endswith(".fits"):
            raise OutputError(f"{path}: completeness is written as FITS: give a name that ends with .fits")
        check_output(path, args.overwrite)
        if picture is not None:
            check_plot(picture, args.overwrite)
        for p in (path, picture):
            if p is not None and Path(p).resolve() in read:
                raise OutputError(f"{p}: is read by this run; give the output another name")


def _job(args, image, own, settings, exposure):
    """What all jobs are given."""
    read = dict.fromkeys(p for p in map(Path, (*exposure.inputs, *settings.reads)) if p.is_file())
    path = ImageName.parse(image).path
    whole = image if path.is_absolute() else image.replace(str(path), str(path.absolute()), 1)
    kept = dict(catalogs=asdict(settings.catalogs), earlier=asdict(settings.earlier), config=settings.config,
                threads=settings.threads)
    return dict(instrument=args.instrument.name, image=whole, options=own, settings=kept,
                sums=[[str(p), digest] for p, digest in checksums(read)])
