"""``crowdsource status``: how far a run of a manifest is."""
from ...production.manifest import entries_by_label, read_manifest
from ...production.records import OutputPaths, differences
from ...production.status import status_of, write_page
from ..arguments import add_manifest, add_verbosity, run_folder


def add_arguments(parser):
    """Arguments of the command."""
    add_manifest(parser)
    parser.add_argument("--html", metavar="FILE", help="write a web page with the status and the picture of each task")
    parser.add_argument("--verify", action="store_true", help="compare all outputs with the checksums in their records")
    add_verbosity(parser)


def run(args, console):
    """Show the status; the exit status is 0 when all is done, 1 otherwise. See `crowdsource.cli.commands`."""
    entries, out = read_manifest(args.manifest, args.root), run_folder(args)
    state = status_of(entries, out, pictures=args.html is not None)
    lines, wrong = state.lines(), []
    if args.verify:
        records = [paths.record for label in entries_by_label(entries) if (paths := OutputPaths(out, label)).record.is_file()]
        wrong = [p for record in records for p in differences(record)]
        lines += [f"{len(records)} exposures compared with their records, {len(wrong)} files differ", *wrong]
    if args.html is not None:
        write_page(state, f"{out.name}: {state.done} of {state.total}", args.html)
        lines.append(f"{args.html}: {len(state.pictures)} pictures")
    return lines, 1 if wrong or state.ungathered or state.outside or state.done < state.total else 0
