"""``crowdsource healpix cone``: objects or detections of a release within a distance from a position."""
import numpy as np

from ....core.errors import ConfigError
from ....survey.exports.export_tables import DetectionTable, ObjectTable
from ....survey.exports.release_reader import ReleaseReader
from ....survey.exports.table_files import select, write_tables
from ....survey.objects.release import open_release, releases
from ....survey.regions import angular_distance, cone_region
from ....survey.store.store import open_store

SHOWN = 40
"""Number of rows that are printed, the nearest ones."""
OF_OBJECTS = ("object_id", "ra", "dec", "n_det")
OF_DETECTIONS = ("detection_id", "ra", "dec", "exposure", "detector", "band", "mjd", "object_id", "use", "calibrated_flux",
                 "calibrated_flux_error")
FORMS = {"ra": ".7f", "dec": ".7f", "mjd": ".5f", "distance": ".3f"}


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument("store", metavar="STORE", help="folder of the store")
    parser.add_argument("ra", metavar="RA", type=float, help="degrees")
    parser.add_argument("dec", metavar="DEC", type=float, help="degrees")
    parser.add_argument("radius", metavar="RADIUS_ARCSEC", type=float, help="arcsec")
    parser.add_argument("--release", metavar="NAME", help="the only one when not given")
    parser.add_argument("--detections", action="store_true", help="detections, with how they count, instead of objects")
    parser.add_argument("--out", metavar="FILE",
                        help="write all columns and rows as .fits, .ecsv or .parquet; without it some are printed")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def run(args, console):
    """Select the rows. Returns the lines to print, and the exit status."""
    store, region = open_store(args.store), cone_region(args.ra, args.dec, args.radius)
    with store.reading():
        survey = ReleaseReader(store, open_release(store, args.release or only_release(store)))
        if args.out:
            content = (DetectionTable if args.detections else ObjectTable)(survey, region)
            return [f"{path}: {rows} rows" for path, rows in write_tables([content], args.out, args.overwrite)], 0
        return shown(select(survey, region, args.detections), survey.release.bands, args), 0


def only_release(store):
    """The name of a store's only release; raises `ConfigError` when it has none or several."""
    names = releases(store)
    if len(names) != 1:
        raise ConfigError(f"{store.path}: name a release with --release, one of {', '.join(names)}" if names else
                          f"{store.path}: has no release; make one with crowdsource healpix assemble")
    return names[0]


def shown(table, bands, args):
    """Lines with some columns of the nearest rows, and the number of further rows."""
    what = "detections" if args.detections else "objects"
    if not len(table):
        return [f"no {what} within {args.radius:g} arcsec of {args.ra:g}, {args.dec:g}"]
    distance = angular_distance(args.ra, args.dec, np.asarray(table["ra"]), np.asarray(table["dec"]))*3600
    near = np.argsort(distance, kind="stable")[:SHOWN]
    of_bands = [f"{n}_{b.lower()}" for b, _ in bands for n in ("flux", "flux_error", "mag")]
    names = OF_DETECTIONS if args.detections else (*OF_OBJECTS, *of_bands)
    columns = {"distance": distance[near], **{n: np.asarray(table[n])[near] for n in names}}
    cells = [[n, *(_spelled(n, v) for v in values)] for n, values in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in zip(*cells)]
    more = len(table)-len(near)
    return [*lines, f"{len(table)} {what}"+f"; {more} more, farther off: name a file with --out for all"*bool(more)]


def _spelled(name, value):
    kind = FORMS.get(name, ".6g" if getattr(value, "dtype", None) is not None and value.dtype.kind == "f" else "")
    return format(value, kind)
