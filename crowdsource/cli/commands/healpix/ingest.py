"""``crowdsource healpix ingest``: bring catalogs, or a table of zero points, into a store."""
from ....core.errors import ConfigError
from ....survey.store.batch import STATUSES
from ....survey.store.columns import IngestOptions
from ....survey.store.ingest import catalog_files, ingest, ingest_zero_points
from ....survey.store.store import open_store


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument("store", metavar="STORE", help="folder of the store")
    parser.add_argument("files", nargs="*", metavar="FILE", help="catalogs, or folders with *.cat.fits")
    parser.add_argument("--zero-points", metavar="TABLE",
                        help="zero points by exposure, detector and perhaps band: the next version of the store's")
    own = parser.add_argument_group("for tables that lack them")
    own.add_argument("--map", nargs="+", action="extend", default=[], metavar="NAME=COLUMN",
                     help="take a column under a name known here (ra, dec, flux, dflux, x, y, dx, dy, detection_id, ...); "
                     "NAME= for one not to be used")
    for name, text in (("exposure", "identity of the exposure; the file's name when not given"), ("detector", "its name"),
                       ("band", "name of the band"), ("system", "magnitude system, AB or Vega")):
        own.add_argument("--"+name, help=text)
    for name, text in (("mjd", "modified Julian date"), ("zeropoint", "magnitude of one unit of flux")):
        own.add_argument("--"+name, type=float, help=text)


def run(args, console):
    """Ingest. Returns the lines to print, and the exit status."""
    if not args.files and args.zero_points is None:
        raise ConfigError("nothing to ingest: name catalogs, or --zero-points")
    store, lines, status = open_store(args.store), [], 0
    files, options = catalog_files(args.files), _options(args)
    if files:
        with console.progress() as progress:
            report = ingest(store, files, options, progress=progress)
        for problem in (*(p for _, p in report.failed), *report.told_of_empty().values()):
            console.log.error("%s", problem)
        lines, status = summary(report), report.status
    if args.zero_points is not None:
        lines.append(f"zero points: version {ingest_zero_points(store, args.zero_points)}")
    return lines, status


def _options(args):
    """The `IngestOptions` of the command line."""
    wrong = [m for m in args.map if "=" not in m]
    if wrong:
        raise ConfigError(f"--map {wrong[0]}: give NAME=COLUMN")
    stated = {n: getattr(args, n) for n in ("exposure", "detector", "band", "system", "mjd", "zeropoint")}
    return IngestOptions(mapping=tuple(tuple(m.split("=", 1)) for m in args.map), **stated)


def summary(report):
    """A `crowdsource.survey.store.ingest.IngestReport` in lines."""
    counts = ", ".join(f"{report.counts[s]} {s}" for s in STATUSES if report.counts[s]) or "none"
    lines = [f"{report.files} files, {len({f for f, _ in report.failed})} failed; images: {counts}; {report.rows} rows came in"]
    return lines+[f"{n} rows rejected: {reason}" for reason, n in sorted(report.rejects.items())]
