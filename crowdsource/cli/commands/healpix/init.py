"""``crowdsource healpix init``: make a new store."""
from ....survey.store.store import create_store


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("store", metavar="STORE", help="folder that is not there or empty")
    parser.add_argument("--order", type=int, default=5, metavar="K", help="of the widest pixels; default 5, 3.4 square degrees")
    parser.add_argument("--max-rows", type=int, default=1_000_000, metavar="N",
                        help="rows above which a pixel is divided; default 1000000")
    parser.add_argument("--margin", type=float, default=15., metavar="ARCSEC",
                        help="how far rows beyond a pixel's edge matter to it, at most; default 15")
    parser.add_argument("--bands", nargs="+", default=(), metavar="BAND",
                        help="those that may come, in order; any when not given")


def run(args, console):
    """Make the store. Returns lines and exit status."""
    store = create_store(args.store, args.order, args.max_rows, args.margin, args.bands)
    bands = ", ".join(store.bands) or "any"
    return [f"{store.path}: an empty store, order {store.order}, at most {store.max_rows} rows a pixel, margin {store.margin:g} "
            f"arcsec, bands: {bands}"], 0
