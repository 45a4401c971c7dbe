"""The page as a browser shows it."""

import json
import math

import pytest
from browsing import started


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    yield from started(tmp_path_factory.mktemp("chromium"))


@pytest.fixture
def slider(browser, page_path):
    """The page, loaded, and its first slider with all pictures decoded."""
    browser.get(page_path.as_uri())
    slider = browser.find_element("css selector", ".slider")
    settle(browser)
    return slider


def settle(browser):
    """Wait until every picture of the sliders is decoded."""
    browser.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.querySelectorAll('.slider img')].map((image) => image.decode())).then(() => done());"
    )


def clip(browser, slider) -> str:
    right = slider.find_element("css selector", "img.right")
    return browser.execute_script("return getComputedStyle(arguments[0]).clipPath", right)


def test_keys_move_the_split(browser, slider):
    keys = pytest.importorskip("selenium.webdriver").Keys
    handle = slider.find_element("css selector", "input")
    middle, before = clip(browser, slider), slider.screenshot_as_png
    handle.send_keys(keys.ARROW_RIGHT)
    assert handle.get_attribute("value") == "51"
    assert clip(browser, slider) == middle.replace("50%", "51%") != middle
    handle.send_keys(keys.HOME)
    assert "0px 0px 0px 0%" in clip(browser, slider) or clip(browser, slider) == "inset(0px)"
    at_start = slider.screenshot_as_png
    handle.send_keys(keys.END)
    assert "100%" in clip(browser, slider)
    assert len({before, at_start, slider.screenshot_as_png}) == 3


def test_the_focused_slider_is_outlined(browser, slider):
    keys = pytest.importorskip("selenium.webdriver").Keys
    outline = "return getComputedStyle(arguments[0]).outlineStyle"
    assert browser.execute_script(outline, slider) == "none"
    slider.find_element("css selector", "input").send_keys(keys.ARROW_LEFT)
    assert browser.execute_script(outline, slider) == "solid"


def test_a_choice_changes_picture_label_and_description(browser, slider):
    select = pytest.importorskip("selenium.webdriver.support.ui").Select
    left, before = slider.find_element("css selector", "img.left"), slider.screenshot_as_png
    source = left.get_attribute("src")
    select(browser.find_element("id", "left")).select_by_value("lr")
    settle(browser)
    assert left.get_attribute("src") != source
    assert slider.screenshot_as_png != before
    assert slider.find_element("css selector", ".tag.left").text == "low resolution"
    assert "low resolution on the left" in slider.find_element("css selector", "input").get_attribute("aria-label")
    assert browser.execute_script("return getComputedStyle(arguments[0]).imageRendering", left) == "pixelated"


def test_the_page_loads_alone_and_without_a_complaint(browser, slider):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    own = [each["request"]["url"] for each in requests if each["documentURL"].startswith("file:")]
    assert own and {url.partition(":")[0] for url in own} == {"file", "data"}
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_runs_off_the_side(browser, slider, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        inside, outside = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert inside <= outside


def column(browser, table, index) -> list[str]:
    script = (
        "return [...arguments[0].tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[arguments[1]].innerText)"
    )
    return browser.execute_script(script, table, index)


def test_a_column_head_sorts_by_click_and_by_key(browser, slider):
    keys = pytest.importorskip("selenium.webdriver").Keys
    table = browser.find_element("xpath", "//*[@id='primary']//table[.//th[.='PSNR (dB)']]")
    heads = table.find_elements("css selector", "thead th")
    index = [head.text for head in heads].index("PSNR (dB)")
    before = column(browser, table, index)
    heads[index].find_element("css selector", "button").click()
    after = column(browser, table, index)
    assert sorted(before) == sorted(after) and before != after
    assert heads[index].get_attribute("aria-sort") == "ascending"
    values = [math.inf if "∞" in cell else float(cell.split()[0]) for cell in after]
    assert values == sorted(values) and values[-1] == math.inf
    heads[index].find_element("css selector", "button").send_keys(keys.ENTER)
    assert heads[index].get_attribute("aria-sort") == "descending"
    assert "∞" in column(browser, table, index)[0]
    heads[1].find_element("css selector", "button").send_keys(keys.SPACE)
    assert heads[index].get_attribute("aria-sort") is None and heads[1].get_attribute("aria-sort") == "ascending"
    assert column(browser, table, 1) == sorted(column(browser, table, 1), key=str.casefold)


def test_numbers_sort_as_numbers_and_empty_cells_come_last(browser, slider):
    texts = "['−7.5', '10', '−∞', '9', '–', '+0.5', '3/10']"
    script = f"return {texts}.map(numberOf).sort((a, b) => order(a, b, arguments[0])).map(String)"
    assert browser.execute_script(script, 1) == ["-Infinity", "-7.5", "0.5", "3", "9", "10", "NaN"]
    assert browser.execute_script(script, -1) == ["10", "9", "3", "0.5", "-7.5", "-Infinity", "NaN"]


def test_a_caption_leads_to_every_row_of_its_image(browser, slider, rows, facts):
    details = browser.find_element("id", "images-x2-SetA")
    assert not details.find_elements("css selector", "table")
    link = slider.find_element("xpath", "..").find_element("css selector", "a.drill")
    image = link.get_attribute("data-image")
    link.click()
    table = details.find_element("css selector", "table")
    assert details.get_attribute("open") and set(column(browser, table, 0)) == {image}
    assert rows["lua_steps"].label in column(browser, table, 1)
    details.find_element("css selector", ".filter").clear()
    details.find_element("css selector", ".filter").send_keys("b")
    assert set(column(browser, table, 0)) == {name for name in facts.sets["SetA"] if "b" in name}
    table.find_elements("css selector", "thead button")[2].click()
    assert table.find_element("css selector", "[aria-sort]").text.startswith("PSNR")


def test_a_link_to_a_folded_section_opens_it(browser, slider):
    folded = browser.find_element("css selector", "#benchmark details")
    assert folded.get_attribute("open") is None
    browser.find_element("css selector", "nav a[href='#benchmark']").click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert folded.get_attribute("open")
