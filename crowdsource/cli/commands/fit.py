"""The command of each instrument: fit exposures and write their catalogs."""
import time
from pathlib import Path

from ...catalogs.calibrated_files import calibrate_file
from ...catalogs.catalog import StarCatalog
from ...config import FitConfig, from_mapping
from ...core.errors import ConfigError, CrowdsourceError, DataFileError
from ...core.memory import keep_memory
from ...exposure.instrument import complete, flag, recognised
from ...exposure.run import describe_run, status
from ...exposure.run import run as run_exposure
from ...exposure.settings import EarlierRun, OutputFiles, RunSettings, UserCatalogs
from ...exposure.tasks import page_name
from ...io.atomic import check_folder
from ...io.file_names import with_parts_of
from ...io.image_name import ImageName
from ...io.toml import read_toml
from ..arguments import BAD_INPUT, add_memory, add_verbosity, converter, count

OUTPUTS = "out", "model_out", "info_out", "residual_out", "plot", "regions", "debug_plots"
"""Options that name outputs."""


def add_arguments(parser):
    """Arguments of an instrument's command: its own options, then those of all. The parser has a default ``instrument``."""
    instrument = parser.get_default("instrument")
    positional = [] if parser.get_default("recognised") else [o for o in instrument.options if o.positional]
    # an argument that may be left out could not be told from a further image
    several = "" if positional else "; several are fitted one after the other, each with outputs of its own"
    parser.add_argument("images", nargs=1 if positional else "+", metavar=instrument.image_metavar,
                        help=instrument.image_help+several)
    for o in positional:
        parser.add_argument(f"option_{o.name}", nargs="?", type=converter(o.type), metavar=o.metavar or o.name.upper(),
                            help=o.help)
    add_instrument_options(parser, instrument)
    _add_run_options(parser)
    _add_output_options(parser.add_argument_group("what is written"))


def add_instrument_options(parser, instrument):
    """Add the options of an instrument that are not positional, in a group."""
    own = parser.add_argument_group("the image")
    for o in (o for o in instrument.options if not o.positional):
        unit = f" ({o.unit})" if o.unit else ""
        told = o.default in (None, False, 0, "") or "default" in o.help or "not given" in o.help
        unit += "" if told else f"; default {o.default}"
        form = dict(action="store_true") if o.type is flag else dict(
            type=str if o.several else converter(o.type), nargs="+" if o.several else None, metavar=o.metavar or o.name.upper())
        own.add_argument("--"+o.name.replace("_", "-"), dest=f"option_{o.name}", default=None,
                         help=(o.help+unit).replace("%", "%%"), **form)


def add_fit_options(fit):
    """Add the options of a fit to a parser or a group of arguments."""
    fit.add_argument("--force", metavar="CATALOG",
                     help="measure fluxes at the positions of this catalog (ra, dec, or x, y from 0); search for no sources")
    fit.add_argument("--bright-stars", metavar="CATALOG",
                     help="bright stars, which get very large stamps (ra, dec and optionally pmra, pmdec, epoch, mag; or x, y "
                          "from 0)")
    fit.add_argument("--galaxies", metavar="CATALOG", help="galaxies; blends are not split inside them (DECam)")
    fit.add_argument("--sky-from", metavar="FILE", help="model file of an earlier run; its sky is used in the first pass")
    fit.add_argument("--keep-sky", action="store_true", help="use that sky in all passes")
    fit.add_argument("--psf-from", metavar="FILE", help="catalog of an earlier run; its PSF is used and not refitted")
    fit.add_argument("--threshold", type=float, metavar="SIGMA", help="smallest significance of a peak that becomes a source; "
                     f"default {FitConfig().detect.threshold:g}")
    fit.add_argument("--min-snr", type=float, metavar="SNR",
                     help="leave rows out of the catalog whose flux is below this many of its errors; the fit is the same")
    fit.add_argument("--nebulosity", metavar="off|detect|WEIGHTS", help="flag structured background with a detector (detect) or "
                     "a neural network (its .json or .h5 file); there blends are not split and only sharp peaks become sources; "
                     "default off")
    fit.add_argument("--nebulosity-mode", metavar="hard|continuous|mean",
                     help="how a network's windows are combined: one by one (hard, default), overlapping and smoothed "
                          "(continuous), or as for WISE (mean)")
    fit.add_argument("--preset", metavar="NAME", help="set of options to start from: default, described or released")
    fit.add_argument("--config", metavar="FILE", help="TOML file of options; the command line takes precedence")
    fit.add_argument("--threads", type=count, default=1, metavar="N",
                     help="threads for each detector; default 1; results do not depend on it")


