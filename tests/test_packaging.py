"""The distribution: what it declares, what it installs, and that the conda recipe says the same."""
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "crowdsourcephoto"
# what conda-forge calls the packages, or their parts without optional dependencies
CONDA = {"astropy": "astropy-base", "matplotlib": "matplotlib-base", "dask": "dask-core"}
CORE = {"numpy", "scipy", "astropy", "healpy", "h5py", "tqdm"}
SYSTEMS = {"linux": "linux", "osx": "darwin", "win": "win32"}

source = pytest.mark.skipif(not (ROOT/"recipe").is_dir(), reason="the source is not beside the tests")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def recipe():
    import yaml  # astropy brings it
    return yaml.safe_load((ROOT/"recipe"/"recipe.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed():
    # a source folder on the path has an egg-info, which records nothing installed
    return next(d for d in distributions(name=NAME) if d.read_text("RECORD"))


def split(requirement):
    """(name, version bound, marker) of a requirement such as ``healpy>=1.17; sys_platform != 'win32'``."""
    text, _, marker = requirement.partition(";")
    name, bound = re.fullmatch(r"([\w.-]+)\s*(.*)", text.strip()).groups()
    return name, bound, marker.strip()


def of_pip(requirements, system):
    """{conda name: bound} of requirements on a system."""
    def applies(marker):
        if not marker:
            return True
        platform = re.fullmatch(r"sys_platform != '(\w+)'", marker).group(1)
        return SYSTEMS[system] != platform
    return {CONDA.get(n, n): bound for n, bound, marker in map(split, requirements) if applies(marker)}


def of_conda(requirements, system):
    """{conda name: bound} of a list with conditions on a system."""
    out = {}
    for item in requirements:
        if isinstance(item, dict):
            assert re.fullmatch(r"(not )?(win|osx|linux)", item["if"])
            word = item["if"].split()[-1]
            if (word == system) == item["if"].startswith("not "):
                continue
        name, _, bound = (item["then"] if isinstance(item, dict) else item).partition(" ")
        out[name] = bound
    return out


@source
@pytest.mark.parametrize("system", SYSTEMS)
def test_recipe_requires_what_the_project_requires(project, recipe, system):
    wanted = of_pip(project["project"]["dependencies"], system)
    assert of_conda(recipe["requirements"]["run"], system) == {"python": "", **wanted}
    host = of_conda(recipe["requirements"]["host"], system)
    assert host == {"python": "", "pip": "", **of_pip(project["build-system"]["requires"], system)}


@source
def test_recipe_builds_across_with_the_same_compilers_in_python(project, recipe):
    across = next(i for i in recipe["requirements"]["build"] if isinstance(i, dict))["then"]
    requires = of_pip(project["build-system"]["requires"], "linux")
    assert dict(i.partition(" ")[::2] for i in across if i.startswith(("cython", "numpy"))) == {
        n: requires[n] for n in ("cython", "numpy")}


@source
def test_recipe_constrains_and_tests_with_the_extras(project, recipe):
    extras = project["project"]["optional-dependencies"]
    optional = of_pip([r for e in ("plot", "report", "parquet", "sky", "dask") for r in extras[e]], "linux")
    assert of_conda(recipe["requirements"]["run_constraints"], "linux") == optional
    wanted = of_pip([r for r in extras["test"] if not r.startswith(NAME)], "linux")
    wanted.update(of_pip(extras["plot"]+extras["report"]+extras["parquet"]+extras["sky"], "linux"))
    tests = next(t for t in recipe["tests"] if "files" in t)
    assert of_conda(tests["requirements"]["run"], "linux") == wanted


@source
def test_recipe_repeats_name_version_and_commands(project, recipe):
    said = project["project"]
    assert recipe["context"]["name"] == said["name"] == NAME
    assert recipe["context"]["version"] == '${{ env.get("SETUPTOOLS_SCM_PRETEND_VERSION") }}'
    assert ">="+recipe["context"]["python_min"] == said["requires-python"]
    assert recipe["about"]["license"] == said["license"]
    commands = dict(c.split(" = ") for c in recipe["build"]["python"]["entry_points"])
    assert commands == said["scripts"]


@source
def test_core_dependencies_and_extras(project):
    said = project["project"]
    assert {split(r)[0] for r in said["dependencies"]} == CORE
    extras = said["optional-dependencies"]
    assert {"plot", "parquet", "dask", "test", "all"} <= set(extras)
    assert {split(r)[0] for r in extras["plot"]} == {"matplotlib"}
    assert {split(r)[0] for r in extras["parquet"]} == {"pyarrow"}
    assert {split(r)[0] for r in extras["sky"]} == {"mocpy"}
    assert re.fullmatch(NAME+r"\[([\w,]+)\]", extras["all"][0]).group(1).split(",") == [
        e for e in extras if e not in ("models", "test", "docs", "lint", "all")]
    assert not [r for e in ("plot", "parquet", "dask", "all") for r in extras[e] if r.startswith("tensorflow")]


@source
def test_version_stands_in_one_place(project):
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    base = project["tool"]["setuptools_scm"]["fallback_version"].removesuffix(".dev0")
    for name in ("setup.py", "CITATION.cff", "recipe/recipe.yaml", "crowdsource/__init__.py"):
        assert base not in (ROOT/name).read_text(encoding="utf-8"), name


@source
def test_a_release_has_its_changes_written_down(installed):
    if re.fullmatch(r"[\d.]+", installed.version):
        assert f"## {installed.version}\n" in (ROOT/"CHANGELOG.md").read_text(encoding="utf-8")


@source
def test_installed_is_what_the_source_says(project, installed):
    assert {e.name: e.value for e in installed.entry_points if e.group == "console_scripts"} == project["project"]["scripts"]


def git(folder, *arguments):
    """Run git without the user's settings."""
    names = {f"GIT_{who}_{what}": "nobody@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *arguments], cwd=folder, check=True, env={**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull})


@source
@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
@pytest.mark.parametrize(("tag", "commits", "version"), [
    ("", 0, r"1\.0\.0\.dev0"), ("", 2, r"1\.0\.0\.dev2\+g[0-9a-f]+"),
    ("v1.2.0", 0, r"1\.2\.0"), ("v1.2.0", 3, r"1\.2\.1\.dev3\+g[0-9a-f]+")])
def test_version_is_the_tag_or_counts_from_it(tmp_path, tag, commits, version):
    """Without a tag from what pyproject.toml says; that alone without commits, as in an archive that is no release's."""
    pytest.importorskip("setuptools_scm")
    shutil.copy(ROOT/"pyproject.toml", tmp_path)
    if tag or commits:
        git(tmp_path, "init", "--quiet")
        git(tmp_path, "add", ".")
    if tag:
        git(tmp_path, "commit", "--quiet", "--message", "tagged")
        git(tmp_path, "tag", tag)
    for n in range(commits):
        git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", str(n))
    said = subprocess.run([sys.executable, "-m", "setuptools_scm"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.fullmatch(version, said.stdout.strip()), said


def test_entry_points_lead_somewhere(installed):
    points = [e for e in installed.entry_points if e.group in ("console_scripts", "crowdsource.instruments")]
    assert {"crowdsource", "crowdsource-generic", "generic"} <= {e.name for e in points}
    for point in points:
        assert callable(point.load()), point.value


def test_generic_names_are_not_installed_at_top_level(installed):
    top = {p.parts[0] for p in installed.files if p.suffix in (".py", ".so", ".pyd")}
    assert not top & {"instruments", "cython_ext", "data", "tests", "docs", "benchmarks"}
    for name in ("instruments", "cython_ext"):
        spec = find_spec(name)
        # from the root of the source they can be seen, as folders beside the tests, and from nowhere else
        assert spec is None or all(Path(place).parent == ROOT for place in spec.submodule_search_locations)


@pytest.mark.parametrize("name", ["crowdsource", "crowdsource.instruments", "crowdsource.cython_ext", "crowdsource.data"])
def test_rooms_are_one_namespace(name):
    assert import_module(name).__name__ == name


def test_kernels_are_compiled_and_their_declarations_shipped():
    folder = Path(import_module("crowdsource.cython_ext").__file__).parent
    assert (folder/"simd.h").exists() and (folder/"smallchol.pxd").exists()
    for kernel in folder.glob("*.pyx"):
        built = import_module(f"crowdsource.cython_ext.{kernel.stem}")
        assert Path(built.__file__).suffix in (".so", ".pyd")


def test_packaged_field_is_there():
    assert (Path(import_module("crowdsource.data").__file__).parent/"demo"/"demo.fits.fz").stat().st_size > 1e5


@source
def test_nothing_is_built_for_one_processor_only():
    for name in ("setup.py", "pyproject.toml", "Makefile", "recipe/recipe.yaml"):
        assert not re.search(r"march=|mtune=|-mavx|/arch:", (ROOT/name).read_text(encoding="utf-8")), name


@source
def test_source_archive_holds_every_room():
    manifest = (ROOT/"MANIFEST.in").read_text(encoding="utf-8")
    grafted = set(re.findall(r"^graft (\w+)$", manifest, re.M))
    assert {"cython_ext", "data", "tests", "docs", "benchmarks", "recipe"} <= grafted
    for name in re.search(r"^include (.*)$", manifest, re.M).group(1).split():
        assert (ROOT/name).exists(), name


@source
def test_wheels_are_configured_for_every_python_and_processor(project):
    wheels = project["tool"]["cibuildwheel"]
    versions = {c.rpartition(":: ")[2] for c in project["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert {b.removesuffix("-*") for b in wheels["build"]} == {"cp"+v.replace(".", "") for v in versions}
    assert min(versions, key=lambda v: int(v[2:])) == project["project"]["requires-python"].removeprefix(">=")
    assert wheels["linux"]["archs"] == ["x86_64", "aarch64"] and wheels["macos"]["archs"] == ["x86_64", "arm64"]
    assert "--import-mode=importlib" in wheels["test-command"]


@pytest.mark.skipif(sysconfig.get_config_var("Py_GIL_DISABLED") == 1, reason="such a Python has no stable interface")
def test_kernels_are_for_every_python_from_the_oldest_on():
    kernels = [Path(import_module(f"crowdsource.cython_ext.{p.stem}").__file__) for p in (ROOT/"cython_ext").glob("*.pyx")]
    assert len(kernels) > 15
    assert {"".join(k.suffixes) for k in kernels} <= {".abi3.so", ".pyd"}


@source
def test_the_oldest_dependencies_are_tested_at_the_bounds_of_pyproject():
    workflow = ROOT/".github"/"workflows"/"tests.yml"
    if not workflow.exists():
        pytest.skip("a source archive has no .github")
    job = re.search(r"^  oldest:\n(.*?)^  \w+:$", workflow.read_text(encoding="utf-8"), re.M | re.S).group(1)
    assert "--resolution lowest-direct '.[all]'" in job


@source
def test_ci_runs_the_tests_and_nothing_else():
    script = ROOT/".ci"/"run"
    if not script.exists():
        pytest.skip("a source archive has no .ci")
    assert script.stat().st_mode & 0o111
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make --no-print-directory test" and "set -euo pipefail" in commands
