"""The commands ``crowdsource healpix ...``: a group of commands, see `crowdsource.cli.commands`.

Each module has ``SUMMARY`` beside ``add_arguments(parser)`` and ``run(args, console)``.
"""
from importlib import import_module

from ....core.memory import keep_memory
from ...arguments import add_verbosity, check_workers

__all__ = ("add_arguments", "check_workers", "run")
COMMANDS = ("init", "ingest", "assemble", "export", "cone", "info")
"""In the order of their use."""


def add_arguments(parser):
    """Give the parser one sub-command for each of `COMMANDS`, whose namespace then holds ``command``, its ``run``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"{__name__}.{name}")
        sub = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY.capitalize()+".", allow_abbrev=False)
        module.add_arguments(sub)
        add_verbosity(sub)
        sub.set_defaults(command=module.run)


def run(args, console):
    """Run the chosen command of the group."""
    keep_memory()
    return args.command(args, console)
