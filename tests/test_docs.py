"""The documentation says what the code says, its links lead somewhere, and its examples run."""
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from small_fields import write_fits

from crowdsource.cli.main import build_parser
from crowdsource.simulate import SimulationConfig, simulate_field

ROOT = Path(__file__).parent.parent
PAGES = [p for p in (ROOT/"README.md", ROOT/"CONTRIBUTING.md", *sorted((ROOT/"docs").glob("*.md"))) if p.exists()]
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")

pytestmark = pytest.mark.skipif(not (ROOT/"docs").is_dir(), reason="the source is not beside the tests")


def name(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT/"docs"/"generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_generated_parts_are_up_to_date(generate, page):
    text = page.read_text(encoding="utf-8")
    # when they differ: make docs
    assert generate.generated(text) == text
    assert text.count("<!-- generated: ") == len(generate.MARKED.findall(text))


def test_every_part_is_used_and_no_column_or_option_is_left_undescribed(generate):
    used = set(re.findall(r"<!-- generated: (\w+) -->", "".join(p.read_text(encoding="utf-8") for p in PAGES)))
    assert used == set(generate.PARTS)
    tables = [generate.configuration(), generate.simulation(), generate.columns()]
    tables += [generate.options(command) for command in ("generic", "simulate", "demo", "flags")]
    for part in tables:
        assert not re.search(r"\| +\|$", part, re.M)


def test_every_difference_of_the_presets_has_its_reason(generate):
    assert set(generate.reasons()) == set(generate.differences())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent/target).exists(), target


def cells(line):
    """Number of cells of a row of a table: a bar that is escaped divides none, one in a piece of code does."""
    return len(re.findall(r"(?<!\\)\|", line.strip()))-1


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_rows_of_tables_have_the_cells_of_their_heads(page):
    width, code = None, False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        code ^= line.startswith("```")
        if code or not line.startswith("|"):
            width = None
        elif width is None:
            width = cells(line)
        else:
            assert cells(line) == width, f"{page.name}:{number}"


def test_tour_names_rooms_that_exist():
    files = ["/"+name(p) for folder in ("crowdsource", "cython_ext", "instruments") for p in (ROOT/folder).rglob("*.py*")]
    for room in re.findall(r"`((?:\w+/)*\w+\.pyx?)`", (ROOT/"docs"/"tour.md").read_text(encoding="utf-8")):
        assert any(f.endswith("/"+room) for f in files) or room == "reference.py", room


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_configurations_shown_are_accepted(page):
    from crowdsource.config import from_mapping
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        mapping = tomllib.loads(block)
        mapping.pop("generic", None)
        if "project" in mapping:
            continue
        assert from_mapping(mapping) is not None


def test_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT/"README.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 1 and len([line for line in blocks[0].splitlines() if line]) == 5
    monkeypatch.chdir(tmp_path)
    field = simulate_field(SimulationConfig(shape=(110, 110), stars=70))
    write_fits("image.fits", field.data, field.header)
    scope = {}
    exec(blocks[0], scope)
    assert (tmp_path/"image.cat.fits").exists() and (tmp_path/"image.png").stat().st_size > 1e5
    # 70 stars above 5 sigma are expected in the field, of which blending hides some
    assert 35 < len(scope["result"].catalog) < 90
    assert "dflux" in capsys.readouterr().out


def test_picture_is_small():
    assert 2e4 < (ROOT/"docs"/"images"/"demo.png").stat().st_size < 4e5


PRODUCTION = ROOT/"docs"/"production.md"


def commands_of_runs():
    """The command lines that the page of runs shows, those for clusters too, which cannot be tried here."""
    text = PRODUCTION.read_text(encoding="utf-8") if PRODUCTION.exists() else ""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).splitlines()
    return [line[line.index("crowdsource "):].partition(" :::")[0] for line in lines if "crowdsource " in line]


@pytest.mark.parametrize("line", commands_of_runs())
def test_commands_of_runs_are_accepted(line):
    words = ["1" if w in ("$SLURM_ARRAY_TASK_ID", "{}") else w for w in shlex.split(line, comments=True)[1:]]
    assert build_parser(words).parse_args(words).run


def test_promises_name_tests_that_exist():
    text = PRODUCTION.read_text(encoding="utf-8").partition("## What is promised")[2].partition("\n## ")[0]
    file, found = None, 0
    for new, function in re.findall(r"`(?:(test_\w+\.py))?(?:::)?(test_\w+)?`", text):
        file = new or file
        assert f"def {function}" in (ROOT/"tests"/file).read_text(encoding="utf-8")
        found += 1
    assert found > 25
