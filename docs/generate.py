"""Write the parts of the documentation that the code itself knows.

A page holds a generated part between a line ``<!-- generated: NAME -->`` and the next ``<!-- end -->``. ``python
docs/generate.py`` writes all parts anew, ``--check`` only names the pages that are out of date, ``--picture`` makes the
README's picture by the demo. A test holds the pages up to date.
"""
import argparse
import ast
import csv
import inspect
import io
import re
import sys
import tomllib
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

from crowdsource.instruments.formats.registry import IMAGE_FORMATS

from crowdsource.cli.main import build_parser
from crowdsource.cli.parser import help_of
from crowdsource.config import PRESETS, FitConfig, as_mapping
from crowdsource.config.extensions import PARTS as EXCHANGEABLE
from crowdsource.core.docstrings import attributes
from crowdsource.core.flags import ENGINE, MASK_SHIFT
from crowdsource.engine import schema
from crowdsource.exposure.instrument import INSTRUMENTS, load
from crowdsource.joint.config import JointConfig
from crowdsource.production import manifest
from crowdsource.production.executors import EXECUTORS
from crowdsource.psf.registry import PSF_FORMATS, PSF_MODELS
from crowdsource.simulate import SIMULATED, Cluster, SimulationConfig
from crowdsource.simulate.survey import SurveyConfig
from crowdsource.survey.objects import columns as sky_columns
from crowdsource.survey.objects.association import AssociationConfig
from crowdsource.survey.objects.average import USES, AverageConfig
from crowdsource.validate.completeness import colours, curve, purity, surfaces, trial

ROOT = Path(__file__).parent.parent
OTHER_PARTS = {"`psf` of `fit`": PSF_MODELS, "`--psf`": PSF_FORMATS, "`--file-format`": IMAGE_FORMATS, "`--executor`": EXECUTORS,
               "`crowdsource NAME`": INSTRUMENTS}
"""Registries of what is not chosen in a configuration, by how it is chosen."""
PAGES = [ROOT/"README.md", *sorted((ROOT/"docs").glob("*.md"))]
MARKED = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.S)
PICTURE = ROOT/"docs"/"images"/"demo.png"
PICTURE_DPI, PICTURE_COLOURS = 96, 256


def table(head, rows):
    """A Markdown table; bars in its cells are escaped, in code too."""
    lines = [head, ["---"]*len(head), *rows]
    return "\n".join("| "+" | ".join(str(v).replace("|", "\\|") for v in line)+" |" for line in lines)


def columns():
    """The catalog's columns."""
    return schema.documentation()


def described(module):
    """Columns of a table of completeness, as a module describes them."""
    return table(["column", "meaning"], [[f"`{name}`", text] for name, text in module.DESCRIPTIONS.items()])


def sky_table(parts, ending=""):
    """Columns of objects or of their members; the band stands for its name."""
    return table(["column", "type", "unit", "UCD", "definition"],
                 [[f"`{c.name}{ending if part is sky_columns.BAND_COLUMNS else ''}`", c.dtype, c.unit, c.ucd,
                   c.description.format(band="the band", system="AB or Vega")] for part in parts for c in part])


def flag_table(flags, shift=0):
    """The bits of one namespace; `shift` is where the plane starts in the catalog's column."""
    return table(["bit", "bit in `flags`", "name", "what a set bit says"],
                 [[d.bit, d.bit+shift, f"`{d.name}`", d.description] for d in flags.definitions])


def fields_table(cls, prefix=""):
    """A table of a dataclass's fields with their defaults; those that are dataclasses themselves are left out."""
    said, rows = attributes(cls), []
    default = None if any(f.default is MISSING and f.default_factory is MISSING for f in fields(cls)) else cls()
    for f in fields(cls):
        value = getattr(default, f.name, None)
        if not is_dataclass(value):
            kind, text = said[f.name]
            rows.append([f"`{prefix}{f.name}`", kind, "" if default is None else f"`{shown(value)}`", text])
    return table(["option", "type", "default", "meaning"], rows)


def shown(value):
    """A value as TOML writes it."""
    if isinstance(value, (tuple, list)):
        return "["+", ".join(shown(v) for v in value)+"]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def configuration():
    """All of a fit's options, stage by stage."""
    parts = [fields_table(FitConfig)]
    for f in fields(FitConfig):
        stage = getattr(FitConfig(), f.name)
        if is_dataclass(stage):
            first = inspect.cleandoc(type(stage).__doc__).partition("\n")[0]
            parts.append(f"## `[{f.name}]`\n\n{first}\n\n{fields_table(type(stage), f.name+'.')}")
    return "\n\n".join(parts)


