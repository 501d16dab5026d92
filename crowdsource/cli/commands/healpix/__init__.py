"""The commands ``crowdsource healpix ...``: each a module with ``SUMMARY``, ``add_arguments(parser)`` and ``run(args, talk)``.

``run`` gives the lines to print and the exit status; `crowdsource.cli.main` prints them.
"""
from importlib import import_module

from ....core.errors import ConfigError

COMMANDS = ("init", "ingest", "assemble", "export", "cone", "info")
"""In the order of their use."""


def add_commands(parser):
    """Give a parser one sub-command for each of `COMMANDS`, whose namespace then holds ``command``, its ``run``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"{__name__}.{name}")
        sub = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY.capitalize()+".", allow_abbrev=False)
        module.add_arguments(sub)
        sub.set_defaults(command=module.run)
        yield sub


def check_workers(number):
    """Raise `ConfigError` for a number of processes below one."""
    if number < 1:
        raise ConfigError(f"--workers is {number}: it must be at least 1")
