"""``crowdsource report``: pages that show what came of a fit, a run, a release or an object."""
import os
from pathlib import Path
from urllib.parse import quote

from ...api.pages import write_report
from ...core.errors import ConfigError, CrowdsourceError
from ...exposure.tasks import page_name
from ...production.manifest import ENDINGS, read_manifest
from ...production.records import OutputPaths
from ...production.run_page import PAGE, figures_of_run, is_run, write_run_page
from ...report.page import check_extra, check_page
from ...survey.exports.release_reader import ReleaseReader
from ...survey.objects.release import open_release
from ...survey.pages.object_page import write_object_page
from ...survey.pages.release_page import write_release_page
from ...survey.store.store import STORE_FILE, open_store
from ..arguments import add_verbosity
from .healpix.cone import only_release


def add_arguments(parser):
    """Arguments of the command."""
    parser.add_argument("sources", nargs="+", metavar="CATALOG|RUN|STORE",
                        help="a catalog of a fit, the folder of a run, or a store with releases; or several of these")
    parser.add_argument("-o", "--out", metavar="DIR", help="folder of the pages, or the name of the only one; default beside the "
                        "catalog, in the run's folder, or the current one for a store")
    fit = parser.add_argument_group("of a catalog")
    fit.add_argument("--image", metavar="FILE[:HDU]", help="the image that was fitted; default where it was then")
    fit.add_argument("--model", metavar="FILE", help="the model file; default NAME.mod.fits beside the catalog")
    fit.add_argument("--completeness", metavar="FILE", help="what crowdsource completeness has written; default "
                     "NAME.completeness.fits beside the catalog")
    fit.add_argument("--detector", metavar="NAME", help="of a catalog of several; default all, each with its page")
    run_ = parser.add_argument_group("of a run")
    run_.add_argument("--manifest", metavar="FILE", help="the manifest, which tells of what was not fitted; default RUN.ecsv")
    run_.add_argument("--each", action="store_true", help="write pages of all exposures, too, that have none")
    store = parser.add_argument_group("of a store")
    store.add_argument("--release", metavar="NAME", help="the only one when not given")
    store.add_argument("--object", type=int, metavar="ID", help="the page of this object, by its object_id")
    parser.add_argument("--overwrite", action="store_true", help="replace pages that exist")
    add_verbosity(parser)


def run(args, console):
    """Write the pages; see `crowdsource.cli.commands`."""
    check_extra()
    if len(args.sources) > 1 and args.out is not None and Path(args.out).suffix == ".html":
        raise ConfigError(f"--out {args.out} is one page for {len(args.sources)} sources: name a folder")
    lines, status = [], 0
    for source in map(Path, args.sources):
        try:
            lines += _pages(source, args, console)
        except CrowdsourceError as problem:
            if len(args.sources) == 1:
                raise
            console.error(f"{source}: {problem}" if str(source) not in str(problem) else str(problem))
            status = 1
    return lines, status


def _pages(source, args, console):
    """Pages of one source; gives lines about them."""
    if (source/STORE_FILE).is_file():
        return _of_store(source, args)
    if source.is_dir():
        if is_run(source):
            return _of_run(source, args, console)
        raise ConfigError(f"{source}: is neither the folder of a run nor a store; give one, or a catalog")
    pages = write_report(source, args.out, detector=args.detector, model=args.model, image=args.image,
                         completeness=args.completeness, overwrite=args.overwrite)
    return [_told(p) for p in pages]


def _told(path):
    return f"{path}: {os.path.getsize(path)/1e6:.1f} MB"


def _place(args, usual, name):
    """Where a page goes."""
    out = usual if args.out is None else Path(args.out)
    return out if out.suffix == ".html" else out/name


def _of_store(source, args):
    store = open_store(source)
    with store.reading():
        survey = ReleaseReader(store, open_release(store, args.release or only_release(store)))
        what = survey.release.name if args.object is None else f"{survey.release.name}-{args.object}"
        path = _place(args, Path(), f"{what}.html")
        check_page(path, args.overwrite)
        if args.object is None:
            write_release_page(survey, path, args.overwrite)
        else:
            write_object_page(survey, args.object, path, args.overwrite)
    return [_told(path)]


def _of_run(source, args, console):
    path = _place(args, source, PAGE)
    beside = (source.with_suffix(ending) for ending in ENDINGS)
    manifest = args.manifest or next((path for path in beside if path.is_file()), None)
    check_page(path, args.overwrite)
    entries = [] if manifest is None else read_manifest(manifest)
    lines = _each(source, path, args, console) if args.each else []
    write_run_page(figures_of_run(source, entries), path, f"Run {source.absolute().name}", args.overwrite)
    return [*lines, _told(path)]


def _each(source, path, args, console):
    """Write pages of a run's catalogs that have none."""
    written = 0
    catalogs = sorted(p for p in source.glob("*/*.cat.fits") if p == OutputPaths(source, p.parent.name).catalog)
    with console.progress() as progress:
        for k, catalog in enumerate(catalogs, 1):
            name = page_name(catalog)
            if args.overwrite or not any(catalog.parent.glob(f"{name.removesuffix('.html')}*.html")):
                back = ("the run", quote(os.path.relpath(path.absolute(), catalog.parent.absolute())))
                try:
                    written += len(write_report(catalog, back=back, overwrite=True))
                except CrowdsourceError as problem:
                    console.error(str(problem))
            if progress:
                progress("pages", k, len(catalogs), {})
    return [f"{written} pages of exposures"]