def flat(mapping, prefix=""):
    """Nested mappings as one, with dotted names."""
    out = {}
    for name, value in mapping.items():
        out.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix+name: value})
    return out


def differences():
    """{option: its value in each preset} where the presets differ."""
    values = {name: flat(as_mapping(preset())) for name, preset in PRESETS.items()}
    return {option: [v[option] for v in values.values()] for option in values["default"]
            if len({repr(v[option]) for v in values.values()}) > 1}


def reasons():
    """{option: why the default differs}, from docs/presets.toml."""
    return flat(tomllib.loads((ROOT/"docs"/"presets.toml").read_text(encoding="utf-8")))


def presets():
    """Where the presets differ, and why."""
    why = reasons()
    return table(["option", *(f"`{name}`" for name in PRESETS), "why the default differs"],
                 [[f"`{option}`", *(f"`{shown(v)}`" for v in values), why.get(option, "")]
                  for option, values in differences().items()])


def saved(name):
    """Rows of a table in benchmarks, as dicts; none where it has not been measured yet."""
    path = ROOT/"benchmarks"/"peers"/name
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))) if path.exists() else []


SENSITIVITY = "found_5_7", "found_7_10", "spurious", "pull", "bias", "scatter"
"""Figures whose changes are shown beside each tuned constant."""
SHORT = ("field", "program", "CPU s", "CPU ratio", "MB", "found % at S/N 3-5/5-7/7-10/10-20/20-50/50+", "spurious %")


def peers(names, short):
    """The comparison with other programs: rows of ours.csv, and of elsewhere.csv with the CPU times of another machine."""
    rows = saved("ours.csv")
    have = {(r["field"], r["program"]) for r in rows}
    for row in saved("elsewhere.csv"):
        if (row["field"], row["program"]) not in have:
            rows.append({**row, "CPU s": f"({row['CPU s']})", "CPU ratio": ""})
    if not rows:
        return "*Not measured yet.*"
    head = [c for c in rows[0] if not short or c in SHORT]
    lines = []
    for field in names:
        of_field = sorted((r for r in rows if r["field"] == field), key=lambda r: not r["program"].startswith("this"))
        for k, row in enumerate(of_field):
            mark = "**" if row["program"].startswith("this") else ""
            cells = {c: f"{mark}{row[c]}{mark}" if row.get(c) else "" for c in head}
            lines.append([field if k == 0 else "", *(cells[c] for c in head[1:])])
    return table(head, lines)


def machine():
    """When and where the tables were measured."""
    path = ROOT/"benchmarks"/"peers"/"machine.txt"
    return f"Measured {path.read_text(encoding='utf-8').strip()}." if path.exists() else "*Not measured yet.*"


def calibrated():
    """The tuned constants with what they were derived from, as benchmarks/calibrate/constants.py saved them."""
    groups = tomllib.loads((ROOT/"data"/"calibration.toml").read_text(encoding="utf-8"))
    about = groups.pop("derivation")
    figures = [about["figures"].index(name) for name in SENSITIVITY]
    constants = {f"{group}.{name}": one for group, names in groups.items() for name, one in names.items()}
    rows = [[f"`{name}`", shown(one["value"]), one["unit"], one["objective"], shown(one["derived"]), shown(one["tolerance"]),
             one["result"], *("/".join(f"{one[key][k]:+.1f}" for k in figures) for key in ("down", "up"))]
            for name, one in constants.items()]
    smaller = "a fifth smaller: found at S/N 5-7/found at 7-10/spurious/pull/bias/scatter"
    return f"Derived {about['date']} by `{about['script']}`.\n\n"+table(
        ["constant", "value", "unit", "objective", "derived", "tolerance", "result", smaller, "a fifth larger: the same"], rows)


def own_fields():
    """Scores on the fields of our own, as benchmarks/peers/run.py saved them."""
    rows = saved("own.csv")
    return table(list(rows[0]), [list(r.values()) for r in rows]) if rows else "*Not measured yet.*"


def commands_of(parser):
    """The parsers of a parser's commands, by name."""
    return next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices


