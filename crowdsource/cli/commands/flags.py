"""``crowdsource flags``: names of the bits in a catalog's flags."""
from ...core.flags import decode
from ...exposure.instrument import load


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("value", type=lambda v: int(v, 0), metavar="N", help="a value of the column flags, decimal or 0x...")
    parser.add_argument("--instrument", default="generic", metavar="NAME",
                        help="the instrument that defines the lower 32 bits; default generic")


def run(args, console):
    """Decode; see `crowdsource.cli.commands`."""
    return [" ".join(decode(args.value, load(args.instrument).flags)) or "none"], 0
