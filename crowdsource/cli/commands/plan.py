"""``crowdsource plan``: look for exposures in folders and write a manifest of what is to be fitted."""
from ...core.errors import ConfigError, DataFileError
from ...io.atomic import check_output
from ...production.manifest import check_manifest_name, write_manifest
from ...production.plan import PlanRequest, plan
from ..arguments import add_memory, add_verbosity, check_workers, option_pairs


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("names", nargs="+", metavar="FOLDER", help="files, or folders, which are searched recursively")
    parser.add_argument("--out", required=True, metavar="MANIFEST", help="table to write, .ecsv or .parquet")
    parser.add_argument("--instrument", metavar="NAME", help="adapter for all files; default the one that claims each file")
    parser.add_argument("--option", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
                        help="options of the adapter; {path}, {folder}, {name} and {stem} stand for parts of each file's name")
    parser.add_argument("--pattern", metavar="GLOB",
                        help="names of the files in folders; default those with the usual endings of FITS")
    parser.add_argument("--no-count", action="store_true",
                        help="estimate the number of stars without reading an image of each exposure")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="files read at the same time; default 1")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing manifest")
    add_memory(parser)
    add_verbosity(parser)


def run(args, console):
    """Plan; see `crowdsource.cli.commands`."""
    check_workers(args.workers)
    check_manifest_name(args.out)
    # the same manifest that is there already is no error
    check_output(args.out, overwrite=True)
    options = option_pairs(args.option)
    if args.option and not args.instrument:
        raise ConfigError("--option needs the adapter whose option it is: name it (--instrument)")
    request = PlanRequest(args.instrument, options, args.pattern, not args.no_count)
    with console.progress() as progress:
        found = plan(args.names, request, args.workers, progress)
    for path in found.unclaimed:
        console.log.info("%s: no instrument claims it", path)
    for e in found.problems:
        console.log.error("%s", e.problem)
    if not found.entries:
        raise DataFileError(args.names[0], f"holds no exposure; no instrument claims the {len(found.unclaimed)} FITS files "
                            "there: name one, as --instrument generic")
    write_manifest(found.entries, args.out, args.overwrite)
    good = [e for e in found.entries if not e.problem]
    lines = [f"{args.out}: {len(good)} detectors of {len({e.label for e in good})} exposures, about "
             f"{sum(e.stars for e in good):,.0f} stars, {sum(e.cpu for e in good)/3600:.2f} CPU hours, at most "
             f"{max((e.memory for e in good), default=0):,.0f} MB for one detector; {len(found.problems)} files cannot be used, "
             f"{len(found.unclaimed)} are claimed by no instrument"
             +(" (images of any origin: --instrument generic)" if found.unclaimed else "")]
    return lines, 1 if found.problems else 0
