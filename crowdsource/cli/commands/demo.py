"""``crowdsource demo``: fit the packaged field and compare with its truth."""
from ..arguments import add_verbosity, count
from ..demo import run_demo


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("--out", default="demo-output", metavar="FOLDER",
                        help="folder for catalog and picture; default demo-output")
    parser.add_argument("--threads", type=count, default=1, metavar="N", help="threads of the fit; default 1")
    add_verbosity(parser)


def run(args, console):
    """Fit and compare; the scores are printed even with ``--quiet``. See `crowdsource.cli.commands`."""
    with console.progress() as progress:
        lines = run_demo(args.out, args.threads, progress)
    console.print(*lines)
    return [], 0
