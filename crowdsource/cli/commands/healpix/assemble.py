"""``crowdsource healpix assemble``: make a release of objects."""
from dataclasses import fields

from ....config.mapping import merged
from ....core.docstrings import attributes
from ....core.errors import ConfigError
from ....io.toml import read_toml
from ....survey.objects.assemble import assemble
from ....survey.objects.association import AssociationConfig
from ....survey.objects.average import AverageConfig
from ....survey.objects.pixel_objects import ObjectsConfig
from ....survey.store.store import open_store
from ...arguments import check_workers

SECTIONS = {"association": AssociationConfig, "average": AverageConfig}


def add_arguments(parser):
    """Add the arguments: the store, the release, and the fields of `ObjectsConfig`."""
    parser.add_argument("store", metavar="STORE", help="folder of the store")
    parser.add_argument("--release", required=True, metavar="NAME",
                        help="name of the release: letters, digits, dots, dashes, _")
    parser.add_argument("--previous", metavar="NAME", help="earlier release whose identifiers of objects are kept")
    parser.add_argument("--zero-points", type=int, metavar="VERSION",
                        help="version of the table of zero points; the newest when not given")
    parser.add_argument("--config", metavar="FILE", help="TOML file with tables [association] and [average]; the command "
                        "line overrides it")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; the result does not depend on it")
    for section, kind in SECTIONS.items():
        group, described = parser.add_argument_group(section), attributes(kind)
        for f in fields(kind):
            text = described[f.name][1].rstrip(".").replace("%", "%%")
            spelled = dict(action="store_const", const=True) if isinstance(f.default, bool) else dict(type=type(f.default),
                                                                                                   metavar=f.name.upper())
            group.add_argument("--"+f.name.replace("_", "-"), dest=f"{section}.{f.name}", help=text, **spelled)


def run(args, console):
    """Make the release. Returns the lines to print, and the exit status."""
    check_workers(args.workers)
    store = open_store(args.store)
    with console.progress() as progress, console.processes(args.workers) as executor:
        release = assemble(store, args.release, configured(args), previous=args.previous, zero_points=args.zero_points,
                           executor=executor, progress=progress)
    return summary(release), 0


def configured(args):
    """The `ObjectsConfig` of a file and of the command line."""
    config = ObjectsConfig()
    if args.config:
        try:
            config = merged(config, read_toml(args.config))
        except ConfigError as problem:
            text = str(problem)
            raise ConfigError(text if text.startswith(args.config) else f"{args.config}: {text}") from problem
    given = {section: {f.name: v for f in fields(kind) if (v := getattr(args, f"{section}.{f.name}")) is not None}
             for section, kind in SECTIONS.items()}
    return merged(config, given).checked()


def summary(release):
    """Lines that describe a release."""
    objects, members = (sum(counts) for counts in zip(*release.record["counts"])) if release.pixels else (0, 0)
    lines = [f"{release.path}: {objects} objects of {members} detections in {len(release.pixels)} pixels"]
    lines += [f"  {number} {word}" for word, number in release.record["uses"].items() if number]
    if release.record["previous"]:
        lines.append(f"  identifiers kept from {release.record['previous']}")
    return lines

