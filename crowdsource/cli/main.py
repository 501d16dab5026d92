"""The command line: the only place that parses arguments and prints."""
import argparse
import os
import re
import sys
import time
from functools import partial
from pathlib import Path

from ..core.errors import ConfigError, CrowdsourceError, InstrumentError
from ..io.atomic import check_folder
from .console import talking

BAD_INPUT = 2
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
INTERRUPTED = 130
DESCRIPTION = "Crowded-field photometry: all stars of an exposure fitted at once, with PSF, sky and honest errors."
PRODUCTION = {
    "plan": "look for exposures in folders and write a manifest of what is to be fitted",
    "run": "fit what a manifest lists, here or on a cluster; goes on where an earlier run ended",
    "status": "how far a run of a manifest is",
}
OWN_COMMANDS = {
    **PRODUCTION,
    "healpix": "bring catalogs together by HEALPix, as objects and releases",
    "simulate": "make a field of stars whose truth is known",
    "simulate-survey": "make catalogs of many exposures of stars whose truth is known",
    "demo": "fit the packaged field and compare with its truth",
    "flags": "names of the bits in a catalog's flags",
}


def main(argv=None):
    """Run the command ``crowdsource``.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; the process's when not given.

    Returns
    -------
    int
        Exit status: 0 when all went well, 1 when some detectors failed, 2 for bad input.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    # its products are small: threads of the linear algebra library would wait for each other on all processors
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    with talking() as talk:
        try:
            args = build_parser(argv).parse_args(argv)
            talk.set(getattr(args, "verbose", False), getattr(args, "quiet", False))
            return args.run(args, talk)
        except CrowdsourceError as problem:
            print(f"crowdsource: error: {' '.join(str(problem).split())}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            print("crowdsource: interrupted", file=sys.stderr)
            return INTERRUPTED


def main_generic(argv=None):
    """Run the command ``crowdsource-generic``, which is ``crowdsource generic``."""
    return main(["generic", *(sys.argv[1:] if argv is None else argv)])


def main_decam(argv=None):
    """Run the command ``crowdsource-decam``, which is ``crowdsource decam``."""
    return main(["decam", *(sys.argv[1:] if argv is None else argv)])


def main_wise(argv=None):
    """Run the command ``crowdsource-wise``, which is ``crowdsource wise``."""
    return main(["wise", *(sys.argv[1:] if argv is None else argv)])


def main_healpix(argv=None):
    """Run the command ``crowdsource-healpix``, which is ``crowdsource healpix``."""
    return main(["healpix", *(sys.argv[1:] if argv is None else argv)])


def build_parser(argv=()):
    """The parser; the options of the one command that `argv` names are filled in, as adapters are loaded for them.

    Raises
    ------
    InstrumentError
        When the instrument that is named cannot be loaded.
    """
    from ..exposure.instrument import registered
    parser = argparse.ArgumentParser(prog="crowdsource", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = next((a for a in argv if not a.startswith("-")), None)
    for name in registered():
        instrument = _load(name) if wanted in (None, name) else None
        summary = "" if instrument is None else instrument if isinstance(instrument, str) else instrument.summary
        sub = commands.add_parser(name, help=f"fit {summary}", description=f"Fit {summary}.", allow_abbrev=False)
        if wanted == name:
            if isinstance(instrument, str):
                raise InstrumentError(instrument)
            _add_fit(sub, instrument)
    adders = {"healpix": _add_healpix, "simulate": _add_simulate, "simulate-survey": _add_survey, "demo": _add_demo,
              "flags": _add_flags, **{name: partial(_add_production, name=name) for name in PRODUCTION}}
    for name, summary in OWN_COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary.capitalize()+".", allow_abbrev=False)
        if wanted == name:
            adders[name](sub)
    return parser


def _load(name):
    """The instrument, or why there is none."""
    from ..exposure.instrument import load
    try:
        return load(name)
    except InstrumentError as problem:
        return str(problem)


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from .. import __version__
        print(f"crowdsource {__version__}")
        parser.exit()


def _add_fit(parser, instrument):
    """Arguments of an instrument's command: its own options, then those of all."""
    from ..exposure.instrument import flag
    parser.add_argument("image", metavar=instrument.image_metavar, help=instrument.image_help)
    for o in (o for o in instrument.options if o.positional):
        parser.add_argument(f"option_{o.name}", nargs="?", type=_typed(o), metavar=o.metavar or o.name.upper(), help=o.help)
    own = parser.add_argument_group("the image")
    for o in (o for o in instrument.options if not o.positional):
        unit = f" ({o.unit})" if o.unit else ""
        spelled = dict(action="store_true") if o.type is flag else dict(
            type=str if o.several else _typed(o), nargs="+" if o.several else None, metavar=o.metavar or o.name.upper())
        own.add_argument("--"+o.name.replace("_", "-"), dest=f"option_{o.name}", default=None,
                         help=(o.help+unit).replace("%", "%%"), **spelled)
    fit = parser.add_argument_group("the fit")
    fit.add_argument("--force", metavar="CATALOG", help="measure at its positions (ra, dec, or x, y from 0), find none")
    fit.add_argument("--bright-stars", metavar="CATALOG",
                     help="stars to give very large stamps (ra, dec and perhaps pmra, pmdec, epoch, mag; or x, y from 0)")
    fit.add_argument("--galaxies", metavar="CATALOG", help="galaxies, where blends are not split (DECam)")
    fit.add_argument("--sky-from", metavar="FILE", help="model file of an earlier run, whose sky is that of the first pass")
    fit.add_argument("--keep-sky", action="store_true", help="keep that sky in all passes")
    fit.add_argument("--psf-from", metavar="FILE", help="catalog of an earlier run, whose PSF is taken and not refitted")
    fit.add_argument("--threshold", type=float, metavar="SIGMA", help="significance of the faintest peaks")
    fit.add_argument("--nebulosity", metavar="off|detect|WEIGHTS", help="mark structured background, where blends are not split "
                     "and only sharp peaks are sources: by a detector, or a network's .json or .h5; off when not given")
    fit.add_argument("--nebulosity-mode", metavar="hard|continuous|mean",
                     help="a network's windows one by one (default), or overlapping, smoothed; mean is how WISE's are used")
    fit.add_argument("--preset", metavar="NAME", help="default, described or released")
    fit.add_argument("--config", metavar="FILE", help="TOML file of options; the command line goes before it")
    fit.add_argument("--threads", type=_count, default=1, metavar="N",
                     help="for each detector; default 1; results do not depend on it")
    fit.add_argument("--workers", type=_count, default=1, metavar="N",
                     help="detectors fitted at a time, each in a process; default 1")
    out = parser.add_argument_group("what is written")
    out.add_argument("--out", metavar="FILE", help="catalog: .cat.fits, .ecsv or .parquet; <image>.cat.fits here when not given")
    out.add_argument("--out-dir", metavar="DIR", help="folder of outputs whose names have none; made when it is not there")
    out.add_argument("--model-out", metavar="FILE", help="model of the stars, sky and flags, compressed FITS")
    out.add_argument("--info-out", metavar="FILE",
                     help="inverse variance of a star's flux at each pixel, flags, and PSF in the middle, compressed FITS")
    out.add_argument("--no-model-image", action="store_true", help="sky and flags only in the model file")
    out.add_argument("--plot", metavar="FILE", help="picture of image, model, residual and PSF (PNG)")
    out.add_argument("--debug-plots", metavar="DIR", help="pictures of the residual and the PSF of each pass")
    out.add_argument("--overwrite", action="store_true", help="replace files that exist")
    out.add_argument("--resume", action="store_true", help="go on with a run that was cut off, but for what it finished")
    out.add_argument("--dry-run", action="store_true", help="check the input, tell what would be done, write nothing")
    _add_talk(out)
    out.add_argument("--profile", action="store_true", help="print CPU seconds by stage")
    parser.set_defaults(run=_run_fit, instrument=instrument)


