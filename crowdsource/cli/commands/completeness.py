"""``crowdsource completeness``: artificial stars on images: what is found, how deep, how right fluxes and errors are."""
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...core.errors import ConfigError, CrowdsourceError, OutputError
from ...exposure.instrument import load, recognised, registered
from ...exposure.settings import EarlierRun, OutputFiles, RunSettings, UserCatalogs
from ...exposure.tasks import path_of_detector
from ...io.atomic import check_output
from ...io.checksums import checksums
from ...io.file_names import distinct_name
from ...io.image_name import ImageName
from ...io.toml import read_toml
from ...joint.inputs import opened_images
from ...joint.loop import check_some
from ...production.completeness_run import CompletenessRun
from ...production.executors import open_workers
from ...validate.completeness.colours import Colours
from ...validate.completeness.files import write_completeness
from ...validate.completeness.pictures import check_plot, plot_completeness
from ...validate.completeness.plan import LAYOUTS, StarOptions
from ..arguments import add_executor, add_memory, add_verbosity, check_workers, count, is_file
from .fit import add_fit_options, add_instrument_options, configured, given_options, with_fit_options
from .joint import add_field_options, image_files, is_manifest, joint_config

ENDING = ".completeness.fits"
FIELD = "field"
"""Name of the output of many images, where none is given."""
OF_ONE = "force", "bright_stars", "galaxies", "sky_from", "keep_sky", "psf_from", "local"
"""Options that a joint fit does not have."""
OF_MANY = "colour", "option", "objects", "motion", "parallax", "root"
"""Options that only a joint fit has."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """What is measured: a detector, or a field of many images.

    Attributes
    ----------
    job : dict
        As of `crowdsource.production.completeness_run.CompletenessRun`.
    outputs : dict of str to (pathlib.Path, pathlib.Path or None)
        File and picture of each band; of a detector without a name.
    folder : pathlib.Path
        Of what the runs write.
    label : str
    """

    job: dict
    outputs: dict
    folder: Path
    label: str


def add_arguments(parser, words):
    """Arguments of the command; those of the instrument whose file the first image among the words is."""
    image = next((w for w in words if is_file(w) and not is_manifest([w])), None)
    named = next((w for w in words if w in registered()), None)
    instrument = load(named) if named else recognised(image) if image else load("generic")
    parser.set_defaults(instrument=instrument)
    parser.usage = "crowdsource completeness [INSTRUMENT] IMAGE [IMAGE ...] [options]"
    parser.add_argument("image", metavar="IMAGE", nargs="+", help="image, or images of one field, or a manifest that crowdsource "
                        "plan has written: these are fitted at once, as by crowdsource joint; with the adapter that reads them "
                        "before them where it is not to be recognised; its options are those of the fit")
    for o in (o for o in instrument.options if o.positional):
        parser.add_argument(f"--{o.name}", dest=f"option_{o.name}", metavar=o.metavar or o.name.upper(), help=o.help)
    stars = parser.add_argument_group("artificial stars")
    stars.add_argument("--runs", type=count, default=10, metavar="N", help="images with artificial stars that are made and "
                       "fitted; with more runs than before only the new ones are done; default 10")
    stars.add_argument("--stars", type=count, metavar="N", help="stars of each run; default 5 %% of the number of sources, or "
                       "one in 256 squares of the FWHM where that is more")
    stars.add_argument("--magnitudes", nargs=2, type=float, metavar=("BRIGHT", "FAINT"),
                       help="range of magnitudes, by the zero point of the image; of several images in the band of the first")
    stars.add_argument("--fluxes", nargs=2, type=float, metavar=("FAINT", "BRIGHT"),
                       help="range of fluxes, image units; of several images in the band of the first; default from a half "
                       "to 100 times the flux of five errors of an isolated star")
    stars.add_argument("--layout", choices=LAYOUTS, default="grid",
                       help="on a grid whose origin is random, or anywhere; default grid")
    stars.add_argument("--seed", type=int, default=0, metavar="N", help="of positions, fluxes and noise; default 0")
    stars.add_argument("--local", action="store_true", help="fit cut-outs around the stars instead of the whole image: faster, "
                       "with PSF and sky of the image's own fit")
    stars.add_argument("--purity", type=int, metavar="N", help="images of the model with new noise that are fitted, to see how "
                       "many rows are false; 0 for none; default 1, and none where positions are given (--force)")
    where = parser.add_argument_group("where")
    add_executor(where)
    where.add_argument("--time-limit", type=float, metavar="S", help="stop a run after so many seconds")
    add_instrument_options(parser, instrument)
    field = parser.add_argument_group("several images, a joint fit")
    field.add_argument("--colour", nargs="+", action="append", default=[], metavar="BLUE-RED VALUE",
                       help="colour of artificial stars by the names of two bands, as g-r 0.6, or its range, as g-r 0.2 1.4; "
                       "again for each further band; default the colours of the catalog's own stars")
    add_field_options(field)
    fit = parser.add_argument_group("the fit")
    add_fit_options(fit)
    add_memory(fit)
    out = parser.add_argument_group("what is written")
    out.add_argument("--out", metavar="FILE", help=f"FITS file; default <image>{ENDING}, of several images {FIELD}{ENDING}, in "
                     "the current folder; of several bands each has a file with its name. Tables of the runs are kept in a "
                     "folder beside it, with .runs at the end, from which the command goes on")
    out.add_argument("--plot", metavar="FILE", help="write a picture of curves, depth, biases, pulls and purity (PNG)")
    out.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_verbosity(out)


def run(args, console):
    """Measure and write; see `crowdsource.cli.commands`."""
    images, options = _images(args), _options(args)
    check_workers(args.workers)
    purity = (1 if args.force is None else 0) if args.purity is None else args.purity
    if purity < 0:
        raise ConfigError("--purity must not be negative")
    if args.force is not None and (purity or args.local):
        raise ConfigError(f"--force searches for nothing: leave {'--purity' if purity else '--local'} out")
    subjects = _field(args, images, options) if len(images) > 1 or is_manifest(images) else _detectors(args, images[0])
    workers, lines = open_workers(args.executor, args.workers, args.time_limit, args.scheduler), []
    done = False
    try:
        for subject in subjects:
            one = CompletenessRun(job=subject.job, options=options, purity=purity, folder=subject.folder)
            with console.progress() as progress:
                found, used = one(workers, progress)
            for band, of_band in found.items():
                path, picture = subject.outputs[band]
                write_completeness(of_band, path, inputs=subject.job["sums"], config=used, overwrite=args.overwrite)
                if picture is not None:
                    plot_completeness(of_band, picture, f"{subject.label} {band}".rstrip())
                lines += [f"{path}: {line}" if not k else line for k, line in enumerate(of_band.lines())]
        done = True
    finally:
        workers.close(abandon=not done)
    return lines, 0


def _images(args):
    """The images of the command line, one at least."""
    names = [w for w in args.image if w != args.instrument.name or is_file(w)]
    if not names:
        raise ConfigError("an image is needed")
    return names


def _options(args):
    fluxes, magnitudes = (None if v is None else tuple(v) for v in (args.fluxes, args.magnitudes))
    return StarOptions(runs=args.runs, stars=args.stars, fluxes=fluxes, magnitudes=magnitudes, layout=args.layout, seed=args.seed,
                       local=args.local, colours=tuple(_colour(words) for words in args.colour))


def _colour(words):
    """(names of two bands, least, largest value) of a colour on the command line."""
    try:
        values = [float(v) for v in words[1:]]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise ConfigError(f"--colour {' '.join(words)}: give two bands and a value or two, as g-r 0.6 or g-r 0.2 1.4")
    return words[0], values[0], values[-1]


def _detectors(args, image):
    """The `Subject` of each detector of an exposure."""
    _refuse(args, OF_MANY, "is of several images, which are fitted at once")
    own, config = configured(args, args.instrument, image)
    exposure = args.instrument.open(image, **own)
    tasks = exposure.tasks()
    several = len(tasks) > 1
    outputs = [_outputs(args, exposure.label, t.detector if several else "") for t in tasks]
    catalogs = UserCatalogs(forced=args.force, bright=args.bright_stars, galaxies=args.galaxies)
    settings = RunSettings(outputs=OutputFiles(catalog=outputs[0][0]), catalogs=catalogs, config=config, threads=args.threads,
                           earlier=EarlierRun(model_file=args.sky_from, catalog=args.psf_from))
    _check(args, outputs, [*exposure.inputs, *settings.reads])
    settings.check_inputs([t.detector for t in tasks])
    kept = dict(catalogs=asdict(settings.catalogs), earlier=asdict(settings.earlier), config=settings.config,
                threads=settings.threads)
    job = dict(instrument=args.instrument.name, image=_absolute(image), options=own, settings=kept,
               sums=_sums([*exposure.inputs, *settings.reads]))
    return [Subject(job={**job, "detector": task.detector}, outputs={"": files}, folder=_folder(files[0]),
                    label=f"{exposure.label} {task.detector}".rstrip()) for task, files in zip(tasks, outputs)]


def _field(args, images, options):
    """The `Subject` of a field, in a list."""
    _refuse(args, OF_ONE, "is of one image: a joint fit of several does not have it")
    config = {} if args.config is None else read_toml(args.config)
    joint = joint_config(config.pop("joint", {}), motion=args.motion, parallax=args.parallax)
    named = args.instrument.name if args.instrument.name in args.image else None
    files = image_files(images, config, named, args.option, args.root)
    files = [replace(f, path=_absolute(f.path), options={**f.options, **_own(args, f)}) for f in files]
    config = with_fit_options(args, config)
    opened, _ = opened_images(files)
    bands = _bands([i.source(config) for i in opened])
    # wrong colours are told before any work
    Colours(zeropoints=dict.fromkeys(bands, 0.), asked=options.colours, own={band: [1.] for band in bands})
    outputs = {band: _outputs(args, FIELD, distinct_name(band) if len(bands) > 1 else "") for band in bands}
    objects = None if args.objects is None else str(Path(args.objects).absolute())
    read = [*(p for i in opened for p in i.inputs), *([objects] if objects else [])]
    _check(args, list(outputs.values()), read)
    job = dict(files=[asdict(f) for f in files], config=config, joint=asdict(joint), objects=objects, threads=args.threads,
               sums=_sums(read))
    return [Subject(job=job, outputs=outputs, folder=_folder(_outputs(args, FIELD, "")[0]), label=f"{len(opened)} images")]


def _bands(sources):
    """Bands of the images that can be read, which are parts of the names of outputs; a fit leaves out and names the others."""
    bands, refused = {}, {}
    for source in sources:
        try:
            bands.setdefault(source.read().band)
        except CrowdsourceError as problem:
            refused[source.name] = str(problem)
    check_some(bands, "read", refused)
    return list(bands)


def _own(args, file):
    """The instrument's options that the command line gives, for an image that this instrument reads."""
    return given_options(args, file.path) if file.instrument == args.instrument.name else {}


