"""The commands ``crowdsource plan``, ``run`` and ``status``: each a module as those of `crowdsource.cli.commands.healpix`."""
from importlib import import_module
from pathlib import Path

from ....production.manifest import check_manifest_name


def command(name):
    """The module of a command."""
    return import_module(f"{__name__}.{name}")


def add_manifest(parser):
    """Arguments by which a manifest and the run's folder are named."""
    parser.add_argument("manifest", metavar="MANIFEST", help="from crowdsource plan")
    parser.add_argument("--out", metavar="DIR", help="folder of the results; the manifest without its ending when not given")
    parser.add_argument("--root", nargs="+", action="extend", default=[], metavar="DIR",
                        help="folders in which the manifest's files may lie, beside its own")


def out_of(args):
    """The run's folder."""
    check_manifest_name(args.manifest)
    return Path(args.out) if args.out else Path(args.manifest).with_suffix("")