def _add_talk(group):
    loud = group.add_mutually_exclusive_group()
    loud.add_argument("--verbose", action="store_true", help="log more")
    loud.add_argument("--quiet", action="store_true", help="only errors")


def _typed(option):
    """An option's type for argparse, which shows the message of ArgumentTypeError only."""
    def typed(text):
        try:
            return option.type(text)
        except ValueError as problem:
            raise argparse.ArgumentTypeError(f"{text!r} cannot be used: {problem}") from problem
    return typed


def _count(text):
    if not re.fullmatch("[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used: a whole number of at least 1 is needed")
    return int(text)


def _run_fit(args, talk):
    """Fit and write, or tell what would be done."""
    from ..exposure.run import run, status
    own, config = _configured(args)
    exposure = args.instrument.open(args.image, **own)
    settings = _settings(args, exposure, config)
    if args.dry_run:
        return _dry_run(args.instrument, exposure, settings)
    if settings.threads > 1:
        from ..core.memory import keep_memory
        keep_memory()
    start = time.process_time()
    with talk.progress() as progress, talk.processes(min(args.workers, len(exposure.tasks()))) as executor:
        outcomes = run(args.instrument, exposure, settings, executor, progress)
    done = [o for o in outcomes if o.error is None]
    if not args.quiet:
        _tell(done, settings)
    if args.profile:
        _tell_profile(done, time.process_time()-start)
    return status(outcomes)


