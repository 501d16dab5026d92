"""Arguments and checks that several commands share."""
import argparse
import re
from math import inf
from pathlib import Path

from ..core.errors import ConfigError, CrowdsourceError
from ..io.image_name import ImageName

BAD_INPUT = 2
"""Exit status where nothing was done for bad input."""


def add_verbosity(group):
    """Add ``--verbose`` and ``--quiet`` to a parser or a group of arguments."""
    choice = group.add_mutually_exclusive_group()
    choice.add_argument("--verbose", action="store_true", help="log more details")
    choice.add_argument("--quiet", action="store_true", help="log only errors")


def add_memory(group):
    """Add ``--memory``, the budget for what files claim to hold; `crowdsource.core.memory.budget` tells the default."""
    group.add_argument("--memory", dest="file_memory", type=converter(_megabytes), metavar="MB",
                       help="refuse files that need more memory; default three quarters of what the machine or its cgroup has")


def add_manifest(parser):
    """Add the arguments that name a manifest and the folder of its run."""
    parser.add_argument("manifest", metavar="MANIFEST", help="table written by crowdsource plan")
    parser.add_argument("--out", metavar="DIR", help="folder of the results; default the name of the manifest without its ending")
    parser.add_argument("--root", nargs="+", action="extend", default=[], metavar="DIR",
                        help="folders in which the manifest's files may lie, in addition to its own")


def add_executor(group):
    """Add the arguments that say where tasks are done."""
    group.add_argument("--executor", default="processes", metavar="NAME",
                       help="processes (default), threads, dask, or one that a package registers")
    group.add_argument("--scheduler", metavar="ADDRESS", help="address of the scheduler of a running Dask cluster, as tcp://host:8786")
    group.add_argument("--workers", type=int, default=1, metavar="N", help="tasks done at the same time; default 1")


def is_file(word):
    """Whether a word of the command line names an image or table that is there."""
    try:
        return ImageName.parse(word).path.is_file()
    except CrowdsourceError:
        return False


def run_folder(args):
    """The folder of a run, from the arguments of `add_manifest`."""
    return Path(args.out) if args.out else Path(args.manifest).with_suffix("")


def converter(convert):
    """A type for argparse from a function that raises ValueError: argparse shows the message of ArgumentTypeError only."""
    def converted(text):
        try:
            return convert(text)
        except ValueError as problem:
            raise argparse.ArgumentTypeError(f"{text!r} cannot be used: {problem}") from problem
    return converted


def _count(text):
    if not re.fullmatch("[1-9][0-9]*", text):
        raise ValueError("a whole number of at least 1 is needed")
    return int(text)


def _megabytes(text):
    value = float(text)
    if not 0 < value < inf:
        raise ValueError("a positive number is needed")
    return value


count = converter(_count)
"""A whole number of at least 1."""


def option_pairs(words):
    """(name, value) of options of an adapter, from words NAME=VALUE.

    Raises
    ------
    ConfigError
        When a word is none.
    """
    wrong = [w for w in words if "=" not in w]
    if wrong:
        raise ConfigError(f"--option {wrong[0]}: give NAME=VALUE")
    return tuple(tuple(w.split("=", 1)) for w in words)


def check_workers(number):
    """Raise `ConfigError` for a number of processes below one."""
    if number < 1:
        raise ConfigError(f"--workers is {number}: it must be at least 1")
