"""``crowdsource healpix init``: make a new store."""
from ....survey.store.store import create_store


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument("store", metavar="STORE", help="folder that does not exist or is empty")
    parser.add_argument("--order", type=int, default=5, metavar="K",
                        help="order of the widest pixels; default 5, 3.4 square degrees")
    parser.add_argument("--max-rows", type=int, default=1_000_000, metavar="N",
                        help="number of rows above which a pixel is divided; default 1000000")
    parser.add_argument("--margin", type=float, default=15., metavar="ARCSEC",
                        help="largest distance from which rows beyond a pixel's edge may be needed; default 15")
    parser.add_argument("--bands", nargs="+", default=(), metavar="BAND",
                        help="bands that may be ingested, in their order; any when not given")


def run(args, console):
    """Make the store. Returns the lines to print, and the exit status."""
    store = create_store(args.store, args.order, args.max_rows, args.margin, args.bands)
    bands = ", ".join(store.bands) or "any"
    return [f"{store.path}: an empty store, order {store.order}, at most {store.max_rows} rows a pixel, margin {store.margin:g} "
            f"arcsec, bands: {bands}"], 0
