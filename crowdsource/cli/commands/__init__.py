"""The commands, one module each.

A command module has

``add_arguments(parser)``
    adds the command's arguments to its parser;
``run(args, console)``
    does the work and returns (lines, status): the lines to print unless the user wants ``--quiet``, and the exit status, 0 when
    all went well, 1 when some of it failed. `console` is a `crowdsource.cli.console.Console`: its ``progress`` shows a bar, its
    ``processes`` gives an executor, its ``print`` prints an answer that ``--quiet`` does not suppress.

What the commands do is said here, so that ``crowdsource --help`` needs none of the modules. A module is imported by its name when
its command is asked for: this is the only place where modules of the project are imported later than at the top of a file for the
sake of the command's start. A group of commands, such as ``healpix``, is a package of the same kind whose ``run`` runs the chosen
one. Its ``add_arguments(parser, words)`` also takes the words of the command line that follow the group's name: it adds a parser
for each command of the group, and imports the one that is asked for.

``fit`` is the module of all instruments' commands; its parser's default ``instrument`` is set before ``add_arguments``.
"""
from importlib import import_module

COMMANDS = {
    "plan": "find the exposures in folders and write a manifest of what is to be fitted",
    "run": "fit what a manifest lists, on this machine or a cluster; continues where an earlier run ended",
    "status": "show the progress of a run of a manifest",
    "joint": "fit many images of one field at once: one list of stars, and their light curves",
    "completeness": "add artificial stars to an image and fit it again: what is found, how deep, how right fluxes and errors are",
    "match": "match two catalogs, by the sky or by the pattern of their stars: magnitudes, colours, separations",
    "calibrate": "find zero point and colour term of a catalog against a reference, and add calibrated magnitudes",
    "report": "write pages that show what came of a fit, a run, a release or an object",
    "healpix": "combine catalogs into objects and releases, by HEALPix",
    "simulate": "simulate a field of stars with known truth",
    "simulate-survey": "simulate catalogs of many exposures of stars with known truth",
    "demo": "fit the packaged field and compare the catalog with the truth",
    "flags": "show the names of the bits in a value of the column flags",
}
"""Summaries of the commands, in the order of the help."""
GROUPS = {"healpix"}
"""Those of them that are groups of commands."""
TAKES_WORDS = {*GROUPS, "completeness"}
"""Commands whose arguments depend on the words that follow: of groups, and of images that have instruments' options."""


def command_module(name):
    """The module of a command, imported now."""
    return import_module(f"{__name__}.{name.replace('-', '_')}")
