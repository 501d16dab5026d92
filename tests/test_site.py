"""The site of the documentation: all pages are in it, all links lead somewhere, all that is public is in the reference."""
import importlib
import re
from pathlib import Path

import pytest

import crowdsource as cs

DOCS = Path(__file__).parent.parent/"docs"
BESIDE = {"conf.py", "generate.py", "run_notebook.py", "telescope_pictures.py", "tutorials/terminal.py"}
"""Scripts that are no pages."""
PAGES = sorted(str(p.relative_to(DOCS).as_posix()) for folder in (DOCS, DOCS/"tutorials", DOCS/"notebooks")
               for p in folder.glob("*") if p.suffix in (".md", ".py", ".ipynb"))
PAGES = [page for page in PAGES if page not in BESIDE]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the source is not beside the tests")


def text_of(page):
    return (DOCS/page).read_text(encoding="utf-8")


def without_code(text):
    """Markdown without its fenced blocks."""
    return re.sub(r"^(`{3,}|:{3,}\{eval).*?^\1`*$", "", text, flags=re.M | re.S)


def listed(page):
    """Pages in the tables of contents of a page."""
    folder = (DOCS/page).parent
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text_of(page), re.M | re.S):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                name = re.sub(r".*<(.*)>", r"\1", line)
                found = [p for p in ((folder/name).with_suffix(s) for s in (".md", ".py", ".ipynb")) if p.exists()]
                assert len(found) == 1, f"{page}: {line}"
                yield str(found[0].resolve().relative_to(DOCS.resolve()).as_posix())


def test_every_page_is_in_one_table_of_contents():
    entries = [entry for page in PAGES if page.endswith(".md") for entry in listed(page)]
    assert sorted(entries) == sorted(set(PAGES)-{"index.md"})


def in_reference():
    """Names in the tables of the reference, without the package's."""
    blocks = re.findall(r"\.\. autosummary::\n(.*?)```", text_of("api.md"), re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip() and not line.strip().startswith(":")]


def test_every_public_name_is_in_the_reference_once():
    names = in_reference()
    assert sorted(n for n in names if "." not in n) == sorted(set(cs.__all__)-{"__version__"})
    assert len(names) == len(set(names)) and "__version__" in text_of("api.md")


def test_every_name_of_the_reference_is_there_and_described():
    for name in in_reference():
        module, _, attribute = name.rpartition(".")
        thing = getattr(importlib.import_module("crowdsource."+module) if module else cs, attribute)
        assert len(thing.__doc__.strip()) > 20, name


def test_names_that_pages_use_are_in_the_reference():
    """Those that are imported from within the package; how parts are exchanged has a page of its own."""
    names, homes = set(in_reference()), {getattr(cs, n) for n in cs.__all__ if n != "__version__"}
    for page in set(PAGES)-{"extend.md"}:
        for module, imported in re.findall(r"^from crowdsource\.?([\w.]*) import ([\w, ]+)", text_of(page), re.M):
            for name in (n.strip() for n in imported.split(",")):
                thing = getattr(importlib.import_module(".".join(["crowdsource", module]).rstrip(".")), name)
                assert f"{module}.{name}" in names or thing in homes or thing.__module__.startswith("crowdsource.psf.formats"), \
                    f"{page}: {module}.{name}"


def anchors(page):
    """Anchors of a page's headings, as Markdown makes them: lower case, hyphens for blanks, no other signs."""
    heads = re.findall(r"^#+ (.*)$", without_code(text_of(page)), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [page for page in PAGES if not page.endswith(".ipynb")])
def test_links_and_anchors_lead_somewhere(page):
    for target in LINK.findall(without_code(text_of(page))):
        path, _, anchor = target.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        place = (DOCS/page).parent/path if path else DOCS/page
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(place.resolve().relative_to(DOCS.resolve())), target


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("tutorials/") and page.endswith(".py")])
def test_tutorials_are_scripts_whose_cells_are_marked(page):
    text = text_of(page)
    compile(text, page, "exec")
    assert text.startswith('# %% [markdown]\n"""\n# ') and text.count("# %%\n") >= 3
