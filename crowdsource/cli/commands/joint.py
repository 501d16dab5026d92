"""``crowdsource joint``: fit many images of one field at once."""
from dataclasses import asdict, replace
from pathlib import Path

from ...core.errors import ConfigError
from ...core.memory import keep_memory
from ...core.version import installed_version
from ...exposure.instrument import recognised, registered
from ...io.atomic_folder import atomic_folder, check_atomic_folder, published
from ...io.checksums import checksums
from ...io.folder_contents import made_of
from ...io.tables import read_table
from ...io.toml import read_toml
from ...joint.config import JointConfig, checked_joint
from ...joint.files import CURVES, OBJECTS, ROWS, check_outputs, left_out, write_joint
from ...joint.inputs import ImageFile, opened_images
from ...joint.known import known_stars
from ...joint.loop import fit_sources
from ...joint.pictures import check_plot, plot_joint
from ...production.executors import open_workers
from ...production.joint_run import JointReport, TiledFit
from ...production.manifest import ENDINGS, read_manifest
from ...production.plan import PlanRequest
from ...survey.exports.hats_files import CATALOG
from ...survey.exports.light_curves import write_nested
from ..arguments import add_executor, add_verbosity, check_workers, count, option_pairs


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images of one field, in any order and of any bands; or one "
                        "manifest that crowdsource plan has written")
    parser.add_argument("--out-dir", required=True, metavar="DIR",
                        help=f"new folder of the results: {OBJECTS}, {CURVES} and a catalog of each image")
    parser.add_argument("--instrument", metavar="NAME", help="adapter that reads all images; default the one that claims each, "
                        "generic where none does")
    add_field_options(parser)
    parser.add_argument("--config", metavar="FILE", help="TOML file of options; an instrument's options stand under its name, "
                        "those of joint fits under joint")
    parser.add_argument("--memory", type=float, metavar="MB", help="memory that images may take: where they need more, those "
                        "that are not worked on are kept in temporary files; default no limit")
    parser.add_argument("--threads", type=count, default=1, metavar="N",
                        help="images worked on at the same time; default 1; results do not depend on it")
    parser.add_argument("--hats", metavar="DIR", help="also write objects with their light curves as a HATS catalog, which lsdb "
                        "opens; the reference image needs world coordinates")
    parser.add_argument("--plot", metavar="FILE", help="write a picture of scatter, images and the most variable stars (PNG)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder of an earlier joint fit")
    tiles = parser.add_argument_group("large fields")
    tiles.add_argument("--tile", type=count, metavar="PIXELS", help="fit the field in tiles of about this side, pixels of the "
                       "reference, each a task: memory is bounded, and the same command goes on where one before was stopped")
    add_executor(tiles)
    add_verbosity(parser)


def add_field_options(parser):
    """Add the options that say how the images of a field are read and fitted at once, to a parser or a group of arguments."""
    parser.add_argument("--option", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
                        help="options of the adapter, as gain=1.9; {path}, {folder}, {name} and {stem} stand for parts of each "
                        "file's name, as in ivar={path}:IVAR")
    parser.add_argument("--objects", metavar="FILE", help=f"{OBJECTS} of an earlier joint fit of this field: its stars stay, at "
                        "their positions and with their identifiers, and only what is new is looked for")
    parser.add_argument("--motion", action="store_true", help="fit the proper motion of each star; images need dates")
    parser.add_argument("--parallax", action="store_true", help="fit the parallax of each star, and its proper motion; images "
                        "need dates at different times of the year, and the reference world coordinates")
    parser.add_argument("--root", nargs="+", action="extend", default=[], metavar="DIR",
                        help="folders in which a manifest's files may lie, in addition to its own")


def run(args, console):
    """Fit and write; see `crowdsource.cli.commands`."""
    config = {} if args.config is None else read_toml(args.config)
    joint = joint_config(config.pop("joint", {}), motion=args.motion, parallax=args.parallax, memory=args.memory)
    files = image_files(args.images, config, args.instrument, args.option, args.root)
    images, refused = opened_images(files)
    key = fit_key(args, files, images, config, joint)
    there = published(args.out_dir, OBJECTS, key)
    if not there:
        check_outputs(args.out_dir, args.overwrite)
    if args.plot is not None:
        # the folder comes first: where it is there, an earlier run may have made the picture
        check_plot(args.plot, args.overwrite or there)
    if args.hats is not None and not published(args.hats, CATALOG[0], key):
        check_atomic_folder(args.hats, CATALOG[0], args.overwrite)
    report = None if there else whole_field(args, images, refused, config, joint, console, key) if args.tile is None else \
        in_tiles(args, files, config, joint, console, key)
    if args.plot is not None:
        plot_joint(args.out_dir, {i.name: i.source(config).read for i in images}, args.plot)
    if args.hats is not None:
        write_hats(args, key)
    if there:
        left = left_out(args.out_dir)
        return [f"{args.out_dir}: is there already, of the same images and options", *(f"left out: {line}" for line in left)], \
            1 if left else 0
    lines = [f"{args.out_dir}: {report.objects} objects on {report.images} images, reference {report.reference}"]
    lines += [f"left out: {name}: {why}" for name, why in report.refused.items()]
    return lines, 1 if report.refused else 0


