"""The commands ``crowdsource healpix ...``: a group of commands, see `crowdsource.cli.commands`."""
from importlib import import_module

from ....core.memory import keep_memory
from ...arguments import add_verbosity

COMMANDS = {
    "init": "make a new store of detections",
    "ingest": "bring catalogs into a store",
    "assemble": "make objects of all detections of a store, as a release",
    "export": "write a release for others, as a HATS collection or as one file, and maps of it",
    "cone": "objects or detections of a release within a distance from a position",
    "info": "show what a store holds, and check its files",
}
"""Summaries of the commands, in the order of their use."""


def add_arguments(parser, words):
    """Give the parser one sub-command for each of `COMMANDS`; the one that is wanted is imported and gets its arguments.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    words : sequence of str
        Words of the command line after the group's name; the first names the wanted command.
    """
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary.capitalize()+".")
        if name in words[:1]:
            module = import_module(f"{__name__}.{name}")
            module.add_arguments(sub)
            add_verbosity(sub)
            sub.set_defaults(command=module.run)


def run(args, console):
    """Run the chosen command of the group."""
    keep_memory()
    return args.command(args, console)
