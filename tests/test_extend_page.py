"""The examples of the page that shows how to extend the project."""
import re
from pathlib import Path

import numpy as np
import pytest
from small_fields import NOISE, star_image

import crowdsource as cs
from crowdsource.config import as_mapping, from_mapping
from crowdsource.production.executors import open_workers

PAGE = Path(__file__).resolve().parents[1]/"docs"/"extend.md"
SHAPE = 120, 130
SECTIONS = re.split(r"\n## ", PAGE.read_text(encoding="utf-8")) if PAGE.exists() else ()
EXAMPLES = {s.partition("\n")[0]: re.findall(r"```python\n(.*?)```", s, re.S) for s in SECTIONS}
PARTS = {"A sky estimator": ("sky", "estimator", "plane_sky"), "A detector": ("detect", "detector", "in_circle"),
         "A solver": ("solve", "method", "lsmr_step"), "A centroid method": ("centroid", "method", "bright_only")}

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the source is not beside the tests")


def run_example(title):
    """The names that the code of a section defines."""
    names = {"__name__": "example"}
    for block in EXAMPLES[title]:
        exec(compile(block, f"{PAGE.name}: {title}", "exec"), names)
    return names


@pytest.fixture(scope="module")
def field():
    """An image of stars on a sky with a gradient, and the stars."""
    rng = np.random.default_rng(3)
    x, y = (g.ravel()+rng.uniform(-1, 1, g.size) for g in np.meshgrid(np.arange(12, 120, 24.), np.arange(12, 120, 24.)))
    flux = np.geomspace(1500, 40000, len(x))
    slope = np.indices(SHAPE)[1]*0.3
    data = star_image(SHAPE, x, y, flux)+slope
    return cs.Image.from_arrays(data, np.full(SHAPE, NOISE**-2)), x, y, flux


@pytest.mark.parametrize("title", PARTS)
def test_a_fit_with_the_part(title, field):
    image, x, y, flux = field
    section, option, name = PARTS[title]
    names = run_example(title)
    calls = []

    def counted(*arguments, **keywords):
        calls.append(arguments)
        return names[name](*arguments, **keywords)

    assert getattr(getattr(names["config"], section), option) is names[name]
    catalog = cs.fit(image, config=cs.FitConfig(**{section: counted})).catalog
    assert calls
    for k in np.flatnonzero(flux > 3000):
        row = catalog[np.argmin(np.hypot(catalog["x"].value-x[k], catalog["y"].value-y[k]))]
        assert abs(row["x"].value-x[k]) < 0.2 and abs(row["y"].value-y[k]) < 0.2
        # wings reach into the sky of so small an image
        assert row["flux"].value == pytest.approx(flux[k], rel=0.06)


@pytest.mark.parametrize("title", PARTS)
def test_the_record_names_the_part(title):
    section, option, name = PARTS[title]
    names = run_example(title)
    assert as_mapping(names["config"])[section][option] == f"example:{name}"
    # a name in a file goes before an object
    other = as_mapping(cs.FitConfig())[section][option]
    assert getattr(getattr(from_mapping({section: {option: other}}, names["config"]), section), option) == other


def test_an_estimator_that_leaves_holes_is_found(field):
    with pytest.raises(cs.CrowdsourceError, match="the sky estimator .* not finite"):
        cs.fit(field[0], config=cs.FitConfig(sky=lambda image, *_: np.full(image.shape, np.nan)))


def test_what_cannot_be_called_is_no_part():
    with pytest.raises(cs.CrowdsourceError, match="solve.method: .* is no solver: it does not keep the contract in docs/"):
        cs.fit(cs.Image.from_arrays(np.zeros((9, 9)), np.ones((9, 9))), config=cs.FitConfig(solve=3))


def test_the_executor_is_used():
    workers = open_workers(run_example("An executor")["two_at_most"], 5)
    try:
        assert [workers.executor.submit(pow, 2, k).result() for k in range(3)] == [1, 2, 4]
    finally:
        workers.close()