def fit_key(args, files, images, config, joint):
    """What the folder of a fit is made of, as a checksum: images, options and version; memory changes no result."""
    inputs = checksums(sorted({str(p) for i in images for p in i.inputs}))
    objects = None if args.objects is None else checksums([args.objects])[0][1]
    return made_of(sorted(repr(f) for f in files), sorted((Path(p).name, digest) for p, digest in inputs), config,
                   asdict(replace(joint, memory=None)), objects, args.tile, installed_version())


def whole_field(args, images, refused, config, joint, console, key):
    """Fit all images at once in this process; gives a `JointReport`."""
    for name, given in (("workers", args.workers > 1), ("scheduler", args.scheduler), ("executor", args.executor != "processes")):
        if given:
            raise ConfigError(f"--{name} is of a field in tiles (--tile); threads of one fit are --threads")
    if args.threads > 1 and args.memory is None:
        keep_memory()
    known = None if args.objects is None else known_stars(read_table(args.objects))
    with console.progress() as progress:
        result = fit_sources([i.source(config) for i in images], joint, args.threads, progress, known)
    write_joint(result, args.out_dir, inputs={i.name: i.inputs for i in images}, refused=refused, overwrite=args.overwrite,
                key=key)
    return JointReport(objects=len(result.objects), images=len(result.names), tiles=1,
                       reference=result.objects.meta["reference"], refused={**refused, **result.refused})


def in_tiles(args, files, config, joint, console, key):
    """Fit the field in tiles, which workers do; gives a `JointReport`."""
    check_workers(args.workers)
    if args.threads > 1:
        raise ConfigError("--threads is of a field that is fitted at once; tasks done at the same time are --workers")
    workers = open_workers(args.executor, args.workers, None, args.scheduler)
    fit = TiledFit(files=files, config=config, joint=joint, out=args.out_dir, side=args.tile, workers=workers,
                   objects=args.objects, overwrite=args.overwrite, key=key)
    with console.progress() as progress:
        return fit(progress)


def write_hats(args, key):
    """Write objects with their light curves where the user wants them, if they are not there already."""
    if published(args.hats, CATALOG[0], key):
        return
    folder = Path(args.out_dir)
    objects, light_curves = read_table(f"{folder/OBJECTS}:{ROWS}"), read_table(folder/CURVES)
    with atomic_folder(args.hats, CATALOG[0], args.overwrite, key) as made:
        write_nested(objects, light_curves, made, Path(args.hats).name)


def joint_config(values, **given):
    """The `JointConfig` of a table of values and what the command line gives, None or False where it gives nothing."""
    try:
        return checked_joint(JointConfig(**{**values, **{n: v for n, v in given.items() if v is not None and v is not False}}))
    except TypeError as problem:
        raise ConfigError(f"joint: {problem}") from problem


def image_files(images, config, instrument, words, roots):
    """The images of a field.

    Parameters
    ----------
    images : sequence of str
        Names of files, or that of a manifest.
    config : dict
        As a TOML file has it, from which the tables of instruments are taken away.
    instrument : str or None
        Name of the one that reads all.
    words : sequence of str
        Its options, NAME=VALUE.
    roots : sequence of str
        Folders of a manifest's files.

    Returns
    -------
    list of crowdsource.joint.inputs.ImageFile
    """
    own = {name: config.pop(name) for name in ([instrument] if instrument else registered()) if name in config}
    return from_manifest(images[0], roots) if is_manifest(images) else given(images, instrument, words, own)


def is_manifest(images):
    """Whether the only name is that of a manifest."""
    return len(images) == 1 and Path(images[0]).suffix.lower() in ENDINGS


def from_manifest(path, roots):
    """The images that a manifest lists."""
    return [ImageFile(path=e.image, instrument=e.instrument, options=dict(e.options), detector=e.detector or None)
            for e in read_manifest(path, roots) if not e.problem]


def given(images, instrument, words, tables):
    """The images that the command line names; `tables` are options of instruments by their names."""
    request = PlanRequest(instrument, tuple((name.replace("-", "_"), value) for name, value in option_pairs(words)))
    readers = [instrument or recognised(image).name for image in images]
    return [ImageFile(path=image, instrument=reader, options={**tables.get(reader, {}), **request.options_of(image)})
            for image, reader in zip(images, readers)]