def _add_run_options(parser):
    """Add the options of the fit, and those of what is done with its catalogs."""
    fit = parser.add_argument_group("the fit")
    add_fit_options(fit)
    fit.add_argument("--calibrate", metavar="CATALOG", help="calibrate the catalog by the magnitudes of this one, in any usual "
                     "naming of columns, as crowdsource calibrate does: zero point, colour term, the column mag_cal")
    fit.add_argument("--calibrate-band", metavar="BAND", help="band or column of that catalog; default the image's band")
    fit.add_argument("--calibrate-colour", metavar="BLUE-RED", help="its bands or columns for the colour term, as g-r, or none; "
                     "default the usual ones for the band")
    fit.add_argument("--workers", type=count, default=1, metavar="N",
                     help="detectors fitted at the same time, each in its own process; default 1")
    add_memory(fit)


def _add_output_options(out):
    out.add_argument("--out", metavar="FILE",
                     help="catalog: .cat.fits, .ecsv, .vot, .csv or .parquet; default <image>.cat.fits in the current folder; in "
                          "names of outputs and planes {stem}, {name}, {folder} and {path} stand for parts of the image's name")
    out.add_argument("--out-dir", metavar="DIR",
                     help="folder of outputs that are named without one; created if it does not exist")
    out.add_argument("--model-out", metavar="FILE", help="write the model of the stars, the sky and the flags as compressed FITS")
    out.add_argument("--info-out", metavar="FILE",
                     help="write the inverse variance of a star's flux at each pixel, the flags and the central PSF as "
                          "compressed FITS")
    out.add_argument("--residual-out", metavar="FILE", help="write the image less stars and sky as compressed FITS")
    out.add_argument("--regions", metavar="FILE", help="write the sources as circles for DS9, a region file (.reg)")
    out.add_argument("--no-model-image", action="store_true", help="write only sky and flags into the model file")
    out.add_argument("--plot", metavar="FILE", help="write a picture of image, model, residual and PSF (PNG)")
    out.add_argument("--report", metavar="DIR", help="write a report page of each detector into this folder: image, model and "
                     "residual with the sources, PSF, sky, statistics, configuration, in one HTML file")
    out.add_argument("--debug-plots", metavar="DIR",
                     help="write pictures of the residual and the PSF of each pass into this folder")
    out.add_argument("--overwrite", action="store_true", help="replace existing files")
    out.add_argument("--resume", action="store_true", help="continue an interrupted run; finished detectors are not fitted again")
    out.add_argument("--dry-run", action="store_true", help="check the input and show what would be done; write nothing")
    out.add_argument("--show-config", action="store_true", help="as --dry-run, with every option of the fit")
    add_verbosity(out)
    out.add_argument("--profile", action="store_true", help="print CPU seconds by stage")


