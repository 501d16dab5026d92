"""``crowdsource simulate-survey``: make catalogs of many exposures of stars whose truth is known."""
from dataclasses import fields

from ...core.docstrings import attributes
from ...simulate.survey.config import SurveyConfig
from ...simulate.survey.files import write_survey
from ..arguments import add_verbosity
from ..parser import with_default


def add_arguments(parser):
    """Arguments from the fields of `SurveyConfig`, and where files are written."""
    parser.add_argument("out", metavar="OUT", help="folder of the files; created if it does not exist")
    described = attributes(SurveyConfig)
    for f in fields(SurveyConfig):
        several = isinstance(f.default, tuple)
        kind = type(f.default[0] if several else f.default)
        number = dict(nargs="+" if kind is str else len(f.default)) if several else {}
        parser.add_argument("--"+f.name.replace("_", "-"), type=kind, metavar=f.name.upper(),
                            help=with_default(described[f.name][1].rstrip("."), f.default).replace("%", "%%"), **number)
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_verbosity(parser)


def given_values(args):
    """The fields of `SurveyConfig` that the command line gives, by name."""
    values = {f.name: getattr(args, f.name) for f in fields(SurveyConfig)}
    return {n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if v is not None}


def run(args, console):
    """Simulate; see `crowdsource.cli.commands`."""
    config = SurveyConfig(**given_values(args))
    with console.progress() as progress:
        written = write_survey(config, args.out, args.overwrite, progress)
    return [f"{args.out}: {config.stars} stars, {len(written)} exposures, {sum(rows for _, rows in written)} detections"], 0