def _settings(args, exposure, config):
    """What the run is to do; outputs whose names have no folder lie in the one that is asked for."""
    from ..exposure.run import Settings
    folder = Path(args.out_dir or "")
    if args.out_dir:
        check_folder(folder, overwrite=True)
        if not args.dry_run:
            folder.mkdir(parents=True, exist_ok=True)
    out, model, info, plot, debug = (None if p is None else Path(p) if Path(p).parent != Path() else folder/p for p in (
        args.out or f"{exposure.label}.cat.fits", args.model_out, args.info_out, args.plot, args.debug_plots))
    return Settings(out, model, plot, debug, args.overwrite, args.threads, config, args.force, args.bright_stars, args.galaxies,
                    args.resume, not args.no_model_image, args.sky_from, args.psf_from, info)


def _configured(args):
    """The instrument's options and the fit's configuration: from the file, and on top of it from the command line."""
    own, config = _from_file(args.config, args.instrument) if args.config else ({}, {})
    given = {o.name: getattr(args, f"option_{o.name}") for o in args.instrument.options}
    own.update({n: v for n, v in given.items() if v is not None})
    if args.preset is not None:
        config["preset"] = args.preset
    if args.threshold is not None:
        config["detect"] = {**config.get("detect", {}), "threshold": args.threshold}
    if args.keep_sky:
        config["sky"] = {**config.get("sky", {}), "keep": True}
    asked = {n: v for n, v in (("method", args.nebulosity), ("mode", args.nebulosity_mode)) if v is not None}
    if asked:
        config["nebulosity"] = {**config.get("nebulosity", {}), **asked}
    return own, config


def _from_file(path, instrument):
    """The instrument's options, which stand under its name, and the fit's values of a TOML file, each checked."""
    from ..config import from_mapping
    from ..exposure.instrument import complete
    from ..io.toml import read_toml
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


def _dry_run(instrument, exposure, settings):
    """Read and check everything, fit and write nothing."""
    from ..exposure.run import plan
    for line in plan(instrument, exposure, settings):
        print(line)
    return 0


def _tell(done, settings):
    """What was done, in a line for each detector and file."""
    for o in done:
        h = o.header
        print(f"{settings.out}{f' {o.task.detector}' if o.task.detector else ''}: {h['NSOURCES']} sources, {h['NPASS']} passes, "
              f"FWHM {h['FWHM']:.2f} px, chi2 {h['CHI2']:.3f}"+", noise estimated"*h["NOISEEST"])
    for path, what in ((settings.model_out, "model, sky and flags" if settings.model_image else "sky and flags"),
                       (settings.info_out, "inverse variance of fluxes, flags and PSF"), (settings.plot, "picture"),
                       (settings.debug_plots, "pictures of each pass")):
        if path is not None and done:
            print(f"{path}: {what}")


