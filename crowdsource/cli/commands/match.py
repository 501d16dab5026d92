"""``crowdsource match``: the stars that two catalogs have in common."""
from ...catalogs.match import match
from ...catalogs.published import KEY, check_published, key_of
from ...io.tables import write_catalog
from ..arguments import add_verbosity

SHOWN = 10
"""Number of rows that are printed without a file, the brightest ones."""


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("first", metavar="A", help="catalog: of crowdsource, or any table with usual names of columns")
    parser.add_argument("second", metavar="B", help="another one, of another band, instrument or time")
    parser.add_argument("-o", "--out", metavar="FILE", help="write the table as .fits, .ecsv, .vot, .csv or .parquet; without it "
                        "some rows are printed")
    parser.add_argument("--radius", type=float, metavar="DISTANCE", help="largest distance of a pair, arcsec, or pixels of B "
                        "where one of the two has no sky positions; default half of the worse seeing, or 1 arcsec or 2 pixels")
    parser.add_argument("--mag-a", metavar="NAME", help="band or column of magnitudes of A; default the calibrated one, that of "
                        "the image's band, the first, or the flux")
    parser.add_argument("--mag-b", metavar="NAME", help="the same of B; default as --mag-a")
    parser.add_argument("--all-columns", action="store_true", help="with all columns of both, their names ending in _1 and _2")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    add_verbosity(parser)


def run(args, console):
    """Match and write; see `crowdsource.cli.commands`."""
    options, key = dict(radius=args.radius, magnitudes=(args.mag_a, args.mag_b), all_columns=args.all_columns), None
    if args.out is not None:
        key = key_of((args.first, args.second), **options)
        check_published(args.out, key, args.overwrite)
    table = match(args.first, args.second, **options)
    if args.out is not None:
        write_catalog(table, args.out, {KEY: key}, overwrite=args.overwrite)
        return [f"{args.out}: {len(table)} stars by the {table.meta['matched_by']}, {table['mag_1'].description} and "
                f"{table['mag_2'].description}"], 0
    table.sort("mag_1")
    shown = [n for n in table.colnames if n in ("ra", "dec", "x", "y") or n.startswith(("mag", "dmag", "colour", "separation"))]
    more = len(table)-SHOWN
    return [*table[shown][:SHOWN].pformat(max_width=-1), f"{len(table)} stars by the {table.meta['matched_by']}"
            + f"; {more} more: name a file with --out for all"*(more > 0)], 0
