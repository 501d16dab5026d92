"""``crowdsource calibrate``: zero point and colour term of a catalog against a reference."""
from ...catalogs.calibrated_files import calibrate_file
from ..arguments import add_verbosity


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("catalog", metavar="CATALOG", help="catalog with fluxes; mag_cal and dmag_cal are added to it, and "
                        "what was found is written into its header or meta")
    parser.add_argument("reference", metavar="REFERENCE", help="catalog of known magnitudes, in any usual naming of columns")
    parser.add_argument("--band", metavar="BAND", help="band or column of the reference; default the image's band")
    parser.add_argument("--colour", metavar="BLUE-RED", help="bands or columns of the reference for the colour term, as g-r, or "
                        "none; default the usual ones for the band")
    parser.add_argument("--radius", type=float, metavar="DISTANCE", help="largest distance of a pair, arcsec, or pixels of the "
                        "reference where it has no sky positions; default half of the seeing, or 1 arcsec or 2 pixels")
    parser.add_argument("-o", "--out", metavar="FILE", help="write the calibrated catalog there; default the catalog itself is "
                        "replaced")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    add_verbosity(parser)


def run(args, console):
    """Calibrate and write; see `crowdsource.cli.commands`."""
    found = calibrate_file(args.catalog, args.reference, band=args.band, colour=args.colour, radius=args.radius, out=args.out,
                           overwrite=args.overwrite)
    return [f"{args.out or args.catalog}: {line}" for line in found.lines()], 0