def _tell_profile(done, total):
    """CPU seconds by stage over all passes and the detectors that this run fitted."""
    stages = {}
    for name, seconds in (item for o in done for item in o.cpu.items()):
        stages[name] = stages.get(name, 0.)+seconds
    print("CPU seconds by stage")
    for name, seconds in [*stages.items(), ("the run, but workers", total), ("the process", time.process_time())]:
        print(f"  {name:30s} {seconds:8.3f}")


def _add_healpix(parser):
    from .commands.healpix import add_commands
    for sub in add_commands(parser):
        _add_talk(sub)
    parser.set_defaults(run=_run_healpix)


def _run_healpix(args, talk):
    from ..core.memory import keep_memory
    keep_memory()
    return _run_command(args, talk)


def _run_command(args, talk):
    lines, status = args.command(args, talk)
    if not args.quiet:
        print("\n".join(lines))
    return status


def _add_production(parser, name):
    from .commands.production import command
    module = command(name)
    module.add_arguments(parser)
    _add_talk(parser)
    parser.set_defaults(run=_run_command, command=module.run)


def _add_simulate(parser):
    from .commands.simulate_arguments import add_arguments
    add_arguments(parser)
    _add_talk(parser)
    parser.set_defaults(run=_run_simulate)


def _run_simulate(args, talk):
    from ..io.atomic import check_output
    from ..simulate import SimulationConfig, simulate_field
    from ..simulate.files import write_simulation
    from .commands.simulate_arguments import given_values
    values = given_values(args)
    if args.instrument is not None:
        from ..exposure.instrument import SimulatesExposures, load, require
        instrument = load(args.instrument)
        require(instrument, SimulatesExposures)
        files = instrument.simulate(args.out, args.ccds, args.overwrite, **values)
        if not args.quiet:
            print("\n".join(map(str, files)))
        return 0
    if args.ccds:
        raise ConfigError("--ccds needs --instrument, whose detectors they are")
    check_output(args.out, args.overwrite)
    sim = simulate_field(SimulationConfig(**values))
    write_simulation(sim, args.out, overwrite=args.overwrite)
    if not args.quiet:
        ny, nx = sim.data.shape
        print(f"{args.out}: {nx} x {ny} pixels, {len(sim.truth)} stars, 5 sigma at {sim.truth.meta['FLUX5']:.1f} counts")
    return 0


def _add_survey(parser):
    from .commands.survey_arguments import add_arguments
    add_arguments(parser)
    _add_talk(parser)
    parser.set_defaults(run=_run_survey)


def _run_survey(args, talk):
    from ..simulate.survey import SurveyConfig
    from ..simulate.survey.files import write_survey
    from .commands.survey_arguments import given_values
    config = SurveyConfig(**given_values(args))
    with talk.progress() as progress:
        written = write_survey(config, args.out, args.overwrite, progress)
    if not args.quiet:
        print(f"{args.out}: {config.stars} stars, {len(written)} exposures, {sum(rows for _, rows in written)} detections")
    return 0


def _add_demo(parser):
    parser.add_argument("--out", default="demo-output", metavar="FOLDER",
                        help="for catalog and picture; demo-output when not given")
    parser.add_argument("--threads", type=_count, default=1, metavar="N", help="default 1")
    _add_talk(parser)
    parser.set_defaults(run=_run_demo)


def _run_demo(args, talk):
    from .demo import run_demo
    with talk.progress() as progress:
        lines = run_demo(args.out, args.threads, progress)
    print("\n".join(lines))
    return 0


def _add_flags(parser):
    parser.add_argument("value", type=lambda v: int(v, 0), metavar="N", help="a value of the column flags")
    parser.add_argument("--instrument", default="generic", metavar="NAME", help="whose bits the lower 32 are")
    parser.set_defaults(run=_run_flags)


def _run_flags(args, talk):
    from ..core.flags import decode
    from ..exposure.instrument import load
    print(" ".join(decode(args.value, load(args.instrument).flags)) or "none")
    return 0