def options(command):
    """The options of a command, from its own parser."""
    return options_of(commands_of(build_parser([command]))[command])


def options_of_all(command):
    """The options of each of a command's own commands."""
    return "\n\n".join(f"### `crowdsource {command} {name}`\n\n{parser.description}\n\n{options_of(parser)}"
                       for name in commands_of(commands_of(build_parser([command]))[command])
                       for parser in [commands_of(commands_of(build_parser([command, name]))[command])[name]])


def options_of(parser):
    """The options of a parser."""
    parts = []
    for group in parser._action_groups:
        rows = [[spelled(a), help_of(a).replace("%%", "%").replace("<", "&lt;")] for a in group._group_actions
                if a.dest != "help"]
        if rows:
            title = {"positional arguments": "Arguments", "options": "Options"}.get(group.title, group.title.capitalize())
            parts.append(f"**{title}**\n\n{table(['option', 'meaning'], rows)}")
    return "\n\n".join(parts)


def spelled(action):
    """How an option is typed: its name and what comes after it."""
    after = () if action.nargs == 0 else action.metavar if isinstance(action.metavar, tuple) else (
        [action.metavar or action.dest.upper()]*(action.nargs if isinstance(action.nargs, int) else 1))
    more = ["..."] if action.nargs == "+" else []
    return "`"+" ".join([*action.option_strings[:1], *after, *more])+"`"


def simulation():
    """Options of a simulated field."""
    return fields_table(SimulationConfig)+"\n\n### A cluster\n\n"+fields_table(Cluster)


def decam_simulation():
    """What a simulated CCD of DECam has otherwise than a simulated field."""
    from crowdsource.instruments.decam.simulation import DEFAULTS
    return unlike_a_field(DEFAULTS, "DECam's")


def wise_simulation():
    """What a simulated tile of WISE has otherwise than a simulated field."""
    from crowdsource.instruments.wise.simulation import CHOSEN, DEFAULTS
    return unlike_a_field(DEFAULTS, "WISE's", CHOSEN)


def unlike_a_field(defaults, whose, names=None):
    """An instrument's defaults of a simulation, some or all, where they are not those of a field."""
    return table(["option", whose], [[f"`--{f.name.replace('_', '-')}`", f"`{shown(getattr(defaults, f.name))}`"]
                                     for f in fields(defaults) if getattr(defaults, f.name) != f.default
                                     and (names is None or f.name in names)])


def layers():
    """The layers of rooms, highest first, from the contract that import-linter holds."""
    contracts = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    names = next(c["layers"] for c in contracts if c["type"] == "layers")
    return "\n".join(["```", *names, "```"])


def first_line(path):
    """The first line of the docstring of a module, or of the comment that a kernel's file begins with."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return text.partition('"""')[2].partition('"""')[0].strip().partition("\n")[0]


def rooms():
    """All modules, room by room: a table of each folder, titled by what its `__init__` says of it."""
    parts = []
    for top in (ROOT/"crowdsource", ROOT/"instruments", ROOT/"cython_ext"):
        for folder in sorted(p.parent for p in top.rglob("__init__.py")):
            names = sorted(p for p in folder.iterdir() if p.suffix in (".py", ".pyx") and p.name != "__init__.py")
            if names:
                name = folder.relative_to(ROOT/"crowdsource" if top.name == "crowdsource" else ROOT)
                parts.append(f"### `{name}/`\n\n{first_line(folder/'__init__.py')}\n\n"
                             +table(["module", "what it does"], [[f"`{p.name}`", first_line(p)] for p in names]))
    return "\n\n".join(parts)


def parts_of_a_fit():
    """What can be exchanged: the option, the project's own choices and the entry-point group of others."""
    registries = {f"`{section}.{option}`": registry for (section, option), registry in EXCHANGEABLE.items()} | OTHER_PARTS
    rows = [[registry.kind, option, ", ".join(f"`{name}`" for name in own_names(registry)), f"`{registry.group}`"]
            for option, registry in registries.items()]
    return table(["part", "option", "the project's own", "entry-point group"], rows)


