"""``crowdsource healpix export``: write a release in formats that other programs read."""
from pathlib import Path

from ....core.errors import ConfigError, need
from ....io.atomic import check_output
from ....io.atomic_folder import check_atomic_folder, published
from ....survey.exports.coverage import coverage_of, plot_coverage, write_maps, write_moc
from ....survey.exports.export_tables import DetectionTable, ObjectTable
from ....survey.exports.hats import FORMS, NESTED, SECOND, HatsConfig, TaskRunner, collection_key, export_hats
from ....survey.exports.hats_files import COLLECTION
from ....survey.exports.release_reader import ReleaseReader
from ....survey.exports.table_files import write_tables
from ....survey.objects.release import open_release
from ....survey.regions import WHOLE_SKY, cone_region, pixel_region
from ....survey.store.store import open_store
from ...arguments import check_workers

FORMATS = HATS, FITS, PARQUET = "hats", "fits", "parquet"
MEGA = 1e6


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument("store", metavar="STORE", help="folder of the store")
    parser.add_argument("out", metavar="OUT", help="folder of a HATS collection, or file")
    parser.add_argument("--release", required=True, metavar="NAME", help="release to export")
    parser.add_argument("--format", choices=FORMATS, help="default hats, or what OUT ends in")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--cone", nargs=3, type=float, metavar=("RA", "DEC", "RADIUS_ARCSEC"), help="rows in a cone only (degrees)")
    part.add_argument("--pixels", nargs="+", metavar="ORDER/NUMBER", help="rows in HEALPix pixels only, NESTED")
    parser.add_argument("--detections", choices=FORMS, help="how detections are exported: as a second catalog (default for "
                        "hats), as lists in the rows of objects, or not at all (default for one file)")
    parser.add_argument("--margin", type=float, metavar="ARCSEC", help="width of the margins of a HATS catalog, 0 for none; "
                        f"default {HatsConfig.margin:g}")
    parser.add_argument("--max-rows", type=int, metavar="N", help="number of rows above which a HATS pixel is divided; default "
                        f"{HatsConfig.max_rows}")
    parser.add_argument("--moc", metavar="FILE", help="coverage as a MOC, FITS")
    parser.add_argument("--maps", metavar="PREFIX", help="maps of counts and depth, FITS for healpy: PREFIXobjects.fits ...")
    parser.add_argument("--picture", metavar="FILE", help="picture of the coverage, PNG")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; the result does not depend on it")
    parser.add_argument("--overwrite", action="store_true", help="replace what exists")


def run(args, console):
    """Export the release. Returns the lines to print, and the exit status."""
    check_workers(args.workers)
    kind, region = chosen_format(args), region_of(args)
    check_outputs(args, kind)
    store = open_store(args.store)
    with store.reading():
        survey = ReleaseReader(store, open_release(store, args.release))
        if kind == HATS and not published(args.out, COLLECTION, collection_key(survey.release, hats_config(args), region)):
            check_atomic_folder(args.out, COLLECTION, args.overwrite)
        if kind == HATS:
            lines = _hats(args, console, survey, region)
        else:
            contents = [ObjectTable(survey, region)]
            if args.detections == SECOND:
                contents.append(DetectionTable(survey, region))
            lines = [f"{path}: {rows} rows" for path, rows in write_tables(contents, args.out, args.overwrite)]
        return lines+_coverage(args, survey, region), 0


def chosen_format(args):
    """The format that the option or the ending of the name states; raises `ConfigError` for options that do not fit it."""
    ending = args.out.lower().rpartition(".")[2]
    kind = args.format or (ending if ending in FORMATS else HATS)
    if kind != HATS and not args.out.lower().endswith(f".{kind}"):
        raise ConfigError(f"{args.out}: the name of a file of this format ends in .{kind}; choose another name")
    if kind != HATS and args.detections == NESTED:
        raise ConfigError("detections are nested in HATS collections only: choose --detections second, or --format hats")
    if kind != HATS and (args.margin is not None or args.max_rows is not None):
        raise ConfigError("--margin and --max-rows are of HATS collections: leave them out, or choose --format hats")
    return kind


def check_outputs(args, kind):
    """Raise at once the errors that would end the command later: for places that take no file, and packages that are missing."""
    if kind != HATS:
        check_output(args.out, overwrite=True)
    # what is there already and the same is no error: the release comes first, so an earlier run has made it
    again = args.overwrite or Path(args.out).exists()
    for path in filter(None, (args.moc, args.picture, args.maps and f"{args.maps}objects.fits")):
        check_output(path, again)
    needs = ((kind != FITS, "pyarrow", "parquet", "a Parquet catalog"), (args.moc, "mocpy", "sky", "a MOC"),
             (args.picture, "matplotlib", "plot", "a picture"))
    for wanted, module, extra, purpose in needs:
        if wanted:
            need(module, extra, purpose)


def region_of(args):
    """The part of the sky that the options select."""
    return cone_region(*args.cone) if args.cone else pixel_region(args.pixels) if args.pixels else WHOLE_SKY


def hats_config(args):
    """The `HatsConfig` that the options say."""
    default = HatsConfig()
    return HatsConfig(args.detections or SECOND, default.margin if args.margin is None else args.margin,
                      default.max_rows if args.max_rows is None else args.max_rows)


def _hats(args, console, survey, region):
    config = hats_config(args)
    with console.progress() as progress, console.processes(args.workers) as executor:
        written = export_hats(survey, args.out, config, region=region, runner=TaskRunner(executor, progress),
                              overwrite=args.overwrite)
    if not written:
        return [f"{args.out}: is there already, of the same release and options"]
    return [f"{args.out}: a HATS collection", *(f"  {c.name}: {c.rows} rows in {c.files} files, {c.size/MEGA:.1f} MB"
                                                for c in written)]


def _coverage(args, survey, region):
    """Write the MOC, maps and picture of the coverage that the options select. Returns lines."""
    if not (args.moc or args.maps or args.picture):
        return []
    coverage, lines = coverage_of(ObjectTable(survey, region), DetectionTable(survey, region)), []
    if args.moc:
        write_moc(coverage, args.moc, args.overwrite)
        lines.append(f"{args.moc}: MOC of order {coverage.order}")
    if args.maps:
        lines += [f"{name}: map of order {coverage.order}" for name in write_maps(coverage, args.maps, args.overwrite)]
    if args.picture:
        plot_coverage(coverage, args.picture, f"Release {survey.release.name}", args.overwrite)
        lines.append(f"{args.picture}: picture")
    return lines
