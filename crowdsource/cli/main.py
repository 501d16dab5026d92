"""The command ``crowdsource``: parses the arguments, runs a command and prints what it returns."""
import argparse
import sys

import crowdsource

from ..core.errors import CrowdsourceError, InstrumentError
from ..core.memory import memory_budget
from ..core.nearest import did_you_mean
from ..exposure.instrument import load, recognised, registered
from ..io.hdus import existing, names_beside
from ..io.image_name import ImageName
from .arguments import BAD_INPUT, is_file
from .commands import COMMANDS, TAKES_WORDS, command_module
from .console import open_console
from .parser import Parser

INTERRUPTED = 130
USAGE = "crowdsource IMAGE [IMAGE ...] [options]\n       crowdsource COMMAND ..."
EPILOG = ("The kind of an image is recognised; crowdsource IMAGE --help shows the options of its kind, crowdsource COMMAND "
          "--help those of a command.")
DESCRIPTION = "Crowded-field photometry: all stars of an exposure fitted at once, with PSF, sky and honest errors."


def main(argv=None):
    """Run the command ``crowdsource``.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; those of the process when not given.

    Returns
    -------
    int
        Exit status: 0 when all went well, 1 when some detectors failed, 2 for bad input.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    with open_console() as console:
        try:
            args = build_parser(argv).parse_args(argv)
            quiet = getattr(args, "quiet", False)
            console.configure(getattr(args, "verbose", False), quiet)
            with memory_budget(getattr(args, "file_memory", None)):
                lines, status = args.run(args, console)
            console.print(*([] if quiet else lines))
            return status
        except CrowdsourceError as problem:
            console.error(str(problem))
            return BAD_INPUT
        except MemoryError as problem:
            console.error(f"there is not enough memory ({problem or 'the system gives no more'}); give less at a time")
            return BAD_INPUT
        except KeyboardInterrupt:
            print("crowdsource: interrupted", file=sys.stderr)
            return INTERRUPTED


def main_generic(argv=None):
    """Run the command ``crowdsource-generic``, which is ``crowdsource generic``."""
    return main(["generic", *(sys.argv[1:] if argv is None else argv)])


def main_decam(argv=None):
    """Run the command ``crowdsource-decam``, which is ``crowdsource decam``."""
    return main(["decam", *(sys.argv[1:] if argv is None else argv)])


def main_wise(argv=None):
    """Run the command ``crowdsource-wise``, which is ``crowdsource wise``."""
    return main(["wise", *(sys.argv[1:] if argv is None else argv)])


def main_healpix(argv=None):
    """Run the command ``crowdsource-healpix``, which is ``crowdsource healpix``."""
    return main(["healpix", *(sys.argv[1:] if argv is None else argv)])


def build_parser(argv=()):
    """The parser. Only the command that `argv` names gets its options: they come from its module and its adapter.

    Where the first word is no command it is an image, and the options are those of the instrument whose file it is.

    Raises
    ------
    DataFileError
        When it is an image's name, but there is no such file.
    InstrumentError
        When the instrument that is named cannot be loaded.
    """
    wanted, *words = [a for a in argv if not a.startswith("-")] or [None]
    names = [*registered(), *COMMANDS]
    if wanted is not None and wanted not in names:
        return _image_parser([wanted, *words], names)
    parser = Parser(prog="crowdsource", usage=USAGE, description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(prog="crowdsource", metavar="COMMAND", required=True)
    # a version needs no instrument, and loading them takes longer than all else
    loaded = () if wanted is None and "--version" in argv else registered()
    for name in loaded:
        _add_instrument(commands, name, wanted)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary.capitalize()+".")
        if wanted == name:
            _add_command(sub, name, *([words] if name in TAKES_WORDS else []))
    return parser


def _image_parser(words, commands):
    """The parser of ``crowdsource IMAGE ...``, with the options of the instrument whose file the first image is."""
    first, path = words[0], ImageName.parse(words[0]).path
    if first == path.name and not (path.exists() or path.suffix):
        Parser(prog="crowdsource", usage=USAGE).error(
            f"{first} is no command and no file{did_you_mean(first, [*commands, *names_beside(path)])}; crowdsource --help lists "
            "all commands")
    image = next((w for w in words if is_file(w)), None) or str(existing(path, "an image"))
    instrument = recognised(image)
    parser = Parser(prog="crowdsource", help_by="crowdsource IMAGE", usage=f"crowdsource {instrument.image_metavar} [IMAGE ...] "
                    "[options]", description=f"Fit {instrument.summary}.")
    parser.set_defaults(instrument=instrument, recognised=True)
    _add_command(parser, "fit")
    return parser


def _add_command(parser, name, *words):
    module = command_module(name)
    module.add_arguments(parser, *words)
    parser.set_defaults(run=module.run)


def _add_instrument(commands, name, wanted):
    """Add the command of an instrument. One that cannot be loaded is an error only when it is the wanted one."""
    instrument, summary = None, ""
    if wanted in (None, name):
        try:
            instrument = load(name)
            summary = instrument.summary
        except InstrumentError as problem:
            if wanted == name:
                raise
            summary = str(problem)
    sub = commands.add_parser(name, help=f"fit {summary}".replace("%", "%%"), description=f"Fit {summary}.")
    if wanted == name:
        sub.set_defaults(instrument=instrument, recognised=False)
        _add_command(sub, "fit")


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        print(f"crowdsource {crowdsource.__version__}")
        parser.exit()