def run(args, console):
    """Fit and write, or show what would be done, image by image. See `crowdsource.cli.commands`."""
    if len(args.images) == 1:
        return [], _fit(args, args.images[0], _reference(args), console, [])
    _check_names(args)
    reference, states, written = _reference(args), [], []
    for image in args.images:
        try:
            states.append(_fit(args, image, reference, console, written))
        except CrowdsourceError as problem:
            console.error(f"{image}: {problem}" if str(ImageName.parse(image).path) not in str(problem) else str(problem))
            states.append(BAD_INPUT)
        except Exception:
            console.log.exception("%s: failed", image)
            states.append(BAD_INPUT)
    return [], 0 if not any(states) else BAD_INPUT if all(s == BAD_INPUT for s in states) else 1


def _check_names(args):
    """Raise `ConfigError` where one name is given for an output of several images."""
    for option in OUTPUTS:
        name = getattr(args, option)
        if name is not None and with_parts_of(name, "a") == with_parts_of(name, "b/c"):
            raise ConfigError(f"--{option.replace('_', '-')} {name} is one file for {len(args.images)} images: write {{stem}} "
                              f"for the image's name, as in {{stem}}-{name}, or leave it to --out-dir")


def _reference(args):
    """The `StarCatalog` by which catalogs are to be calibrated; None where there is none, or nothing is fitted."""
    if args.calibrate is None or args.dry_run or args.show_config:
        return None
    reference = StarCatalog.of(args.calibrate)
    if not reference.magnitudes:
        raise DataFileError(args.calibrate, "has no magnitudes by a usual name; give a reference catalog for --calibrate")
    return reference


def _fit(args, image, reference, console, written):
    """Fit one exposure; gives the exit status.

    `reference` is what its catalog is calibrated by, `written` are outputs of exposures before it, to which its own are added.
    """
    instrument = recognised(image) if args.recognised else args.instrument
    own, config = configured(args, instrument, image)
    exposure = instrument.open(image, **own)
    settings = _settings(args, exposure, config, image)
    taken = next((p for p in settings.outputs.files if p in written), None)
    if taken is not None:
        raise ConfigError(f"{taken} is the output of an image before: name outputs with {{path}} or {{folder}}, or use --out-dir")
    written += settings.outputs.files
    if args.dry_run or args.show_config:
        console.print(*describe_run(instrument, exposure, settings, args.show_config))
        return 0
    if settings.threads > 1:
        keep_memory()
    start = time.process_time()
    with console.progress() as progress, console.processes(min(args.workers, len(exposure.tasks()))) as executor:
        outcomes = run_exposure(instrument, exposure, settings, executor, progress)
    done = [o for o in outcomes if o.error is None]
    if not args.quiet:
        console.print(*_summary(done, settings.outputs))
    if args.profile:
        console.print(*_profile(done, time.process_time()-start))
    there = not outcomes and Path(settings.outputs.catalog).exists()
    if there and not args.quiet:
        console.print(f"{settings.outputs.catalog}: is there already")
    if reference is not None and (done or there) and not _calibrated(args, reference, settings.outputs.catalog, console):
        return max(status(outcomes), 1)
    return status(outcomes)


def _calibrated(args, reference, path, console):
    """Whether the catalog of a fit could be calibrated; it stays as it is where not."""
    try:
        found = calibrate_file(path, reference, band=args.calibrate_band, colour=args.calibrate_colour)
    except CrowdsourceError as problem:
        told = str(problem).replace("`band`", "`calibrate_band`")
        console.error(f"{path} is written, but not calibrated: {told}")
        return False
    console.print(*([] if args.quiet else [f"{path}: {line}" for line in found.lines()]))
    return True


