"""Report pages in a real browser: they load without complaints, zoom, and show the row that is clicked."""
import os
import re
import shutil

import numpy as np
import pytest
from small_release import small_survey

import crowdsource as cs
from crowdsource.simulate import SimulationConfig, simulate_field

pytest.importorskip("bokeh", reason="bokeh is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from crowdsource.report.fit_page import FitFacts, write_fit_page
from crowdsource.survey.pages.release_page import write_release_page

BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1400,1000")
PATIENCE = 60
"""Seconds."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser that has no network, with a profile of its own."""
    program, driver = next((p for b in BROWSERS if (p := shutil.which(b))), None), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver, log_output=os.devnull)
    found = webdriver.Chrome(options=options, service=service)
    yield found
    found.quit()


@pytest.fixture(scope="module")
def fitted(browser, tmp_path_factory):
    """The page of a fit, open in the browser, and its result."""
    sim = simulate_field(SimulationConfig(shape=(120, 160), stars=80, brightest=300, saturated_stars=0, bad_columns=0, seed=6))
    result = cs.fit(sim.data, ivar=sim.ivar, zeropoint=25.)
    path = tmp_path_factory.mktemp("page")/"fit.html"
    write_fit_page(result, FitFacts(title="A field"), path)
    return path, result


def opened(browser, path, ready):
    """Open a page and wait until it is ready; gives what the browser complains of."""
    browser.get_log("browser")
    browser.get(path.as_uri())
    WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script(ready))
    return [m for m in browser.get_log("browser") if m["level"] in ("SEVERE", "WARNING")]


def view(browser):
    return browser.execute_script("return {...crowdsourceViewer.view}")


READY = "return document.getElementById('viewer').dataset.ready === 'yes'"


def test_page_of_a_fit_in_a_browser(browser, fitted):
    path, result = fitted
    assert opened(browser, path, READY) == []
    # pictures are drawn: an image of stars has many grey levels
    levels = browser.execute_script("""
        const canvas = document.querySelector('.view canvas'), {width, height} = canvas;
        const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        return new Set(pixels.filter((_, k) => k % 4 === 0)).size""")
    assert levels > 50
    loaded = "return performance.getEntriesByType('resource').filter(e => e.name.startsWith('http')).length"
    assert browser.execute_script(loaded) == 0
    assert len(browser.find_elements(By.CSS_SELECTOR, ".view")) == 3


def test_wheel_zooms_and_dragging_pans_all_panels(browser, fitted):
    opened(browser, fitted[0], READY)
    panel, before = browser.find_element(By.CSS_SELECTOR, ".view"), view(browser)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", panel)
    for _ in range(4):
        browser.execute_script("""const box = arguments[0].getBoundingClientRect();
            arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: -100, cancelable: true, bubbles: true,
                clientX: box.left + box.width / 2, clientY: box.top + box.height / 2}))""", panel)
    zoomed = view(browser)
    assert np.isclose(zoomed["scale"]/before["scale"], np.exp(1), rtol=0.01)
    ActionChains(browser).move_to_element(panel).click_and_hold().move_by_offset(40, 20).release().perform()
    panned = view(browser)
    assert np.isclose(zoomed["x"]-panned["x"], 40/zoomed["scale"], atol=0.5)
    assert np.isclose(panned["y"]-zoomed["y"], 20/zoomed["scale"], atol=0.5)
    ActionChains(browser).double_click(panel).perform()
    assert view(browser)["scale"] == before["scale"]


def test_click_shows_the_row_here_and_in_the_plots(browser, fitted):
    path, result = fitted
    opened(browser, path, READY)
    row = int(np.argmax(np.asarray(result.catalog["flux"])))
    x, y = (float(np.asarray(result.catalog[n])[row]) for n in ("x", "y"))
    # the place is brought to the middle, where the click goes, without saying which source it is
    browser.execute_script("Object.assign(crowdsourceViewer.view, {x: arguments[0], y: arguments[1], scale: 8});"
                           "crowdsourceViewer.draw()", x, y)
    panel = browser.find_elements(By.CSS_SELECTOR, ".view")[1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", panel)
    ActionChains(browser).move_to_element(panel).click().perform()
    assert browser.execute_script("return crowdsourceViewer.selected()") == row
    shown = browser.find_element(By.CSS_SELECTOR, ".row-panel").text
    told = [float(number) for number in re.findall(r"\b[xy]\s+([\d.]+) pix", shown)[:2]]
    assert f"Row {row}" in shown and np.allclose(told, [x, y], atol=0.001)
    chosen = "return Bokeh.documents[0].get_model_by_name('sources').selected.indices"
    assert list(browser.execute_script(chosen)) == [row]
    # and the other way round: a point of a plot is shown in the image
    other = (row+1) % len(result.catalog)
    browser.execute_script(chosen.removeprefix("return ")+f" = [{other}]")
    assert browser.execute_script("return crowdsourceViewer.selected()") == other
    assert abs(view(browser)["x"]-float(np.asarray(result.catalog["x"])[other])) < 0.01
    assert f"Row {other}" in browser.find_element(By.CSS_SELECTOR, ".row-panel").text


def test_tables_are_sorted_by_their_headings(browser, tmp_path):
    write_release_page(small_survey(), tmp_path/"release.html")
    assert opened(browser, tmp_path/"release.html", "return window.Bokeh && Bokeh.documents.length > 0") == []
    head = browser.find_element(By.XPATH, "//section[@id='images']//th[text()='detections']")
    column = "return [...document.querySelectorAll('#images tbody tr')].map(r => Number(r.cells[1].dataset.value))"
    for order in (1, -1):
        browser.execute_script("arguments[0].click()", head)
        numbers = browser.execute_script(column)
        assert len(numbers) == 6 and numbers == sorted(numbers)[::order]