def _refuse(args, names, why):
    """Raise an error where an option is given that the fit does not have."""
    for name in names:
        if getattr(args, name) not in (None, False, []):
            raise ConfigError(f"--{name.replace('_', '-')} {why}")


def _outputs(args, label, part):
    """The file of a detector or a band, and its picture or None."""
    path = path_of_detector(args.out or f"{label}{ENDING}", part)
    return path, None if args.plot is None else path_of_detector(args.plot, part)


def _folder(path):
    """The folder of the runs beside an output."""
    return path.with_name(path.name.removesuffix(".fits")+".runs")


def _check(args, outputs, inputs):
    """Raise an error where an output could not be written, before any work is done."""
    read = {Path(p).resolve() for p in inputs}
    for path, picture in outputs:
        if not str(path).endswith(".fits"):
            raise OutputError(f"{path}: completeness is written as FITS: give a name that ends with .fits")
        check_output(path, args.overwrite)
        if picture is not None:
            check_plot(picture, args.overwrite)
        for p in (path, picture):
            if p is not None and Path(p).resolve() in read:
                raise OutputError(f"{p}: is read by this run; give the output another name")


def _absolute(image):
    """The name of an image whose path is absolute: workers may be elsewhere."""
    path = ImageName.parse(image).path
    return image if path.is_absolute() else image.replace(str(path), str(path.absolute()), 1)


def _sums(paths):
    """Path and SHA-256 of files that are read."""
    return [[str(p), digest] for p, digest in checksums(dict.fromkeys(p for p in map(Path, paths) if p.is_file()))]