def _settings(args, exposure, config, image):
    """What the run is to do; outputs whose names have no folder lie in the one that is asked for."""
    folder = Path(args.out_dir or "")
    if args.out_dir:
        check_folder(folder, overwrite=True)
        if not (args.dry_run or args.show_config):
            folder.mkdir(parents=True, exist_ok=True)
    named = {o: with_parts_of(getattr(args, o), ImageName.parse(image).path) for o in OUTPUTS if getattr(args, o) is not None}
    named.setdefault("out", f"{exposure.label}.cat.fits")
    paths = {o: Path(p) if Path(p).parent != Path() else folder/p for o, p in named.items()}
    catalog = paths.pop("out")
    page = Path(args.report)/page_name(catalog) if args.report else None
    outputs = OutputFiles(catalog=catalog, model_image=not args.no_model_image, report=page,
                          **{o.removesuffix("_out"): p for o, p in paths.items()})
    catalogs = UserCatalogs(forced=args.force, bright=args.bright_stars, galaxies=args.galaxies)
    return RunSettings(outputs=outputs, catalogs=catalogs, earlier=EarlierRun(model_file=args.sky_from, catalog=args.psf_from),
                       config=config, threads=args.threads, overwrite=args.overwrite, resume=args.resume)


def configured(args, instrument, image):
    """The instrument's options and the fit's configuration: from the file, replaced where the command line gives them."""
    own, config = _from_file(args.config, instrument) if args.config else ({}, {})
    return {**own, **given_options(args, image)}, with_fit_options(args, config)


def given_options(args, image):
    """The instrument's options that the command line gives, for an image."""
    given = {o.name: getattr(args, f"option_{o.name}", None) for o in args.instrument.options}
    path = ImageName.parse(image).path
    return {n: with_parts_of(v, path) if isinstance(v, str) else v for n, v in given.items() if v is not None}


def with_fit_options(args, config):
    """A configuration, nested as in a TOML file, with what the command line gives by `add_fit_options`."""
    config = dict(config)
    if args.preset is not None:
        config["preset"] = args.preset
    if args.threshold is not None:
        config["detect"] = {**config.get("detect", {}), "threshold": args.threshold}
    if args.min_snr is not None:
        config["select"] = {**config.get("select", {}), "min_snr": args.min_snr}
    if args.keep_sky:
        config["sky"] = {**config.get("sky", {}), "keep": True}
    nebulosity = {n: v for n, v in (("method", args.nebulosity), ("mode", args.nebulosity_mode)) if v is not None}
    if nebulosity:
        config["nebulosity"] = {**config.get("nebulosity", {}), **nebulosity}
    return config


def _from_file(path, instrument):
    """The instrument's options, which stand under its name, and the fit's values of a TOML file, each checked."""
    config = read_toml(path)
    own = config.pop(instrument.name, {})
    try:
        if not isinstance(own, dict):
            raise ConfigError(f"{instrument.name} must be a table of the instrument's options")
        complete(instrument.options, own)
        from_mapping(config)
    except CrowdsourceError as problem:
        raise ConfigError(f"{path}: {problem}") from problem
    return own, config


def _summary(done, outputs):
    """A line for each detector that was fitted and for each other file."""
    lines = []
    for o in done:
        h = o.header
        name = f"{outputs.catalog} {o.task.detector}".rstrip()
        lines.append(f"{name}: {h['NSOURCES']} sources, {h['NPASS']} passes, "
                     f"FWHM {h['FWHM']:.2f} px, chi2 {h['CHI2']:.3f}"+", noise estimated"*h["NOISEEST"])
    for path, what in ((outputs.model, "model, sky and flags" if outputs.model_image else "sky and flags"),
                       (outputs.info, "inverse variance of fluxes, flags and PSF"), (outputs.residual, "residual"),
                       (outputs.plot, "picture"), (outputs.report, "report page"), (outputs.regions, "regions"),
                       (outputs.debug_plots, "pictures of each pass")):
        if path is not None and done:
            lines.append(f"{path}: {what}")
    return lines


def _profile(done, total):
    """CPU seconds by stage over all passes and the detectors that this run fitted, in lines."""
    stages = {}
    for name, seconds in (item for o in done for item in o.cpu.items()):
        stages[name] = stages.get(name, 0.)+seconds
    return ["CPU seconds by stage", *(f"  {name:30s} {seconds:8.3f}" for name, seconds in (
        *stages.items(), ("the run, but workers", total), ("the process", time.process_time())))]
