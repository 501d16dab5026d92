"""How Sphinx makes the site of these pages: ``make site``."""
import hashlib
import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).parent.parent
# tutorials run the commands of this environment, and find terminal.py
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["PYTHONPATH"] = str(ROOT/"docs"/"tutorials")


def code_checksum():
    """Changes when the code does, so that tutorials are executed anew."""
    files = sorted(p for room in ("crowdsource", "instruments", "cython_ext", "data") for p in (ROOT/room).rglob("*")
                   if p.suffix in (".py", ".pyx", ".pxd", ".h", ".toml", ".csv"))
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:16]


project, author, copyright = "crowdsource", "the crowdsource developers", "the crowdsource developers, MIT license"
release = version_of("crowdsourcephoto")
version = ".".join(release.split(".")[:2])

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode", "sphinx_design",
              "sphinx_copybutton"]
exclude_patterns = ["templates", "*.py", "tutorials/terminal.py"]
templates_path = ["templates"]
default_role = "code"
nitpicky = True

# pages: Markdown, notebooks, and scripts whose cells are marked by # %%
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = os.environ.get("TUTORIALS", "cache")
nb_execution_cache_path = str(ROOT/"build"/"tutorials"/code_checksum())
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars
# code that is not executed has no language for myst-nb
suppress_warnings = ["myst-nb.lexer"] if nb_execution_mode == "off" else []
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# the reference
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
add_module_names = False

html_theme = "pydata_sphinx_theme"
html_title = f"crowdsource {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "crowdsource"},
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version", "theme-version"],
    "pygments_light_style": "tango",
}
html_sidebars = {"coming-from": [], "faq": []}