def image_formats():
    """Forms of image files: what they are, where noise and flags are, and which bits exclude a pixel."""
    rows = []
    for name in IMAGE_FORMATS.own:
        form = IMAGE_FORMATS.load(name)
        bits = form.bits.names(form.bits.forbids) if form.bits.known else ""
        planes = (form.images, [n for _, n in form.noises], form.flag_planes)
        rows.append([f"`{name}`", form.summary, *(", ".join(f"`{n}`" for n in names) for names in planes), bits])
    return table(["`--file-format`", "a file of it is", "images", "noise", "flags", "bits that exclude a pixel"], rows)


def own_names(registry):
    """Names of the project's own parts, those that it registers by entry points included."""
    project = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))["project"]
    return (*registry.own, *project["entry-points"].get(registry.group, ()))


PARTS = {
    "layers": layers,
    "rooms": rooms,
    "parts_of_a_fit": parts_of_a_fit,
    "image_formats": image_formats,
    "generic_options": lambda: options("generic"),
    "decam_options": lambda: options("decam"),
    "wise_options": lambda: options("wise"),
    "healpix_options": lambda: options_of_all("healpix"),
    **{f"{name}_options": lambda name=name: options(name) for name in ("plan", "run", "status", "joint", "match", "calibrate",
                                                                              "report", "completeness")},
    "simulate_options": lambda: options("simulate"),
    "demo_options": lambda: options("demo"),
    "flags_options": lambda: options("flags"),
    "columns": columns,
    "completeness_stars": lambda: described(trial), "completeness_surface": lambda: described(surfaces),
    "completeness_curve": lambda: described(curve), "completeness_purity": lambda: described(purity),
    "completeness_colour": lambda: described(colours),
    "object_columns": lambda: sky_table((sky_columns.OBJECT_COLUMNS, sky_columns.MOTION_COLUMNS, sky_columns.BAND_COLUMNS), "_*"),
    "member_columns": lambda: sky_table((sky_columns.MEMBER_COLUMNS,)),
    "uses": lambda: table(["`use`", "meaning"], USES.items()),
    "association": lambda: fields_table(AssociationConfig, "association."),
    "average": lambda: fields_table(AverageConfig, "average."),
    "engine_flags": lambda: flag_table(ENGINE, MASK_SHIFT),
    "simulated_flags": lambda: flag_table(SIMULATED),
    "decam_flags": lambda: flag_table(load("decam").flags),
    "wise_flags": lambda: flag_table(load("wise").flags),
    "configuration": configuration,
    "joint_configuration": lambda: fields_table(JointConfig, "joint."),
    "simulation": simulation,
    "survey": lambda: fields_table(SurveyConfig),
    "decam_simulation": decam_simulation,
    "wise_simulation": wise_simulation,
    "manifest": lambda: table(["column", "unit", "what it tells"],
                              [[f"`{n}`", unit, manifest.DESCRIPTIONS[n]] for n, unit in manifest.COLUMNS.items()]),
    "presets": presets,
    "calibration": calibrated,
    "own_fields": own_fields,
    "machine": machine,
    "peers_short": lambda: peers(("crowded",), short=True),
    "peers": lambda: peers(("sparse", "medium", "crowded", "extreme", "real"), short=False),
}


def generated(text):
    """A page with its generated parts written anew."""
    return MARKED.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}\n{m[4]}", text)


def picture():
    """The README's picture: the demo's, with fewer pixels and colours."""
    import tempfile

    from PIL import Image as Picture

    from crowdsource.cli.demo import demo_field
    from crowdsource.engine.loop import fit
    from crowdsource.report.pictures import plot_fit
    PICTURE.parent.mkdir(exist_ok=True)
    image, _ = demo_field()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/"demo.png"
        plot_fit(image, fit(image), path, title="A simulated field of 3,000 stars", dpi=PICTURE_DPI)
        with Picture.open(path) as page:
            few = page.convert("RGB").quantize(PICTURE_COLOURS, Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE)
            few.save(PICTURE, optimize=True)


def main():
    """Write or check; the exit status tells whether pages are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, name the pages that are out of date")
    parser.add_argument("--picture", action="store_true", help="make the README's picture too")
    arguments = parser.parse_args()
    if arguments.picture:
        picture()
    old = [page for page in PAGES if generated(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]
    for page in old:
        print(f"{page.relative_to(ROOT)}: {'out of date' if arguments.check else 'written'}")
        if not arguments.check:
            page.write_text(generated(page.read_text(encoding="utf-8")), encoding="utf-8")
    return int(bool(old) and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
